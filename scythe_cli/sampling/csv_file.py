"""CSV sampling files: every cell stays text, and every row knows the line where it starts."""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv

from scythe_cli.errors import SamplingFileError
from scythe_cli.sampling.problems import MAX_SHOWN, listing, show_text
from scythe_cli.sampling.raw import RawFile, check_names

__all__ = ["read_csv"]

_BOM = b"\xef\xbb\xbf"
_LARGEST_FIELD = 2**31 - 1
_SAVE_AS_UTF8 = "Save the file as UTF-8: in Excel, 'CSV UTF-8 (comma delimited)'."


@dataclass(frozen=True, slots=True)
class _LineLabel:
    """`line 18`: the physical line where a row starts; the header is on line 1."""

    starts: npt.NDArray[np.int64] | None = None  # None: one line a row, none of them blank

    def __call__(self, row: int) -> str:
        return f"line {row + 2 if self.starts is None else int(self.starts[row])}"


def read_csv(path: Path) -> RawFile:
    """Read a CSV file.

    Raises:
        SamplingFileError: If it is no UTF-8 text, or no table.
        OSError: If it cannot be read.
    """
    data = path.read_bytes()
    _check_is_text(path, data)
    with _any_field_size():
        header = next((cells for cells, _ in _rows(data) if cells), None)
    if header is None:
        raise SamplingFileError(f"{path}: the file is empty", hint="The first line names the columns.")
    names = [name.strip() for name in header]
    if len(names) == 1 and (found := next((d for d in (";", "\t") if d in names[0]), None)):
        raise SamplingFileError(
            f"{path}: the header is a single cell with {'semicolons' if found == ';' else 'tabs'} in it",
            hint="Save the file with a comma as the delimiter.",
        )
    check_names(path, names)
    table = _parse(path, data, header)
    return RawFile(path, names, table.columns, table.num_rows, _LineLabel(_row_starts(path, data, table.num_rows)))


def _check_is_text(path: Path, data: bytes) -> None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SamplingFileError(f"{path}: the file is UTF-16 text", hint=_SAVE_AS_UTF8)
    at = data.find(b"\0")
    if at >= 0:
        line, offset = _place(data, at)
        raise SamplingFileError(
            f"{path}: line {line}, byte {offset}: a NUL byte, so this is no text file or a damaged one"
        )
    try:
        # the decoded text is dropped at once; Arrow reads the bytes
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line, offset = _place(data, error.start)
        raise SamplingFileError(
            f"{path}: line {line}, byte {offset}: 0x{data[error.start]:02X} is not UTF-8 text", hint=_SAVE_AS_UTF8
        ) from None


def _place(data: bytes, at: int) -> tuple[int, int]:
    """Line and byte in the line, both from 1."""
    before = data[:at]
    newline = max(before.rfind(b"\n"), before.rfind(b"\r"))
    return _line_ends(before, len(before)) + 1, at - newline


def _line_ends(data: bytes, end: int) -> int:
    returns = data.count(b"\r", 0, end)
    return data.count(b"\n", 0, end) + (returns - data.count(b"\r\n", 0, end) if returns else 0)


