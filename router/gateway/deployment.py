"""A graph as it is served: the models that it offers, and the requests that still use it."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType

from experts.engines.requests import NO_MASK
from router.errors import RequestError
from router.gateway.errors import Refused
from router.gateway.responses import ModelEntry
from router.runtime.masks import NodeMasks, unknown_mask
from router.runtime.options import answers
from router.runtime.router import Router
from router.spec.models import AnsweringNode, ExpertNode, RouterNode
from router.spec.tools import BuiltinTools
from router.types import NodeId, WorkerId

_MOST_TOLD = 3


class Deployment:
    """One version of the spec with its Router.

    Requests hold it as a context manager; ``retire`` waits for them and then closes the Router.
    """

    def __init__(self, router: Router) -> None:
        self.router, self.spec = router, router.spec
        self.created = int(time.time())
        self._using = 0
        self._idle = asyncio.Event()
        self._idle.set()
        name = self.spec.name
        self._experts = {
            f"{name}/{node}": node for node, kind in self.spec.nodes.items() if isinstance(kind, AnsweringNode)
        }
        self._encoders: dict[str, WorkerId] = {}
        for node, kind in self.spec.nodes.items():
            if isinstance(kind, (ExpertNode, RouterNode)) and self._embeds(kind.worker):
                self._encoders[f"{name}/{node}"] = kind.worker
        self._masks = {
            node: NodeMasks(node, kind).names for node, kind in self.spec.nodes.items() if isinstance(kind, ExpertNode)
        }
        nodes = list(self.spec.nodes)
        self._lone = nodes[0] if len(nodes) == 1 and self._experts and not self.spec.edges else None

    def prepare(self) -> Deployment:
        """Compiles the graph, and loads what that needs, ahead of the first request."""
        if self._lone is None:
            _ = self.router.runnable
        return self

    @property
    def may_ask(self) -> bool:
        """Whether a run may stop to ask the user, and can be kept until the answer is there; built-ins never ask."""
        return self.router.keeps_runs and not all(isinstance(tools, BuiltinTools) for tools in self.spec.tools)

    @property
    def decides(self) -> bool:
        """Whether anything in the graph is routed."""
        return any(isinstance(node, RouterNode) for node in self.spec.nodes.values())

    @property
    def models(self) -> list[ModelEntry]:
        """The graph, and each node that can be asked alone."""
        names = dict.fromkeys((self.spec.name, *self._experts, *self._encoders))
        return [
            {"id": name, "object": "model", "created": self.created, "owned_by": "tokengraph"} for name in names
        ]  # fmt: skip

    def node(self, model: str) -> NodeId | None:
        """The expert that a model's name means; None for the graph. A graph of one expert means that one.

        Raises:
            Refused: there is no such model.
        """
        if model == self.spec.name:
            return self._lone
        if model not in self._experts:
            raise self._unknown(model, [self.spec.name, *self._experts])
        return self._experts[model]

    def check_mask(self, asked: str | None, node: NodeId | None) -> None:
        """Whether a node, or for None the node that turns out to answer, can have a mask of experts of that name.

        Raises:
            RequestError: it has none of that name.
        """
        if asked is None or asked == NO_MASK:
            return
        nodes = [node] if node is not None else [name for name in self._masks if answers(self.spec, name)]
        known = {mask for name in nodes for mask in self._masks.get(name, ())}
        if asked not in known:
            raise unknown_mask(asked, tuple(known), f"model {self.spec.name}{f'/{node}' if node else ''}")

    def check_structured(self, node: NodeId | None, field: str) -> None:
        """Whether a node, or for None one of those that may answer, can be held to JSON.

        Args:
            field: of the request, which asks for it.

        Raises:
            Refused: it cannot.
        """
        nodes = [node] if node is not None else [name for name in self._experts.values() if answers(self.spec, name)]
        why = [(name, self.router.unstructured(name)) for name in nodes]
        if any(reason is None for _, reason in why):
            return
        found = "; ".join(f"{name}: {reason}" for name, reason in why[:_MOST_TOLD]) or "no node has the last word"
        able = [model for model, name in self._experts.items() if self.router.unstructured(name) is None]
        raise Refused(
            f"expected no {field} for model {self.spec.name}{f'/{node}' if node else ''}, found one; its answers cannot be held to "
            f"JSON ({found}). Ask {' or '.join(able[:_MOST_TOLD]) or 'a node with engine: vllm'}, or leave it out",
            code="unsupported_parameter", param=field,
        )  # fmt: skip

    def encoder(self, model: str) -> WorkerId:
        """The worker that embeds for a model's name; the graph means its only encoder.

        Raises:
            Refused: there is no such model, or it cannot embed.
        """
        if model == self.spec.name and len(set(self._encoders.values())) == 1:
            return next(iter(self._encoders.values()))
        if model not in self._encoders:
            if model == self.spec.name or model in self._experts:
                known = ", ".join(self._encoders) or "none"
                raise RequestError(f"expected a model that embeds ({known}), found {model!r}. Ask one of those")
            raise self._unknown(model, list(self._encoders))
        return self._encoders[model]

    async def retire(self) -> None:
        """Closes the Router once nobody uses it any more."""
        await self._idle.wait()
        await self.router.aclose()

    def __enter__(self) -> Deployment:
        self._using += 1
        self._idle.clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._using -= 1
        if not self._using:
            self._idle.set()

    def _embeds(self, worker: WorkerId) -> bool:
        return getattr(self.spec.workers.get(worker), "task", None) == "embed"

    def _unknown(self, model: str, known: list[str]) -> Refused:
        names = ", ".join(known) or "none"
        return Refused(
            f"expected one of the models {names}, found {model[:80]!r}. Ask one of those", status=404,
            code="model_not_found", param="model",
        )  # fmt: skip
