"""The files of a ledger's parts: what is known of one before its rows are read, and whose it is.

A part that is damaged is told from a file that somebody else has put beside the parts.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from scythe_cli.arrow.checksum import bears_mark, has_whole_pages, whole_footer
from scythe_cli.core.cores import usable_cores
from scythe_cli.core.files import ForeignFileError, open_regular
from scythe_cli.errors import StorageError
from scythe_cli.model.outcome_schema import FRAME, LEVELS_KEY, OUTCOME_SCHEMA
from scythe_cli.run.layout import FORMAT_KEY, check_format

__all__ = [
    "FIRST_KEY",
    "FRAME_BYTES_KEY",
    "PartFile",
    "RowGroup",
    "check_parts",
    "damaged_part",
    "is_own_part",
    "is_part_name",
    "open_part",
    "raise_if_refused",
    "read_part",
]


FRAME_BYTES_KEY = b"scythe:frame_bytes"
"""Key in the metadata of a part: the size of its user dataframes in memory."""

FIRST_KEY = b"scythe:first"
"""Key in the metadata of a part: the lowest `sort_index` in it."""

# the engine or what else wrote it, when, at random, and which of its parts
_NAME = re.compile(r"[a-z][a-z0-9_.]*-[0-9]{8}T[0-9]{6}-[0-9a-f]{8}(-[A-Za-z0-9_.+-]*)?", re.ASCII)
_MAGIC = b"PAR1"
_LARGE_BYTES = 16_000_000


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows of a part that can be read by themselves.

    Attributes:
        n_rows: Their number.
        first: The lowest `sort_index` among them.
    """

    n_rows: int
    first: int


@dataclass(frozen=True, slots=True)
class PartFile:
    """A readable part of the ledger.

    Attributes:
        name: The part's file name.
        path: A local file with its content.
        schema: Its columns.
        n_rows: Its number of outcomes.
        frame_bytes: The size of its user dataframes in memory.
        first: The lowest `sort_index` in it.
        row_groups: What it consists of; of parts with user dataframes only.
    """

    name: str
    path: Path
    schema: pa.Schema
    n_rows: int
    frame_bytes: int
    first: int
    row_groups: tuple[RowGroup, ...] = ()

    @property
    def has_frames(self) -> bool:
        """Whether it has columns of user dataframes."""
        return any(name.startswith(FRAME) for name in self.schema.names)


def open_part(name: str, path: Path, *, whole: bool, ours: pa.Schema | None) -> PartFile | None:
    """Open a part; None when it is damaged, or not one of ours. `ours` are the columns of another part that is.

    Raises:
        StorageError: If a newer program has written it, or the storage refuses to let it be read.
    """
    try:
        footer = whole_footer(path)
        if footer is None or (whole and not has_whole_pages(path)):
            return None
        with pq.ParquetFile(pa.BufferReader(footer)) as file:
            schema = file.schema_arrow
            metadata: Any = file.metadata
            check_format((schema.metadata or {}).get(FORMAT_KEY), str(path))
            if (ours is None or not schema.equals(ours)) and not _has_outcomes(schema):
                return None
            if not all(_is_frame(field) for field in schema if field.name.startswith(FRAME)):
                return None
            # not from the sizes of the columns: asking for these in a damaged footer can end the process
            stored = schema.metadata or {}
            frame_bytes, first = (int(stored.get(key, b"0")) for key in (FRAME_BYTES_KEY, FIRST_KEY))
            groups = _row_groups(metadata, first) if frame_bytes else ()
            return PartFile(name, path, schema, int(metadata.num_rows), frame_bytes, first, groups)
    except ForeignFileError:
        return None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise_if_refused(error, path)
        return None


def _is_frame(field: pa.Field[Any]) -> bool:
    """Whether a column can be one of user dataframes: a list of rows, and names of levels that are such."""
    type_: Any = field.type
    if not (pa.types.is_list(type_) or pa.types.is_large_list(type_)) or not pa.types.is_struct(type_.value_type):
        return False
    try:
        levels: Any = json.loads((field.metadata or {}).get(LEVELS_KEY, b"[]"))
    except (ValueError, RecursionError):
        return False
    return isinstance(levels, list) and all(isinstance(level, str) for level in cast("list[Any]", levels))


def _row_groups(metadata: Any, first: int) -> tuple[RowGroup, ...]:
    position = next(i for i in range(metadata.num_columns) if metadata.schema.column(i).path == "sort_index")
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    known = [group.column(position).statistics for group in groups]
    return tuple(
        RowGroup(int(group.num_rows), int(stats.min) if stats is not None and stats.has_min_max else first)
        for group, stats in zip(groups, known, strict=True)
    )


def _has_outcomes(schema: pa.Schema) -> bool:
    return all(schema.get_field_index(c.name) >= 0 and schema.field(c.name).type == c.type for c in OUTCOME_SCHEMA)


