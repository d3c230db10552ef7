"""A number for what a row says: the same for equal rows, wherever they stand and whatever they were read from.

The recipe, which must not change, since seeds of stored runs follow from it. All arithmetic is modulo 2⁶⁴; `mix` is the
finaliser of SplitMix64, and `name` is the path of a column with dots (`wind.speed`), the first 8 bytes of its
BLAKE2b-64 read as a little-endian integer.

- The number of a row is `mix` of the sum over its columns. A null adds nothing, so that neither the order of columns
  counts, nor whether a value is missing or null.
- A number or a moment adds `mix(bits ^ mix(name + kind))`, with the 64 bits of the value: of integers of any width
  int64, of floats float64, where the two zeros are alike, and all NaN; of a bool 0 or 1. `kind` is 1 for integers, 2
  for floats, 3 for bools, 4 for dates, times and durations.
- A text or bytes start from `mix(size ^ mix(name + 5))`, with the size in bytes of UTF-8, and take in 8 bytes after 8,
  little-endian and the last ones filled up with zeros, by `h = mix(h ^ word)`; of more than 256 bytes, the one word is
  the BLAKE2b-64 of all of them. JSON that holds an object counts as it is when its keys are sorted. A reference to a
  file that was uploaded to the run counts as the 16 digits of its SHA-256 that its place begins with.
- A list starts from the sum over its elements of `mix(e + 0x9E3779B97F4A7C15 · position)`, positions from 1, where `e`
  is what an element adds, and adds `mix(sum ^ mix(length ^ mix(name + 6)))`.
- A struct adds what its fields do, and `mix(name + 7)`.
- Anything else counts as the text of its `repr`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from scythe_cli.arrow.build import array_of

__all__ = ["row_contents"]


Cells = np.ndarray[Any, np.dtype[np.uint64]]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LONG_BYTES = 256
_INTEGER, _FLOAT, _BOOL, _MOMENT, _TEXT, _LIST, _STRUCT = range(1, 8)
_TYPES = pa.types


def row_contents(rows: pa.Table | pa.RecordBatch, *, leave_out: Iterable[str] = (), artifacts: str = "") -> Cells:
    """The number of each row, uint64.

    Args:
        rows: Any columns.
        leave_out: Names of columns that do not count.
        artifacts: What the references to uploaded files have before the hash: `<experiment_id>/artifacts/`.
    """
    left_out = set(leave_out)
    total = np.zeros(rows.num_rows, np.uint64)
    for field, column in zip(rows.schema, rows.columns, strict=True):
        if field.name not in left_out:
            total += _Hasher(artifacts).cells(_whole(column), field.name)
    return _mix(total)


def _whole(column: Any) -> pa.Array[Any]:
    if isinstance(column, pa.ChunkedArray):
        chunks: Any = column.chunks
        return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks) if chunks else pa.nulls(0, column.type)
    return column


def _mix(cells: Any) -> Any:
    """The finaliser of SplitMix64, a bijection of 64 bits."""
    with np.errstate(over="ignore"):
        cells = (cells ^ (cells >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        cells = (cells ^ (cells >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return cells ^ (cells >> np.uint64(31))


def _salt(name: str, kind: int) -> Any:
    named = np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"))
    with np.errstate(over="ignore"):
        return _mix(named + np.uint64(kind))


class _Hasher:
    """What cells of columns add.

    Args:
        artifacts: See `row_contents`.
    """

    def __init__(self, artifacts: str) -> None:
        self._artifacts = artifacts

    def cells(self, array: Any, name: str) -> Cells:
        """What each cell of a column adds; 0 for a null."""
        type_: Any = array.type
        if _TYPES.is_dictionary(type_):
            array = array.dictionary_decode()
            type_ = array.type
        if _TYPES.is_null(type_) or not len(array):
            return np.zeros(len(array), np.uint64)
        if _TYPES.is_struct(type_):
            # flattened, a field is null where its struct is
            fields = zip(array.flatten(), type_, strict=True)
            hashes = np.full(len(array), _salt(name, _STRUCT))
            for part, inner in fields:
                hashes += self.cells(part, f"{name}.{inner.name}")
        elif _TYPES.is_list(type_) or _TYPES.is_large_list(type_):
            hashes = self._lists(array, name)
        elif (kind := _kind_of_number(type_)) is not None:
            hashes = _mix(_bits(array) ^ _salt(name, kind))
        else:
            hashes = self._texts(array, name)
        if array.null_count:
            hashes = np.where(_is_valid(array), hashes, np.uint64(0))
        return hashes

    def _lists(self, array: Any, name: str) -> Cells:
        offsets = _offsets(array)
        elements = self.cells(array.values.slice(offsets[0], offsets[-1] - offsets[0]), name)
        lengths = np.diff(offsets)
        starts = offsets[:-1] - offsets[0]
        positions = np.arange(len(elements), dtype=np.int64) - np.repeat(starts, lengths) + 1
        placed = _mix(elements + positions.astype(np.uint64) * _GOLDEN)
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(placed, dtype=np.uint64)])
        return _mix((sums[starts + lengths] - sums[starts]) ^ _mix(lengths.astype(np.uint64) ^ _salt(name, _LIST)))

    def _texts(self, array: Any, name: str) -> Cells:
        type_ = array.type
        is_text = _TYPES.is_string(type_) or _TYPES.is_large_string(type_)
        if not is_text and not (_TYPES.is_binary(type_) or _TYPES.is_large_binary(type_)):
            array = array_of([None if cell is None else repr(cell) for cell in array.to_pylist()], pa.string())
        elif is_text:
            data = _data(array)
            if b"{" in data:
                array = _replaced(array, _canonical_json)
            if self._artifacts and self._artifacts.encode() in data:
                mark = re.compile(rf".*{re.escape(self._artifacts)}([0-9a-f]{{16}})[0-9a-f]*/[^/]+")
                array = _replaced(array, lambda text: match[1] if (match := mark.fullmatch(text)) else text)
        return _hashed_bytes(array, _salt(name, _TEXT))


def _kind_of_number(type_: Any) -> int | None:
    if _TYPES.is_integer(type_):
        return _INTEGER
    if _TYPES.is_floating(type_):
        return _FLOAT
    if _TYPES.is_boolean(type_):
        return _BOOL
    return _MOMENT if _TYPES.is_temporal(type_) and not _TYPES.is_interval(type_) else None


def _bits(array: Any) -> Cells:
    """The 64 bits of each value; anything where it is null."""
    type_, offset, n = array.type, array.offset, len(array)
    buffer = array.buffers()[1]
    if _TYPES.is_boolean(type_):
        return np.unpackbits(np.frombuffer(buffer, np.uint8), bitorder="little")[offset : offset + n].astype(np.uint64)
    width = type_.bit_width // 8
    if _TYPES.is_floating(type_):
        cells = np.frombuffer(buffer, f"f{width}")[offset : offset + n].astype(np.float64) + 0.0
        return np.where(np.isnan(cells), np.nan, cells).view(np.uint64)
    sign = "u" if _TYPES.is_unsigned_integer(type_) else "i"
    cells = np.frombuffer(buffer, f"{sign}{width}")[offset : offset + n]
    return cells.astype(np.uint64 if sign == "u" else np.int64).view(np.uint64)


def _is_valid(array: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
    buffer = array.buffers()[0]
    if buffer is None:
        return np.ones(len(array), np.bool_)
    bits = np.unpackbits(np.frombuffer(buffer, np.uint8), bitorder="little")
    return bits[array.offset : array.offset + len(array)].astype(np.bool_)


def _offsets(array: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Where the cells of texts or lists begin, and where the last one ends."""
    type_ = array.type
    is_large = _TYPES.is_large_list(type_) or _TYPES.is_large_string(type_) or _TYPES.is_large_binary(type_)
    offsets = np.frombuffer(array.buffers()[1], np.int64 if is_large else np.int32)
    return offsets[array.offset : array.offset + len(array) + 1].astype(np.int64)


