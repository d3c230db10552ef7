"""Specs that are the same as another one of their run: run once, and the outcome given to all.

`duplicates.pq` says which: `sort_index` of each that is not run itself, and `same_as`, that of the first of its kind.
Whenever the final tables are made, outcomes that have come in meanwhile are given to them.
"""

from __future__ import annotations

import io
from typing import Any

import polars as pl
import pyarrow as pa

from scythe_cli.core.names import timed_name
from scythe_cli.errors import StorageError, first_line
from scythe_cli.model.outcome_schema import REUSED_FROM
from scythe_cli.model.spec_rows import workflow_run_ids
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import (
    POLARS_ERRORS,
    Ledger,
    LedgerWriter,
    read_part,
)
from scythe_cli.run.manifest import read_manifest
from scythe_cli.storage.base import Storage

__all__ = ["moved_outcomes", "read_duplicates", "spread_outcomes", "write_duplicates"]


_SCHEMA = {"sort_index": pl.Int64, "same_as": pl.Int64}


def write_duplicates(storage: Storage, run: RunLayout, duplicates: pl.DataFrame) -> None:
    """Keep which specs of a run are not run themselves."""
    buffer = io.BytesIO()
    duplicates.write_parquet(buffer)
    storage.write_bytes(run.duplicates, buffer.getvalue())


def read_duplicates(storage: Storage, run: RunLayout) -> pl.DataFrame:
    """Which specs of a run are not run themselves; without any, an empty frame.

    Raises:
        StorageError: If it cannot be read, or says what cannot be.
    """
    if not storage.exists(run.duplicates):
        return pl.DataFrame(schema=_SCHEMA)
    data = storage.read_bytes(run.duplicates)
    try:
        duplicates = pl.read_parquet(io.BytesIO(data))
    except (*POLARS_ERRORS, OSError) as error:
        raise StorageError(f"{storage.uri(run.duplicates)} cannot be read: {first_line(error)}") from error
    # each is the same as one before it, which is run
    same_as = pl.col("same_as")
    if dict(duplicates.schema) != _SCHEMA or not (
        duplicates.select((same_as >= 0).and_(same_as < pl.col("sort_index")).fill_null(value=False).all()).item()
        and duplicates["sort_index"].is_unique().all()
    ):
        raise StorageError(f"{storage.uri(run.duplicates)} is not a valid record of duplicate cases")
    return duplicates


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
    writer = LedgerWriter(storage, run, timed_name("duplicates"))
    given = 0
    with Ledger.open(storage, run) as ledger:
        outcomes = ledger.outcomes(manifest.n_specs if manifest else None).filter(pl.col("final"))
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


def moved_outcomes(outcomes: pa.Table, to: pl.Series, workflow_run_id: str, source: str) -> pa.Table:
    """Outcomes as those of other specs: where they come from is kept, and that nothing was run.

    Args:
        outcomes: Rows of a ledger.
        to: The `sort_index` that each gets.
        workflow_run_id: The id of the execution that they get.
        source: The run that they come from.
    """
    n = outcomes.num_rows
    index: Any = to.to_arrow().cast(pa.int64())
    columns: dict[str, Any] = dict(zip(outcomes.column_names, outcomes.columns, strict=True))
    fields: dict[str, pa.Field[Any]] = {f.name: f for f in outcomes.schema}
    origin = [name for name in REUSED_FROM if name not in columns]
    if origin:  # of an outcome that was taken over before, the first place is kept
        first = {
            "reused:run": pa.repeat(source, n),
            "reused:sort_index": columns["sort_index"],
            "reused:attempt": columns["attempt"],
        }
        for name in REUSED_FROM:
            columns[name] = first[name]
            fields[name] = pa.field(name, first[name].type)
    else:
        columns["reused:run"] = pl.Series(columns["reused:run"]).fill_null(source).to_arrow().cast(pa.string())
        for name, own in (("reused:sort_index", "sort_index"), ("reused:attempt", "attempt")):
            filled = pl.Series(columns[name]).fill_null(pl.Series(columns[own]))
            columns[name] = filled.to_arrow().cast(fields[name].type)
    columns["sort_index"] = index
    columns["attempt"] = pa.repeat(pa.scalar(1, pa.int32()), n)
    columns["started_at"] = pa.nulls(n, fields["started_at"].type)
    columns["workflow_run_id"] = workflow_run_ids(workflow_run_id, index)
    return pa.Table.from_arrays(list(columns.values()), schema=pa.schema(list(fields.values())))
