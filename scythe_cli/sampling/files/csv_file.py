"""CSV sampling files: every cell stays text, and every row knows the line where it starts."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv

from scythe_cli.arrow.mapped import LARGE_BYTES, mapped_table
from scythe_cli.errors import SamplingFileError, first_line
from scythe_cli.sampling.file_columns import RawFile
from scythe_cli.sampling.files.text_file import TextFile, without_lines
from scythe_cli.sampling.problems import CellProblem, show_text

__all__ = ["read_csv"]


_BLOCK_BYTES = 1 << 20
_LINE_END = re.compile(r"\r\n|\r|\n")
_LARGEST_FIELD = 2**31 - 1
_OTHER_ENCODING = "Name the encoding, such as --encoding cp1252, or save the file as UTF-8."


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


def read_csv(file: TextFile, folder: Path) -> RawFile:
    """Read text with a row in each line, block by block: only its cells are kept.

    Lines with too few or too many cells are problems of the file, and the others are read all the same.

    Args:
        file: The text.
        folder: A folder for files that are gone when this one has been read.

    Raises:
        SamplingFileError: If it is no UTF-8 text, or no table.
        OSError: If it cannot be read.
    """
    scan = _scan(file)
    with _any_field_size():
        header = next((cells for cells, _ in _rows(file) if cells), None)
    if header is None:
        raise SamplingFileError(f"{file.shown}: the file is empty", hint="The first line names the columns.")
    notices = [*file.notices]
    problems: list[CellProblem] = []
    table = _parse(file, scan, header)
    if table is None:
        ragged = _ragged_lines(file, header)
        if not ragged.lines:
            raise SamplingFileError(f"{file.shown}: cannot be read as CSV")
        problems = ragged.problems
        if ragged.n_comments:
            notices.append(f"without {ragged.n_comments} comment {'line' if ragged.n_comments == 1 else 'lines'}")
        file = replace(file, path=without_lines(file.path, folder / "without-lines", ragged.lines))
        scan = _scan(file)
        table = _parse(file, scan, header)
        if table is None:
            raise SamplingFileError(f"{file.shown}: cannot be read as CSV")
    label = _LineLabel(_row_starts(file, scan, table.num_rows))
    raw = RawFile(file.shown, [name.strip() for name in header], table.columns, table.num_rows, label)
    return replace(raw, notices=notices, problems=problems)


def _scan(file: TextFile) -> _Scan:
    """Check that a file is text, and count its lines."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    has_quotes = False
    line_ends = at = 0
    before = b""
    with file.path.open("rb") as source:
        while block := source.read(_BLOCK_BYTES):
            nul = block.find(b"\0")
            if nul >= 0:
                line, offset = _place(source, at + nul)
                raise SamplingFileError(
                    f"{file.shown}: line {line}, byte {offset}: a NUL byte, so this is not text, or it is damaged",
                    hint="If it is text with two bytes for a character: --encoding utf-16-le, or utf-16-be.",
                )
            _decode(file, source, decoder, block, at)
            has_quotes = has_quotes or b'"' in block
            line_ends += _line_ends(block) - (before.endswith(b"\r") and block.startswith(b"\n"))
            at += len(block)
            before = block
        _decode(file, source, decoder, b"", at)
        last, blank = _last_line(source, at)
    return _Scan(has_quotes, line_ends - _line_ends(blank), last.decode("utf-8", "replace"))


