"""Parquet and Arrow sampling files: typed columns, in the types that the checks know."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from scythe_cli.arrow.mapped import LARGE_BYTES, mapped_table
from scythe_cli.arrow.plain import holds_fine_times, in_microseconds
from scythe_cli.errors import SamplingFileError, first_line
from scythe_cli.model.kinds import ENCODING_KEY
from scythe_cli.sampling.file_columns import RawFile, chunked

__all__ = ["read_arrow", "read_folder", "read_parquet", "simplified"]


pc: Any = pyarrow.compute  # its stubs do not know the types that its functions take

_ROWS_AT_ONCE = 262_144
_MANY_ROWS = 10_000_000  # which may take much more memory than their pages, as what repeats does


@dataclass(frozen=True, slots=True)
class _RowLabel:
    """`row 17`: counted from 0, as in `sort_index`."""

    def __call__(self, row: int) -> str:
        return f"row {row}"


@dataclass(frozen=True, slots=True)
class _PartLabel:
    """`year=2020/part-0.parquet, row 3`: the file of a folder, and the row in it."""

    names: tuple[str, ...]
    first_rows: tuple[int, ...]

    def __call__(self, row: int) -> str:
        part = bisect_right(self.first_rows, row) - 1
        return f"{self.names[part]}, row {row - self.first_rows[part]}"


def read_parquet(path: Path, shown: str) -> RawFile:
    """Read a Parquet file.

    Raises:
        SamplingFileError: If it is no Parquet file, or a damaged one.
        OSError: If it cannot be opened.
    """
    return _raw_of(_parquet_table(path, shown), shown, _RowLabel())


def read_arrow(path: Path, shown: str) -> RawFile:
    """Read a file or stream of Arrow, or a Feather file.

    Raises:
        SamplingFileError: If it is none, or a damaged one.
        OSError: If it cannot be opened.
    """
    from pyarrow import feather

    with path.open("rb") as file:
        try:
            if file.read(4) in (b"ARRO", b"FEA1"):
                file.seek(0)
                table = feather.read_table(file, memory_map=False)
            else:
                file.seek(0)
                table = pa.ipc.open_stream(file).read_all()
            table.validate()
        except (pa.ArrowException, OSError, ValueError, TypeError, NotImplementedError) as error:
            raise SamplingFileError(f"{shown}: not a valid Arrow file: {first_line(error)}") from error
    return _raw_of(table, shown, _RowLabel())


def read_folder(folder: Path, shown: str) -> RawFile:
    """Read the Parquet files of a folder one after the other; folders named `column=value` are columns of text.

    Raises:
        SamplingFileError: If there is none, or they cannot be combined.
        OSError: If one cannot be opened.
    """
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in (".parquet", ".pq")
        and not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    )
    if not paths:
        raise SamplingFileError(f"{shown}: a folder without Parquet files")
    tables: list[pa.Table] = []
    for path in paths:
        table = _with_range_index(_parquet_table(path, f"{shown}/{path.relative_to(folder)}"))
        for part in path.relative_to(folder).parts[:-1]:
            name, equals, value = part.partition("=")
            if equals and name not in table.column_names:
                cell = None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value)
                table = table.append_column(unquote(name), pa.array([cell] * table.num_rows, pa.string()))
        tables.append(table)
    try:
        whole = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise SamplingFileError(f"{shown}: its files do not match: {first_line(error)}") from error
    first_rows = tuple(accumulate((table.num_rows for table in tables[:-1]), initial=0))
    label = _PartLabel(tuple(str(path.relative_to(folder)) for path in paths), first_rows)
    return _raw_of(whole, shown, label)


def _parquet_table(path: Path, shown: str) -> pa.Table:
    with path.open("rb") as file:
        try:
            # ParquetFile and not read_table, which would take folder names such as `version=2` for columns
            # what is read ahead is kept until the end: with it, a large file would be in memory as a whole
            parquet: Any = pq.ParquetFile(file, pre_buffer=False)
            groups = [parquet.metadata.row_group(number) for number in range(parquet.metadata.num_row_groups)]
            if sum(group.total_byte_size for group in groups) < LARGE_BYTES and parquet.metadata.num_rows < _MANY_ROWS:
                table = parquet.read()
            else:
                table = mapped_table(parquet.iter_batches(_ROWS_AT_ONCE), parquet.schema_arrow)
            table.validate()
        except (pa.ArrowException, OSError, ValueError, TypeError, NotImplementedError) as error:
            reason = first_line(error)
            raise SamplingFileError(f"{shown}: not a valid Parquet file: {reason}") from error
    return table


def _raw_of(table: pa.Table, shown: str, label: Callable[[int], str]) -> RawFile:
    table = _with_range_index(table)
    names = [name.strip() for name in table.column_names]
    kept = [position for position, name in enumerate(names) if not _is_pandas_index(name)]
    columns: list[pa.ChunkedArray[Any]] = []
    finer: list[str] = []
    for position in kept:
        column, is_cut = simplified(shown, names[position], table.column(position))
        columns.append(column)
        finer += [names[position]] if is_cut else []
    notices = [f"without the nanoseconds of {', '.join(finer)}: Python's times end at microseconds"] if finer else []
    # specs of a run, in which some fields are JSON
    as_json = frozenset(names[i] for i in kept if (table.schema.field(i).metadata or {}).get(ENCODING_KEY) == b"json")
    kept_names = [names[position] for position in kept]
    return RawFile(shown, kept_names, columns, table.num_rows, label, is_text=False, as_json=as_json, notices=notices)


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


def simplified(shown: str, name: str, column: pa.ChunkedArray[Any]) -> tuple[pa.ChunkedArray[Any], bool]:
    """Bring types that hold the same values in another way to one type.

    Returns:
        The column, and whether times lost their nanoseconds, which Python's times do not have.
    """
    is_cut = False
    try:
        for _ in range(4):  # an extension type may hold a dictionary, and so on
            simpler = _simpler_type(column.type)
            if simpler is None:
                break
            chunks: list[Any] = column.chunks
            if isinstance(column.type, pa.BaseExtensionType):
                column = chunked([chunk.storage for chunk in chunks], simpler)
            elif pa.types.is_run_end_encoded(column.type):
                column = chunked([pc.run_end_decode(chunk) for chunk in chunks], simpler)
            elif holds_fine_times(column.type):
                column, is_cut = in_microseconds(column)
            else:
                # unsafe only as to the milliseconds of a day; seconds that are no microseconds are told
                column = column.cast(simpler, safe=not pa.types.is_date64(column.type))
        if holds_fine_times(column.type):
            column, is_cut = in_microseconds(column)
    except (pa.ArrowException, ValueError) as error:
        raise SamplingFileError(f"{shown}: column {name!r} of type {column.type} cannot be read: {error}") from error
    return column, is_cut


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
