"""What a worker is: the part of a graph spec that belongs to the engines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_Positive = Annotated[int, Field(gt=0)]


class _Worker(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class LocalWorker(_Worker):
    """A transformers model in this process: the embedded default."""

    engine: Literal["local"] = "local"
    model: str = Field(
        description="Hugging Face id, a directory, or pocket:NAME for a model that ships with tokengraph"
    )
    task: Literal["generate", "embed"] = Field("generate", description="write text, or turn text into vectors")
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: str = Field("cpu", description="a torch device: cpu, cuda, cuda:1, mps")
    adapters: dict[str, Path] = Field(default_factory=dict, description="LoRA adapters by name (peft directories)")
    max_batch: _Positive = Field(32, description="requests that run together at most")


class VllmWorker(_Worker):
    """A vLLM server, here or elsewhere."""

    engine: Literal["vllm"]
    model: str = Field(description="Hugging Face id, a directory, or pocket:NAME")
    task: Literal["generate", "embed"] = "generate"
    url: str | None = Field(None, description="base URL of a server that already runs; without it one is started")
    api_key: str | None = Field(None, description="key of that server; write ${NAME} to take it from the environment")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    tensor_parallel: _Positive = 1
    gpu_memory: float = Field(0.9, gt=0, le=1, description="share of a GPU's memory")
    replicas: _Positive = 1
    adapters: dict[str, Path] = Field(default_factory=dict)
    arguments: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="passed to vLLM as they are"
    )


class RecordedWorker(_Worker):
    """Replays answers from a JSON lines file of {"query", "answer"}; a query that is not in it is an error."""

    engine: Literal["recorded"]
    file: Path


class Rule(BaseModel):
    """One rule of a scripted worker: if the last user message matches, answer (or fail, or wait first)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    match: str = Field(".*", description="regular expression, searched in the last user message, case ignored")
    answer: str = Field(
        "", description="the answer; \\\\1 inserts a group; special tokens such as <node_2> are allowed"
    )
    error: str | None = Field(None, description="fail with this message instead")
    seconds: float = Field(0.0, ge=0, description="wait so long before answering")
    logprob: float = Field(0.0, le=0, description="log-probability of each token")


class ScriptedWorker(_Worker):
    """A deterministic stand-in for a model, for tests of graphs: the first rule that matches answers."""

    engine: Literal["scripted"]
    rules: tuple[Rule, ...] = Field(min_length=1)
    tokens: tuple[str, ...] = Field((), description="special tokens of its vocabulary, such as <node_0>")


WorkerSpec = Annotated[LocalWorker | VllmWorker | RecordedWorker | ScriptedWorker, Field(discriminator="engine")]
