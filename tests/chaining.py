"""A project of three experiments whose engine calls them in this process, for tests of chains."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pyarrow as pa

from scythe_cli.core.progress import ProgressCallback
from scythe_cli.engines.base import Engine, Execution, Job
from scythe_cli.executor.limits import StopSignal
from scythe_cli.model.columns import output_columns, output_files
from scythe_cli.model.spec_rows import build_specs
from scythe_cli.run.ledger import write_part
from scythe_cli.run.specs_file import SpecFile
from scythe_cli.services.project import Project, open_project
from tests.made_runs import outcomes

CODE = """
from pathlib import Path

from pydantic import BaseModel, Field

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.registry import ExperimentRegistry


class Wind(BaseModel):
    speed: float = 3.0
    kind: str = "calm"


class Roof(ExperimentInputSpec):
    site: str = "Oslo"
    tilt: float = 0
    wind: Wind = Wind()
    steps: list[int] = []
    weather: FileReference | None = None


class Yield(ExperimentOutputSpec):
    annual_yield: float
    hours: int = 5
    name: str = "n"
    by_month: list[float] = []
    report: FileReference | None = None


@ExperimentRegistry.Register(retries=0)
def solar(input_spec: Roof, tempdir: Path) -> Yield:
    if input_spec.tilt > 80:
        raise ValueError("too steep")
    report = tempdir / "report.txt"
    report.write_text(f"{input_spec.tilt}")
    return Yield(annual_yield=1000 - input_spec.tilt, by_month=[1.0, input_spec.tilt], report=report)


class Cost(ExperimentInputSpec):
    energy: float = Field(ge=0, le=990)
    site: str = "?"
    wind: Wind = Wind()
    steps: list[int] = []
    report: FileReference | None = None
    weather: FileReference | None = None


class Money(ExperimentOutputSpec):
    revenue: float
    site: str = "elsewhere"


@ExperimentRegistry.Register(retries=0)
def economics(input_spec: Cost) -> Money:
    read = len(Path(input_spec.report).read_text()) if input_spec.report else 0
    return Money(revenue=input_spec.energy * 2 + read)


class Sum(ExperimentInputSpec):
    revenue: float
    site: str = "?"


class Score(ExperimentOutputSpec):
    score: float


@ExperimentRegistry.Register(retries=0)
def score(input_spec: Sum) -> Score:
    return Score(score=input_spec.revenue)
"""
CONFIG = """
[scythe]
storage = {storage!r}

[experiments.solar]
entrypoint = "{module}:solar"

[experiments.economics]
entrypoint = "{module}:economics"
{economics}

[experiments.score]
entrypoint = "{module}:score"
"""


@dataclass
class CallingEngine(Engine):
    """Calls the function of an experiment for each spec, in this process, and remembers for which."""

    name: str = "local"
    rows: list[list[int]] = field(default_factory=list)
    skipped: set[int] = field(default_factory=set)

    def execute(self, job: Job, *, stop: StopSignal, progress: ProgressCallback | None = None) -> Execution:
        rows = list(range(job.n_specs)) if job.todo is None else job.todo["sort_index"].to_pylist()
        self.rows.append(rows)
        with SpecFile.open(job.storage, job.run) as specs:
            table = specs.read(0, specs.n_specs)
        built = build_specs(table, job.experiment.input_validator_type)
        for row in rows:
            if row not in self.skipped:
                write_part(job.storage, job.run, uuid4().hex, self._outcome(job, row, built[row]))
        return Execution()

    def _outcome(self, job: Job, row: int, spec: Any) -> pa.Table:
        model = job.experiment.output_validator_type
        with TemporaryDirectory() as folder:
            more = [Path(folder)] if len(inspect.signature(job.experiment.fn).parameters) > 1 else []
            try:
                answer = job.experiment.fn(spec, *more)
            except ValueError:
                answer = None
            state = "succeeded" if answer is not None else "failed"
            table = outcomes([row], state, error_type="ValueError").select(range(12))
            for column in output_columns(model):
                value = None if answer is None else getattr(answer, column.name)
                cells = column.array([value]) if answer is not None else pa.nulls(1, column.type)
                table = table.append_column(column.field.with_name(f"out:{column.name}"), cells)
            for column in output_files(model):
                path = None if answer is None else getattr(answer, column.name)
                uri = None
                if path is not None:
                    key = job.run.result_file(column.name, uuid4().hex, Path(path).suffix)
                    job.storage.put_file(Path(path), key)
                    uri = job.storage.uri(key)
                table = table.append_column(f"file:{column.name}", pa.array([uri], pa.string()))
        return table


def chain_project(
    folder: Path, engine: Engine, *, storage: str = "runs", economics: str = "", module: str = "chain_model"
) -> Project:
    """A project in a new folder, or in one that was made before, with an engine."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(CODE)
    (folder / "experiments.toml").write_text(CONFIG.format(storage=storage, economics=economics, module=module))
    project = open_project(start=folder)
    vars(project)["engine"] = engine
    return project


def write_roofs(file: Path, tilts: list[float], sites: str = "") -> Path:
    """A sampling file; a letter for each site, or none."""
    rows = [f"{site},{tilt},{i}" for i, (tilt, site) in enumerate(zip(tilts, sites or "A" * len(tilts), strict=True))]
    file.write_text("\n".join(["site,tilt,wind.speed", *rows]) + "\n")
    return file
