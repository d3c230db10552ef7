"""What the columns of an outcome can hold; a part of the ledger that holds anything else is damaged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import polars as pl

from scythe_cli.core.states import State

__all__ = ["impossible_row", "outcomes_of_first", "possible_times"]


MAX_ATTEMPT = 1_000_000
_STATES = [state.value for state in State if state is not State.PENDING]
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)
_LONGEST_S = 1e10


def impossible_row(outcomes: pl.DataFrame, n_specs: int | None = None) -> int | None:
    """The position of the first outcome that no spec of a run can have; None where there is none.

    Args:
        outcomes: A frame with `sort_index`, `state`, `attempt` and `final`.
        n_specs: The number of specs of the run; None where it is not known.
    """
    row, state = pl.col("sort_index"), pl.col("state")
    # an enumeration of the states has null for what is none
    is_text = outcomes.schema["state"] == pl.String
    possible = (
        (row >= 0 if n_specs is None else row.is_between(0, n_specs - 1))
        & (state.is_in(_STATES) if is_text else state != State.PENDING.value)
        & pl.col("attempt").is_between(0, MAX_ATTEMPT)
        & pl.col("final").is_not_null()
    ).fill_null(value=False)
    mask = outcomes.select(possible.alias("possible"))["possible"]
    return None if mask.all() else mask.arg_min()


def outcomes_of_first(
    outcomes: pl.DataFrame, n_specs: int | None, now: Callable[[], int | None]
) -> pl.DataFrame | None:
    """The outcomes of the specs that a reader knows of; None where there are some that no spec of the run can have.

    Args:
        outcomes: A frame as for `impossible_row`.
        n_specs: The number of specs that the reader knows of; None for all.
        now: Tells how many specs the run has by now: it may have got more since.
    """
    if impossible_row(outcomes, n_specs) is None:
        return outcomes
    longer = None if n_specs is None else now()
    if n_specs is None or longer is None or longer <= n_specs or impossible_row(outcomes, longer) is not None:
        return None
    return outcomes.filter(pl.col("sort_index") < n_specs)


def possible_times(outcomes: pl.DataFrame) -> pl.DataFrame:
    """The same outcomes without starts and durations that cannot be: what counts does not depend on these."""
    duration, started = pl.col("duration_s"), pl.col("started_at")
    return outcomes.with_columns(
        pl.when(duration.is_between(0, _LONGEST_S)).then(duration).alias("duration_s"),
        pl.when(started.is_between(_EARLIEST, _LATEST)).then(started).alias("started_at"),
    )
