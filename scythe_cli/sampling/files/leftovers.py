"""What programs leave in tables that is no case: rows and columns of nothing, counted rows, rows of units."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from scythe_cli.errors import SamplingFileError
from scythe_cli.sampling.file_columns import RawFile
from scythe_cli.sampling.problems import show_text

__all__ = ["with_decimal_comma", "without_leftovers"]


pc: Any = pyarrow.compute  # its stubs do not know the types that its functions take

# as pandas and Polars name the columns of a header that have no name
_UNNAMED = re.compile(r"(Unnamed: [0-9]+(_level_[0-9]+)?|__UNNAMED__[0-9]+|_duplicated_[0-9]+)?(\.[0-9]+)*\Z")
_NAMED_AT_MOST = 3
_COMMA_NUMBER = r"^\s*[+-]?[0-9]+,[0-9]+([eE][+-]?[0-9]+)?\s*$"


@dataclass(frozen=True, slots=True)
class _LabelOfKept:
    """The place of a row in the file, after others have been left out."""

    label: Callable[[int], str]
    kept: npt.NDArray[np.int64]

    def __call__(self, row: int) -> str:
        return self.label(int(self.kept[row]))


def without_leftovers(raw: RawFile, *, units_row: bool = False) -> RawFile:
    """The file without what is no case; what is left out is told.

    Args:
        raw: The file.
        units_row: Whether the first row below the header holds units.

    Raises:
        SamplingFileError: If there is no row that could be one of units.
    """
    if units_row:
        raw = _without_units(raw)
    raw = _without_unnamed(raw)
    return _without_empty_rows(raw) if raw.is_text else raw


def with_decimal_comma(raw: RawFile) -> RawFile:
    """The file with its mark for numbers that have a comma, if it has some."""
    for column in raw.columns:
        if pa.types.is_string(column.type) and pc.any(pc.match_substring_regex(column, _COMMA_NUMBER)).as_py():
            return replace(raw, decimal_comma=True, notices=[*raw.notices, "with decimal commas"])
    return raw


def _without_units(raw: RawFile) -> RawFile:
    if not raw.n_rows:
        raise SamplingFileError(f"{raw.path}: it has no row of units: nothing comes after the header")
    units = [column[0].as_py() for column in raw.columns]
    shown = ", ".join(show_text(str(unit)) for unit in units if unit)
    notice = f"without a row of units, {raw.row_label(0)}: {shown or 'empty'}"
    columns = [column.slice(1) for column in raw.columns]
    label = _LabelOfKept(raw.row_label, np.arange(1, raw.n_rows))
    return replace(raw, columns=columns, n_rows=raw.n_rows - 1, row_label=label, notices=[*raw.notices, notice])


def _without_unnamed(raw: RawFile) -> RawFile:
    kept: list[int] = []
    counters: list[str] = []
    for position, (name, column) in enumerate(zip(raw.names, raw.columns, strict=True)):
        if _UNNAMED.match(name) is None:
            kept.append(position)
        elif _is_empty(column):
            continue
        elif _counts_rows(column):
            counters.append(name or f"{position + 1}, which has no name")
        else:
            kept.append(position)
    if len(kept) == len(raw.names) or not kept:
        return raw
    notices = [f"without column {name}: it only counts rows" for name in counters]
    return replace(
        raw,
        names=[raw.names[i] for i in kept],
        columns=[raw.columns[i] for i in kept],
        notices=[*raw.notices, *notices],
    )


def _is_empty(column: pa.ChunkedArray[Any]) -> bool:
    if column.null_count == len(column):
        return True
    return pa.types.is_string(column.type) and not pc.any(pc.not_equal(pc.utf8_trim_whitespace(column), "")).as_py()


def _counts_rows(column: pa.ChunkedArray[Any]) -> bool:
    """Whether it holds 0, 1, 2 …, or 1, 2, 3 …, as an index of pandas does that was written along."""
    if column.null_count or not len(column):
        return False
    first = str(column[0].as_py())
    if first not in ("0", "1", "0.0", "1.0"):
        return False
    try:
        numbers = column.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        return False
    return bool(np.array_equal(numbers, np.arange(len(numbers)) + float(first)))


def _without_empty_rows(raw: RawFile) -> RawFile:
    if len(raw.columns) < 2 or any(not column.null_count for column in raw.columns):
        return raw
    empty = raw.columns[0].is_null()
    for column in raw.columns[1:]:
        empty = pc.and_(empty, column.is_null())
        if not pc.any(empty).as_py():
            return raw
    is_empty = empty.combine_chunks().to_numpy(zero_copy_only=False)
    kept = np.flatnonzero(~is_empty)
    gone = [raw.row_label(int(row)) for row in np.flatnonzero(is_empty)[: _NAMED_AT_MOST + 1]]
    named = ", ".join(gone[:_NAMED_AT_MOST]) + (", …" if len(gone) > _NAMED_AT_MOST else "")
    n = int(is_empty.sum())
    notice = f"without {n:,} {'row' if n == 1 else 'rows'} that hold nothing ({named})"
    columns = [column.filter(pc.invert(empty)) for column in raw.columns]
    label = _LabelOfKept(raw.row_label, kept)
    return replace(raw, columns=columns, n_rows=len(kept), row_label=label, notices=[*raw.notices, notice])
