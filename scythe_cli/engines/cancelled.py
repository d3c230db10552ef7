"""The outcome `cancelled` for all that has none: what a fleet writes before it takes anything out of its queue."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl
import pyarrow as pa

from scythe_cli.core.names import timed_name
from scythe_cli.core.states import State
from scythe_cli.model.outcome_schema import OUTCOME_SCHEMA
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import Ledger, write_part
from scythe_cli.run.manifest import read_manifest
from scythe_cli.run.outcomes.effective import effective_outcomes
from scythe_cli.storage.base import Storage

__all__ = ["CANCEL_PREFIX", "write_cancelled"]


CANCEL_PREFIX = "cancel-"
"""Begins the names of the parts; the time of the cancellation follows, as it does in the name of a session."""


def write_cancelled(storage: Storage, run: RunLayout, *, not_before: datetime | None = None) -> int:
    """Give `cancelled` to every spec that has no outcome.

    Args:
        storage: Where the run is kept.
        run: The run.
        not_before: What the name of the part says at least, whatever the clock of this machine: when what is cancelled
            was submitted.

    Returns:
        How many there were.

    Raises:
        StorageError: If the run cannot be read or written.
    """
    manifest = read_manifest(storage, run)
    n_specs = manifest.n_specs if manifest and manifest.n_specs else 0
    with Ledger.open(storage, run) as ledger:
        outcomes = ledger.outcomes(n_specs)
    known = effective_outcomes(outcomes).select("sort_index")
    last = outcomes.group_by("sort_index").agg(pl.col("attempt").max())
    missing = (
        pl.DataFrame({"sort_index": pl.int_range(0, n_specs, eager=True)})
        .join(known, on="sort_index", how="anti")
        .join(last, on="sort_index", how="left")
        .sort("sort_index")
    )
    n = missing.height
    if n:
        columns: dict[str, pa.Array[Any]] = {f.name: pa.nulls(n, f.type) for f in OUTCOME_SCHEMA}
        columns["sort_index"] = missing["sort_index"].to_arrow().cast(pa.int64())
        columns["state"] = pa.repeat(State.CANCELLED.value, n)
        columns["attempt"] = missing["attempt"].fill_null(0).to_arrow().cast(pa.int32())
        columns["final"] = pa.repeat(pa.scalar(True), n)
        columns["error_type"] = pa.repeat("Cancelled", n)
        columns["message"] = pa.repeat("the run was cancelled before this case was run", n)
        table = pa.table(columns, schema=OUTCOME_SCHEMA)
        name = timed_name(CANCEL_PREFIX.removesuffix("-"), not_before=not_before)
        write_part(storage, run, name, table)
    return n
