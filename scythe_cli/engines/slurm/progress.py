"""What is left of a submission, and what its closing job does about it: decided here, without input or output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl

__all__ = ["MAX_IDLE", "MAX_WAVES", "Step", "next_step", "remaining", "row_seconds"]


MAX_WAVES = 100
"""How often the rest of a run is submitted again at most."""

MAX_IDLE = 2
"""How many waves in a row may pass without one case that ends."""


def remaining(outcomes: pl.DataFrame, todo: pl.DataFrame) -> pl.DataFrame:
    """The rows of a submission that have no outcome, with the number of their next attempt.

    Args:
        outcomes: `sort_index`, `attempt` and `final` of all outcomes of the run.
        todo: `sort_index` and `attempt` of what was submitted; earlier attempts do not count.

    Returns:
        `sort_index` (int64, ascending) and `attempt` (int32).
    """
    later = (
        outcomes.select("sort_index", "attempt", "final")
        .join(todo.rename({"attempt": "first"}), on="sort_index", how="inner")
        .filter(pl.col("attempt") >= pl.col("first"))
    )
    done = later.filter("final").select("sort_index").unique()
    last = later.group_by("sort_index").agg(pl.col("attempt").max().alias("last"))
    return (
        todo.join(done, on="sort_index", how="anti")
        .join(last, on="sort_index", how="left")
        .with_columns(pl.max_horizontal("attempt", pl.col("last") + 1).cast(pl.Int32).alias("attempt"))
        .select(pl.col("sort_index").cast(pl.Int64), "attempt")
        .sort("sort_index")
    )


def row_seconds(outcomes: pl.DataFrame) -> float | None:
    """How long a row takes, all its attempts together; None where none has run."""
    ran = outcomes.filter(pl.col("duration_s").is_not_null() & pl.col("started_at").is_not_null())
    n = ran["sort_index"].n_unique()
    return float(ran["duration_s"].sum()) / n if n else None


@dataclass(frozen=True, slots=True)
class Step:
    """What a closing job does.

    Attributes:
        does: `submit` what is left again, or `gather`.
        idle: Waves in a row, this one included, in which no case has ended.
        notice: Why the rest stays pending; None where there is none.
    """

    does: Literal["submit", "gather"]
    idle: int = 0
    notice: str | None = None


def next_step(
    *, n_left: int, n_before: int, wave: int, idle: int, stopped: str | None, error: str | None = None
) -> Step:
    """Whether what is left is submitted again.

    Args:
        n_left: Cases without an outcome.
        n_before: How many there were before this wave.
        wave: The number of this wave, from 1 on.
        idle: Waves in a row before this one in which no case has ended.
        stopped: Why the run was stopped; None where it was not.
        error: Why a task could not run its rows at all; None where none has said so.
    """
    if stopped is not None:
        return Step("gather", notice=stopped if n_left else None)
    if not n_left:
        return Step("gather")
    cases = "1 case is" if n_left == 1 else f"{n_left:,} cases are"
    idle = 0 if n_left < n_before else idle + 1
    if idle and error is not None:
        return Step("gather", idle, f"{cases} pending: {error}")
    if idle >= MAX_IDLE:
        return Step(
            "gather",
            idle,
            f"{cases} pending: {MAX_IDLE} submissions in a row have brought no case to its end; one case may take "
            "longer than [slurm] time, or more memory than [slurm] memory",
        )
    if wave >= MAX_WAVES:
        return Step("gather", idle, f"{cases} pending after {MAX_WAVES} submissions")
    return Step("submit", idle)
