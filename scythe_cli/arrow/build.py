"""Arrow arrays from Python values, without `pyarrow.array`.

The first call of `pyarrow.array`, of `to_numpy`, and of anything that makes a scalar, imports pandas, to know its
missing values.
That takes a second of a process that may have no use for pandas, so plain values are put into buffers here; what is
not plain goes to pyarrow. The layout of the buffers is that of https://arrow.apache.org/docs/format/Columnar.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["array_of", "integer_cells", "numbers", "repeated", "texts_of_width"]


_NUMBERS: dict[pa.DataType, tuple[type, Any]] = {
    pa.int64(): (int, np.int64),
    pa.int32(): (int, np.int32),
    pa.float64(): (float, np.float64),
}
_NONE = type(None)
_MAX_TEXT_BYTES = 2**31 - 1


def array_of(values: Sequence[Any], type_: pa.DataType) -> pa.Array[Any]:
    """Make an array: what `pyarrow.array(values, type_)` makes.

    Args:
        values: Python values; None for null.
        type_: The type of the array.

    Raises:
        pa.ArrowException: If a value does not fit the type.
        OverflowError: If a number does not fit.
    """
    classes = set(map(type, values))
    is_null: np.ndarray[Any, Any] | None = None
    if _NONE in classes:
        is_null = np.fromiter((value is None for value in values), np.bool_, len(values))
        classes.discard(_NONE)
    if type_ in _NUMBERS:
        cls, dtype = _NUMBERS[type_]
        if classes <= {cls}:
            cells = values if is_null is None else [0 if value is None else value for value in values]
            # NumPy raises OverflowError as pyarrow does
            return _from_numpy(np.array(cells, dtype), type_, is_null)
    elif type_ == pa.bool_() and classes <= {bool}:
        bits = np.packbits(np.array([value is True for value in values], np.bool_), bitorder="little")
        return _from_buffers(type_, len(values), [_buffer(bits)], is_null)
    elif type_ == pa.string() and classes <= {str}:
        made = _text(values, is_null)
        if made is not None:
            return made
    return pa.array(values, type_)


def repeated(value: bool | str, n: int) -> pa.Array[Any]:
    """An array of `n` times the same."""
    if isinstance(value, str):
        text = value.encode()
        if len(text) * n > _MAX_TEXT_BYTES:
            raise OverflowError(f"{n} times a text of {len(text)} bytes")
        return texts_of_width(np.frombuffer(text * n, np.uint8), n, len(text))
    return _from_buffers(pa.bool_(), n, [pa.py_buffer((b"\xff" if value else b"\x00") * (n // 8 + 1))], None)


def numbers(cells: np.ndarray[Any, Any], type_: pa.DataType) -> pa.Array[Any]:
    """An array without nulls of cells that are laid out as the type has them."""
    return _from_numpy(cells, type_, None)


def integer_cells(array: pa.Array[Any]) -> np.ndarray[Any, Any]:
    """The cells of an array of int64 or int32, not copied where there is no null; a null is 0."""
    validity, values = array.buffers()
    dtype = _NUMBERS[array.type][1]
    if values is None:
        return np.zeros(len(array), dtype)
    here = slice(array.offset, array.offset + len(array))
    cells = np.frombuffer(_bytes(values), dtype)[here]
    if validity is None or not array.null_count:
        return cells
    is_valid = np.unpackbits(np.frombuffer(_bytes(validity), np.uint8), bitorder="little")[here]
    return np.where(is_valid, cells, dtype(0))


def _bytes(buffer: pa.Buffer) -> Any:
    return buffer


def texts_of_width(characters: np.ndarray[Any, Any], n: int, width: int) -> pa.Array[Any]:
    """An array of `n` texts that all have `width` bytes of UTF-8, given one after the other as uint8."""
    ends = np.arange(n + 1, dtype=np.int32) * np.int32(width)
    return _from_buffers(pa.string(), n, [_buffer(ends), _buffer(characters)], None)


def _from_numpy(cells: np.ndarray[Any, Any], type_: pa.DataType, is_null: np.ndarray[Any, Any] | None) -> pa.Array[Any]:
    return _from_buffers(type_, len(cells), [_buffer(cells)], is_null)


def _text(values: Sequence[str | None], is_null: np.ndarray[Any, Any] | None) -> pa.Array[Any] | None:
    try:
        encoded = [b"" if value is None else value.encode() for value in values]
    except UnicodeEncodeError:
        return None  # a lone surrogate: pyarrow words the error
    ends = list(accumulate(map(len, encoded), initial=0))
    if ends[-1] > _MAX_TEXT_BYTES:
        return None
    buffers = [_buffer(np.array(ends, np.int32)), pa.py_buffer(b"".join(encoded))]
    return _from_buffers(pa.string(), len(values), buffers, is_null)


def _from_buffers(
    type_: pa.DataType, n: int, buffers: list[pa.Buffer], is_null: np.ndarray[Any, Any] | None
) -> pa.Array[Any]:
    validity = None if is_null is None else _buffer(np.packbits(~is_null, bitorder="little"))
    return pa.Array.from_buffers(type_, n, [validity, *buffers])


def _buffer(cells: Any) -> pa.Buffer:
    """A buffer of an array's memory; pyarrow's stubs do not know that arrays have the buffer protocol."""
    return pa.py_buffer(cells)
