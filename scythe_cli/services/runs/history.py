"""One spec of a run: all that the ledger keeps of its attempts, and running it once more in this process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pyarrow as pa
from pydantic import Field, ValidationError

from scythe_cli.analysis.run import Run
from scythe_cli.core.folders import owned_prefix
from scythe_cli.core.records import Record
from scythe_cli.core.states import State
from scythe_cli.errors import InvalidInputError, NotFoundError, UsageError
from scythe_cli.executor.rows.call import Leaf, OutputError, RunContext
from scythe_cli.executor.rows.randomness import seed_generators
from scythe_cli.executor.rows.workdir import RowFolder
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.models import ExperimentOutputSpec
from scythe_cli.model.outcome_schema import MEMORY, measures_memory
from scythe_cli.model.spec_rows import spec_factory, workflow_run_id
from scythe_cli.run.ledger import Ledger, read_part
from scythe_cli.run.outcomes.effective import effective_outcomes
from scythe_cli.run.specs_file import SpecFile

__all__ = ["Attempt", "SpecHistory", "rerun_spec", "spec_history"]


_COLUMNS = ["sort_index", "state", "attempt", "final", "started_at", "duration_s", "worker"]
_TEXTS = ["error_type", "message", "traceback", "log"]


class Attempt(Record):
    """One attempt of a spec."""

    attempt: int
    state: State
    final: bool
    counts: bool
    """Whether it is the outcome that counts for the spec."""
    started_at: datetime | None
    duration_s: float | None
    memory_bytes: int | None = Field(default=None, description="the most memory that it had, where it was measured")
    worker: str | None
    error_type: str | None
    message: str | None
    traceback: str | None
    log: str | None


class SpecHistory(Record):
    """All attempts of a spec, in order."""

    experiment_id: str
    sort_index: int
    state: State
    attempts: list[Attempt]
    files: list[str] = Field(default=[], description="what it has written and is kept: paths, or addresses")


def spec_history(run: Run, row: int) -> SpecHistory:
    """Read what the ledger keeps of one spec.

    Args:
        run: The run.
        row: The spec's `sort_index`.

    Raises:
        UsageError: If it is an older run without a ledger.
        NotFoundError: If the run has no such row.
        StorageError: If the run cannot be read.
    """
    n_specs = run.manifest.n_specs if run.manifest else None
    if n_specs is None:
        raise UsageError(f"{run.experiment_id} is an older run, which kept no output of its cases")
    _check_row(run, row, n_specs)
    attempts: list[Attempt] = []
    with Ledger.open(run.storage, run.layout) as ledger:
        mine = ledger.outcomes(n_specs).filter(pl.col("sort_index") == row)
        effective = effective_outcomes(mine)
        what_counts = effective.select("part", "row").row(0) if effective.height else None
        for part, position in mine.select("part", "row").iter_rows():
            measured = [MEMORY] if measures_memory(ledger.parts[part].schema) else []
            columns = [*_COLUMNS, *_TEXTS, *measured]
            cells: dict[str, Any] = read_part(ledger.parts[part], columns).slice(position, 1).to_pylist()[0]
            del cells["sort_index"]
            attempts.append(Attempt(**cells, counts=(part, position) == what_counts))
    attempts.sort(key=lambda attempt: (attempt.attempt, attempt.started_at is None, attempt.started_at))
    state = next((attempt.state for attempt in attempts if attempt.counts), State.PENDING)
    files = [run.storage.uri(key) for key in sorted(run.storage.list_tree(run.layout.files_of(row)))]
    return SpecHistory(experiment_id=run.experiment_id, sort_index=row, state=state, attempts=attempts, files=files)


def rerun_spec(
    run: Run,
    experiment: RegisteredExperiment[Any, Any],
    row: int,
    *,
    root: Path | None = None,
    on_error: Callable[[BaseException], None] | None = None,
) -> ExperimentOutputSpec:
    """Run one spec of a run again in this process, in a folder and with input files as in the run.

    Nothing is written to the run.

    Args:
        run: The run.
        experiment: What to call.
        row: The spec's `sort_index`.
        root: The project's folder; the present one unless given.
        on_error: Called with what the function raised, while its folders are still there.

    Returns:
        What the function returned. Files that it wrote into folders of its own are gone.

    Raises:
        NotFoundError: If the run has no such row.
        InvalidInputError: If the input model, which may have changed, refuses the row.
        StorageError: If the run cannot be read.
        Exception: What the function raised.
    """
    with SpecFile.open(run.storage, run.layout) as specs:
        _check_row(run, row, specs.n_specs)
        table = specs.read(row, row + 1)
    batch: pa.RecordBatch = table.combine_chunks().to_batches()[0]
    spec = spec_factory(experiment.input_validator_type, batch.schema)(batch)[0]
    if isinstance(spec, ValidationError):
        raise InvalidInputError(f"the input model of {experiment.name!r} refuses row {row}: {spec}")
    run_id = run.manifest.workflow_run_id if run.manifest else ""
    seed = run.manifest.seed if run.manifest else None
    context = RunContext(run.storage.location, run.experiment_id, run_id, "rerun", seed or 0)
    with TemporaryDirectory(prefix=owned_prefix("rerun")) as scratch:
        leaf = Leaf(experiment, context, scratch=Path(scratch))
        leaf.begin(batch)
        leaf.prepare(spec, workflow_run_id(run_id, row))
        seed_generators(spec._row_seed())  # pyright: ignore[reportPrivateUsage]
        project = Path.cwd() if root is None else root.absolute()
        with (
            leaf.localised(spec) as (local, arguments),
            _working_directory(experiment.options.working_directory, project, Path(scratch)),
        ):
            try:
                output: Any = experiment.fn(local, **arguments)
            except BaseException as error:
                if on_error:
                    on_error(error)
                raise
    if not isinstance(output, experiment.output_validator_type):
        expected = experiment.output_validator_type.__name__
        raise OutputError(f"the function returned a {type(output).__name__}; it must return a {expected}")
    return output


@contextlib.contextmanager
def _working_directory(where: str, project: Path, scratch: Path) -> Generator[None]:
    """Be where specs of a run are; see `Limits.working_directory`."""
    match where:
        case "row":
            folder = RowFolder(project, scratch / "rows")
            try:
                with contextlib.chdir(folder.path):
                    yield
            finally:
                folder.close()
        case "project":
            with contextlib.chdir(project):
                yield
        case path:
            with contextlib.chdir(project / path):
                yield


def _check_row(run: Run, row: int, n_specs: int) -> None:
    if not 0 <= row < n_specs:
        raise NotFoundError(f"{run.experiment_id} has no row {row}: it has rows 0 to {n_specs - 1}")
