"""The files of a ledger's parts: what is known of one before its rows are read, and whose it is.

A part that is damaged is told from a file that somebody else has put beside the parts.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from scythe_cli.arrow.checksum import bears_mark, has_whole_pages, whole_footer
from scythe_cli.core.files import ForeignFileError, open_regular
from scythe_cli.errors import StorageError
from scythe_cli.model.outcome_schema import FRAME, LEVELS_KEY, OUTCOME_SCHEMA

__all__ = [
    "FIRST_KEY",
    "FRAME_BYTES_KEY",
    "PartFile",
    "RowGroup",
    "is_own_part",
    "is_part_name",
    "open_part",
    "raise_if_refused",
]


FRAME_BYTES_KEY = b"scythe:frame_bytes"
"""Key in the metadata of a part: the size of its user dataframes in memory."""

FIRST_KEY = b"scythe:first"
"""Key in the metadata of a part: the lowest `sort_index` in it."""

# the engine or what else wrote it, when, at random, and which of its parts
_NAME = re.compile(r"[a-z][a-z0-9_.]*-[0-9]{8}T[0-9]{6}-[0-9a-f]{8}(-[A-Za-z0-9_.+-]*)?", re.ASCII)
_MAGIC = b"PAR1"


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
    """Open a part; None when it is damaged, or not one of ours. `ours` are the columns of another part that is."""
    try:
        footer = whole_footer(path)
        if footer is None or (whole and not has_whole_pages(path)):
            return None
        with pq.ParquetFile(pa.BufferReader(footer)) as file:
            schema = file.schema_arrow
            metadata: Any = file.metadata
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
