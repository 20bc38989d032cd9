"""What a worker is: the part of a graph spec that belongs to the engines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_Positive = Annotated[int, Field(gt=0)]
_ROUTER_FOLDER = (
    "folder made by `tokengraph train token-router`, or pocket:NAME: lets token pairs use it as the small one"
)


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
    cache_tokens: int = Field(
        16384, ge=0, description="tokens whose keys and values are kept for requests that go on with an answer"
    )
    token_router: str | None = Field(None, description=_ROUTER_FOLDER)


class VllmWorker(_Worker):
    """One or several vLLM servers of one model, started by ``tokengraph workers up`` or running elsewhere."""

    engine: Literal["vllm"]
    model: str = Field(description="Hugging Face id, a directory, or pocket:NAME")
    task: Literal["generate", "embed"] = "generate"
    url: str | None = Field(None, description="base URL of a server that already runs; without it one is started")
    urls: tuple[str, ...] = Field((), description="the same, for several servers of this model; in place of url")
    api_key: str | None = Field(None, description="key of the servers; write ${NAME} to take it from the environment")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantization: str | None = Field(None, description="vLLM's name of it, if the checkpoint does not say: fp8, awq")
    tensor_parallel: _Positive = Field(1, description="GPUs that share the model")
    gpu_memory: float = Field(0.9, gt=0, le=1, description="share of a GPU's memory")
    replicas: _Positive = Field(1, description="servers to start")
    max_concurrency: _Positive = Field(64, description="requests at the same time at most, for each replica")
    queue: int = Field(256, ge=0, description="requests that wait at most; more are turned away")
    sleep_after: float | None = Field(
        None, gt=0, description="idle seconds after which the GPU memory is given back until the next request"
    )
    adapters: dict[str, Path] = Field(default_factory=dict, description="LoRA adapters by name (peft directories)")
    token_router: str | None = Field(None, description=_ROUTER_FOLDER)
    plugin: bool = Field(
        True, description="load tokengraph's plugin into servers that write text: expert masks and token pairs need it"
    )
    mask_slots: int = Field(
        0,
        ge=0,
        le=1024,
        description="of a mixture of experts: expert masks that its requests can use at the same time; 0: none",
    )
    admin_token: str | None = Field(
        None,
        description="of servers that run elsewhere: their TOKENGRAPH_ADMIN_TOKEN, which expert masks need; write ${NAME}",
    )
    arguments: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="passed to vLLM as they are"
    )

    @property
    def attached(self) -> tuple[str, ...]:
        """Base URLs of servers that run elsewhere; empty if servers are to be started."""
        return self.urls if self.url is None else (self.url,)


class RecordedWorker(_Worker):
    """Replays answers from a JSON lines file of {"query", "answer"}; a query that is not in it is an error."""

    engine: Literal["recorded"]
    file: Path


class Rule(BaseModel):
    """One rule of a scripted worker: if the last user message matches, answer (or fail, or wait first)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    match: str = Field(".*", description="regular expression, searched in the last user message, case ignored")
    after: str | None = Field(
        None, description="regular expression; the rule is only for a dialogue that ends with a tool's result, which "
        "it must match, too",
    )  # fmt: skip
    answer: str = Field(
        "", description="the answer; \\\\1 inserts a group (of `after`, if there is one); special tokens such as "
        "<node_2> are allowed",
    )  # fmt: skip
    error: str | None = Field(None, description="fail with this message instead")
    seconds: float = Field(0.0, ge=0, description="wait so long before answering")
    logprob: float = Field(0.0, le=0, description="log-probability of each token")


class ScriptedWorker(_Worker):
    """A deterministic stand-in for a model, for tests of graphs: the first rule that matches answers."""

    engine: Literal["scripted"]
    rules: tuple[Rule, ...] = Field(min_length=1)
    tokens: tuple[str, ...] = Field((), description="special tokens of its vocabulary, such as <node_0>")


WorkerSpec = Annotated[LocalWorker | VllmWorker | RecordedWorker | ScriptedWorker, Field(discriminator="engine")]
