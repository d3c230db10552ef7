"""CSV sampling files: every cell stays text, and every row knows the line where it starts."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv

from scythe_cli.errors import SamplingFileError, first_line
from scythe_cli.sampling.file_columns import RawFile, check_names
from scythe_cli.sampling.problems import MAX_SHOWN, listing, show_text

__all__ = ["read_csv"]


_BLOCK_BYTES = 1 << 20
_LARGEST_FIELD = 2**31 - 1
_SAVE_AS_UTF8 = "Save the file as UTF-8: in Excel, 'CSV UTF-8 (comma delimited)'."


@dataclass(frozen=True, slots=True)
class _LineLabel:
    """`line 18`: the physical line where a row starts; the header is on line 1."""

    starts: npt.NDArray[np.int64] | None = None  # None: one line a row, none of them blank

    def __call__(self, row: int) -> str:
        return f"line {row + 2 if self.starts is None else int(self.starts[row])}"


@dataclass(frozen=True, slots=True)
class _Scan:
    """What a pass over the bytes of a file has shown.

    Attributes:
        has_quotes: Whether there is a double quote.
        line_ends: The line ends, without those that nothing comes after.
        last_line: The last line that is not blank.
    """

    has_quotes: bool
    line_ends: int
    last_line: str


def read_csv(path: Path) -> RawFile:
    """Read a CSV file, block by block: only its cells are kept.

    Raises:
        SamplingFileError: If it is no UTF-8 text, or no table.
        OSError: If it cannot be read.
    """
    scan = _scan(path)
    with _any_field_size():
        header = next((cells for cells, _ in _rows(path) if cells), None)
    if header is None:
        raise SamplingFileError(f"{path}: the file is empty", hint="The first line names the columns.")
    names = [name.strip() for name in header]
    if len(names) == 1 and (delimiter := next((d for d in (";", "\t") if d in names[0]), None)):
        raise SamplingFileError(
            f"{path}: the header is a single cell with {'semicolons' if delimiter == ';' else 'tabs'} in it",
            hint="Save the file with a comma as the delimiter.",
        )
    check_names(path, names)
    table = _parse(path, scan, header)
    return RawFile(path, names, table.columns, table.num_rows, _LineLabel(_row_starts(path, scan, table.num_rows)))


def _scan(path: Path) -> _Scan:
    """Check that a file is text, and count its lines."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    has_quotes = False
    line_ends = at = 0
    before = b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            if not at and block.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise SamplingFileError(f"{path}: the file is UTF-16 text", hint=_SAVE_AS_UTF8)
            nul = block.find(b"\0")
            if nul >= 0:
                line, offset = _place(file, at + nul)
                raise SamplingFileError(
                    f"{path}: line {line}, byte {offset}: a NUL byte, so this is no text file or a damaged one"
                )
            _decode(path, file, decoder, block, at)
            has_quotes = has_quotes or b'"' in block
            line_ends += _line_ends(block) - (before.endswith(b"\r") and block.startswith(b"\n"))
            at += len(block)
            before = block
        _decode(path, file, decoder, b"", at)
        last, blank = _last_line(file, at)
    return _Scan(has_quotes, line_ends - _line_ends(blank), last.decode("utf-8", "replace"))


def _decode(path: Path, file: BinaryIO, decoder: codecs.IncrementalDecoder, block: bytes, at: int) -> None:
    pending, _ = decoder.getstate()
    if block and block.isascii() and not pending:
        return
    try:
        # the decoded text is dropped at once; Arrow reads the bytes
        decoder.decode(block, final=not block)
    except UnicodeDecodeError as error:
        # the error counts from the bytes that the decoder had kept
        line, offset = _place(file, at - len(pending) + error.start)
        raise SamplingFileError(
            f"{path}: line {line}, byte {offset}: 0x{error.object[error.start]:02X} is not UTF-8 text",
            hint=_SAVE_AS_UTF8,
        ) from None


def _place(file: BinaryIO, at: int) -> tuple[int, int]:
    """Line and byte in the line, both from 1."""
    file.seek(0)
    before = file.read(at)
    newline = max(before.rfind(b"\n"), before.rfind(b"\r"))
    return _line_ends(before) + 1, at - newline


def _line_ends(data: bytes) -> int:
    returns = data.count(b"\r")
    return data.count(b"\n") + (returns - data.count(b"\r\n") if returns else 0)


