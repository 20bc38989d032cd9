"""tokengraph: a graph of small language models, routed by tokens.

>>> from router import Router
>>> Router.from_file("graph_specs/pocket.yaml").run("what is 347 plus 589?").answer
'936'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.lazy import lazy_exports

if TYPE_CHECKING:
    from experts.engines.requests import Message
    from router.errors import TokengraphError
    from router.runtime.options import RunOptions
    from router.runtime.result import RunResult, Usage
    from router.runtime.router import Router
    from router.spec import GraphSpec, load_spec
    from router.tools.ask import PendingCall

__all__ = [
    "GraphSpec",
    "Message",
    "PendingCall",
    "Router",
    "RunOptions",
    "RunResult",
    "TokengraphError",
    "Usage",
    "load_spec",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "GraphSpec": "router.spec",
        "Message": "experts.engines.requests",
        "PendingCall": "router.tools.ask",
        "Router": "router.runtime.router",
        "RunOptions": "router.runtime.options",
        "RunResult": "router.runtime.result",
        "TokengraphError": "router.errors",
        "Usage": "router.runtime.result",
        "load_spec": "router.spec",
    },
)