def raise_if_refused(error: Exception, path: Path) -> None:
    """Tell a file that the system does not let us read from one whose content is wrong."""
    number = getattr(error, "errno", None)
    if number is not None:
        raise StorageError(f"cannot read {path}: {os.strerror(number)}") from error


def is_part_name(stem: str) -> bool:
    """Whether a name, without `.pq`, is one that parts get."""
    return _NAME.fullmatch(stem) is not None


def is_own_part(name: str, path: Path) -> bool:
    """Whether a file was written as a part, although it is damaged.

    Its name has to be that of a part, and it has to bear the marks of one; or to be a Parquet file of which the end is
    missing, or nothing at all, which is of use to nobody.

    Args:
        name: Its name in the ledger.
        path: The file.

    Raises:
        OSError: If it cannot be read.
    """
    if not is_part_name(name.removesuffix(".pq")):
        return False
    try:
        return bears_mark(path, [FRAME_BYTES_KEY, FIRST_KEY]) or _is_cut(path)
    except (ForeignFileError, FileNotFoundError, IsADirectoryError):
        return False


def _is_cut(path: Path) -> bool:
    with open_regular(path) as file:
        begin = file.read(len(_MAGIC))
        size = file.seek(0, 2)
        file.seek(max(size - len(_MAGIC), 0))
        return not begin or (begin == _MAGIC and file.read() != _MAGIC)


def check_parts(parts: Sequence[PartFile]) -> None:
    """See that every byte of some parts is what was written.

    Raises:
        StorageError: If a part is damaged; it names one.
    """

    def check(some: Sequence[PartFile]) -> None:
        for part in some:
            try:
                is_whole = has_whole_pages(part.path)
            except OSError as error:
                raise damaged_part(part, error) from error
            if not is_whole:
                raise damaged_part(part, ValueError("its data are not those that were written"))

    n = min(len(parts), usable_cores())
    with ThreadPoolExecutor(max_workers=max(1, n)) as pool:  # hashing a large block needs no lock of Python
        list(pool.map(check, [parts[i::n] for i in range(n)]))


def read_part(
    part: PartFile, columns: Sequence[str], *, checked: bool = False, row_group: int | None = None
) -> pa.Table:
    """Read columns of a part.

    Args:
        part: The part.
        columns: The names of the columns.
        checked: Whether `check_parts` has passed it, so that the checksums of its pages need no look.
        row_group: The number of a row group; the whole part unless given.

    Raises:
        StorageError: If the part is damaged.
    """
    try:
        # not `read_table`, which loads pandas
        with (
            open_regular(part.path) as opened,
            pq.ParquetFile(opened, page_checksum_verification=not checked) as file,
        ):
            names = list(columns)
            if row_group is None and file.num_row_groups == 1:
                row_group = 0
            if row_group is not None and part.frame_bytes > file.num_row_groups * _LARGE_BYTES:
                return pa.table({name: _large_column(file, row_group, name) for name in names})
            table = file.read(columns=names) if row_group is None else file.read_row_group(row_group, columns=names)
            return table.select(names)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise damaged_part(part, error) from error


def _large_column(file: pq.ParquetFile, row_group: int, name: str) -> Any:
    """A column of a row group, dataframes one of their columns after the other.

    While a column is decoded it takes several times its size, and so would all of a dataframe at once.
    """
    schema = file.schema_arrow
    position = schema.get_field_index(name)
    first = sum(_n_leaves(schema.field(i).type) for i in range(position))
    type_: Any = schema.field(position).type
    reader: Any = file.reader
    if not name.startswith(FRAME) or not pa.types.is_list(type_) or not pa.types.is_struct(type_.value_type):
        return reader.read_row_group(row_group, column_indices=[*range(first, first + _n_leaves(type_))]).column(0)
    lists: Any = None
    columns: list[Any] = []
    for f in type_.value_type:
        leaves = [*range(first, first + _n_leaves(f.type))]
        first += len(leaves)
        lists = reader.read_row_group(row_group, column_indices=leaves).column(0).combine_chunks()
        lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
        columns.append(lists.values.field(0))
    values = pa.StructArray.from_arrays(columns, fields=list(type_.value_type))
    offsets = lists.offsets
    return pa.chunked_array(
        [pa.ListArray.from_arrays(offsets, values, mask=lists.is_null() if lists.null_count else None)]
    )


def _n_leaves(type_: Any) -> int:
    """How many columns of Parquet a type is."""
    return sum(_n_leaves(type_.field(i).type) for i in range(type_.num_fields)) or 1


def damaged_part(part: PartFile, error: Exception) -> StorageError:
    """What is raised for a part whose beginning and end are well and whose inside is not."""
    raise_if_refused(error, part.path)
    said = str(error).splitlines()
    return StorageError(
        f"part {part.name} of the ledger is damaged: {said[0] if said else type(error).__name__}",
        hint="`scythe retry` sets it aside and runs its cases again.",
    )
