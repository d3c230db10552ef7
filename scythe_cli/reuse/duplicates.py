"""Specs that are the same as another one of their run: run once, and the outcome given to all.

`duplicates.pq` says which: `sort_index` of each that is not run itself, and `same_as`, that of the first of its kind.
Whenever the final tables are made, outcomes that have come in meanwhile are given to them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import polars as pl
import pyarrow as pa

from scythe_cli.layout import RunLayout
from scythe_cli.ledger import Ledger, LedgerWriter, read_part
from scythe_cli.manifest import read_manifest
from scythe_cli.reuse.identity import KEYS, by_content, row_keys
from scythe_cli.reuse.takeover import moved_outcomes
from scythe_cli.storage import Storage

__all__ = ["find_duplicates", "read_duplicates", "spread_outcomes", "write_duplicates"]

_SCHEMA = {"sort_index": pl.Int64, "same_as": pl.Int64}


def find_duplicates(inputs: pa.Table, names: Sequence[str], hashes: Mapping[str, Mapping[str, str]]) -> pl.DataFrame:
    """Find specs that are the same as an earlier one.

    Args:
        inputs: Input columns.
        names: The columns that count.
        hashes: By file column, from each reference to the SHA-256 of the file. Of a file whose content is not known,
            the reference itself counts.

    Returns:
        `sort_index` and `same_as`, ascending; the first of each kind is not in it.
    """
    canonical, _ = by_content(inputs, hashes)
    return (
        row_keys(canonical, names)
        .with_row_index("sort_index")
        .with_columns(pl.col("sort_index").cast(pl.Int64))
        .with_columns(same_as=pl.col("sort_index").min().over(KEYS))
        .filter(pl.col("sort_index") != pl.col("same_as"))
        .select("sort_index", "same_as")
    )


def write_duplicates(storage: Storage, run: RunLayout, duplicates: pl.DataFrame) -> None:
    """Keep which specs of a run are not run themselves."""
    buffer = io.BytesIO()
    duplicates.write_parquet(buffer)
    storage.write_bytes(run.duplicates, buffer.getvalue())


def read_duplicates(storage: Storage, run: RunLayout) -> pl.DataFrame:
    """Which specs of a run are not run themselves; without any, an empty frame."""
    if not storage.exists(run.duplicates):
        return pl.DataFrame(schema=_SCHEMA)
    return pl.read_parquet(io.BytesIO(storage.read_bytes(run.duplicates)))


def spread_outcomes(storage: Storage, run: RunLayout) -> int:
    """Give the outcomes of specs to those that are the same, as far as they have not got them.

    Returns:
        How many outcomes were given.

    Raises:
        StorageError: If the run cannot be read or written.
    """
    duplicates = read_duplicates(storage, run)
    if not duplicates.height:
        return 0
    manifest = read_manifest(storage, run)
    workflow_run_id = manifest.workflow_run_id if manifest else ""
    writer = LedgerWriter(storage, run, f"duplicates-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:8]}")
    given = 0
    with Ledger.open(storage, run) as ledger:
        outcomes = ledger.outcomes().filter(pl.col("final"))
        known = outcomes.select("sort_index", "attempt", "state")
        missing = (
            duplicates.rename({"sort_index": "to", "same_as": "sort_index"})
            .join(outcomes.select("sort_index", "attempt", "state", "part", "row"), on="sort_index")
            .join(
                known.rename({"sort_index": "to"}),
                on=["to", "attempt", "state"],
                how="anti",
            )
        )
        for (part,), rows in missing.sort("part", "row").group_by("part", maintain_order=True):
            whole = ledger.parts[int(str(part))]
            taken = read_part(whole, whole.schema.names).take(rows["row"].to_arrow())
            attempts: Any = taken.column("attempt")
            moved = moved_outcomes(taken, rows["to"], workflow_run_id, run.experiment_id)
            # of the same run, so that attempts go on alike
            position = moved.schema.get_field_index("attempt")
            writer.add(moved.set_column(position, moved.schema.field(position), attempts))
            given += rows.height
    writer.flush()
    return given
