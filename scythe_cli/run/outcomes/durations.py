"""How long cases took that were run: of one ledger, or of the newest runs of an experiment."""

from __future__ import annotations

import numpy as np
import polars as pl
from pydantic import Field

from scythe_cli.core.records import Record
from scythe_cli.core.states import State
from scythe_cli.errors import ScytheError, StorageError
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import Ledger
from scythe_cli.run.versions import list_runs, list_versions
from scythe_cli.storage.base import Storage

__all__ = ["Durations", "durations_of", "earlier_durations"]


_RUNS_LOOKED_AT = 5
_ENOUGH_OUTCOMES = 1_000


class Durations(Record):
    """How long specs took that were run."""

    source: str = Field(description="'pilot', or the earlier run or runs")
    n: int = Field(description="how many specs")
    mean_s: float
    median_s: float
    max_s: float


def durations_of(outcomes: pl.DataFrame, source: str) -> Durations | None:
    """Times of a ledger's outcomes: all attempts of a spec together, and only of what was run there."""
    ran = outcomes.filter(
        pl.col("duration_s").is_not_null()
        & pl.col("started_at").is_not_null()
        & (pl.col("state") != State.CANCELLED.value)
    )
    per_spec = ran.group_by("sort_index").agg(pl.col("duration_s").sum())["duration_s"]
    if not len(per_spec):
        return None
    values = per_spec.to_numpy()
    return Durations(
        source=source,
        n=len(values),
        mean_s=float(values.mean()),
        median_s=float(np.median(values)),
        max_s=float(values.max()),
    )


def earlier_durations(storage: Storage, folder: str) -> Durations | None:
    """Times of the newest runs of an experiment, as many as it takes to know enough."""
    try:
        runs = [run for version in list_versions(storage, folder) for run in list_runs(storage, folder, version)]
    except StorageError:
        return None
    runs.sort(key=RunLayout.order, reverse=True)
    frames: list[pl.DataFrame] = []
    used: list[str] = []
    for run in runs[:_RUNS_LOOKED_AT]:
        try:
            with Ledger.open(storage, run) as ledger:
                outcomes = ledger.outcomes()
        except ScytheError:
            continue
        if durations_of(outcomes, "") is None:
            continue
        # specs of several runs have the same numbers
        frames.append(outcomes.with_columns(pl.col("sort_index") + len(used) * 2**40))
        used.append(run.experiment_id)
        if sum(frame.height for frame in frames) >= _ENOUGH_OUTCOMES:
            break
    if not frames:
        return None
    return durations_of(pl.concat(frames), used[0] if len(used) == 1 else f"{len(used)} earlier runs")
