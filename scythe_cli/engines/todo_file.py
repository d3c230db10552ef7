"""Which rows of a run a submission has, and which attempt of each: a Parquet file in the run's folder.

No message has them: a choice of any size goes the same way.
"""

from __future__ import annotations

import io
from typing import Any

import polars as pl
import pyarrow as pa

from scythe_cli.errors import StorageError
from scythe_cli.storage.base import Storage

__all__ = ["read_todo", "write_todo"]


def write_todo(storage: Storage, key: str, todo: pa.Table) -> None:
    """Write a choice of rows.

    Args:
        storage: Where the run is kept.
        key: The file.
        todo: `sort_index`, ascending, and `attempt`.

    Raises:
        StorageError: If it cannot be written.
    """
    buffer = io.BytesIO()
    frame: Any = pl.from_arrow(todo)
    frame.select("sort_index", "attempt").write_parquet(buffer)
    storage.write_bytes(key, buffer.getvalue())


def read_todo(storage: Storage, key: str) -> pl.DataFrame:
    """A choice of rows: `sort_index` (int64, ascending) and `attempt` (int32).

    Args:
        storage: Where the run is kept.
        key: The file.

    Raises:
        StorageError: If it cannot be read, or is damaged.
    """
    try:
        frame = pl.read_parquet(io.BytesIO(storage.read_bytes(key))).select("sort_index", "attempt")
        # only of integers: a cast of other columns may panic
        if all(kind.is_integer() for kind in frame.dtypes):
            return frame.cast({"sort_index": pl.Int64, "attempt": pl.Int32})
    except pl.exceptions.PolarsError:
        pass
    raise StorageError(f"{storage.uri(key)} is damaged: it does not hold the rows of a submission")
