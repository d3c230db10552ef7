"""What the services return, as records."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field, computed_field

from scythe_cli.core.records import Record, StateCounts
from scythe_cli.run.records import ErrorGroup

__all__ = [
    "AllocateResult",
    "CancelResult",
    "DoctorCheck",
    "ErrorDocument",
    "Problem",
    "ProgramVersion",
    "ServedTask",
    "SubmitResult",
    "ValidationReport",
    "WorkerStart",
]


class ValidationReport(Record):
    """What checking a sampling file found; bad files raise instead."""

    file: str
    experiment: str
    n_specs: int
    columns: list[str]
    defaulted: list[str] = Field(description="fields that the file does not have and that take their default")
    ignored: list[str] = Field(description="reserved columns that are overwritten")
    input_files: int = Field(description="distinct local input files")
    input_bytes: int
    notices: list[str] = Field(default=[], description="how the file was read, and what of it is left out")


class AllocateResult(Record):
    """What an allocation did."""

    experiment_id: str
    experiment: str
    version: str
    timestamp: datetime
    uri: str
    engine: str
    workflow_run_id: str
    n_specs: int
    counts: StateCounts
    duration_s: float
    n_reused: int = Field(default=0, description="specs whose outcome was taken over from an earlier run")
    n_duplicates: int = Field(default=0, description="specs that got the outcome of another one that is the same")
    n_added: int = Field(default=0, description="cases that the run has got, with `--into`")
    n_known: int = Field(default=0, description="cases of the file that the run had already, with `--into`")
    n_warnings: int = Field(
        default=0, description="what specs that succeeded made and could not be kept as it was: the rows of `warnings`"
    )
    tables: dict[str, str] = Field(description="final tables: name to path or URI")
    errors: list[ErrorGroup] = Field(default=[])
    failing: list[ErrorGroup] = Field(
        default=[], description="failed attempts of specs that are pending, since the run was stopped before another"
    )
    notices: list[str] = Field(default=[])

    @computed_field
    @property
    def ok(self) -> bool:
        """Whether every spec succeeded."""
        return self.counts.succeeded == self.n_specs


class DoctorCheck(Record):
    """One thing that `scythe doctor` looked at."""

    name: str
    ok: bool
    detail: str
    remedy: str | None = None
    exit_code: int = Field(default=0, description="what the command exits with because of this check")


class SubmitResult(Record):
    """A run that was handed to a fleet, which goes on by itself."""

    experiment_id: str
    experiment: str
    version: str
    timestamp: datetime
    uri: str
    engine: str
    workflow_run_id: str = Field(description="of the run's root, as the engine's dashboard shows it")
    look: str | None = Field(default=None, description="a command of the engine's own that shows it")
    n_specs: int
    n_added: int = Field(default=0, description="cases that the run has got, with `--into`")
    n_known: int = Field(default=0, description="cases of the file that the run had already, with `--into`")
    notices: list[str] = Field(default=[])


class CancelResult(Record):
    """What a cancellation did."""

    experiment_id: str
    cancelled: int = Field(description="specs that will not run")
    counts: StateCounts


class ServedTask(Record):
    """One thing that a worker serves."""

    name: str = Field(description="of the Hatchet task")
    kind: str = Field(description="'experiment', 'workflow' or 'scatter/gather'")
    place: str = Field(description="where its code is")


class WorkerStart(Record):
    """A worker, as it begins to serve."""

    name: str
    slots: int = Field(description="specs that run at the same time")
    serves: list[ServedTask]


class ProgramVersion(Record):
    """What `--version` tells."""

    version: str


class Problem(Record):
    """What is wrong, and what to do."""

    type: str = Field(description="the class of the error, as in scythe_cli.errors")
    message: str
    hint: str | None
    exit_code: int


class ErrorDocument(Record):
    """What a command prints that ends with an error."""

    error: Problem
