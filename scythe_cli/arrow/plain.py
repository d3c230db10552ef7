"""The types that all readers of Parquet know, and arrays without what only says how they are stored."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, cast
from uuid import UUID

import pyarrow as pa

__all__ = [
    "has_nanoseconds",
    "holds_fine_times",
    "holds_times",
    "in_microseconds",
    "is_known_zone",
    "is_list_like",
    "nulls_of",
    "plain_decimal",
    "plain_type",
    "storage_of",
]


_MAX_DIGITS = 38  # of decimals, for Polars and DuckDB
_WHOLE_HOURS = re.compile(r"[+-](0\d|1[0-2]):00")  # Polars knows no others
_OFFSET = re.compile(r"[+-]\d\d:\d\d")


def has_nanoseconds(value: Any) -> bool:
    """Whether a time of pandas, or one in a list or dict, is finer than the microseconds that Python's times have."""
    if isinstance(value, dict):
        return any(map(has_nanoseconds, cast("dict[Any, Any]", value).values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(map(has_nanoseconds, cast("list[Any]", value)))
    # of pandas' missing time it is NaN
    return getattr(value, "nanosecond", 0) > 0 or getattr(value, "nanoseconds", 0) > 0


def holds_times(type_: Any) -> bool:
    """Whether values of a type are times, or have such in them."""
    if pa.types.is_nested(type_):
        return any(holds_times(type_.field(i).type) for i in range(type_.num_fields))
    return pa.types.is_timestamp(type_) or pa.types.is_duration(type_)


def holds_fine_times(type_: Any) -> bool:
    """Whether values of a type are times in nanoseconds, or have such in them."""
    if pa.types.is_dictionary(type_):
        return holds_fine_times(type_.value_type)
    if pa.types.is_nested(type_):
        return any(holds_fine_times(type_.field(i).type) for i in range(type_.num_fields))
    return getattr(type_, "unit", None) == "ns"


def in_microseconds(column: Any) -> tuple[Any, bool]:
    """A column with its times in microseconds in place of nanoseconds, at any depth, and whether one was finer.

    Raises:
        pyarrow.ArrowException: If Arrow cannot convert its type.
    """
    coarse, fine = (_with_fine_times(column.type, unit) for unit in ("us", "ns"))
    cut = column.cast(coarse, safe=False)
    return cut, not cut.cast(fine).equals(column.cast(fine))


def _with_fine_times(type_: Any, unit: Any) -> pa.DataType:
    """A type with its times in nanoseconds in another unit, at any depth, and without dictionaries."""
    types = pa.types

    def inner(part: Any) -> Any:
        return part.with_type(_with_fine_times(part.type, unit))

    if types.is_struct(type_):
        return pa.struct([inner(part) for part in type_])
    if types.is_map(type_):
        return pa.map_(inner(type_.key_field), inner(type_.item_field), type_.keys_sorted)
    if types.is_fixed_size_list(type_):
        return pa.list_(inner(type_.value_field), type_.list_size)
    if types.is_large_list(type_) or types.is_large_list_view(type_):
        return pa.large_list(inner(type_.value_field))
    if types.is_list(type_) or types.is_list_view(type_):
        return pa.list_(inner(type_.value_field))
    if types.is_dictionary(type_):
        return _with_fine_times(type_.value_type, unit)
    if getattr(type_, "unit", None) != "ns":
        return type_
    if types.is_timestamp(type_):
        return pa.timestamp(unit, type_.tz)
    return pa.time64(unit) if types.is_time(type_) else pa.duration(unit)


def plain_type(type_: Any) -> pa.DataType:
    """The type to store instead: the same for pandas, Polars and Arrow, and one that all readers of Parquet know."""
    is_ = pa.types
    if isinstance(type_, pa.BaseExtensionType):
        named = {"arrow.uuid": pa.string(), "arrow.bool8": pa.bool_()}.get(type_.extension_name)
        return named or plain_type(type_.storage_type)
    if is_.is_dictionary(type_) or is_.is_run_end_encoded(type_):
        return plain_type(type_.value_type)
    if is_list_like(type_):
        return pa.list_(plain_type(type_.value_type))
    if is_.is_struct(type_):
        names = [f.name for f in type_]
        if not names or len(set(names)) < len(names):
            return pa.string()  # Parquet has no struct without fields, and readers refuse equal names
        return pa.struct([pa.field(f.name, plain_type(f.type)) for f in type_])
    if is_.is_map(type_):
        return pa.map_(plain_type(type_.key_type), plain_type(type_.item_type))
    return _plain_leaf(type_)


def _plain_leaf(type_: Any) -> pa.DataType:
    is_ = pa.types
    if is_.is_large_string(type_) or is_.is_string_view(type_) or is_.is_union(type_) or is_.is_interval(type_):
        return pa.string()
    if is_.is_large_binary(type_) or is_.is_binary_view(type_):
        return pa.binary()
    if is_.is_float16(type_):
        return pa.float32()
    if is_.is_date64(type_):
        return pa.date32()
    if is_.is_time(type_):
        return pa.time64("us")
    if is_.is_decimal(type_):
        return plain_decimal(type_.precision - type_.scale, type_.scale)
    if is_.is_timestamp(type_):
        return pa.timestamp("ms" if type_.unit == "s" else type_.unit, _plain_zone(type_.tz))
    if is_.is_duration(type_) and type_.unit == "s":
        return pa.duration("ms")
    return type_


def _plain_zone(zone: str | None) -> Any:
    """The zone if all readers know it, else UTC."""
    if not zone or _WHOLE_HOURS.fullmatch(zone):
        return zone or None
    return zone if _is_named_zone(zone) else "UTC"


def is_known_zone(zone: str | None) -> bool:
    """Whether times can be in a zone: none, an offset, or the name of one."""
    return not zone or _OFFSET.fullmatch(zone) is not None or _is_named_zone(zone)


@cache
def _is_named_zone(zone: str) -> bool:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(zone)
    except (ValueError, OSError, LookupError):
        return False
    return True


def plain_decimal(n_whole: int, scale: int) -> pa.DataType:
    """The decimal with so many digits before and after the point; text where readers have none so long."""
    scale = max(scale, 0)
    precision = max(n_whole, 0) + scale
    return pa.decimal128(max(precision, 1), scale) if precision <= _MAX_DIGITS else pa.string()


def storage_of(array: Any) -> pa.Array[Any]:
    """The array without what only says how it is stored, such as dictionaries and runs; a UUID is text."""
    while True:
        if isinstance(array.type, pa.BaseExtensionType):
            name = array.type.extension_name
            array = array.storage
            if name == "arrow.uuid":
                return pa.array([None if cell is None else str(UUID(bytes=cell)) for cell in array.to_pylist()])
            if name == "arrow.bool8":
                array = array.cast(pa.bool_())
        elif pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        elif pa.types.is_run_end_encoded(array.type):
            array = _compute().run_end_decode(array)
        else:
            return array


def is_list_like(type_: pa.DataType) -> bool:
    """Whether cells are lists, in whatever layout."""
    is_ = pa.types
    return bool(
        is_.is_list(type_)
        or is_.is_large_list(type_)
        or is_.is_fixed_size_list(type_)
        or is_.is_list_view(type_)
        or is_.is_large_list_view(type_)
    )


def _compute() -> Any:
    import pyarrow.compute as pc

    return pc


def nulls_of(n: int, type_: Any) -> Any:
    """An array of `n` nulls."""
    return pa.nulls(n, type_)
