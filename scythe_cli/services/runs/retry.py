"""Running specs of a run again: what a killed run left pending, and what did not succeed.

A part of the ledger that is damaged is set aside first, under a name that no reader takes for a part, and its specs
count as pending. It is removed once every spec has an outcome again: then it says nothing that is not said elsewhere.
Both is done only with a file that this program has written, as its name and its content tell. Whatever else lies among
the parts belongs to somebody: it is named, and left as it is.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute

from scythe_cli.analysis.run import Run
from scythe_cli.core.progress import ProgressCallback
from scythe_cli.core.records import StateCounts
from scythe_cli.core.states import State
from scythe_cli.engines.base import Engine, Execution, Job
from scythe_cli.errors import InvalidInputError, StorageError, UsageError
from scythe_cli.executor.code import code_of, raise_if_changed, told_changes
from scythe_cli.executor.limits import StopSignal
from scythe_cli.model.columns import input_columns, outcome_schema
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.run.extension import finish_extension
from scythe_cli.run.final.gather import GatherResult
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.lease import abandoned_claims
from scythe_cli.run.ledger import Ledger
from scythe_cli.run.manifest import RunManifest
from scythe_cli.run.outcomes.duplicates import read_duplicates, spread_outcomes
from scythe_cli.run.outcomes.part_files import is_part_name
from scythe_cli.run.outcomes.standings import Standings, standings_of
from scythe_cli.run.outcomes.summary import empty_summary, read_summary
from scythe_cli.run.specs_file import SpecFile
from scythe_cli.services.allocation.execution import at_work, changed_code, conclude, how_to_go_on, left_alone, run_job
from scythe_cli.services.records import AllocateResult
from scythe_cli.storage.base import LISTS_LAG_S, RefusedError, Storage

__all__ = ["RETRIED", "remove_leftovers", "retry_job", "retry_run"]


pc: Any = pyarrow.compute  # its stubs do not know the types that its functions take

_ASIDE = ".damaged"
_LOOK_S = 2.0

RETRIED = frozenset({State.PENDING, State.FAILED, State.TIMEOUT, State.CRASHED, State.CANCELLED})
"""The states that are run again unless some are chosen."""


def retry_run(
    run: Run,
    experiment: RegisteredExperiment[Any, Any],
    engine: Engine,
    *,
    only: Collection[State] = RETRIED,
    root: Path | None = None,
    workers: int = 1,
    max_failures: int | None = None,
    accept_new_code: bool = False,
    force: bool = False,
    wait_timeout_s: float | None = None,
    stop: StopSignal | None = None,
    progress: ProgressCallback | None = None,
) -> AllocateResult:
    """Run specs of a run again, in the same folder, and gather its final tables anew.

    With nothing to run, only missing or old tables are gathered. Unfinished files are removed.

    Args:
        run: The run.
        experiment: What to call for each spec.
        engine: What executes them.
        only: The states to run again.
        root: The project's folder.
        workers: The number of processes.
        max_failures: Stop when that many specs have ended without success.
        accept_new_code: Whether they are run with code that has changed since; their outcomes tell it then.
        force: Whether what a fleet still has of the run is stopped first, and taken over.
        wait_timeout_s: How long to wait for a fleet; None for as long as it takes.
        stop: Stops it when it is triggered.
        progress: Called as the run goes on.

    Raises:
        UsageError: If it has no ledger, `succeeded` is among the states, or somebody else is at work on it.
        CodeChangedError: If there is something to run, and the code has changed since the run was allocated.
        InvalidInputError: If the models have changed since.
        StorageError: If the run cannot be read or written, or its allocation did not finish.
    """
    _resumable_manifest(run, only)
    _check_fleet_options(engine, force=force, wait_timeout_s=wait_timeout_s)
    with at_work(run.storage, run.layout, engine, stop := stop or StopSignal()):
        run = _tidied(run, engine)
        standings, own, foreign, lacking = _read_ledger(run)
        job = _job(run, experiment, standings, only, root=root, workers=workers, max_failures=max_failures)
        del standings  # of many cases it is large
        job = replace(job, takes_over=force, wait_timeout_s=wait_timeout_s)
        job, told = _of_which_code(job, run, accept_new_code=accept_new_code)
        notices = lacking + _set_aside(run, own) + [left_alone(name) for name in foreign] + told
        if not job.n_rows:
            notices.append(_nothing_to_do(run, job.counts, only))
            if not own and run.tables_are_current():
                return _result_as_it_is(run, job, engine, notices)
        empty_summary(run.storage, run.layout)
        result = run_job(job, engine, stop=stop, progress=progress, notices=notices)
        if not result.counts.pending:
            _remove_parts_set_aside(run)
        return result


def _tidied(run: Run, engine: Engine) -> Run:
    """The run as it is now that nobody else is at work on it, without what others have left unfinished."""
    run = Run(run.storage, run.layout)  # it may have grown
    if engine.needs_lease and run.manifest is not None and run.manifest.needs_lease:
        remove_leftovers(run.storage, run.layout)
    spread_outcomes(run.storage, run.layout)
    return run


def _check_fleet_options(engine: Engine, *, force: bool, wait_timeout_s: float | None) -> None:
    if (force or wait_timeout_s is not None) and not engine.outlives_client:
        raise UsageError(f"--force and --timeout are for runs on a fleet; the {engine.label} engine runs cases here")


def _read_ledger(run: Run) -> tuple[Standings, list[str], list[str], list[str]]:
    """What has become of each spec, the damaged parts that this program has written and that others have, and notices.

    In a storage that is late with its lists it is waited for what there was when the tables were made.
    """
    summary = read_summary(run.storage, run.layout)
    begun_s = time.monotonic()
    while True:
        # every page is read before it is decided what has an outcome; only then is anything run
        with Ledger.open(run.storage, run.layout, thorough=True) as ledger:
            standings = standings_of(ledger, _n_specs(run))
            own, foreign = ledger.own_and_foreign()
        n_missing = 0 if summary is None else standings.counts().pending - summary.counts.pending
        is_explained = bool(own or foreign) or summary is None or summary.counts.total != _n_specs(run)
        if n_missing <= 0 or is_explained:
            return standings, own, foreign, []
        if run.storage.local_path(run.layout.outcomes) is not None or time.monotonic() - begun_s > LISTS_LAG_S:
            cases = "1 case" if n_missing == 1 else f"{n_missing:,} cases"
            return (
                standings,
                own,
                foreign,
                [f"the ledger no longer has the outcomes of {cases}, which were in the tables"],
            )
        time.sleep(_LOOK_S)  # the list may be late


def _of_which_code(job: Job, run: Run, *, accept_new_code: bool) -> tuple[Job, list[str]]:
    """See that the code of what is run again is that of the run, or else that outcomes tell it; and what is to be said.

    Raises:
        CodeChangedError: If the code has changed, and that was not accepted.
    """
    changed = changed_code(run, job.experiment, job.root) if job.n_rows else []
    if not accept_new_code:
        raise_if_changed(changed, hint=how_to_go_on(run.experiment_id))
    notices = [f"{told_changes(changed)}; outcomes of the new code are marked"] if changed else []
    return replace(job, is_other_code=bool(changed)), notices


def _nothing_to_do(run: Run, counts: StateCounts, only: Collection[State]) -> str:
    if counts.succeeded == counts.total:
        return f"nothing to run: all cases of {run.experiment_id} have succeeded"
    states = ", ".join(state.value for state in State if state in only)
    return f"nothing to run: no case of {run.experiment_id} is {states.replace(', ', ' or ')}"


def _result_as_it_is(run: Run, job: Job, engine: Engine, notices: list[str]) -> AllocateResult:
    tables = {name: run.storage.uri(key) for name, key in run.table_keys().items()}
    execution = Execution(notices, GatherResult(tables, job.counts, damaged=[]))
    return conclude(job, engine.name, execution, started=datetime.now(UTC))


def remove_leftovers(storage: Storage, run: RunLayout) -> None:
    """Remove what killed processes left in a run's folder; only for who holds its lease."""
    for key in abandoned_claims(storage, run):
        storage.discard(key)
    storage.delete_unfinished(run.experiment_id)