def _parse(path: Path, data: bytes, header: list[str]) -> pa.Table:
    quoted = b'"' in data
    source: Any = pa.BufferReader(data)
    try:
        table = pa_csv.read_csv(
            source,
            # a block must hold the longest row
            read_options=pa_csv.ReadOptions(block_size=1 << 22),
            parse_options=pa_csv.ParseOptions(newlines_in_values=quoted),
            convert_options=pa_csv.ConvertOptions(
                column_types={name: pa.string() for name in header},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        _raise_ragged(path, data, len(header))
        if not _has_cases(data):
            return pa.table({name: pa.array([], pa.string()) for name in header})
        raise SamplingFileError(f"{path}: cannot be read as CSV: {str(error).splitlines()[0][:200]}") from error
    if table.column_names != header:
        raise SamplingFileError(f"{path}: the header cannot be read; does a cell of it hold a line break?")
    return table


def _has_cases(data: bytes) -> bool:
    with _any_field_size():
        rows = (cells for cells, _ in _rows(data) if cells)
        return next(rows, None) is not None and next(rows, None) is not None


def _raise_ragged(path: Path, data: bytes, n_columns: int) -> None:
    """Raise an error that names the lines with too few or too many cells, if there are any."""
    lines: list[str] = []
    count = 0
    last = 1
    with _any_field_size():
        for cells, line in _rows(data):
            last = line
            if cells and len(cells) != n_columns:
                count += 1
                if len(lines) < MAX_SHOWN:
                    noun = "cell" if len(cells) == 1 else "cells"
                    lines.append(f"line {line}: {len(cells)} {noun}, the header has {n_columns}")
    if _ends_in_quotes(_lines_from(data, last)):
        _raise_open_quote(path, data, last)
    if count:
        title = f"{path}: {count:,} {'line has' if count == 1 else 'lines have'} not as many cells as the header"
        raise SamplingFileError(
            listing(title, lines, count), hint='A cell that holds a comma must stand in double quotes: "a, b".'
        )


def _row_starts(path: Path, data: bytes, n_rows: int) -> npt.NDArray[np.int64] | None:
    """The line where each row starts, or None if each row is one line and no line is blank."""
    end = len(data)
    while end and data[end - 1] in b"\r\n":
        end -= 1
    quoted = b'"' in data
    if _line_ends(data, end) == n_rows:
        # every row takes a line at least, so that none is left for a blank line or a line break in quotes
        last_line = data[max(data.rfind(b"\n", 0, end), data.rfind(b"\r", 0, end)) + 1 :]
        if quoted and _ends_in_quotes([last_line.decode("utf-8", "replace")]):
            _raise_open_quote(path, data, n_rows + 1)
        return None
    with _any_field_size():
        starts = [line for cells, line in _rows(data) if cells][1:]
    if len(starts) != n_rows:
        raise SamplingFileError(f"{path}: cannot be read as CSV: its quotes are not balanced")
    if quoted and _ends_in_quotes(_lines_from(data, starts[-1] if starts else 1)):
        _raise_open_quote(path, data, starts[-1] if starts else 1)
    return np.array(starts, dtype=np.int64)


def _raise_open_quote(path: Path, data: bytes, line: int) -> None:
    text = show_text(next(iter(_lines_from(data, line)), "").rstrip("\r\n"))
    raise SamplingFileError(
        f"{path}: line {line}: a double quote is opened and never closed: {text}",
        hint='Close it, or write a quote that belongs to the text twice and the cell in quotes: "5"" pipe".',
    )


def _text(data: bytes) -> io.TextIOWrapper:
    # newline="": a line ends at \n, \r or \r\n, and keeps it
    return io.TextIOWrapper(io.BytesIO(data.removeprefix(_BOM)), encoding="utf-8", errors="replace", newline="")


def _lines_from(data: bytes, line: int) -> Iterator[str]:
    return (text for number, text in enumerate(_text(data), 1) if number >= line)


def _rows(data: bytes) -> Iterator[tuple[list[str], int]]:
    """The rows with the line where each starts; a blank line is a row without cells.

    The csv module tells rows and cells apart by the same rules as Arrow's reader.
    """
    reader = csv.reader(_text(data))
    line = 1
    for cells in reader:
        yield cells, line
        line = reader.line_num + 1


def _ends_in_quotes(lines: Iterable[str]) -> bool:
    """Whether the last cell of some lines is still open: then it swallows what comes next."""
    mark = "end"

    def with_mark() -> Iterator[str]:
        text = ""
        for text in lines:
            yield text
        if not text.endswith(("\n", "\r")):
            yield "\n"
        yield mark

    last: list[str] = []
    with _any_field_size():
        for cells in csv.reader(with_mark()):
            last = cells
    return last != [mark]


@contextmanager
def _any_field_size() -> Generator[None]:
    """Let the csv module take cells of any length; its limit is one for the whole process."""
    before = csv.field_size_limit(_LARGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)
