"""A project whose engine answers at once in this process, for tests of runs that grow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from scythe_cli.core.progress import ProgressCallback
from scythe_cli.engines.base import Engine, Execution, Job
from scythe_cli.executor.limits import StopSignal
from scythe_cli.run.ledger import write_part
from scythe_cli.services.project import Project, open_project
from scythe_cli.storage.base import Storage
from tests.made_runs import outcomes

CODE = """
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.registry import ExperimentRegistry


class Case(ExperimentInputSpec):
    x: float
    label: str = "q"
    weather: FileReference | None = None


class Answer(ExperimentOutputSpec):
    y: float
    odd: int | None = None
    picture: FileReference | None = None


@ExperimentRegistry.Register()
def simulate(input_spec: Case) -> Answer:
    return Answer(y=input_spec.x)
"""
CONFIG = """
[scythe]
storage = "runs"

[experiments.energy]
entrypoint = "growing_model:simulate"
"""


@dataclass
class AnsweringEngine(Engine):
    """Says of each spec that it has succeeded, and remembers which there were."""

    name: str = "local"
    rows: list[list[int]] = field(default_factory=list)
    state: str = "succeeded"

    def execute(self, job: Job, *, stop: StopSignal, progress: ProgressCallback | None = None) -> Execution:
        rows = list(range(job.n_specs)) if job.todo is None else job.todo["sort_index"].to_pylist()
        self.rows.append(rows)
        attempts = [1] * len(rows) if job.todo is None else job.todo["attempt"].to_pylist()
        for row, attempt in zip(rows, attempts, strict=True):
            write_part(job.storage, job.run, uuid4().hex, outcomes([row], self.state, attempt=attempt))
        return Execution()


class AnsweringFleet(AnsweringEngine):
    """The same as a fleet, on which nobody holds the lease of a run."""

    needs_lease = False


def growing_project(folder: Path, engine: Engine, *, code: str = CODE) -> Project:
    """A project in a new folder, or in one that was made before, with an engine."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "growing_model.py").write_text(code)
    (folder / "experiments.toml").write_text(CONFIG)
    project = open_project(start=folder)
    vars(project)["engine"] = engine
    return project


def write_csv(file: Path, xs: Sequence[float], weather: Callable[[float], str] = lambda _: "") -> Path:
    """A sampling file."""
    file.write_text("x,weather\n" + "".join(f"{x},{weather(x)}\n" for x in xs))
    return file


class Killed(BaseException):
    """What stands for a process that is killed."""


class Deadly:
    """A storage at whose operation of a number the process is killed; it does nothing from then on.

    Attributes:
        n: How many operations there were.
    """

    def __init__(self, storage: Storage, at: int) -> None:
        self._storage = storage
        self._at = at
        self.n = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._storage, name)
        if name in ("location", "uri", "key_of", "local_path"):
            return method
        self.n += 1
        if self.n > self._at:
            raise Killed
        return method
