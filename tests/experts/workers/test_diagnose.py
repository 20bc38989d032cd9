"""The cause of a server's end. The files in logs/ are what vLLM 0.32 wrote, with other paths and shorter lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.workers.diagnose import exit_cause, find_cause
from experts.workers.progress import step_of

LOGS = Path(__file__).with_name("logs")
CAUSES = {
    "bad_path": ("'/models/nothing'", "correct the worker's model"),
    "bad_type": ("model type `fantasy`", "another model"),
    "hub_id": ("Cannot find an appropriate cached snapshot", "HF_TOKEN"),
    "hub_unreachable": ("error happened while trying to locate the file on the Hub", "correct the worker's model"),
    "kv_small": ("larger than the available KV cache memory", "Lower max_model_len"),
    "lora_rank": ("LoRA rank 32 is greater than max_lora_rank 8", "max_lora_rank"),
    "no_weights": ("Cannot find any model weights with `/models/noweights`", "download it again"),
    "port_taken": ("Address already in use", ""),
    "quant": ("Cannot find the config file for awq", "Correct quantization"),
    "quantname": ("Unknown quantization method: nonsense", "Correct quantization"),
    "too_long": ("max_model_len (4096) is greater than", "Lower max_model_len"),
    "tp2": ("attention heads (4) must be divisible by tensor parallel size (5)", "tensor_parallel"),
    "unknown_arch": ("['FantasyForCausalLM'] are not supported", "another model"),
    "wrong_argument": ("unrecognized arguments: --max-model-lenght", "Correct arguments"),
}


def test_every_log_is_looked_at() -> None:
    assert {file.stem for file in LOGS.iterdir()} == {*CAUSES, "fine"}


@pytest.mark.parametrize("name", CAUSES)
def test_causes(name: str) -> None:
    found = find_cause((LOGS / f"{name}.log").read_text())
    text, fix = CAUSES[name]
    assert found is not None and text in found.text and fix in found.fix
    assert found.port_taken == (name == "port_taken")
    assert len(str(found)) < 600 and "\n" not in str(found)


def test_a_server_that_started_has_no_cause() -> None:
    assert find_cause((LOGS / "fine.log").read_text()) is None


OTHERS = [  # not provoked here: a GPU or a broken installation would be needed
    (("(EngineCore_0 pid=7) ERROR 11-22 05:25:35 [core.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried to "
     "allocate 20.00 GiB\nRuntimeError: Engine core initialization failed. See root cause above."), "Lower gpu_memory"),
    ("ValueError: Free memory on device cuda:0 (3.1/79.1 GiB) on startup is less than desired GPU memory utilization",
     "nvidia-smi"),
    ("ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0.", "dtype: float16"),
    ("importlib.metadata.PackageNotFoundError: No package metadata was found for vllm", "lock file"),
    ("ImportError: cannot import name 'x' from 'transformers'", "lock file"),
]  # fmt: skip


@pytest.mark.parametrize(("log", "fix"), OTHERS)
def test_causes_of_other_machines(log: str, fix: str) -> None:
    found = find_cause(log)
    assert found is not None and fix in found.fix


def test_an_error_nobody_thought_of() -> None:
    found = find_cause(
        "(W pid=1) WARNING 11-22 05:25:35 [a.py:1] OSError: harmless\n"
        "Traceback (most recent call last):\n  File x\npackage.module.OddError: the root\n"
        "The above exception was the direct cause of the following exception:\n"
        "RuntimeError: a consequence\n"
    )
    assert found is not None and str(found) == "OddError: the root"


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    find_cause(text)
    step_of(text)


def test_exit_codes() -> None:
    assert "ran out of memory" in str(exit_cause(137))
    assert str(exit_cause(143)) == "ended by signal 15"
    assert "exit code 3" in str(exit_cause(3))


def test_steps_come_in_their_order() -> None:
    lines = (LOGS / "fine.log").read_text().splitlines()
    steps = [step_of("\n".join(lines[:count])) for count in range(len(lines) + 1)]
    assert list(dict.fromkeys(steps)) == [
        "importing vLLM", "reading the model's configuration", "starting the engine", "loading the model",
        "loading the weights 0%", "loading the weights 100%", "warming up", "opening the port",
    ]  # fmt: skip
