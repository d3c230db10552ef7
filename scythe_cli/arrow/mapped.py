"""Tables that would take much memory, in files that are mapped: the system keeps of them what it has room for.

The files have no name: the disk has them back when nobody uses the table any more, however the process ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["LARGE_BYTES", "mapped_column", "mapped_numbers", "mapped_table"]


LARGE_BYTES = 256_000_000
"""From what size on a table is kept so; below, memory is quicker."""


def mapped_table(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Put batches into a file, and take them from there.

    Args:
        batches: The batches, which are asked for one by one.
        schema: Their schema.

    Raises:
        OSError: If the temporary folder has no room for them.
    """
    with TemporaryFile(prefix="scythe-") as file:
        with pa.ipc.new_file(pa.PythonFile(file, "w"), schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        file.flush()
        size = file.tell()
        # a map of NumPy and not of Arrow, which opens files by their names
        mapped: Any = np.memmap(file, np.uint8, "r", shape=(size,))
    return pa.ipc.open_file(pa.py_buffer(mapped)).read_all()


def mapped_column(column: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
    """A column, in a file where it is large."""
    if column.nbytes < LARGE_BYTES // 4:
        return column
    schema = pa.schema([pa.field("column", column.type)])
    table = mapped_table((pa.RecordBatch.from_arrays([chunk], schema=schema) for chunk in column.chunks), schema)
    return table.column(0)


def mapped_numbers(n: int, dtype: type[np.generic]) -> np.ndarray[Any, Any]:
    """Zeros; in a file where they are many."""
    if n * np.dtype(dtype).itemsize < LARGE_BYTES // 4:
        return np.zeros(n, dtype)
    with TemporaryFile(prefix="scythe-") as file:
        return np.memmap(file, dtype, "w+", shape=(n,))
