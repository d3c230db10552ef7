"""`upstream.pq`: from which rows of which run each case of a run was made.

Its columns are `sort_index`; `run`, the experiment id; and `rows`, a list of the `sort_index` there. Only a run has it
that was made from another one, or was extended by cases that were. It is written before the specs that it tells of:
rows that the run does not have mean nothing, and the next extension removes them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from scythe_cli.arrow.build import numbers
from scythe_cli.errors import StorageError, first_line
from scythe_cli.run.layout import RunLayout
from scythe_cli.storage.base import MissingKeyError, Storage

if TYPE_CHECKING:
    from scythe_cli.run.chain.records import Upstream

__all__ = ["read_lineage", "write_lineage"]


_SCHEMA = pa.schema(
    [pa.field("sort_index", pa.int64()), pa.field("run", pa.string()), pa.field("rows", pa.list_(pa.int64()))]
)
_GROUP_ROWS = 65_536


def write_lineage(storage: Storage, run: RunLayout, upstream: Upstream | None, *, first_row: int = 0) -> None:
    """Keep where cases come from that a run is about to get.

    Args:
        storage: Where the run is kept.
        run: The run.
        upstream: The run that they are made from; None where they are made from none.
        first_row: The `sort_index` of the first of them: what is known of the rows before stays.

    Raises:
        StorageError: If what is there cannot be read, or nothing can be written.
    """
    before = _read(storage, run) if first_row and storage.exists(run.upstream) else _SCHEMA.empty_table()
    index: Any = before.column("sort_index").to_numpy()
    kept = before.take(numbers(np.flatnonzero(index < first_row).astype(np.int64), pa.int64()))
    if upstream is None:
        if kept.num_rows < before.num_rows:
            _write(storage, run, kept)
        return
    n = len(upstream.rows)
    new = pa.Table.from_arrays(
        [
            numbers(np.arange(first_row, first_row + n, dtype=np.int64), pa.int64()),
            pa.repeat(upstream.record.run, n),
            upstream.rows.cast(pa.list_(pa.int64())),
        ],
        schema=_SCHEMA,
    )
    _write(storage, run, pa.concat_tables([kept, new]))


def read_lineage(storage: Storage, run: RunLayout, rows: Sequence[int]) -> dict[str, list[int]]:
    """From which rows of which runs some cases were made.

    Args:
        storage: Where the run is kept.
        run: The run.
        rows: The cases.

    Returns:
        By experiment id the rows, sorted, each once; empty where the cases were made from no run.

    Raises:
        StorageError: If it cannot be read.
    """
    try:
        table = _read(storage, run)
    except MissingKeyError:
        return {}
    index: Any = table.column("sort_index").to_numpy()
    at = np.flatnonzero(np.isin(index, np.asarray(rows, np.int64))).astype(np.int64)
    chosen = table.take(numbers(at, pa.int64()))
    found: dict[str, set[int]] = {}
    for name, own in zip(chosen.column("run").to_pylist(), chosen.column("rows").to_pylist(), strict=True):
        found.setdefault(str(name), set()).update(row for row in own or () if row is not None)
    return {name: sorted(own) for name, own in found.items()}


def _read(storage: Storage, run: RunLayout) -> pa.Table:
    import pyarrow.parquet as pq

    data = storage.read_bytes(run.upstream)
    try:
        table = pq.read_table(io.BytesIO(data), columns=_SCHEMA.names).select(_SCHEMA.names).cast(_SCHEMA)
        table.validate()
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise StorageError(f"{storage.uri(run.upstream)} cannot be read: {first_line(error)}") from error
    return table


def _write(storage: Storage, run: RunLayout, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    options: dict[str, Any] = {
        "compression": "zstd",
        "use_dictionary": ["run"],
        "column_encoding": {"sort_index": "DELTA_BINARY_PACKED", "rows.list.element": "DELTA_BINARY_PACKED"},
    }
    pq.write_table(table, buffer, row_group_size=_GROUP_ROWS, **options)
    storage.write_bytes(run.upstream, buffer.getvalue())
