"""Arrow arrays of any type as text: what is done with values that fit into no common type.

Text stays what it is, numbers are written as JSON writes them, times as ISO 8601 says, and what is nested is JSON.
All of it works on columns and not on Python values: those cannot hold all dates, times and zones that a column can.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from scythe_cli.arrow.plain import is_list_like, storage_of

__all__ = ["list_parts", "texts_of"]


_OUT_OF_RANGE = "<value out of range: "
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

Cells = list["str | None"]


def texts_of(array: pa.Array[Any]) -> pa.Array[Any]:
    """The cells as text; null stays null."""
    return pa.array(_text(array), pa.string())


def _text(array: Any) -> Cells:
    array = storage_of(array)
    if pa.types.is_union(array.type):
        return _unions(array, _text)
    return _json(array) if _is_nested(array.type) else _leaf(array)[0]


def list_parts(array: Any) -> tuple[Any, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The parts of an array of lists or maps.

    Returns:
        The elements of all cells, one after the other; for maps these are structs. Then for each cell the number of its
        elements (int64; 0 for null), and whether it is null.
    """
    is_null = _nulls_of(array)
    type_ = array.type
    if pa.types.is_map(type_):
        keys, items = array.keys, array.items
        struct: Any = pa.StructArray.from_arrays([keys, items], names=["key", "value"])
        starts, lengths = _bounds(array.offsets, is_null)
        return _taken(struct, starts, lengths), lengths, is_null
    if pa.types.is_list_view(type_) or pa.types.is_large_list_view(type_):
        # neither the cast of pyarrow 26 nor its `flatten` is right for these
        starts = np.array(array.offsets.to_pylist(), np.int64)
        lengths = np.where(is_null, 0, np.array(array.sizes.to_pylist(), np.int64))
        return _taken(array.values, starts, lengths), lengths, is_null
    if pa.types.is_fixed_size_list(type_):
        width = type_.list_size
        starts = (np.arange(len(array), dtype=np.int64) + array.offset) * width
        lengths = np.where(is_null, 0, width).astype(np.int64)
        return _taken(array.values, starts, lengths), lengths, is_null
    starts, lengths = _bounds(array.offsets, is_null)
    return _taken(array.values, starts, lengths), lengths, is_null


