"""JSON: an object in each line (JSON Lines), or an array of objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from scythe_cli.errors import SamplingFileError
from scythe_cli.sampling.file_columns import RawFile, chunked
from scythe_cli.sampling.problems import MAX_SHOWN, listing

__all__ = ["read_records"]


_EXACT_IN_DOUBLE = 2**53


@dataclass(frozen=True, slots=True)
class _LineLabel:
    lines: Sequence[int]

    def __call__(self, row: int) -> str:
        return f"line {self.lines[row]}"


@dataclass(frozen=True, slots=True)
class _RecordLabel:
    def __call__(self, row: int) -> str:
        return f"record {row}"


def read_records(path: Path, shown: str) -> RawFile:
    """Read JSON Lines, or a JSON array of objects.

    Raises:
        SamplingFileError: If it is none of these.
        OSError: If it cannot be read.
    """
    data = path.read_bytes()
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        records, label = _array(data, shown), cast("Callable[[int], str]", _RecordLabel())
    else:
        lines, records = _lines(data, shown)
        label = _LineLabel(lines)
    names = list(dict.fromkeys(name for record in records for name in record))
    columns: list[pa.ChunkedArray[Any]] = []
    as_json: list[str] = []
    for name in names:
        values = [record.get(name) for record in records]
        array = _plain_array(values)
        if array is None:
            as_json.append(name.strip())
            array = pa.array([None if v is None else json.dumps(v) for v in values], pa.string())
        columns.append(chunked([array], array.type))
    names = [name.strip() for name in names]
    return RawFile(shown, names, columns, len(records), label, is_text=False, as_json=frozenset(as_json))


def _array(data: bytes, shown: str) -> list[dict[str, Any]]:
    try:
        records = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SamplingFileError(f"{shown}: not JSON: {error}") from None
    for position, record in enumerate(records):
        if not isinstance(record, dict):
            raise SamplingFileError(f"{shown}: record {position} is not an object with a value for each field")
    return records


def _lines(data: bytes, shown: str) -> tuple[list[int], list[dict[str, Any]]]:
    numbers: list[int] = []
    records: list[dict[str, Any]] = []
    mistakes: list[str] = []
    for number, line in _numbered(data):
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError("no object with a value for each field")
        except (ValueError, RecursionError) as error:
            mistakes.append(f"line {number}: {error.msg if isinstance(error, json.JSONDecodeError) else error}")
            continue
        numbers.append(number)
        records.append(cast("dict[str, Any]", record))
    if mistakes:
        n = len(mistakes)
        title = f"{shown}: {n:,} {'line is' if n == 1 else 'lines are'} no JSON object"
        raise SamplingFileError(listing(title, mistakes[:MAX_SHOWN], n))
    return numbers, records


def _numbered(data: bytes) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            yield number, line


def _plain_array(values: Sequence[Any]) -> pa.Array[Any] | None:
    """Values of one plain type as a typed array; None for any others."""
    kinds = {type(value) for value in values if value is not None}
    type_: Any = None
    if kinds == {bool}:
        type_ = pa.bool_()
    elif kinds == {int}:
        type_ = pa.int64()
    elif kinds == {str}:
        type_ = pa.string()
    elif kinds == {float} or (
        kinds == {int, float} and all(abs(v) <= _EXACT_IN_DOUBLE for v in values if type(v) is int)
    ):
        type_ = pa.float64()
        values = [None if v is None else float(v) for v in values]
    elif not kinds:
        type_ = pa.string()
    if type_ is None:
        return None
    try:
        return pa.array(values, type_)
    except (pa.ArrowException, OverflowError, UnicodeError):
        return None