def _set_aside(run: Run, damaged: Sequence[str]) -> list[str]:
    kept: list[str] = []
    taken = {file.name for file in run.storage.list_files(run.layout.outcomes)} if damaged else set[str]()
    for name in damaged:
        names = (f"{name}{f'.{n}' if n else ''}{_ASIDE}" for n in count())
        aside = next(free for free in names if free not in taken)
        try:
            run.storage.rename(run.layout.key("outcomes", name), run.layout.key("outcomes", aside))
        except RefusedError:
            kept.append(name)
    return [
        f"part {name} of the ledger is damaged{' and cannot be removed' if name in kept else ''}: "
        "the cases that were in it are run again"
        for name in damaged
    ]


def _remove_parts_set_aside(run: Run) -> None:
    for file in run.storage.list_files(run.layout.outcomes):
        # the mark was seen when it was set aside
        if file.name.endswith(_ASIDE) and is_part_name(file.name.partition(".pq")[0]):
            run.storage.discard(run.layout.key("outcomes", file.name))


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
    _resumable_manifest(run, only)
    with Ledger.open(run.storage, run.layout) as ledger:
        standings = standings_of(ledger, _n_specs(run))
    return _job(run, experiment, standings, only, root=root, workers=workers, max_failures=max_failures)


def _job(
    run: Run,
    experiment: RegisteredExperiment[Any, Any],
    standings: Standings,
    only: Collection[State],
    *,
    root: Path | None,
    workers: int,
    max_failures: int | None,
) -> Job:
    manifest = _resumable_manifest(run, only)
    with SpecFile.open(run.storage, run.layout) as specs:
        _check_models(specs, experiment, run)
        n_specs = specs.n_specs
        finish_extension(run.storage, run.layout, specs, manifest)
    standings.grow(n_specs)
    return Job(
        storage=run.storage,
        run=run.layout,
        experiment=experiment,
        root=root,
        workflow_run_id=manifest.workflow_run_id,
        n_specs=n_specs,
        todo=_without_duplicates(run, standings.todo(only)),
        counts=_counts_at_start(standings.counts(), only),
        workers=workers,
        max_failures=max_failures,
        seed=manifest.seed or 0,
        code=code_of(experiment, root),
    )


