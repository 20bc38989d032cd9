"""Run as a script between a supervisor and one server: when the supervisor is gone, so is the server.

``python guard.py GRACE COMMAND...`` starts COMMAND in a process group of its own and writes its process id to standard
output. At the end of standard input, which comes when the supervisor closes it or dies in whatever way, the command is
asked to end, and after GRACE seconds its whole group is killed. When the command ends by itself, what it left of its group
is killed too: vLLM's engine processes do not notice when their API server dies. Exits with the command's exit code, or
with 128 and the number of the signal that ended it.

It needs the standard library only, and imports little of it: one runs beside every server.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress


def main() -> int:
    """Runs the command to its end."""
    grace, command = float(sys.argv[1]), sys.argv[2:]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave_it_to_the_supervisor)
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, process_group=0)  # noqa: S603
    threading.Thread(target=_stop_at_end_of_input, args=(server, grace), daemon=True).start()
    sys.stdout.write(f"{server.pid}\n")
    sys.stdout.flush()
    code = server.wait()
    _kill(server.pid)
    return code if code >= 0 else 128 - code


def _stop_at_end_of_input(server: subprocess.Popen[bytes], grace: float) -> None:
    while os.read(0, 1024):
        pass
    server.terminate()
    try:
        server.wait(grace)
    except subprocess.TimeoutExpired:
        _kill(server.pid)


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _leave_it_to_the_supervisor(_number: int, _frame: object) -> None:
    """Ctrl-C reaches every process of a terminal; the supervisor decides what follows."""


if __name__ == "__main__":
    sys.exit(main())
