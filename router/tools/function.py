"""Tools that are typed Python functions."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

from pydantic import ValidationError

from router.tools.base import Tool
from router.tools.errors import ToolDefinitionError
from router.tools.signature import Signature, described, read_signature


@dataclass(frozen=True, kw_only=True)
class FunctionTool(Tool):
    """A function that runs in a process of its own, found there by its reference.

    Attributes:
        function: the function; calling the tool calls it, here and without limits.
        reference: ``package.module:function``.
        signature: what it takes.
        settings: what the spec gives of it, as JSON values.
    """

    function: Callable[..., Any] = field(repr=False)
    reference: str
    signature: Signature = field(repr=False, compare=False)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def check(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return self.signature.as_json(self.signature.check(self.name, arguments))

    def configured(self, settings: Mapping[str, Any]) -> FunctionTool:
        """The tool with these settings.

        Raises:
            ToolDefinitionError: they do not fit.
        """
        try:
            checked = self.signature.settings.validate_python(dict(settings))
        except ValidationError as problem:
            raise ToolDefinitionError(f"{self.name}: settings: {described(problem)}") from None
        return replace(self, settings=self.signature.settings.dump_python(checked, mode="json"))

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.function(*arguments, **named)


@overload
def tool(function: Callable[..., Any], /) -> FunctionTool: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    seconds: float = 10.0,
    max_output: int = 4_000,
    side_effects: bool = False,
) -> Callable[[Callable[..., Any]], FunctionTool]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    seconds: float = 10.0,
    max_output: int = 4_000,
    side_effects: bool = False,
) -> FunctionTool | Callable[[Callable[..., Any]], FunctionTool]:
    """Makes a tool of a typed function; bare or with settings.

    Args:
        function: a function at the top of a module. Each parameter has a type; the docstring's first paragraph says
            what it does.
        name: by default the function's.
        description: by default the docstring's first paragraph.
        seconds: longest time of one call.
        max_output: most characters of a result.
        side_effects: it changes something outside, so the user is asked before each call.

    Raises:
        ToolDefinitionError: no tool can be made of the function.
    """

    def make(function: Callable[..., Any]) -> FunctionTool:
        signature = read_signature(function)
        return FunctionTool(
            name=name or function.__name__,
            description=description or _first_paragraph(function),
            schema=signature.schema,
            seconds=seconds,
            max_output=max_output,
            side_effects=side_effects,
            function=function,
            reference=_reference(function),
            signature=signature,
        )

    return make if function is None else make(function)


def _first_paragraph(function: Callable[..., Any]) -> str:
    return " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())


def _reference(function: Callable[..., Any]) -> str:
    """How another process finds the function."""
    module = function.__module__
    if module == "__main__":
        main = sys.modules["__main__"]
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        module = spec.name if spec else Path(file).stem if file else ""
    if not module or not function.__qualname__.isidentifier():
        raise ToolDefinitionError(
            f"{function.__name__}: expected a function at the top of a module, found {function.__qualname__} in "
            f"{function.__module__}. A tool runs in a process of its own, which must be able to import it"
        )
    return f"{module}:{function.__qualname__}"