def _resumable_manifest(run: Run, only: Collection[State]) -> RunManifest:
    if State.SUCCEEDED in only:
        raise UsageError("cases that succeeded are not run again", hint="Allocate a new run instead.")
    manifest = run.manifest
    if manifest is None or manifest.n_specs is None:
        raise UsageError(f"{run.experiment_id} is an older run, which cannot be resumed")
    if manifest.state == "allocating":
        raise StorageError(
            f"the allocation of {run.experiment_id} did not finish", hint="Allocate the sampling file again."
        )
    return manifest


def _check_models(specs: SpecFile, experiment: RegisteredExperiment[Any, Any], run: Run) -> None:
    inputs = {column.name for column in input_columns(experiment.input_validator_type)}
    same_inputs = inputs <= set(specs.input_names)
    if not same_inputs or specs.output_schema != outcome_schema(experiment.output_validator_type):
        what = "output" if same_inputs else "input"
        raise InvalidInputError(
            f"the {what} model of {experiment.name!r} has changed since {run.experiment_id} was allocated",
            hint="Its results would not fit the same tables; allocate a new version.",
        )


def _n_specs(run: Run) -> int:
    """The number of specs as the manifest has it."""
    return (run.manifest.n_specs if run.manifest else None) or 0


def _without_duplicates(run: Run, todo: pa.Table) -> pa.Table:
    """Leave out the specs that get the outcome of another one, which is run again as well."""
    duplicates = read_duplicates(run.storage, run.layout)
    if not duplicates.height:
        return todo
    return todo.filter(pc.invert(pc.is_in(todo.column("sort_index"), value_set=duplicates["sort_index"].to_arrow())))


def _counts_at_start(counts: StateCounts, only: Collection[State]) -> StateCounts:
    """What is run again is pending until it has its new outcome."""
    again = sum(counts.of(state) for state in only)
    kept = {state.value: 0 if state in only else counts.of(state) for state in State}
    kept[State.PENDING.value] += again
    return StateCounts(**kept)