def _decode(file: TextFile, source: BinaryIO, decoder: codecs.IncrementalDecoder, block: bytes, at: int) -> None:
    pending, _ = decoder.getstate()
    if block and block.isascii() and not pending:
        return
    try:
        # the decoded text is dropped at once; Arrow reads the bytes
        decoder.decode(block, final=not block)
    except UnicodeDecodeError as error:
        # the error counts from the bytes that the decoder had kept
        line, offset = _place(source, at - len(pending) + error.start)
        raise SamplingFileError(
            f"{file.shown}: line {line}, byte {offset}: 0x{error.object[error.start]:02X} is not UTF-8 text",
            hint=_OTHER_ENCODING,
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


def _parse(file: TextFile, scan: _Scan, header: list[str]) -> pa.Table | None:
    """The cells as columns of text; None where lines have not as many cells as the header."""
    # a block must hold the longest row
    read_options = pa_csv.ReadOptions(block_size=1 << 22)
    parse_options = pa_csv.ParseOptions(delimiter=file.delimiter, newlines_in_values=scan.has_quotes)
    convert_options = pa_csv.ConvertOptions(
        column_types={name: pa.string() for name in header},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )
    try:
        with file.path.open("rb") as source:
            if file.path.stat().st_size < LARGE_BYTES:
                table = pa_csv.read_csv(source, read_options, parse_options, convert_options)
            else:
                reader = pa_csv.open_csv(source, read_options, parse_options, convert_options)
                table = mapped_table(reader, reader.schema)
    except pa.ArrowInvalid as error:
        n_rows = _n_rows(file, header)
        if n_rows is None:
            return None
        if n_rows == 0:
            return pa.Table.from_arrays([pa.array([], pa.string()) for _ in header], names=header)
        raise SamplingFileError(f"{file.shown}: cannot be read as CSV: {first_line(error)}") from error
    if table.column_names != header:
        raise SamplingFileError(f"{file.shown}: the header cannot be read; does a cell of it hold a line break?")
    return table


def _n_rows(file: TextFile, header: list[str]) -> int | None:
    """The number of rows below the header; None where one has more or fewer cells."""
    count = -1
    with _any_field_size():
        for cells, _ in _rows(file):
            if cells:
                count += 1
                if len(cells) != len(header):
                    return None
    return count


@dataclass(frozen=True, slots=True)
class _Ragged:
    """The lines that are no rows.

    Attributes:
        lines: Their numbers.
        problems: What is wrong with them.
        n_comments: How many are comments.
    """

    lines: set[int]
    problems: list[CellProblem]
    n_comments: int


def _ragged_lines(file: TextFile, header: list[str]) -> _Ragged:
    """The lines with more or fewer cells than the header.

    Raises:
        SamplingFileError: If a double quote is never closed: then all that comes after it is one cell.
    """
    lines: set[int] = set()
    problems: list[CellProblem] = []
    n_comments = 0
    row = -1  # of the header
    last = 1
    with _any_field_size():
        for cells, line in _rows(file):
            last = line
            if not cells:
                continue
            if len(cells) == len(header):
                row += 1
                continue
            # a cell may have line breaks in it
            lines.update(range(line, line + 1 + sum(len(_LINE_END.findall(cell)) for cell in cells)))
            if cells[0].startswith("#"):
                n_comments += 1
                continue
            noun = "cell" if len(cells) == 1 else "cells"
            message = f"{len(cells)} {noun}, the header has {len(header)}"
            problems.append(CellProblem(f"line {line}", max(row, 0), None, None, message))
    if _ends_in_quotes(_lines_from(file, last), file.delimiter):
        _raise_open_quote(file, last)
    return _Ragged(lines, problems, n_comments)


def _row_starts(file: TextFile, scan: _Scan, n_rows: int) -> npt.NDArray[np.int64] | None:
    """The line where each row starts, or None if each row is one line and no line is blank."""
    if scan.line_ends == n_rows:
        # every row takes a line at least, so that none is left for a blank line or a line break in quotes
        if scan.has_quotes and _ends_in_quotes([scan.last_line], file.delimiter):
            _raise_open_quote(file, n_rows + 1)
        return None
    with _any_field_size():
        starts = np.fromiter((line for cells, line in _rows(file) if cells), np.int64)[1:]
    if len(starts) != n_rows:
        raise SamplingFileError(f"{file.shown}: cannot be read as CSV: its quotes are not balanced")
    last = int(starts[-1]) if n_rows else 1
    if scan.has_quotes and _ends_in_quotes(_lines_from(file, last), file.delimiter):
        _raise_open_quote(file, last)
    return starts


def _raise_open_quote(file: TextFile, line: int) -> None:
    text = show_text(next(_lines_from(file, line), "").rstrip("\r\n"))
    raise SamplingFileError(
        f"{file.shown}: line {line}: a double quote is opened and never closed: {text}",
        hint='Close it, or write a quote that belongs to the text twice and the cell in quotes: "5"" pipe".',
    )


def _lines_from(file: TextFile, line: int) -> Iterator[str]:
    # newline="": a line ends at \n, \r or \r\n, and keeps it
    with file.path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        for number, text in enumerate(lines, 1):
            if number >= line:
                yield text


def _rows(file: TextFile) -> Iterator[tuple[list[str], int]]:
    """The rows with the line where each starts; a blank line is a row without cells.

    The csv module tells rows and cells apart by the same rules as Arrow's reader.
    """
    reader = csv.reader(_lines_from(file, 1), delimiter=file.delimiter)
    line = 1
    for cells in reader:
        yield cells, line
        line = reader.line_num + 1


def _ends_in_quotes(lines: Iterable[str], delimiter: str) -> bool:
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
        for cells in csv.reader(with_mark(), delimiter=delimiter):
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
