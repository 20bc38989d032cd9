"""Tools: what a model calls instead of guessing. Which tool and with which arguments is decided elsewhere.

>>> from router.tools import tool
>>> @tool
... def double(number: int) -> int:
...     '''Doubles a number.'''
...     return 2 * number
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.lazy import lazy_exports

if TYPE_CHECKING:
    from router.tools.ask import Consent, PendingCall
    from router.tools.base import Tool
    from router.tools.call import ToolCaller, ToolResult
    from router.tools.errors import ToolError
    from router.tools.function import tool
    from router.tools.registry import Registry
    from router.tools.signature import Setting

__all__ = [
    "Consent", "PendingCall", "Registry", "Setting", "Tool", "ToolCaller", "ToolError", "ToolResult", "tool",
]  # fmt: skip

__getattr__ = lazy_exports(
    __name__,
    {
        "Consent": "router.tools.ask",
        "PendingCall": "router.tools.ask",
        "Registry": "router.tools.registry",
        "Setting": "router.tools.signature",
        "Tool": "router.tools.base",
        "ToolCaller": "router.tools.call",
        "ToolError": "router.tools.errors",
        "ToolResult": "router.tools.call",
        "tool": "router.tools.function",
    },
)
