"""Text of any encoding, and how its cells are told apart: brought to UTF-8, with the lines that are no rows made blank.

Lines keep their numbers, so that a mistake is named where the user sees it.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from scythe_cli.errors import SamplingFileError
from scythe_cli.sampling.files.places import LocalFile

__all__ = ["DELIMITERS", "TextFile", "text_of", "without_lines"]


DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

_CHARACTERS = 1 << 20
_LINES_LOOKED_AT = 30
_LONGEST_LINE = 1 << 24
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*\Z')
_MARKS = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32"} | {
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text file as it can be read.

    Attributes:
        path: UTF-8 text, with the same lines.
        shown: What the file is called in messages.
        delimiter: What is between its cells.
        notices: What was guessed or left out, in a few words each.
    """

    path: Path
    shown: str
    delimiter: str
    notices: list[str] = field(default_factory=list[str])


def text_of(file: LocalFile, encoding: str | None) -> TextFile:
    """Prepare a text file.

    Args:
        file: The file.
        encoding: How its characters are written, by a name that Python knows; from its first bytes unless given.

    Raises:
        SamplingFileError: If it is not of that encoding.
        OSError: If it cannot be read.
    """
    notices: list[str] = []
    path = file.path
    with path.open("rb") as source:
        magic = source.read(4)
    if encoding is None:
        encoding = next((name for mark, name in _MARKS.items() if magic.startswith(mark)), None)
        if encoding is not None:
            notices.append(f"as {encoding}")
    if encoding is not None and not _is_utf8(file, encoding):
        path = _recoded(file, encoding)
    lines = list(islice(_lines(path), _LINES_LOOKED_AT))
    n_before = 0
    delimiter = None
    if lines and (separator := _SEP_LINE.match(lines[0])):
        delimiter, n_before = separator[1], 1
    comments = 0
    while n_before + comments < len(lines) and _is_comment(lines, n_before + comments):
        comments += 1
    if comments:
        notices.append(f"without {comments} comment {'line' if comments == 1 else 'lines'} before the header")
    n_before += comments
    if delimiter is None:
        delimiter = "\t" if file.suffix in (".tsv", ".tab") else _guessed(lines[n_before:])
        if delimiter not in (",", "\t" if file.suffix in (".tsv", ".tab") else ","):
            notices.append(f"with {DELIMITERS[delimiter]} between cells")
    if n_before:
        path = without_lines(path, file.folder / "without-first-lines", range(1, n_before + 1))
    return TextFile(path, file.shown, delimiter, notices)


def _is_comment(lines: Sequence[str], at: int) -> bool:
    return lines[at].startswith("#") and at + 1 < len(lines)


def _is_utf8(file: LocalFile, encoding: str) -> bool:
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        raise SamplingFileError(
            f"{file.shown}: there is no encoding {encoding!r}", hint="Common ones are utf-8, utf-16 and cp1252."
        ) from None
    return name in ("utf-8", "utf-8-sig", "ascii")


def _recoded(file: LocalFile, encoding: str) -> Path:
    copy = file.folder / "utf-8"
    at_line = 1
    try:
        with (
            file.path.open(encoding=encoding, newline="") as source,
            copy.open("w", encoding="utf-8", newline="") as target,
        ):
            while text := source.read(_CHARACTERS):
                target.write(text)
                at_line += text.count("\n")
    except (UnicodeError, LookupError) as error:
        reason = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
        raise SamplingFileError(
            f"{file.shown}: not {encoding} text, from line {at_line} on: {reason}",
            hint="Name the encoding that the file has with --encoding.",
        ) from None
    return copy


def _lines(path: Path) -> Iterator[str]:
    """The lines of UTF-8 text, without their ends."""
    # newline="": a line ends at \n, \r or \r\n
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        while line := lines.readline(_LONGEST_LINE):
            yield line.rstrip("\r\n")


def _guessed(lines: Sequence[str]) -> str:
    """What is between cells: what gives each line as many cells as the header, if that is more than one."""
    shown = [line for line in lines if line.strip()]
    if not shown:
        return ","
    counts = {delimiter: _cell_counts(shown, delimiter) for delimiter in DELIMITERS}
    for delimiter, n_cells in counts.items():
        if n_cells[0] > 1 and len(set(n_cells)) == 1:
            return delimiter
    if counts[","][0] > 1 or max(n_cells[0] for n_cells in counts.values()) == 1:
        return ","
    # a header of one cell by commas: a column of its own, unless the other lines are cut alike
    best = max(DELIMITERS, key=lambda delimiter: counts[delimiter][0])
    return best if any(n > 1 for n in counts[best][1:]) or len(shown) == 1 else ","


def _cell_counts(lines: Sequence[str], delimiter: str) -> list[int]:
    try:
        rows = [cells for cells in csv.reader((f"{line}\n" for line in lines), delimiter=delimiter) if cells]
    except csv.Error:
        return [1]
    # a quote that is not closed yet swallows the rest of what was looked at
    return [len(cells) for cells in (rows[:-1] if len(rows) > 2 and len(lines) == _LINES_LOOKED_AT else rows)] or [1]


def without_lines(path: Path, copy: Path, numbers: range | set[int]) -> Path:
    """A copy of UTF-8 text in which some lines, counted from 1, are blank."""
    with (
        path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as source,
        copy.open("w", encoding="utf-8", errors="surrogateescape", newline="") as target,
    ):
        if isinstance(numbers, range):  # the first ones: the rest is copied as it is
            for _ in numbers:
                target.write(_end_of(source.readline()))
            while text := source.read(_CHARACTERS):
                target.write(text)
            return copy
        for number, line in enumerate(source, 1):
            target.write(_end_of(line) if number in numbers else line)
    return copy


def _end_of(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :]
