"""What the jobs of a submission are told, and the files of theirs in the run's folder.

All that says which code is loaded is in the batch script, which Slurm keeps: whoever can write into the storage of runs
cannot have a job load anything else. In the run's folder are only numbers of rows, and marks.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from typing import Any

import polars as pl
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from scythe_cli.config.slurm import SlurmConfig
from scythe_cli.engines.todo_file import read_todo, write_todo
from scythe_cli.executor.limits import Limits
from scythe_cli.executor.rows.call import RunContext
from scythe_cli.model.functions.reference import ExperimentTarget
from scythe_cli.model.needs import Needs
from scythe_cli.run.layout import RunLayout
from scythe_cli.storage.base import MissingKeyError, Storage
from scythe_cli.storage.opening import open_storage

__all__ = [
    "Assignment",
    "End",
    "WaveRecord",
    "closing_name",
    "limits_document",
    "read_end",
    "read_error",
    "read_stop",
    "read_wave",
    "write_error",
    "write_stop",
]


_MAX_TEXT_BYTES = 100_000


class _Document(BaseModel):
    model_config = ConfigDict(extra="ignore")


class WaveRecord(_Document):
    """What was submitted last: `slurm/<session>.json` in the run's folder."""

    session: str
    wave: int
    array: str = Field(description="the id of the job array")
    closing: str = Field(description="the id of the job behind it")
    n_tasks: int
    rows_per_task: int
    n_rows: int
    cpus: int


class End(_Document):
    """How a submission ended: `slurm/<session>.end` in the run's folder."""

    notices: list[str] = []
    n_waves: int = 1


class Assignment(_Document):
    """What every job of a wave is told, on its standard input."""

    storage: str
    experiment_id: str
    experiment: str
    workflow_run_id: str
    session: str = Field(description="Begins the names of the ledger's parts, and of the files of this submission.")
    wave: int = 1
    idle: int = Field(default=0, description="Waves in a row in which no case has ended.")
    n_specs: int
    n_rows: int = Field(description="The cases of this wave.")
    rows_per_task: int = 1
    budget_s: float | None = None
    is_whole: bool = Field(description="Whether the wave is of all cases, for the first time.")
    seed: int = 0
    max_failures: int | None = None
    code_mark: str | None = None
    target: dict[str, Any]
    limits: dict[str, Any]
    settings: SlurmConfig
    job_name: str
    log_folder: str
    time_limit_s: float | None = None

    @property
    def layout(self) -> RunLayout:
        """The keys of the run."""
        layout = RunLayout.from_experiment_id(self.experiment_id)
        assert layout is not None, self.experiment_id
        return layout

    @property
    def closing_name(self) -> str:
        """The name of the job that gathers."""
        return closing_name(self.job_name)

    def open_storage(self) -> Storage:
        """The place where the run is kept."""
        return open_storage(self.storage)

    def experiment_target(self) -> ExperimentTarget:
        """Where the experiment is."""
        return ExperimentTarget.from_bytes(json.dumps(self.target).encode())

    def run_limits(self) -> Limits:
        """What one case may use."""
        fields: dict[str, Any] = {**self.limits, "retry_on": tuple(self.limits["retry_on"])}
        fields["needs"] = Needs(**fields["needs"])
        return Limits(**fields)

    def context(self, worker: str) -> RunContext:
        """The run, for what executes its rows."""
        return RunContext(self.storage, self.experiment_id, self.workflow_run_id, worker, self.seed)

    def part_prefix(self, task: int) -> str:
        """Begins the names of the parts that a task of this wave writes, however often it starts."""
        return f"{self.session}-w{self.wave:03d}t{task:05d}-"

    def todo_key(self) -> str:
        """The rows of the wave."""
        return self.layout.slurm(f"{self.session}-w{self.wave:03d}.pq")

    def write_todo(self, storage: Storage, todo: pa.Table) -> None:
        """Keep which rows the wave has.

        Raises:
            StorageError: If they cannot be written.
        """
        write_todo(storage, self.todo_key(), todo)

    def read_todo(self, storage: Storage) -> pl.DataFrame:
        """The rows of the wave: `sort_index` (int64, ascending) and `attempt` (int32).

        Raises:
            StorageError: If they cannot be read.
        """
        if self.is_whole:
            rows = pl.int_range(0, self.n_specs, eager=True, dtype=pl.Int64).alias("sort_index")
            return pl.DataFrame([rows]).with_columns(attempt=pl.lit(1, pl.Int32))
        return read_todo(storage, self.todo_key())

    def to_text(self) -> str:
        """As one line of text, for a batch script."""
        return base64.b64encode(self.model_dump_json().encode()).decode()

    @classmethod
    def from_text(cls, text: str | bytes) -> Assignment:
        """Read what `to_text` wrote."""
        return cls.model_validate_json(base64.b64decode(text))


def closing_name(job_name: str) -> str:
    """The name of the job that gathers, from that of the array."""
    return f"{job_name}-end"


def limits_document(limits: Limits) -> dict[str, Any]:
    """Limits as JSON takes them."""
    return asdict(limits)


def read_wave(storage: Storage, run: RunLayout, session: str | None = None) -> WaveRecord | None:
    """What was submitted last of a run, or of one of its submissions; None where nothing was.

    Raises:
        StorageError: If it cannot be read.
    """
    names = [file.name for file in storage.list_files(run.slurm("")[:-1]) if file.name.endswith(".json")]
    chosen = [name for name in names if session is None or name == f"{session}.json"]
    if not chosen:
        return None
    newest = max(chosen)  # sessions begin with the time of their submission
    try:
        record = WaveRecord.model_validate_json(storage.read_bytes(run.slurm(newest)))
    except (MissingKeyError, ValueError):
        return None
    # files are named by it: a record must not lead to those of another run
    return record if record.session == newest.removesuffix(".json") else None


def read_end(storage: Storage, run: RunLayout, session: str) -> End | None:
    """How a submission ended; None while it has not.

    Raises:
        StorageError: If it cannot be read.
    """
    try:
        return End.model_validate_json(storage.read_bytes(run.slurm(f"{session}.end")))
    except (MissingKeyError, ValueError):
        return None


def write_error(storage: Storage, run: RunLayout, session: str, error: str) -> None:
    """Keep why a task could not run its rows at all, for who closes the wave.

    Raises:
        StorageError: If that cannot be written.
    """
    storage.write_bytes(run.slurm(f"{session}.error"), error.encode(errors="replace"))


def read_error(storage: Storage, run: RunLayout, session: str) -> str | None:
    """Why a task could not run its rows at all; None where none has said so.

    Raises:
        StorageError: If that cannot be read.
    """
    return _text(storage, run.slurm(f"{session}.error"))


def write_stop(storage: Storage, run: RunLayout, session: str, why: str) -> None:
    """Let the tasks of a submission begin no more cases, and its closing job submit nothing.

    Raises:
        StorageError: If that cannot be written.
    """
    storage.write_bytes(run.slurm(f"{session}.stop"), why.encode())


def read_stop(storage: Storage, run: RunLayout, session: str) -> str | None:
    """Why a submission was stopped; None where it was not.

    Raises:
        StorageError: If that cannot be read.
    """
    return _text(storage, run.slurm(f"{session}.stop"))


def _text(storage: Storage, key: str) -> str | None:
    try:
        return storage.read_bytes(key, max_bytes=_MAX_TEXT_BYTES).decode(errors="replace")
    except MissingKeyError:
        return None
