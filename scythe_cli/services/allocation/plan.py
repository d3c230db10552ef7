"""What an allocation would do, without doing it: how many specs, uploads, tasks, and how long it may take.

Times come from specs that were run: in earlier runs, or in a pilot, which runs some random rows on this machine and
throws their results away. Where there are none, a time is not known, which is told as None and never as zero.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from scythe_cli.core.folders import owned_prefix
from scythe_cli.core.progress import ProgressCallback
from scythe_cli.core.records import Record, StateCounts
from scythe_cli.core.states import State
from scythe_cli.engines.local import LocalEngine
from scythe_cli.engines.outline import Outline
from scythe_cli.errors import UsageError
from scythe_cli.executor.limits import StopSignal
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.spec_rows import NOT_INPUT
from scythe_cli.run.input_files import ArtifactPlan
from scythe_cli.run.ledger import Ledger
from scythe_cli.run.outcomes.durations import Durations, durations_of, earlier_durations
from scythe_cli.services.allocation.submission import (
    AllocationRequest,
    check_inputs,
    execute,
    savings_of,
    submit,
)
from scythe_cli.services.reuse.duplicates import find_duplicates
from scythe_cli.services.reuse.savings import Savings, version_ahead
from scythe_cli.storage.opening import open_storage

__all__ = ["AllocationPlan", "Durations", "Pilot", "PilotFailure", "plan_allocation"]


class PilotFailure(Record):
    """Rows of a pilot that failed alike."""

    state: State
    error_type: str
    message: str
    rows: list[int] = Field(description="their sort_index in the sampling file")


class Pilot(Record):
    """Random rows that were run to see how long they take; their results are gone."""

    rows: list[int] = Field(description="their sort_index in the sampling file, ascending")
    seed: int
    counts: StateCounts
    elapsed_s: float = Field(description="from start to end, the start of processes included")
    failures: list[PilotFailure] = Field(default=[])


class AllocationPlan(Record):
    """What an allocation would do; None stands for what is not known."""

    file: str
    experiment: str
    version: str = Field(description="the version that the run would get now")
    engine: str
    n_specs: int
    n_duplicates: int = Field(description="rows that are the same as an earlier row of the file")
    n_reused: int | None = Field(description="specs that would be taken over; None when that was not asked for")
    n_to_run: int
    defaulted: list[str]
    input_files: int = Field(description="distinct input files that would be uploaded")
    input_bytes: int
    workers: int | None = Field(description="processes of the local engine; of a fleet not known")
    nodes: int | None = Field(default=None, description="nodes of scatter/gather; None with the local engine")
    tasks: int | None = Field(default=None, description="tasks of a fleet, about; None where there are none")
    rows_per_task: int | None = Field(default=None, description="rows in most tasks")
    cores_per_task: int | None = Field(default=None, description="cores of one task, where they are reserved")
    tasks_at_once: int | None = Field(default=None, description="tasks that may run at the same time")
    parts: int | None = Field(description="files that outcomes would be kept in, about")
    durations: Durations | None = Field(description="what the times below are based on")
    work_s: float | None = Field(description="time that all specs take together, one after the other")
    expected_s: float | None = Field(description="time from start to end with these workers, about")
    pilot: Pilot | None = None
    notices: list[str] = Field(default=[])


def plan_allocation(
    request: AllocationRequest,
    *,
    file: str,
    defaulted: list[str],
    pilot: int | None = None,
    pilot_seed: int = 0,
    stop: StopSignal | None = None,
    progress: ProgressCallback | None = None,
) -> AllocationPlan:
    """Tell what an allocation would do; nothing is written to the storage.

    Args:
        request: The allocation.
        file: The name of the sampling file.
        defaulted: The fields that it has not.
        pilot: How many rows to run on this machine to see how long they take.
        pilot_seed: Chooses them.
        stop: Stops the pilot.
        progress: Called as the pilot goes on.

    Raises:
        InvalidInputError: If input files are missing.
        UsageError: If the pilot has no rows.
        StorageError: If earlier runs cannot be read.
    """
    _check_pilot(request, pilot)
    files = check_inputs(request)
    savings = savings_of(request, files)
    notices = savings.notices()
    n_same = _count_duplicates(request, files, savings)
    if n_same and savings.duplicates is None:
        notices.append(f"{n_same:,} rows are the same as an earlier one; --dedupe runs them only once")
    tried, durations = _run_pilot(request, savings, pilot, pilot_seed, stop, progress)
    durations = durations or earlier_durations(request.storage, request.folder)
    n = savings.n_to_run
    outline, work_s, expected_s = _expected(request, n, None if durations is None else durations.mean_s)
    return AllocationPlan(
        file=file,
        experiment=request.folder,
        version=str(version_ahead(request.storage, request.folder, request.version)),
        engine=request.engine.name,
        n_specs=savings.n_specs,
        n_duplicates=n_same,
        n_reused=savings.n_reused if savings.reusable is not None else None,
        n_to_run=n,
        defaulted=defaulted,
        input_files=len(files.uploads),
        input_bytes=files.total_bytes,
        **asdict(outline),
        durations=durations,
        work_s=work_s,
        expected_s=expected_s,
        pilot=tried,
        notices=notices,
    )


def _expected(request: AllocationRequest, n: int, spec_s: float | None) -> tuple[Outline, float | None, float | None]:
    """The pieces of a run, the time that its specs take together, and that from start to end; None: not known."""
    outline = request.engine.for_experiment(request.experiment.name).outline(
        n,
        workers=request.experiment.options.needs.at_once(request.workers),
        recursion=request.recursion,
        specs_per_task=request.specs_per_task,
        spec_s=spec_s,
    )
    work_s = None if spec_s is None else spec_s * n
    if work_s is not None and outline.cores_per_task and outline.tasks_at_once:
        cores = min(outline.cores_per_task * outline.tasks_at_once, n)
        return outline, work_s, work_s / max(1, cores)
    if work_s is None or outline.workers is None:
        return outline, work_s, None
    return outline, work_s, work_s / max(1, min(outline.workers, n))


def _check_pilot(request: AllocationRequest, pilot: int | None) -> None:
    if pilot is not None and pilot < 1:
        raise UsageError(f"a pilot of {pilot} rows; it must have at least 1")
    if pilot is not None and type(request.experiment) is not RegisteredExperiment:
        raise UsageError(f"{request.folder} is a workflow of a fleet, which a pilot cannot run on this machine")


def _count_duplicates(request: AllocationRequest, files: ArtifactPlan, savings: Savings) -> int:
    """How many rows are the same as an earlier one, whether they are run or not."""
    if savings.duplicates is not None:
        return savings.duplicates.height
    hashes = {name: {value: file.sha256 for value, file in refs.items()} for name, refs in files.files.items()}
    names = [name for name in request.inputs.column_names if name not in NOT_INPUT]
    return find_duplicates(request.inputs, names, hashes).height


def _run_pilot(
    request: AllocationRequest,
    savings: Savings,
    n: int | None,
    seed: int,
    stop: StopSignal | None,
    progress: ProgressCallback | None,
) -> tuple[Pilot | None, Durations | None]:
    """Run some random rows, of those that would be run, in a storage that is thrown away; nothing without a pilot."""
    if n is None or not savings.n_to_run:
        return None, None
    rows = _rows_to_run(savings)
    chosen = np.sort(np.random.default_rng(seed).choice(rows, min(n, len(rows)), replace=False))
    with TemporaryDirectory(prefix=owned_prefix("pilot")) as folder:
        storage = open_storage(folder)
        trial = replace(
            request.with_cases(request.inputs.take(pl.Series(chosen).to_arrow()), chosen.astype(np.int64)),
            storage=storage,
            engine=LocalEngine(),
            single=False,
            max_failures=None,
            reuse=None,
            dedupe=False,
        )
        submission = submit(trial)
        result = execute(submission, trial.engine, stop=stop, progress=progress)
        with Ledger.open(storage, submission.job.run) as ledger:
            durations = durations_of(ledger.outcomes(), "pilot")
    failures = [
        PilotFailure(
            state=group.state,
            error_type=group.error_type,
            message=group.message,
            rows=[int(chosen[row]) for row in group.rows],
        )
        for group in result.errors
    ]
    tried = Pilot(
        rows=[int(row) for row in chosen],
        seed=seed,
        counts=result.counts,
        elapsed_s=result.duration_s,
        failures=failures,
    )
    return tried, durations


def _rows_to_run(savings: Savings) -> np.ndarray[Any, np.dtype[np.int64]]:
    rows = np.ones(savings.n_specs, np.bool_)
    rows[savings.idle_duplicates["sort_index"].to_numpy()] = False
    if savings.reusable is not None:
        rows[savings.reusable.matches["sort_index"].to_numpy()] = False
    return np.flatnonzero(rows)
