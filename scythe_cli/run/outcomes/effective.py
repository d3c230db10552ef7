"""The outcome that counts of each spec, and the specs by state.

A spec can have several outcomes: earlier attempts, attempts of a retry, or twice the same attempt when an engine
replayed it. Exactly one of them counts: the first success, else the one of the highest attempt.
"""

from __future__ import annotations

import polars as pl

from scythe_cli.core.records import StateCounts
from scythe_cli.core.states import State

__all__ = ["counts_of", "effective_outcomes", "failing_outcomes"]


def effective_outcomes(outcomes: pl.DataFrame) -> pl.DataFrame:
    """Choose the outcome that counts for each spec.

    Args:
        outcomes: What `Ledger.outcomes` returns.

    Returns:
        Its rows with one row per `sort_index`, sorted by it; specs without a final outcome are not in it.
    """
    final = outcomes.filter(pl.col("final"))
    if final["sort_index"].n_unique() == final.height:
        return final.sort("sort_index")
    succeeded = pl.col("state") == State.SUCCEEDED.value
    return (
        final.with_columns(
            succeeded.alias("succeeded"),
            # of two successes the first counts: later ones are replays
            pl.when(succeeded).then(-pl.col("attempt")).otherwise(pl.col("attempt")).alias("rank"),
        )
        .sort("sort_index", "succeeded", "rank", descending=[False, True, True], maintain_order=True)
        .unique("sort_index", keep="first", maintain_order=True)
        .drop("succeeded", "rank")
    )


def failing_outcomes(outcomes: pl.DataFrame, effective: pl.DataFrame) -> pl.DataFrame:
    """The last attempt of each spec that is pending and has failed before: another attempt is to come.

    Args:
        outcomes: What `Ledger.outcomes` returns.
        effective: What `effective_outcomes` makes of it.

    Returns:
        Its rows with one row per `sort_index`, sorted by it.
    """
    tried = outcomes.filter(~pl.col("final") & (pl.col("state") != State.SUCCEEDED.value))
    if not tried.height:
        return tried
    return (
        tried.join(effective.select("sort_index"), on="sort_index", how="anti")
        .sort("sort_index", "attempt", maintain_order=True)
        .unique("sort_index", keep="last", maintain_order=True)
    )


def counts_of(effective: pl.DataFrame, n_specs: int) -> StateCounts:
    """Count the specs by state; what has no outcome is pending."""
    counts = {str(state): int(n) for state, n in effective["state"].value_counts().iter_rows()}
    known = {state.value: counts.get(state.value, 0) for state in State if state is not State.PENDING}
    return StateCounts(**known, pending=n_specs - sum(known.values()))
