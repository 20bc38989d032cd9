"""tokengraph: a graph of small language models, routed by tokens.

>>> from router import Router
>>> Router.from_file("graph_specs/pocket.yaml").run("what is 347 plus 589?").answer
'936'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experts.engines.requests import Message
    from router.errors import TokengraphError
    from router.runtime.result import RunResult, Usage
    from router.runtime.router import Router
    from router.spec import GraphSpec, load_spec
    from router.tools.ask import PendingCall

__all__ = ["GraphSpec", "Message", "PendingCall", "Router", "RunResult", "TokengraphError", "Usage", "load_spec"]

_HOMES = {
    "GraphSpec": "router.spec",
    "Message": "experts.engines.requests",
    "PendingCall": "router.tools.ask",
    "Router": "router.runtime.router",
    "RunResult": "router.runtime.result",
    "TokengraphError": "router.errors",
    "Usage": "router.runtime.result",
    "load_spec": "router.spec",
}


def __getattr__(name: str) -> object:
    """Loads a public name when it is first asked for, so that ``import router`` is light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'router' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
