"""The run of a study: its rounds, each an extension of the run, executed with processes that are kept.

The run's folder tells everything: which study chose which cases, in its manifest; what they are, in `specs.pq`; and
what became of them, in its ledger.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from scythe_cli.analysis.run import Run
from scythe_cli.arrow.build import numbers
from scythe_cli.arrow.seeds import REPETITION
from scythe_cli.core.records import StateCounts
from scythe_cli.core.states import State
from scythe_cli.engines.base import Execution, Job
from scythe_cli.errors import StorageError, UsageError
from scythe_cli.executor.code import code_of
from scythe_cli.model.columns import file_columns
from scythe_cli.model.spec_rows import NOT_INPUT
from scythe_cli.run.design_record import StudyRecord
from scythe_cli.run.extension import finish_extension
from scythe_cli.run.manifest import ExtensionRecord, RunManifest, command_line
from scythe_cli.run.outcomes.summary import empty_summary
from scythe_cli.run.specs_file import SpecFile
from scythe_cli.services.allocation.execution import at_work, changed_code, conclude
from scythe_cli.services.allocation.extending import extend_run
from scythe_cli.services.allocation.growing import briefly_alone
from scythe_cli.services.allocation.options import AllocateOptions
from scythe_cli.services.allocation.run_files import add_files
from scythe_cli.services.allocation.submission import check_inputs
from scythe_cli.services.study.cases import CaseOutcomes
from scythe_cli.services.study.population import rows_of

if TYPE_CHECKING:
    from scythe_cli.analysis.surrogate.space import Point
    from scythe_cli.core.progress import ProgressCallback
    from scythe_cli.engines.base import Execute
    from scythe_cli.executor.limits import StopSignal
    from scythe_cli.run.lease import Lease
    from scythe_cli.services.configured import ConfiguredProject
    from scythe_cli.services.records import AllocateResult
    from scythe_cli.services.study.settings import Study

__all__ = ["StudyRun", "opened", "rounds_in"]


def rounds_in(manifest: RunManifest) -> list[tuple[int, int, StudyRecord | None]]:
    """The parts of a run: first row, how many rows, and which round of which study chose them; None for other cases."""
    extensions = manifest.extensions or []
    n_first = (manifest.n_specs or 0) - sum(each.rows for each in extensions)
    return [(0, n_first, manifest.study), *((each.first_row, each.rows, each.study) for each in extensions)]


@dataclass
class StudyRun:
    """The run of a study, which this process is at work on.

    Attributes:
        project: The project.
        study: The study.
        run: The run.
        manifest: Its manifest.
        inputs: The inputs of all its specs, and `REPETITION` where it has any.
        outcomes: What has become of them.
        engine_workers: How many processes run cases of the local engine.
        notices: For the user.
    """

    project: ConfiguredProject
    study: Study
    run: Run
    manifest: RunManifest
    inputs: pa.Table
    outcomes: CaseOutcomes
    engine_workers: int
    notices: list[str]
    _execute: Execute
    _lease: Lease | None
    _job: Job
    _places: dict[str, dict[str, str]]

    @property
    def n_cases(self) -> int:
        """How many cases it has."""
        return self.inputs.num_rows

    def points(self, first: int = 0, n: int | None = None) -> list[dict[str, Any]]:
        """The cases as points of the space, with the names of files as they were given."""
        rows = rows_of(self.inputs.slice(first, n), self.study.space.names)
        for name, values in self._places.items():
            for row in rows:
                row[name] = values.get(row[name], row[name])
        return rows

    def extend(self, points: Sequence[Point], record: StudyRecord) -> None:
        """Add cases, which are not run yet.

        Raises:
            UsageError: If somebody else has extended the run meanwhile.
            StorageError: If it cannot be written.
        """
        if self._lease is not None:
            self._extend(points, record, self._lease)
            return
        with briefly_alone(self.run) as lease:
            now = Run(self.run.storage, self.run.layout).manifest
            if now is None or now.n_specs != self.manifest.n_specs:
                raise UsageError(
                    f"{self.run.experiment_id} has just been extended by another process", hint="Run the command again."
                )
            self._extend(points, record, lease)

    def _extend(self, points: Sequence[Point], record: StudyRecord, lease: Lease) -> None:
        request = self.study.intake(self.project, self.study.table(points)).request(self.project, AllocateOptions())
        kept = ExtensionRecord(
            extended_at=datetime.now(UTC).replace(microsecond=0),
            first_row=self.n_cases,
            rows=len(points),
            sampling_file=request.source,
            study=record,
            command=command_line(),
        )
        plan = check_inputs(request)
        extended = extend_run(self.run, self.manifest, request, self.inputs, plan, kept, lease)
        self.manifest, self.inputs = extended.manifest, extended.inputs

    def execute(self, stop: StopSignal, progress: ProgressCallback | None) -> list[int]:
        """Run the cases that are pending; returns those that still are."""
        n = self.n_cases
        todo = self.outcomes.pending(n)
        if todo:
            states = self.outcomes.states(n)
            counts = StateCounts(**{state.value: states.count(state.value) for state in State})
            table = pa.table(
                {
                    "sort_index": numbers(np.array(todo, np.int64), pa.int64()),
                    "attempt": numbers(np.ones(len(todo), np.int32), pa.int32()),
                }
            )
            job = replace(self._job, n_specs=n, todo=table, counts=counts)
            done = self._execute(job, stop=stop, progress=progress)
            self.notices = list(dict.fromkeys([*self.notices, *done.notices]))
            self.outcomes.refresh()
        return self.outcomes.pending(n)

    def finish(self, started: datetime) -> AllocateResult:
        """Gather the final tables."""
        job = replace(self._job, n_specs=self.n_cases)
        empty_summary(self.run.storage, self.run.layout)
        return conclude(job, self.project.engine.name, Execution(), started=started)


@contextmanager
def opened(
    project: ConfiguredProject, study: Study, run: Run, workers: int | None, stop: StopSignal
) -> Generator[StudyRun]:
    """Be at work on the run of a study.

    Raises:
        UsageError: If another process is.
        StorageError: If the run cannot be read.
    """
    engine, n_workers = project.engine, workers or project.workers
    with at_work(run.storage, run.layout, engine, stop) as lease:
        run = Run(run.storage, run.layout)  # as it is now that nobody else is at work on it
        manifest = run.manifest
        if manifest is None or manifest.n_specs is None:
            raise StorageError(f"{run.experiment_id} has no manifest")
        with SpecFile.open(run.storage, run.layout) as specs:
            manifest = finish_extension(run.storage, run.layout, specs, manifest)
            names = [name for name in specs.schema.names if name not in NOT_INPUT or name == REPETITION]
            inputs = specs.read(0, specs.n_specs, columns=names).select(names)
        outcomes = CaseOutcomes(run.storage, run.layout, study.outputs)
        outcomes.refresh()
        job = Job(
            storage=run.storage,
            run=run.layout,
            experiment=study.experiment,
            root=project.root,
            workflow_run_id=manifest.workflow_run_id,
            n_specs=inputs.num_rows,
            todo=None,
            counts=StateCounts(pending=inputs.num_rows),
            workers=n_workers,
            seed=manifest.seed or 0,
            code=code_of(study.experiment, project.root),
            is_other_code=bool(changed_code(run, study.experiment, project.root)),
        )
        with engine.kept(job) as execute:
            places = _places(project, study, run)
            yield StudyRun(project, study, run, manifest, inputs, outcomes, n_workers, [], execute, lease, job, places)


def _places(project: ConfiguredProject, study: Study, run: Run) -> dict[str, dict[str, str]]:
    """For each field of files that varies, from where each file lies in the run to its name."""
    files = {column.name for column in file_columns(study.experiment.input_validator_type)}
    varying = [d for d in study.space.dimensions if d.name in files and d.values is not None]
    if not varying:
        return {}
    first = rows_of(study.first.table, study.space.names)[0]
    points = [{**first, d.name: value} for d in varying for value in d.values or ()]
    request = study.intake(project, study.table(points)).request(project, AllocateOptions())
    uris = add_files(check_inputs(request), run.storage, run.layout)
    places: dict[str, dict[str, str]] = {}
    for d in varying:
        cells = request.inputs.column(d.name).cast(pa.string()).to_pylist()
        named = zip(map(str, cells), points, strict=True)
        places[d.name] = {uris.get(d.name, {}).get(cell, cell): point[d.name] for cell, point in named}
    return places
