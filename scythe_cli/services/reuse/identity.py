"""Which specs are the same: canonical inputs, and keys of them that are compared instead.

Two specs are the same when all of their input columns are, where a file counts by its content and not by its path.
Everything here works on whole columns: a million specs take a second or two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute

__all__ = ["KEYS", "by_content", "row_keys"]


pc: Any = pyarrow.compute  # its stubs do not know the types that its functions take

KEYS = ("key_a", "key_b")
"""The columns that `row_keys` gives."""

_SEEDS = (11, 7919)
_NULL = 0x9E3779B97F4A7C15


def by_content(inputs: pa.Table, hashes: Mapping[str, Mapping[str, str]]) -> tuple[pa.Table, pa.BooleanArray]:
    """Replace references to files by the hashes of their content.

    Args:
        inputs: Input columns.
        hashes: By file column, from each reference to its hash.

    Returns:
        The table, with `sha256:<hash>` in place of references that are known; and which rows refer to a file whose
        content is not known, since it lies elsewhere and was not copied.
    """
    unknown = pa.array(np.zeros(inputs.num_rows, np.bool_))
    for name, known in hashes.items():
        position = inputs.schema.get_field_index(name)
        if position < 0:
            continue
        references: Any = pl.from_arrow(inputs.column(name).cast(pa.string()))
        contents: pl.Series = pl.Series([None], dtype=pl.String).new_from_index(0, len(references))
        if known:
            digests = [f"sha256:{digest}" for digest in known.values()]
            contents = references.replace_strict(list(known), digests, default=None, return_dtype=pl.String)
        unknown = pc.or_(unknown, _arrow(references.is_not_null() & contents.is_null()))
        replaced = contents.fill_null(references)
        inputs = inputs.set_column(position, pa.field(name, pa.string()), _arrow(replaced).cast(pa.string()))
    return inputs, unknown


def _arrow(series: pl.Series) -> Any:
    return series.to_arrow()


def row_keys(inputs: pa.Table, names: Sequence[str]) -> pl.DataFrame:
    """Keys of rows: the same rows have the same keys, and others have others, but for one chance in 2^128.

    Floats are the same when their bits are, so that NaN is like NaN, and 0.0 unlike -0.0. Keys may differ between
    releases of Polars, so they are compared where they were made, and never kept.

    Args:
        inputs: Input columns.
        names: The columns that count, in this order.

    Returns:
        A frame with the columns of `KEYS`, uint64, a row for each row.
    """
    n = inputs.num_rows
    columns = [_whole(inputs.column(name)) for name in names]
    keys = [_combined([_hashed(column, seed) for column in columns], n, seed) for seed in _SEEDS]
    return pl.DataFrame(dict(zip(KEYS, keys, strict=True)))


def _whole(column: pa.ChunkedArray[Any]) -> Any:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _combined(hashes: Sequence[pl.Series], n: int, seed: int) -> pl.Series:
    """One hash for each row, from one for each of its cells."""
    if not hashes:
        return pl.Series(np.zeros(n, np.uint64))
    return pl.DataFrame([column.alias(str(i)) for i, column in enumerate(hashes)]).hash_rows(seed=seed)


def _hashed(array: Any, seed: int) -> pl.Series:
    """A hash for each cell of a column, uint64; nested ones from the hashes of what is in them."""
    type_ = array.type
    types = pa.types
    if types.is_struct(type_):
        parts = [_hashed(part, seed) for part in array.flatten()]
        return _with_nulls(_combined(parts, len(array), seed), array)
    if types.is_list(type_) or types.is_large_list(type_):
        return _with_nulls(_hashed_lists(array, seed), array)
    if types.is_floating(type_):
        array = array.cast(pa.float64()).view(pa.int64())
    elif types.is_null(type_):
        array = array.cast(pa.int64())
    series: Any = pl.from_arrow(array)
    return _with_nulls(series.hash(seed=seed), array)


def _with_nulls(hashes: pl.Series, array: Any) -> pl.Series:
    if not array.null_count:
        return hashes
    valid: Any = pl.from_arrow(array.is_valid())
    return hashes.zip_with(valid, pl.Series([_NULL], dtype=pl.UInt64).new_from_index(0, len(hashes)))


def _hashed_lists(array: Any, seed: int) -> pl.Series:
    """Hashes of lists: those of their elements side by side, as bytes, hashed once more."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    elements = _hashed(pc.list_flatten(array), seed).to_numpy().astype(np.uint64, copy=False)
    offsets: Any = np.concatenate([[0], np.cumsum(lengths * 8)]).astype(np.int64)
    content: Any = np.ascontiguousarray(elements)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(content)]
    bytes_ = pa.Array.from_buffers(pa.large_binary(), len(array), buffers)
    series: Any = pl.from_arrow(bytes_)
    return series.hash(seed=seed)
