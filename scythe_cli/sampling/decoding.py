"""From a raw cell to the value that pydantic validates: its decoded form.

Most cells are passed on as they are. JSON text is decoded where the field is no plain value, a relative path is taken
from the file's folder, and text that stands for a number is turned into one where a field takes only certain numbers,
since pydantic compares those without converting.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, get_origin

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError, create_model

from scythe_cli.model.columns import Column, columns_of
from scythe_cli.model.kinds import ColumnError, is_file_reference
from scythe_cli.sampling.file_columns import FieldColumn, FieldGroup, Source, accepts_none, members_of

__all__ = [
    "MISSING",
    "Decoder",
    "Missing",
    "Partial",
    "Unusable",
    "decode_cells",
    "decode_values",
    "decoder_of",
    "is_plain",
]


class Missing:
    """The mark of a cell that is not there."""


MISSING: Final = Missing()


@dataclass(frozen=True, slots=True)
class Unusable:
    """The mark of a cell that has no value which pydantic could validate.

    Attributes:
        column: The column.
        value: The cell.
        message: Why.
    """

    column: str
    value: Any
    message: str


@dataclass(frozen=True, slots=True)
class Partial:
    """A nested model of which some cells cannot be decoded.

    Attributes:
        values: The values of the others.
        unusable: The cells that cannot be decoded.
    """

    values: dict[str, Any]
    unusable: list[Unusable]


Decoder = Callable[[Any], Any]
"""From a raw value that is not missing to what pydantic validates, or `Unusable`."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_NO_WHOLE_NUMBER = 2.0**63
_REMEMBERED = 10_000


def _plain_values(column: str, cells: pa.Array[Any]) -> list[Any]:
    """The Python values of cells; `Unusable` in place of one that Python has no value for."""
    try:
        return cells.to_pylist()
    except (ValueError, OverflowError, TypeError, pa.ArrowException):
        # a date after the year 9999, for one
        return [_plain_value(column, cell) for cell in cells]


def _plain_value(column: str, cell: Any) -> Any:
    try:
        return cell.as_py()
    except (ValueError, OverflowError, TypeError, pa.ArrowException):
        return Unusable(column, str(cell.cast(pa.string())) if pa.types.is_date(cell.type) else "?", "out of range")


def decoder_of(source: FieldColumn, folder: Path) -> Decoder | None:
    """How the cells of a column are decoded; None if they are passed on as they are.

    Args:
        source: The column and its field.
        folder: The folder that relative paths start from.
    """
    type_ = source.cells.type
    annotation: Any = source.info.annotation
    if pa.types.is_map(type_):
        return dict
    takes_text = pa.types.is_string(type_)
    if takes_text and is_file_reference(source.info.rebuild_annotation()):
        return lambda text: text if _URL.match(text) else os.path.normpath(folder / text)
    column = _column_of(source)
    if column is None:
        return None
    if takes_text and not column.is_scalar:
        return lambda text: _from_json(source.column, text)
    if (takes_text or pa.types.is_floating(type_)) and _takes_certain_values(annotation, column):
        return _number_if_refused(TypeAdapter[Any](annotation))
    return None


def _column_of(source: FieldColumn) -> Column | None:
    """The field as a column of its own; parts of nested models have none yet."""
    info = source.info
    try:
        fields: dict[str, Any] = {"field": (info.annotation, ...)}
        model = create_model("Part", __config__={"arbitrary_types_allowed": True}, **fields)
        return columns_of.__wrapped__(model)["field"]
    except ColumnError:
        return None


def is_plain(source: FieldColumn) -> bool:
    """Whether a cell of the column holds one value, and not a list or a nested model."""
    column = _column_of(source)
    return column is not None and column.is_scalar


def _from_json(column: str, text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        return Unusable(column, text, "nested too deeply")
    except ValueError as error:
        reason = f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else str(error)
        return Unusable(column, text, f"not JSON: {reason}")


def _takes_certain_values(annotation: Any, column: Column) -> bool:
    if column.is_json:
        return True
    if pa.types.is_string(column.type):
        return False
    return any(
        get_origin(member) is Literal or (isinstance(member, type) and issubclass(member, Enum))
        for member in members_of(annotation)
    )


def _number_if_refused(adapter: TypeAdapter[Any]) -> Decoder:
    def accepts(value: Any) -> bool:
        try:
            adapter.validate_python(value)
        except ValidationError:
            return False
        return True

    # `type` keeps 1 and 1.0 and True apart
    @lru_cache(_REMEMBERED, typed=True)
    def decode(value: Any) -> Any:
        if accepts(value):
            return value
        number = _number(value)
        return number if number is not None and accepts(number) else value

    return decode


def _number(value: Any) -> int | float | bool | None:
    if isinstance(value, float):
        # pydantic takes no float for a whole number from there on, where not every whole number is a float
        return int(value) if value.is_integer() and abs(value) < _NO_WHOLE_NUMBER else None
    try:
        number = json.loads(value.strip().lower())
    except (ValueError, RecursionError):
        return None
    return number if isinstance(number, (int, float)) else None


def decode_values(source: Source, start: int, stop: int, decoders: Mapping[str, Decoder | None]) -> list[Any]:
    """What pydantic validates of a field, row by row: a value, `MISSING`, `Unusable` or `Partial`.

    Args:
        source: Where the field comes from.
        start: The first row.
        stop: The row after the last.
        decoders: How the cells of each column are decoded.
    """
    if isinstance(source, FieldColumn):
        cells = source.cells.slice(start, stop - start).combine_chunks()
        return decode_cells(source.column, cells, decoders[source.column])
    names = list(source.parts)
    columns = [decode_values(part, start, stop, decoders) for part in source.parts.values()]
    if not columns:
        return [MISSING] * (stop - start)
    empty = _when_empty(source)
    return [_joined(source, names, row, empty) for row in zip(*columns, strict=True)]


def decode_cells(column: str, cells: Any, decoder: Decoder | None) -> list[Any]:
    """What pydantic validates of the cells of one column: a value, `MISSING` or `Unusable` for each."""
    values = _plain_values(column, cells)
    if decoder is None:
        return [MISSING if v is None else v for v in values] if cells.null_count else values
    return [MISSING if v is None else v if isinstance(v, Unusable) else decoder(v) for v in values]


def _joined(source: FieldGroup, names: Sequence[str], row: Sequence[Any], empty: Any) -> Any:
    values: dict[str, Any] = {}
    unusable: list[Unusable] = []
    for name, value in zip(names, row, strict=True):
        if isinstance(value, Unusable):
            unusable.append(value)
        elif isinstance(value, Partial):
            values[name] = value.values
            unusable += value.unusable
        elif value is not MISSING:
            values[name] = value
    if unusable:
        return Partial(values, unusable)
    if not values:
        return {} if empty is dict else empty
    for name in names:
        if name not in values and _none_if_empty(source.parts[name]):
            values[name] = None
    return values


def _when_empty(source: FieldGroup) -> Any:
    """What stands for a nested model of which each cell is empty; `dict` for an empty one."""
    if not source.info.is_required():
        return MISSING
    return MISSING if accepts_none(source.info.annotation) else dict


def _none_if_empty(source: Source) -> bool:
    return source.info.is_required() and accepts_none(source.info.annotation)
