"""Running specs of a run again: what a killed run left pending, and what did not succeed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from scythe_cli.base import input_columns
from scythe_cli.engines import Job
from scythe_cli.errors import InvalidInputError, StorageError, UsageError
from scythe_cli.ledger import Ledger, counts_of, effective_outcomes
from scythe_cli.outcomes import State, outcome_schema
from scythe_cli.records import StateCounts
from scythe_cli.registry import RegisteredExperiment
from scythe_cli.runs import Run
from scythe_cli.specfile import SpecFile

__all__ = ["RETRIED", "retry_job"]

RETRIED = frozenset({State.PENDING, State.FAILED, State.TIMEOUT, State.CRASHED, State.CANCELLED})
"""The states that are run again unless some are chosen."""


def retry_job(
    run: Run,
    experiment: RegisteredExperiment[Any, Any],
    *,
    only: Collection[State] = RETRIED,
    root: Path | None = None,
    workers: int = 1,
    max_failures: int | None = None,
) -> Job:
    """Choose the specs of a run that are to be run again, with the number of their next attempt.

    Args:
        run: The run.
        experiment: What to call for each spec.
        only: The states to run again.
        root: The project's folder.
        workers: The number of processes.
        max_failures: Stop when that many specs have ended without success.

    Returns:
        A job in the same run; `todo` has no rows when there is nothing to do.

    Raises:
        UsageError: If it is an older run without a ledger, or `succeeded` is among the states.
        InvalidInputError: If the models have changed since the run was allocated.
        StorageError: If the run cannot be read, or its allocation did not finish.
    """
    if State.SUCCEEDED in only:
        raise UsageError("specs that succeeded are not run again", hint="Allocate a new run instead.")
    manifest = run.manifest
    if manifest is None or manifest.n_specs is None:
        raise UsageError(f"{run.experiment_id} is an older run, which cannot be resumed")
    if manifest.state == "allocating":
        raise StorageError(
            f"the allocation of {run.experiment_id} did not finish", hint="Allocate the sampling file again."
        )
    with SpecFile.open(run.storage, run.layout) as specs, Ledger.open(run.storage, run.layout) as ledger:
        _check_models(specs, experiment, run)
        outcomes = ledger.outcomes()
        n_specs = specs.n_specs
    effective = effective_outcomes(outcomes)
    counts = counts_of(effective, n_specs)
    return Job(
        storage=run.storage,
        run=run.layout,
        experiment=experiment,
        root=root,
        workflow_run_id=manifest.workflow_run_id,
        n_specs=n_specs,
        todo=_todo(outcomes, effective, n_specs, only),
        counts=_counts_at_start(counts, only),
        workers=workers,
        max_failures=max_failures,
    )


def _check_models(specs: SpecFile, experiment: RegisteredExperiment[Any, Any], run: Run) -> None:
    inputs = {column.name for column in input_columns(experiment.input_validator_type)}
    same_inputs = inputs <= set(specs.input_names)
    if not same_inputs or specs.output_schema != outcome_schema(experiment.output_validator_type):
        what = "output" if same_inputs else "input"
        raise InvalidInputError(
            f"the {what} model of {experiment.name!r} has changed since {run.experiment_id} was allocated",
            hint="Its results would not fit into the same tables; allocate a new version.",
        )


def _todo(outcomes: pl.DataFrame, effective: pl.DataFrame, n_specs: int, only: Collection[State]) -> pa.Table:
    """The specs in the chosen states; attempts go on from the highest that is recorded, final or not."""
    last = outcomes.group_by("sort_index").agg(pl.col("attempt").max())
    chosen = (
        pl.DataFrame({"sort_index": pl.int_range(0, n_specs, eager=True)})
        .join(effective.select("sort_index", "state"), on="sort_index", how="left")
        .with_columns(pl.col("state").fill_null(State.PENDING.value))
        .filter(pl.col("state").is_in([state.value for state in only]))
        .join(last, on="sort_index", how="left")
        .select("sort_index", (pl.col("attempt").fill_null(0) + 1).cast(pl.Int32))
        .sort("sort_index")
    )
    return chosen.to_arrow()


def _counts_at_start(counts: StateCounts, only: Collection[State]) -> StateCounts:
    """What is run again is pending until it has its new outcome."""
    again = sum(counts.of(state) for state in only)
    kept = {state.value: 0 if state in only else counts.of(state) for state in State}
    kept[State.PENDING.value] += again
    return StateCounts(**kept)
