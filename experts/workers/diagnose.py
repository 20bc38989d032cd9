"""Why did a vLLM server end? The cause in its log, which is rarely the last line.

vLLM is a tree of processes. The one in which something fails writes the error first; then its parents fail because it did,
and theirs stands last. So the first error that does not speak of another one is the cause.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LOGGER = r"(?:\([\w-]+(?: pid=\d+)?\) ?)*(?:(?P<level>[A-Z]+) [\d-]+ [\d:.]+ \[[^\]]*\] ?)?"
_PREFIX = re.compile(rf"^{_LOGGER}")
_ERROR = re.compile(r"^(?:[\w.]+\.)?(?P<kind>[A-Z]\w*(?:Error|Exception|Exit|Interrupt)|Exception)(?:: (?P<text>.*))?$")
_PYDANTIC = re.compile(r"^\s+(?P<kind>Value error|Assertion failed), (?P<text>.*?)(?: \[type=\w+, input_value=.*)?$")
_USAGE = re.compile(r"^[\w.]+\.py: error: (?P<text>.*)$")
_ECHOES = re.compile(
    r"initialization failed|see (?:the )?(?:stack trace|root cause)|stack trace above|EngineDeadError|"
    r"died unexpectedly|Engine core proc .* died|validation errors? for \w+$"
)
_LENGTH = 400


@dataclass(frozen=True)
class Cause:
    """Why a server ended.

    Attributes:
        text: the error as vLLM has it, on one line.
        fix: what to do; empty where nothing better is known than to read the log.
        port_taken: whether another port is all that it takes.
    """

    text: str
    fix: str = ""
    port_taken: bool = False

    def __str__(self) -> str:
        return f"{self.text.rstrip('.')}. {self.fix}" if self.fix else self.text


_FIXES = (
    (r"CUDA out of memory|OutOfMemoryError|out of memory",
     "Lower gpu_memory or max_model_len, quantize, or spread the model with tensor_parallel"),
    (r"Free memory on device .* less than desired",
     "Something else uses this GPU (see nvidia-smi): stop it, or lower gpu_memory"),
    (r"Available memory on node .* less than desired",
     "Set kv_cache_memory_bytes in arguments, or free memory"),
    (r"KV cache is needed, which is larger than|No available memory for the cache blocks",
     "Lower max_model_len in arguments, or raise gpu_memory (on a CPU: kv_cache_memory_bytes in arguments)"),
    ((r"Repo id must be in the form|is not a valid model identifier|LocalEntryNotFound|RepositoryNotFound|"
     r"Cannot find an appropriate cached snapshot|locate the file on the Hub|Invalid repository ID"),
     "No such model here: correct the worker's model, or download it; a gated one needs HF_TOKEN"),
    (r"Cannot find any model weights|does not appear to have a file named|No such file or directory: '[^']*safetensors",
     "The model's folder is incomplete: download it again"),
    (r"architectures .* are not supported|does not recognize this architecture",
     "This version of vLLM does not know the model's architecture: use engine: local, or another model"),
    (r"User-specified max_model_len .* is greater than",
     "Lower max_model_len in arguments to what the model was trained for"),
    ((r"Unknown quantization method|Cannot find the config file for|quantization .* (?:not|isn't) (?:currently )?supported|"
     r"does not match the quantization method"),
     "Correct quantization, or leave it out: vLLM reads it from the checkpoint"),
    (r"Bfloat16 is only supported|dtype .* is not supported|not supported for .*dtype",
     "Set dtype: float16 or float32"),
    (r"must be divisible by tensor parallel size", "Set tensor_parallel to a divisor of that number"),
    (r"LoRA rank \d+ is greater than", "Raise max_lora_rank in arguments, or leave it out"),
    (r"unrecognized arguments|invalid choice|expected one argument|argument --",
     "Correct arguments of the worker; vLLM's documentation lists what there is"),
    ((r"No package metadata was found|PackageNotFoundError|undefined symbol|cannot import name|"
     r"operator torchvision::nms does not exist|DLL load failed"),
     "Packages do not fit together: install the versions of the lock file again"),
    (r"No module named", "Install what is missing"),
    (r"Sleep mode is not supported", "Remove sleep_after"),
)  # fmt: skip
_PORT = re.compile(r"[Aa]ddress already in use")


def find_cause(log: str) -> Cause | None:
    """The cause of the end of a server in what it wrote; None if it wrote of no error."""
    errors = [error for error in _errors(log) if not _ECHOES.search(error)]
    if not errors:
        return None
    # Of an error and what it led to, the one whose remedy is known says more.
    known = ((error, fix) for error in errors for pattern, fix in _FIXES if re.search(pattern, error))
    text, fix = next(known, (errors[0], ""))
    return Cause(_shortened(text), fix, port_taken=bool(_PORT.search(text)))


def exit_cause(code: int) -> Cause:
    """What an exit code alone says."""
    if code == 137:
        return Cause("killed (SIGKILL)", "If nobody did that, the machine ran out of memory: see dmesg")
    return Cause(f"ended by signal {code - 128}" if code > 128 else f"ended with exit code {code}, no error in its log")


def _errors(log: str) -> list[str]:
    """Every ``XError: text`` that is no warning, in the order of the log."""
    found = []
    for line in log.splitlines():
        prefix = _PREFIX.match(line)
        assert prefix is not None  # all of it is optional
        if prefix["level"] in ("DEBUG", "INFO", "WARNING"):
            continue
        bare = line[prefix.end() :]
        if usage := _USAGE.match(bare):
            found.append(usage["text"])
        elif problem := _PYDANTIC.match(bare):
            found.append(problem["text"])
        elif error := _ERROR.match(bare):
            found.append(": ".join(part for part in error.groups() if part))
    return found


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LENGTH else f"{text[:_LENGTH]}…"
