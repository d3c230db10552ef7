"""What pandas reads in a Parquet file to restore an index.

https://pandas.pydata.org/docs/development/developer.html describes the format.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

__all__ = ["pandas_metadata"]


def pandas_metadata(schema: pa.Schema, levels: Sequence[str], labels: str | None = None) -> str:
    """The metadata of a table, as JSON.

    Args:
        schema: The columns.
        levels: Those that are levels of the index.
        labels: The part that tells the labels of the other columns; None where they are plain text.
    """
    columns: list[dict[str, Any]] = [
        {
            "name": f.name,
            "field_name": f.name,
            "pandas_type": _pandas_type(f.type),
            "numpy_type": _numpy_type(f.type),
            "metadata": _metadata(f.type),
        }
        for f in schema
    ]
    return json.dumps(
        {
            "index_columns": list(levels),
            "column_indexes": [] if labels is None else json.loads(labels),
            "columns": columns,
            "creator": {"library": "scythe-experiments", "version": "0"},
            "pandas_version": "2.2.0",
        }
    )


def _metadata(type_: Any) -> dict[str, Any] | None:
    if pa.types.is_dictionary(type_):
        return {"ordered": type_.ordered}
    return {"timezone": type_.tz} if pa.types.is_timestamp(type_) and type_.tz else None


def _pandas_type(type_: pa.DataType) -> str:
    if pa.types.is_dictionary(type_):
        return "categorical"
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return "unicode"
    if pa.types.is_timestamp(type_):
        return "datetimetz" if type_.tz else "datetime"
    if pa.types.is_floating(type_):
        return _numpy_type(type_)
    if pa.types.is_date(type_):
        return "date"
    if pa.types.is_nested(type_):
        return "object"
    return str(type_)


def _numpy_type(type_: Any) -> str:
    if pa.types.is_dictionary(type_):
        return str(type_.index_type)
    if pa.types.is_integer(type_) or pa.types.is_boolean(type_):
        return str(type_)
    if pa.types.is_floating(type_):
        return {"double": "float64", "float": "float32"}.get(str(type_), "float16")
    if pa.types.is_timestamp(type_):
        return "datetime64[us]"
    return "object"
