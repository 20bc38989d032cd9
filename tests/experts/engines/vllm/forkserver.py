"""Run as a script: imports vLLM once, then forks one server for every line on standard input.

A line is the JSON list of a server's arguments; its first entry is the file for the server's output. The answer is the
server's process id. What runs in the child is vLLM's own entry point. Importing vLLM takes three times as long as
everything else that a tiny model needs, and a server imports it in two processes: here the second one, too, is forked.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any

import uvloop
from vllm.engine.arg_utils import EngineArgs
from vllm.entrypoints.launchers.api_server import entry
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.model_executor.models import registry
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine import async_llm, core  # noqa: F401  (what the children need)

_PR_SET_PDEATHSIG = 1

_make_config = EngineArgs.create_engine_config


def main() -> None:
    # On CPUs vLLM asks for spawned processes each time that it makes a configuration.
    EngineArgs.create_engine_config = _make_config_for_forking  # type: ignore[method-assign]
    # It looks at a model's class in a third process, so that CUDA stays untouched: here there is none.
    registry._run_in_subprocess = lambda look: look()  # type: ignore[assignment]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the servers
    for line in sys.stdin:
        log, *arguments = json.loads(line)
        child = os.fork()
        if child == 0:
            _serve(log, arguments)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


def _serve(log: str, arguments: list[str]) -> None:
    os.setpgrp()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # ends with its parent, whatever happens to that
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(arguments)
    validate_parsed_serve_args(parsed)
    uvloop.run(entry.run_server(parsed))
    os._exit(0)


def _make_config_for_forking(*arguments: Any, **keywords: Any) -> Any:
    config = _make_config(*arguments, **keywords)
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
    return config


if __name__ == "__main__":
    main()
