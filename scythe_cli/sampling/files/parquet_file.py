"""Parquet sampling files: typed columns, in the types that the checks know."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from scythe_cli.errors import SamplingFileError, first_line
from scythe_cli.sampling.file_columns import RawFile, check_names, chunked

__all__ = ["read_parquet"]


pc: Any = pyarrow.compute  # its stubs do not know the types that its functions take


@dataclass(frozen=True, slots=True)
class _RowLabel:
    """`row 17`: counted from 0, as in `sort_index`."""

    def __call__(self, row: int) -> str:
        return f"row {row}"


def read_parquet(path: Path) -> RawFile:
    """Read a Parquet file.

    Raises:
        SamplingFileError: If it is no Parquet file, or a damaged one.
        OSError: If it cannot be opened.
    """
    with path.open("rb") as file:
        try:
            # ParquetFile and not read_table, which would take folder names such as `version=2` for columns
            table = pq.ParquetFile(file).read()
            table.validate()
        except (pa.ArrowException, OSError, ValueError, TypeError, NotImplementedError) as error:
            reason = first_line(error)
            raise SamplingFileError(f"{path}: not a Parquet file, or a damaged one: {reason}") from error
    table = _with_range_index(table)
    names = [name.strip() for name in table.column_names]
    kept = [position for position, name in enumerate(names) if not _is_pandas_index(name)]
    check_names(path, [names[position] for position in kept])
    columns = [_simplified(path, names[position], table.column(position)) for position in kept]
    return RawFile(path, [names[position] for position in kept], columns, table.num_rows, _RowLabel(), is_text=False)


def _with_range_index(table: pa.Table) -> pa.Table:
    """With the index that pandas describes in its metadata, and not as a column, where it has a name."""
    try:
        described = json.loads((table.schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
    except (ValueError, AttributeError):
        return table  # what others have written there
    for level in described:
        if not isinstance(level, dict) or level.get("kind") != "range" or not isinstance(level.get("name"), str):
            continue
        numbers = range(int(level["start"]), int(level["stop"]), int(level["step"]))
        # after others have taken rows from the table, it tells of rows that are not there
        if len(numbers) == table.num_rows and level["name"] not in table.column_names:
            table = table.add_column(0, level["name"], pa.array(numbers, pa.int64()))
    return table


def _is_pandas_index(name: str) -> bool:
    return name.startswith("__index_level_") and name.endswith("__")


def _simplified(path: Path, name: str, column: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
    """Bring types that hold the same values in another way to one type."""
    try:
        for _ in range(4):  # an extension type may hold a dictionary, and so on
            simpler = _simpler_type(column.type)
            if simpler is None:
                return column
            chunks: list[Any] = column.chunks
            if isinstance(column.type, pa.BaseExtensionType):
                column = chunked([chunk.storage for chunk in chunks], simpler)
            elif pa.types.is_run_end_encoded(column.type):
                column = chunked([pc.run_end_decode(chunk) for chunk in chunks], simpler)
            else:
                # unsafe only as to nanoseconds: Python's times have microseconds
                column = column.cast(simpler, safe=False)
    except (pa.ArrowException, ValueError) as error:
        raise SamplingFileError(f"{path}: column {name!r} of type {column.type} cannot be read: {error}") from error
    return column


def _simpler_type(type_: pa.DataType) -> pa.DataType | None:
    types = pa.types
    if isinstance(type_, pa.BaseExtensionType):
        return type_.storage_type
    if types.is_dictionary(type_) or types.is_run_end_encoded(type_):
        return type_.value_type
    if types.is_large_string(type_) or types.is_string_view(type_):
        return pa.string()
    if types.is_float16(type_):
        return pa.float32()
    if types.is_timestamp(type_):
        simpler = pa.timestamp("us") if type_.tz is None else pa.timestamp("us", tz="UTC")
        return None if type_ == simpler else simpler
    if types.is_time(type_):
        return None if type_ == pa.time64("us") else pa.time64("us")
    if types.is_duration(type_):
        return None if type_ == pa.duration("us") else pa.duration("us")
    if types.is_date64(type_):
        return pa.date32()
    return None
