"""From a raw cell to the value that pydantic validates: its decoded form.

Most cells are passed on as they are. JSON text is decoded where the field is no plain value, a relative path is taken
from the file's folder, and text that stands for a number is turned into one where a field takes only certain numbers,
since pydantic compares those without converting.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, Literal, get_origin

import pyarrow as pa
import pyarrow.compute
from pydantic import FutureDate, PastDate

from scythe_cli.arrow.plain import is_known_zone
from scythe_cli.model.file_refs import is_file_reference
from scythe_cli.model.kinds import ColumnError, Kind, annotation_of, keys_of, kind_of
from scythe_cli.sampling.cells.nulls import without_nulls
from scythe_cli.sampling.cells.readings import (
    REMEMBERED,
    IfRefused,
    accepting,
    comma_numbers,
    numbers,
    texts,
    wants_no_text,
)
from scythe_cli.sampling.field_names import accepts_none, members_of
from scythe_cli.sampling.file_columns import FieldColumn, FieldGroup, RawFile, Source

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


pc: Any = pyarrow.compute  # its stubs do not know the types that its functions take


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

_NUMBERS = (int, float, Decimal)
_THOUSANDS = re.compile(r"^\s*[+-]?[1-9][0-9]{0,2}(\.[0-9]{3})+(,[0-9]+)?\s*$")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


# what `as_py` raises; of a zone that nobody knows, this depends on what is installed
_NO_VALUE = (ValueError, OverflowError, TypeError, KeyError, pa.ArrowException)


def _plain_values(column: str, cells: pa.Array[Any]) -> list[Any]:
    """The Python values of cells; `Unusable` in place of one that Python has no value for."""
    try:
        return cells.to_pylist()
    except _NO_VALUE:
        # a date after the year 9999, for one
        return [_plain_value(column, cell) for cell in cells]


def _plain_value(column: str, cell: Any) -> Any:
    try:
        return cell.as_py()
    except _NO_VALUE as error:
        leaf, cause = _leaf_without_value(cell, error)
        type_ = leaf.type
        if pa.types.is_timestamp(type_) and not is_known_zone(type_.tz):
            why = f"its time zone {type_.tz!r} is unknown: convert the column to UTC"
        elif isinstance(cause, UnicodeError):
            why = "not valid UTF-8"
        elif getattr(type_, "unit", None) == "ns":
            why = "Python's times have no nanoseconds: convert the column to microseconds"
        elif pa.types.is_date(type_) or pa.types.is_timestamp(type_):
            why = "out of range: dates in Python are in the years 1 to 9999"
        else:
            why = "out of range"
        return Unusable(column, _shown(leaf), why)


def _leaf_without_value(cell: Any, error: Exception) -> tuple[Any, Exception]:
    """The innermost part of a cell that has no value, and what was raised for it."""
    if not pa.types.is_nested(cell.type):
        return cell, error
    is_struct = pa.types.is_struct(cell.type)
    for part in [cell[i] for i in range(cell.type.num_fields)] if is_struct else cell.values:
        try:
            part.as_py()
        except _NO_VALUE as cause:
            return _leaf_without_value(part, cause)
    return cell, error


def _shown(cell: Any) -> str:
    if pa.types.is_timestamp(cell.type):
        return f"{cell.value} {cell.type.unit} after 1970"
    if pa.types.is_string(cell.type):
        return repr(cell.as_buffer().to_pybytes())
    try:
        return str(cell.cast(pa.string()))
    except pa.ArrowException:
        return "?"


def decoder_of(source: FieldColumn, raw: RawFile) -> Decoder | None:
    """How the cells of a column are decoded; None if they are passed on as they are.

    Args:
        source: The column and its field.
        raw: The file.
    """
    type_ = source.cells.type
    annotation = source.info.annotation
    if pa.types.is_nested(type_):
        nulls = without_nulls(annotation, type_)
        if pa.types.is_map(type_):
            return (lambda cell: nulls(dict(cell))) if nulls else dict
        return nulls
    if source.column in raw.as_json:
        return partial(_from_json, source.column)
    takes_text = pa.types.is_string(type_)
    if takes_text and is_file_reference(source.info.rebuild_annotation()):
        return partial(_file_reference, source.column, raw.base)
    kind = _kind_of(source)
    if kind is None:
        return None
    if takes_text and not kind.scalar:
        return _json_or_text(source, text_first=not raw.is_text)
    if (takes_text or pa.types.is_floating(type_)) and _takes_certain_values(annotation, kind):
        return IfRefused(accepting(source), numbers)
    if source.model.model_config.get("strict"):
        return None
    if takes_text and raw.decimal_comma and any(member in _NUMBERS for member in members_of(annotation)):
        plain = IfRefused(accepting(source), comma_numbers)
        if not pc.any(pc.match_substring_regex(source.cells, _THOUSANDS.pattern)).as_py():
            return plain
        return lambda text: _maybe_thousands(source.column, text) or plain(text)
    if takes_text and kind.type in (pa.bool_(), pa.duration("us"), pa.time64("us")):
        return IfRefused(accepting(source), numbers)
    if takes_text and any(map(_was_json, members_of(annotation))):
        return IfRefused(accepting(source), _json_texts)
    if _is_text(kind) and (pa.types.is_primitive(type_) or pa.types.is_decimal(type_)):
        return IfRefused(accepting(source), texts)
    return None


def _kind_of(source: FieldColumn) -> Kind | None:
    try:
        return kind_of(annotation_of(source.info))
    except ColumnError:
        return None


def is_plain(source: FieldColumn) -> bool:
    """Whether a cell of the column holds one value, and not a list or a nested model."""
    kind = _kind_of(source)
    return kind is not None and kind.scalar


def _is_text(kind: Kind) -> bool:
    return not kind.json and (pa.types.is_string(kind.type) or pa.types.is_binary(kind.type))


def _file_reference(column: str, base: str | None, text: str) -> Any:
    if _URL.match(text) or Path(text).is_absolute():
        return text if _URL.match(text) else os.path.normpath(text)
    if base is None:
        return Unusable(column, text, "a relative path in a file from the web: give the whole URL or path")
    if _URL.match(base):
        return f"{base.rstrip('/')}/{text}"
    return os.path.normpath(os.path.join(base, text))  # noqa: PTH118 - not a path until pydantic says so


def _json_or_text(source: FieldColumn, *, text_first: bool) -> Decoder:
    """Text that is JSON of a value, or what the type makes a value from by itself, whichever it takes."""
    accepts = accepting(source)

    @lru_cache(REMEMBERED)
    def is_json(text: str) -> bool:
        if text_first and accepts(text) is None:
            return False
        value = _from_json(source.column, text)
        if isinstance(value, Unusable):
            return text_first or wants_no_text(accepts(text))
        return text_first or accepts(value) is None or accepts(text) is not None

    # made anew each time: a validator may change it
    return lambda text: _from_json(source.column, text) if is_json(text) else text


def _from_json(column: str, text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        return Unusable(column, text, "nested too deeply")
    except ValueError as error:
        reason = f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else str(error)
        return Unusable(column, text, f"not JSON: {reason}")


def _takes_certain_values(annotation: Any, kind: Kind) -> bool:
    if kind.json:
        return True
    if pa.types.is_string(kind.type):
        return False
    return any(
        get_origin(member) is Literal or (isinstance(member, type) and issubclass(member, Enum))
        for member in members_of(annotation)
    )


def _maybe_thousands(column: str, text: str) -> Unusable | None:
    if _THOUSANDS.match(text) is None:
        return None
    return Unusable(column, text, "in a file with decimal commas, the dot may mean thousands: leave it out")


def _was_json(member: Any) -> bool:
    """Whether values of a type had to be JSON once: text in quotes."""
    return member in (PastDate, FutureDate, complex) or getattr(member, "__module__", "") in (
        "fractions",
        "ipaddress",
        "zoneinfo",
    )


def _json_texts(value: Any) -> Iterator[Any]:
    text = _from_json("", value) if value.startswith('"') else None
    if isinstance(text, str):
        yield text


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
    keys = keys_of(source.model)
    return {keys[name]: value for name, value in values.items()}


def _when_empty(source: FieldGroup) -> Any:
    """What stands for a nested model of which each cell is empty; `dict` for an empty one."""
    if not source.info.is_required():
        return MISSING
    return MISSING if accepts_none(source.info.annotation) else dict


def _none_if_empty(source: Source) -> bool:
    return source.info.is_required() and accepts_none(source.info.annotation)
