"""One type for columns that were written with different ones, and tables brought to a schema.

The common type of two holds each value of both as it is: numbers in the wider type, dates as times, times of two zones
in UTC. Where there is no such type it is text, at the leaf of lists, structs and maps where the two differ, and
`texts` says how values are written there. Types that not all readers of Parquet know are replaced first. Nothing in
here raises, whatever the types and values are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from itertools import groupby
from typing import Any

import pyarrow as pa

from scythe_cli.arrow.convert import always_fits, convert
from scythe_cli.arrow.plain import plain_decimal, plain_type

__all__ = [
    "agree",
    "always_fits",
    "cast_table",
    "common_type",
    "convert_column",
    "mixtures",
    "plain_type",
    "stack_tables",
    "unify_types",
]


_UNITS = ["s", "ms", "us", "ns"]


def common_type(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    """A type that holds the values of both; text where nothing else does."""
    return _common(a, b, "", [])


def mixtures(types: Sequence[pa.DataType], name: str) -> list[str]:
    """What is said of a column whose types have no common type but text or UTC.

    Args:
        types: The types.
        name: The name of the column.
    """
    said: list[str] = []
    reduce(lambda a, b: _common(a, b, name, said), types)
    return list(dict.fromkeys(said))


def _common(a: Any, b: Any, path: str, said: list[str]) -> pa.DataType:
    a, b = plain_type(a), plain_type(b)
    is_ = pa.types
    if a == b or is_.is_null(b):
        return a
    if is_.is_null(a):
        return b
    if is_.is_struct(a) and is_.is_struct(b):
        fields = {f.name: f.type for f in a}
        for f in b:
            fields[f.name] = _common(fields[f.name], f.type, f"{path}.{f.name}", said) if f.name in fields else f.type
        return pa.struct(list(fields.items()))
    if is_.is_list(a) and is_.is_list(b):
        return pa.list_(_common(a.value_type, b.value_type, f"{path}[]", said))
    if is_.is_map(a) and is_.is_map(b):
        keys = _common(a.key_type, b.key_type, f"{path}[keys]", said)
        return pa.map_(keys, _common(a.item_type, b.item_type, f"{path}[values]", said))
    common = _common_number(a, b) or _common_time(a, b)
    if common is None and _is_binary(a) and _is_binary(b):
        common = pa.binary()
    if common is None:
        said.append(f"{path} is {a} in some cases and {b} in others; it is stored as text")
        return pa.string()
    if is_.is_timestamp(a) and is_.is_timestamp(b) and a.tz != b.tz:
        said.append(f"{path} has the time zone {a.tz} in some cases and {b.tz} in others; it is stored in UTC")
    return common


def _is_binary(type_: pa.DataType) -> bool:
    return pa.types.is_binary(type_) or pa.types.is_fixed_size_binary(type_)


def _common_number(a: Any, b: Any) -> pa.DataType | None:
    """A number that holds two that differ, truth as 0 and 1; None where there is none."""
    is_ = pa.types
    for one, other in ((a, b), (b, a)):
        if is_.is_boolean(one) and _is_number(other):
            return plain_decimal(max(other.precision - other.scale, 1), other.scale) if is_.is_decimal(other) else other
    if not (_is_number(a) and _is_number(b)):
        return None
    if is_.is_floating(a) and is_.is_floating(b):
        return pa.float64()
    for one, other in ((a, b), (b, a)):
        if is_.is_floating(one):
            if is_.is_decimal(other):
                return None
            # 32 bits have a mantissa of 24; whether an integer of 64 bits fits into a double is seen from its value
            return one if other.bit_width <= 16 else pa.float64()
    if is_.is_decimal(a) or is_.is_decimal(b):
        scale = max(_scale(a), _scale(b))
        common = plain_decimal(max(_n_whole(a), _n_whole(b)), scale)
        return common if is_.is_decimal(common) else None
    return _common_integer(a, b)


def _is_number(type_: pa.DataType) -> bool:
    return pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_)


def _scale(type_: Any) -> int:
    return type_.scale if pa.types.is_decimal(type_) else 0


def _n_whole(type_: Any) -> int:
    """How many digits there are before the point."""
    if pa.types.is_decimal(type_):
        return type_.precision - type_.scale
    return {8: 3, 16: 5, 32: 10, 64: 20 if pa.types.is_unsigned_integer(type_) else 19}[type_.bit_width]


def _common_integer(a: Any, b: Any) -> pa.DataType:
    unsigned, signed = pa.types.is_unsigned_integer(a), pa.types.is_unsigned_integer(b)
    if unsigned == signed:
        return a if a.bit_width > b.bit_width else b
    positive, other = (a, b) if unsigned else (b, a)
    width = max(2 * positive.bit_width, other.bit_width)
    return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}.get(width) or pa.decimal128(20, 0)


def _common_time(a: Any, b: Any) -> pa.DataType | None:
    """A date, time or duration that holds two that differ; None where there is none."""
    is_ = pa.types
    for one, other in ((a, b), (b, a)):
        if is_.is_date(one) and is_.is_timestamp(other) and other.tz is None:
            return other
    if is_.is_duration(a) and is_.is_duration(b):
        return pa.duration(max(a.unit, b.unit, key=_UNITS.index))
    if is_.is_timestamp(a) and is_.is_timestamp(b) and (a.tz is None) == (b.tz is None):
        return pa.timestamp(max(a.unit, b.unit, key=_UNITS.index), a.tz if a.tz == b.tz else "UTC")
    return None


def agree(a: pa.Schema, b: pa.Schema) -> bool:
    """Whether the columns of two schemas have common types that are neither text instead of another nor in UTC."""
    if a is b or a.equals(b):
        return True
    said: list[str] = []
    for f in b:
        position = a.get_field_index(f.name)
        if position >= 0:
            _common(a.field(position).type, f.type, f.name, said)
    return not said


def unify_types(schemas: Iterable[pa.Schema], wanted: Callable[[str], bool]) -> list[pa.Field[Any]]:
    """The wanted fields of all schemas, in the order in which they are met, each of one type for all."""
    distinct: list[pa.Schema] = []
    for schema in schemas:
        # thousands of parts have the same columns; comparing schemas is faster than going through their fields
        if not any(schema is known or schema.equals(known) for known in reversed(distinct)):
            distinct.append(schema)
    unified: dict[str, pa.Field[Any]] = {}
    for schema in distinct:
        for f in schema:
            if wanted(f.name):
                known = unified.get(f.name)
                type_ = plain_type(f.type) if known is None else common_type(known.type, f.type)
                unified[f.name] = pa.field(f.name, type_)
    return list(unified.values())


def convert_column(column: pa.ChunkedArray[Any], type_: pa.DataType) -> pa.ChunkedArray[Any]:
    """Bring a column to a type, see `convert`; all of its chunks become the same."""
    if column.type == type_:
        return column
    chunks = column.chunks
    while True:
        converted = [convert(chunk, type_) for chunk in chunks]
        widened = reduce(common_type, (chunk.type for chunk in converted), type_)
        if widened == type_ or pa.types.is_dictionary(type_):
            return _chunked(converted, type_)
        type_ = widened


def _chunked(chunks: Sequence[Any], type_: Any) -> pa.ChunkedArray[Any]:
    return pa.chunked_array(chunks, type_)


def cast_table(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Bring a table to a schema whose types are common to its own and others.

    Missing columns are null. A column with a value that does not fit is of another type than in the schema, see
    `convert`.
    """
    columns: list[Any] = []
    for f in schema:
        position = table.schema.get_field_index(f.name)
        if position < 0:
            columns.append(pa.nulls(table.num_rows, f.type))
        else:
            columns.append(convert_column(table.column(position), f.type))
    fields = [f.with_type(column.type) for f, column in zip(schema, columns, strict=True)]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields).with_metadata(schema.metadata))


def stack_tables(tables: Sequence[pa.Table]) -> pa.Table:
    """Put tables, at least one, below each other; what one lacks is null, and types are brought to common ones."""
    first = tables[0].schema
    if all(table.schema is first or table.schema.equals(first) for table in tables):
        return pa.concat_tables(tables)
    # of neighbours that are alike one each, so that the work does not grow with their number
    runs = [pa.concat_tables(list(run)) for _, run in groupby(tables, lambda table: _Alike(table.schema))]
    schema = pa.schema(unify_types((run.schema for run in runs), lambda _: True))
    while True:
        cast = [cast_table(run, schema) for run in runs]
        widened = pa.schema(unify_types([schema, *(table.schema for table in cast)], lambda _: True))
        if widened.equals(schema):
            return pa.concat_tables(cast)
        schema = widened


class _Alike:
    """A schema as a key of `groupby`."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Alike) and self._schema.equals(other._schema)

    __hash__ = None  # pyright: ignore[reportAssignmentType]