def _last_line(file: BinaryIO, size: int) -> tuple[bytes, bytes]:
    """The last line that is not blank, and the line ends after it."""
    tail = b""
    start = size
    while start:
        step = min(_BLOCK_BYTES, start)
        start -= step
        file.seek(start)
        tail = file.read(step) + tail
        text = tail.rstrip(b"\r\n")
        newline = max(text.rfind(b"\n"), text.rfind(b"\r"))
        if text and newline >= 0:
            return text[newline + 1 :], tail[len(text) :]
    text = tail.rstrip(b"\r\n")
    return text, tail[len(text) :]


def _parse(path: Path, scan: _Scan, header: list[str]) -> pa.Table:
    # a block must hold the longest row
    read_options = pa_csv.ReadOptions(block_size=1 << 22)
    parse_options = pa_csv.ParseOptions(newlines_in_values=scan.has_quotes)
    convert_options = pa_csv.ConvertOptions(
        column_types={name: pa.string() for name in header},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )
    try:
        with path.open("rb") as file:
            table = pa_csv.read_csv(file, read_options, parse_options, convert_options)
    except pa.ArrowInvalid as error:
        _raise_ragged(path, len(header))
        if not _has_cases(path):
            return pa.table({name: pa.array([], pa.string()) for name in header})
        raise SamplingFileError(f"{path}: cannot be read as CSV: {first_line(error)}") from error
    if table.column_names != header:
        raise SamplingFileError(f"{path}: the header cannot be read; does a cell of it hold a line break?")
    return table


def _has_cases(path: Path) -> bool:
    with _any_field_size():
        rows = (cells for cells, _ in _rows(path) if cells)
        return next(rows, None) is not None and next(rows, None) is not None


def _raise_ragged(path: Path, n_columns: int) -> None:
    """Raise an error that names the lines with too few or too many cells, if there are any."""
    lines: list[str] = []
    count = 0
    last = 1
    with _any_field_size():
        for cells, line in _rows(path):
            last = line
            if cells and len(cells) != n_columns:
                count += 1
                if len(lines) < MAX_SHOWN:
                    noun = "cell" if len(cells) == 1 else "cells"
                    lines.append(f"line {line}: {len(cells)} {noun}, the header has {n_columns}")
    if _ends_in_quotes(_lines_from(path, last)):
        _raise_open_quote(path, last)
    if count:
        title = f"{path}: {count:,} {'line has' if count == 1 else 'lines have'} not as many cells as the header"
        raise SamplingFileError(
            listing(title, lines, count), hint='A cell that holds a comma must stand in double quotes: "a, b".'
        )


def _row_starts(path: Path, scan: _Scan, n_rows: int) -> npt.NDArray[np.int64] | None:
    """The line where each row starts, or None if each row is one line and no line is blank."""
    if scan.line_ends == n_rows:
        # every row takes a line at least, so that none is left for a blank line or a line break in quotes
        if scan.has_quotes and _ends_in_quotes([scan.last_line]):
            _raise_open_quote(path, n_rows + 1)
        return None
    with _any_field_size():
        starts = np.fromiter((line for cells, line in _rows(path) if cells), np.int64)[1:]
    if len(starts) != n_rows:
        raise SamplingFileError(f"{path}: cannot be read as CSV: its quotes are not balanced")
    last = int(starts[-1]) if n_rows else 1
    if scan.has_quotes and _ends_in_quotes(_lines_from(path, last)):
        _raise_open_quote(path, last)
    return starts


def _raise_open_quote(path: Path, line: int) -> None:
    text = show_text(next(_lines_from(path, line), "").rstrip("\r\n"))
    raise SamplingFileError(
        f"{path}: line {line}: a double quote is opened and never closed: {text}",
        hint='Close it, or write a quote that belongs to the text twice and the cell in quotes: "5"" pipe".',
    )


def _lines_from(path: Path, line: int) -> Iterator[str]:
    # newline="": a line ends at \n, \r or \r\n, and keeps it
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        for number, text in enumerate(lines, 1):
            if number >= line:
                yield text


def _rows(path: Path) -> Iterator[tuple[list[str], int]]:
    """The rows with the line where each starts; a blank line is a row without cells.

    The csv module tells rows and cells apart by the same rules as Arrow's reader.
    """
    reader = csv.reader(_lines_from(path, 1))
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