def _data(array: Any) -> bytes:
    """The bytes of all texts, one after the other."""
    offsets, buffer = _offsets(array), array.buffers()[2]
    return b"" if buffer is None else memoryview(buffer)[offsets[0] : offsets[-1]].tobytes()


def _replaced(array: Any, change: Callable[[str], str]) -> Any:
    """Texts after a change, which is made once for each distinct one."""
    changed: dict[str | None, str | None] = {None: None}
    cells: list[str | None] = array.to_pylist()
    for text in set(cells) - {None}:
        changed[text] = change(str(text))
    return array_of([changed[text] for text in cells], pa.string())


def _canonical_json(text: str) -> str:
    if not text.startswith(("{", "[")) or "{" not in text:
        return text
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except (ValueError, RecursionError):
        return text


def _hashed_bytes(array: Any, salt: Any) -> Cells:
    offsets = _offsets(array)
    data = _data(array)
    starts, lengths = offsets[:-1] - offsets[0], np.diff(offsets)
    hashes: Cells = _mix(lengths.astype(np.uint64) ^ salt)
    long = np.flatnonzero(lengths > _LONG_BYTES)
    for row in long.tolist():
        digest = hashlib.blake2b(data[starts[row] : starts[row] + lengths[row]], digest_size=8).digest()
        hashes[row] = _mix(hashes[row] ^ np.uint64(int.from_bytes(digest, "little")))
    # a word of 8 bytes begins at each byte
    words: Any = np.ndarray((len(data) + 1,), "<u8", buffer=data + bytes(8), strides=(1,))
    rows = np.flatnonzero((lengths > 0) & (lengths <= _LONG_BYTES))
    done = 0
    while len(rows):
        missing = lengths[rows] - done
        word = words[starts[rows] + done]
        unused = np.uint64(8) * (np.uint64(8) - np.minimum(missing, 8).astype(np.uint64))
        word = word & (np.uint64(0xFFFFFFFFFFFFFFFF) >> unused)
        hashes[rows] = _mix(hashes[rows] ^ word)
        done += 8
        rows = rows[missing > 8]
    return hashes
