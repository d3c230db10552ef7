"""Values of the configuration that people write as text, and what all of its tables have in common."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

from scythe_cli.core.quantities import parse_duration, parse_size
from scythe_cli.model.needs import Need, parse_need

__all__ = ["FIELD_NAME", "ConfigCores", "ConfigDuration", "ConfigMemory", "ConfigNeed", "ConfigSize", "Section"]


_T = TypeVar("_T")


def _duration(value: Any) -> timedelta:
    if isinstance(value, bool) or not isinstance(value, (str, int, float, timedelta)):
        raise ValueError("write it like '90s', '10m' or '1h30m'")
    return _parsed(parse_duration, value)


def _size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError("write it like '500MB' or '4GB'")
    return _parsed(parse_size, value)


def _cores(value: Any) -> Need:
    return _need(value, 1)


def _need(value: Any, least: int = 0) -> Need:
    try:
        return parse_need("it", value, least=least)
    except ValueError:
        raise ValueError(f"it should be a whole number from {least} on, or the name of an input field") from None


def _written(*forms: dict[str, Any]) -> WithJsonSchema:
    """What editors are told of a value that has several forms."""
    return WithJsonSchema({"anyOf": list(forms)})


def _memory(value: Any) -> Need:
    try:
        return parse_need("it", value, least=1, is_size=True)
    except ValueError:
        raise ValueError("it should be a size such as '4GB', 'auto', or the name of an input field") from None


def _parsed(parse: Callable[[Any], _T], value: Any) -> _T:
    try:
        return parse(value)
    except ValueError as error:
        # the value is shown already
        raise ValueError(str(error).replace(repr(value), "it", 1)) from None


def _seconds(value: timedelta) -> float:
    return value.total_seconds()


ConfigDuration = Annotated[timedelta, BeforeValidator(_duration), PlainSerializer(_seconds, when_used="json")]
ConfigSize = Annotated[int, BeforeValidator(_size)]
FIELD_NAME: dict[str, Any] = {"type": "string", "pattern": r"^[^\W\d]\w*$"}
ConfigCores = Annotated[Need, BeforeValidator(_cores), _written({"type": "integer", "minimum": 1}, FIELD_NAME)]
ConfigNeed = Annotated[Need, BeforeValidator(_need), _written({"type": "integer", "minimum": 0}, FIELD_NAME)]
ConfigMemory = Annotated[Need, BeforeValidator(_memory)]


class Section(BaseModel):
    """A table."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
