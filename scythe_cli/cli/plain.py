"""Options without a value, and plain text: given to commands as they are.

Typer converts every value with pydantic, also one that is not there, and loading pydantic takes longer than all that a
listing does. What needs conversion still gets Typer's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from typer.core import TyperArgument, TyperOption

__all__ = ["keep_plain_values"]


class _AsItIs:
    """Stands in for Typer's conversion of one parameter, until there is something to convert."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        if value is None and param.nargs == 1 and not param.multiple:
            return None
        descriptor = param.type_descriptor
        if isinstance(value, str) and descriptor.annotation is str and descriptor.parameter_info.parser is None:
            return value
        param._runtime_param = None
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def keep_plain_values(parameters: Iterable[Any]) -> None:
    """Keep Typer from loading pydantic for parameters that need no conversion.

    With a Typer that converts in another way, nothing changes.
    """
    for parameter in parameters:
        if isinstance(parameter, (TyperArgument, TyperOption)) and getattr(parameter, "_runtime_param", 0) is None:
            parameter._runtime_param = _AsItIs()  # type: ignore[assignment]