def _bounds(offsets: Any, is_null: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    ends = np.array(offsets.to_pylist(), np.int64)
    return ends[:-1], np.where(is_null, 0, np.diff(ends)).astype(np.int64)


def _taken(values: Any, starts: np.ndarray[Any, Any], lengths: np.ndarray[Any, Any]) -> pa.Array[Any]:
    before = np.cumsum(lengths) - lengths
    at = np.arange(int(lengths.sum()), dtype=np.int64) + np.repeat(starts - before, lengths)
    if len(at) and int(at[-1]) - int(at[0]) == len(at) - 1 and bool((np.diff(at) == 1).all()):
        return values.slice(int(at[0]), len(at))
    return values.take(pa.array(at, pa.int64()))


def _nulls_of(array: Any) -> np.ndarray[Any, Any]:
    return np.array(array.is_null().to_pylist(), np.bool_)


def _is_nested(type_: pa.DataType) -> bool:
    return bool(is_list_like(type_) or pa.types.is_struct(type_) or pa.types.is_map(type_))


def _json(array: Any) -> Cells:
    """Each cell as JSON; None for null."""
    array = storage_of(array)
    type_ = array.type
    if is_list_like(type_) or pa.types.is_map(type_):
        return _json_lists(array)
    if pa.types.is_struct(type_):
        return _json_structs(array)
    if pa.types.is_union(type_):
        return _unions(array, _json)
    cells, is_quoted = _leaf(array)
    return [None if c is None else _quoted(c) for c in cells] if is_quoted else cells


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _json_lists(array: Any) -> Cells:
    elements, lengths, is_null = list_parts(array)
    is_object = pa.types.is_map(array.type)
    if is_object:
        keys, values = elements.flatten()
        # as an object, whose keys are text whatever they were
        named = [_quoted(key or "") for key in texts_of(keys).to_pylist()]
        parts = [f"{key}: {value or 'null'}" for key, value in zip(named, _json(values), strict=True)]
    else:
        parts = [cell or "null" for cell in _json(elements)]
    opening, closing = ("{", "}") if is_object else ("[", "]")
    cells: Cells = []
    at = 0
    for length, null in zip(lengths.tolist(), is_null.tolist(), strict=True):
        cells.append(None if null else opening + ", ".join(parts[at : at + length]) + closing)
        at += length
    return cells


def _json_structs(array: Any) -> Cells:
    names = [_quoted(f.name) for f in array.type]
    columns = [_json(column) for column in array.flatten()]
    cells: Cells = []
    for row, null in enumerate(_nulls_of(array).tolist()):
        pairs = (f"{name}: {column[row] or 'null'}" for name, column in zip(names, columns, strict=True))
        cells.append(None if null else "{" + ", ".join(pairs) + "}")
    return cells


def _unions(array: Any, write: Callable[[Any], Cells]) -> Cells:
    type_ = array.type
    n, offset = len(array), array.offset
    buffers = array.buffers()
    # from the buffers: `type_codes` and `offsets` of pyarrow 26 begin at the wrong place in a slice
    codes = np.frombuffer(buffers[1], np.int8)[offset : offset + n].tolist()
    columns = [write(array.field(position)) for position in range(type_.num_fields)]
    position_of = {code: position for position, code in enumerate(type_.type_codes)}
    rows: Sequence[int] = range(n)
    if type_.mode == "dense":
        rows = np.frombuffer(buffers[2], np.int32)[offset : offset + n].tolist()
    return [columns[position_of[code]][row] for code, row in zip(codes, rows, strict=True)]


def _leaf(array: Any) -> tuple[Cells, bool]:
    """Each cell as text, and whether it is put in quotes inside JSON."""
    is_, type_ = pa.types, array.type
    if is_.is_null(type_):
        return [None] * len(array), False
    if is_.is_string(type_) or is_.is_large_string(type_) or is_.is_string_view(type_):
        return _each(array.cast(pa.large_binary()), _decoded), True
    if is_.is_binary(type_) or is_.is_large_binary(type_) or is_.is_binary_view(type_):
        return _each(array, _of_bytes), True
    if is_.is_fixed_size_binary(type_):
        return _each(array, _of_bytes), True
    if is_.is_floating(type_):
        return _each(array, _of_float), False
    if is_.is_integer(type_):
        return _each(array, str), False
    if is_.is_decimal(type_):
        return _each(array, _of_decimal), False
    if is_.is_boolean(type_):
        return _each(array, lambda value: "true" if value else "false"), False
    if is_.is_timestamp(type_):
        return _of_timestamps(array), True
    if is_.is_date64(type_):
        return [cell and cell.removesuffix("T00:00:00") for cell in _of_timestamps(array)], True
    if is_.is_date32(type_) or is_.is_time(type_):
        unit = getattr(type_, "unit", "D")
        return [_trimmed(cell, unit) for cell in array.cast(pa.string()).to_pylist()], True
    if is_.is_duration(type_):
        return _each(array.cast(pa.int64()), lambda count: _of_duration(count, type_.unit)), True
    if is_.is_interval(type_):
        return _each(array, _of_interval), True
    return _each(array, str), True


def _each(array: Any, write: Callable[[Any], str]) -> Cells:
    return [None if value is None else write(value) for value in array.to_pylist()]


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _of_bytes(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return b64encode(data).decode()


def _of_float(value: Any) -> str:
    number = float(value)
    if math.isfinite(number):
        text = repr(number)
        # a whole number that shares a column with fractions is the same text as one that does not
        return text if text == "-0.0" else text.removesuffix(".0")
    return "NaN" if math.isnan(number) else ("Infinity" if number > 0 else "-Infinity")


def _of_decimal(value: Any) -> str:
    """Without zeros at the end: how many there are depends on the other cells of the column."""
    whole, _, fraction = format(value, "f").partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def _of_timestamps(array: Any) -> Cells:
    unit: Any = getattr(array.type, "unit", "ms")
    has_zone = getattr(array.type, "tz", None) is not None
    # without a zone, so that it need not be one that is known
    texts = array.cast(pa.int64()).cast(pa.timestamp(unit)).cast(pa.string()).to_pylist()
    ending = "+00:00" if has_zone else ""
    return [None if text is None else (_trimmed(text, unit) or "") + ending for text in texts]


def _trimmed(text: str | None, unit: str) -> str | None:
    """A date or time as Arrow writes it, in the way of ISO 8601 and without zeros at its end."""
    if text is None:
        return None
    if text.startswith(_OUT_OF_RANGE):
        return f"{text.removeprefix(_OUT_OF_RANGE).rstrip('>')} {unit} since 1970-01-01T00:00:00"
    whole, _, fraction = text.replace(" ", "T").partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def _of_duration(count: int, unit: str) -> str:
    seconds, rest = divmod(abs(count), _PER_SECOND[unit])
    digits = len(str(_PER_SECOND[unit])) - 1
    fraction = f".{rest:0{digits}d}".rstrip("0") if rest else ""
    return f"{'-' if count < 0 else ''}PT{seconds}{fraction}S"


def _of_interval(value: Any) -> str:
    seconds = _of_duration(value.nanoseconds, "ns")
    sign = "-" if seconds.startswith("-") else ""
    return f"P{value.months}M{value.days}DT{sign}{seconds.partition('T')[2]}"
