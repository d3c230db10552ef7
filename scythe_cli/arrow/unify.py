"""One type for columns that were written with different ones, and tables brought to a schema."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

__all__ = ["cast_table", "common_type", "unify_types"]


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
                unified[f.name] = pa.field(f.name, f.type if known is None else common_type(known.type, f.type))
    return list(unified.values())


def common_type(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    """A type that holds the values of both; text where nothing else does."""
    if a == b or pa.types.is_null(b):
        return a
    if pa.types.is_null(a):
        return b
    if pa.types.is_struct(a) and pa.types.is_struct(b):
        fields = {f.name: f.type for f in a}
        for f in b:
            fields[f.name] = common_type(fields[f.name], f.type) if f.name in fields else f.type
        return pa.struct(list(fields.items()))
    if pa.types.is_list(a) and pa.types.is_list(b):
        return pa.list_(common_type(a.value_type, b.value_type))
    try:
        merged = pa.unify_schemas([pa.schema([("x", a)]), pa.schema([("x", b)])], promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return pa.string()
    return merged.field("x").type


def cast_table(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Bring a table to a schema: missing columns are null, and types are converted."""
    columns: list[Any] = []
    for f in schema:
        position = table.schema.get_field_index(f.name)
        if position < 0:
            columns.append(pa.nulls(table.num_rows, f.type))
        else:
            columns.append(_convert(table.column(position), f.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _convert(column: Any, type_: pa.DataType) -> Any:
    if column.type == type_:
        return column
    try:
        return column.cast(type_)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        cells: list[Any] = column.to_pylist()
        if pa.types.is_string(type_):
            # contradicting types of the same column end as text
            cells = [None if v is None else str(v) for v in cells]
        return pa.array(cells, type_)
