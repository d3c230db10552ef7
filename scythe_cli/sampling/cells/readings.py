"""Which reading of a cell a field takes: as it is, or else as a number, a text, with a decimal comma."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
    WrapValidator,
)

from scythe_cli.sampling.file_columns import FieldColumn

__all__ = [
    "REMEMBERED",
    "Accepts",
    "IfRefused",
    "accepting",
    "comma_numbers",
    "is_last_resort",
    "numbers",
    "texts",
    "wants_no_text",
]


REMEMBERED = 10_000
"""Of how many cells of a column it is remembered which reading the field takes."""

Accepts = Callable[[Any], Exception | None]
"""What a field says against a value; None if it takes it."""

_VALIDATORS: Mapping[str, Any] = {
    "before": BeforeValidator,
    "after": AfterValidator,
    "wrap": WrapValidator,
    "plain": PlainValidator,
}
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+(?:[eE][+-]?[0-9]+)?\Z")
_NO_WHOLE_NUMBER = 2.0**63


def accepting(source: FieldColumn) -> Accepts:
    """Whether a field takes a value, validators of the model for this field included."""
    inner: Any = source.info.annotation
    metadata: list[Any] = [*source.info.metadata]
    if source.info.discriminator is not None:
        metadata.append(Field(discriminator=source.info.discriminator))
    for decorator in source.model.__pydantic_decorators__.field_validators.values():
        if source.name in decorator.info.fields or "*" in decorator.info.fields:
            metadata.append(_VALIDATORS[decorator.info.mode](decorator.func))
    annotated: Any = Annotated[inner, *metadata] if metadata else inner
    try:
        adapter = TypeAdapter[Any](annotated, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        adapter = TypeAdapter[Any](inner)
    validate = adapter.validator.validate_python

    def accepts(value: Any) -> ValidationError | Exception | None:
        try:
            validate(value, by_alias=True, by_name=True)
        except Exception as error:  # noqa: BLE001 - a validator of the user's can raise anything
            return error
        return None

    return accepts


def wants_no_text(error: Exception | None) -> bool:
    """Whether text was refused since it is text, and not for what it says."""
    if not isinstance(error, ValidationError):
        return False
    kinds = [each["type"] for each in error.errors(include_url=False, include_context=False, include_input=False)]
    return all(kind.endswith(("_type", "_attributes_type")) for kind in kinds)


class IfRefused:
    """A decoder that passes a value on as it is, unless the field refuses it and takes what else it can mean."""

    def __init__(self, accepts: Accepts, others: Callable[[Any], Iterable[Any]]) -> None:
        """Prepare.

        Args:
            accepts: What is wrong with a value, None if the field takes it.
            others: What else a value can mean.
        """

        # `type` keeps 1 and 1.0 and True apart
        @lru_cache(REMEMBERED, typed=True)
        def decode(value: Any) -> Any:
            if accepts(value) is None:
                return value
            return next((other for other in others(value) if accepts(other) is None), value)

        self._decode = decode

    def __call__(self, value: Any) -> Any:
        """What pydantic validates."""
        return self._decode(value)


def is_last_resort(decoder: Callable[[Any], Any] | None) -> bool:
    """Whether cells that a field takes as they are need no decoder."""
    return decoder is None or isinstance(decoder, IfRefused)


def numbers(value: Any) -> Iterator[Any]:
    """The number that a text or float stands for."""
    number = _number(value)
    if number is not None:
        yield number
        if isinstance(number, float) and number.is_integer() and abs(number) < _NO_WHOLE_NUMBER:
            yield int(number)


def comma_numbers(value: Any) -> Iterator[Any]:
    """The number that a text stands for, which may have a decimal comma."""
    yield from numbers(value)
    if isinstance(value, str) and _DECIMAL_COMMA.match(value.strip()):
        yield value.strip().replace(",", ".")


def texts(value: Any) -> Iterator[Any]:
    """A value as text."""
    yield str(value)


def _number(value: Any) -> int | float | bool | None:
    if isinstance(value, float):
        # pydantic takes no float for a whole number from there on, where not every whole number is a float
        return int(value) if value.is_integer() and abs(value) < _NO_WHOLE_NUMBER else None
    if not isinstance(value, str):
        return None
    try:
        number = json.loads(value.strip().lower())
    except (ValueError, RecursionError):
        return None
    return number if isinstance(number, (int, float)) else None
