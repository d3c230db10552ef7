"""Studies whose cases are answered at once in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pyarrow as pa

from scythe_cli.core.progress import ProgressCallback
from scythe_cli.engines.base import Engine, Execution, Job
from scythe_cli.executor.limits import StopSignal
from scythe_cli.registry import ExperimentRegistry
from scythe_cli.run.ledger import write_part
from scythe_cli.services.project import Project, open_project
from scythe_cli.services.study.loop import StudyOptions, run_study
from scythe_cli.services.study.records import StudyResult
from scythe_cli.services.study.settings import configured_study
from tests.answering import answer
from tests.made_runs import outcomes

CODE = '''
from typing import Literal

from pydantic import Field, model_validator

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry


class Case(ExperimentInputSpec):
    a: float = Field(ge=0, le=3)
    b: float = Field(ge=-1, le=1)
    n: int = Field(default=2, ge=1, le=4)
    site: Literal["Oslo", "Rome"] = "Oslo"

    @model_validator(mode="after")
    def _check(self):
        if self.a > 2.5 and self.b > 0.8:
            raise ValueError("no such case")
        return self


class Answer(ExperimentOutputSpec):
    y: float
    z: float


@ExperimentRegistry.Register(retries=0)
def simulate(input_spec: Case) -> Answer:
    """Answer as `tests.answering.answer` does."""
    from tests.answering import answer

    y, z = answer(input_spec.a, input_spec.b, input_spec.n, input_spec.site)
    return Answer(y=y, z=z)
'''

Function = Callable[[float, float, int, str], tuple[float, float]]


class ComputingEngine(Engine):
    """Calls a function for each case, and remembers which there were."""

    name = "local"

    def __init__(self, function: Function = answer) -> None:
        super().__init__()
        self.function = function
        self.rows: list[list[int]] = []

    def execute(self, job: Job, *, stop: StopSignal, progress: ProgressCallback | None = None) -> Execution:
        with job.rows() as batches:
            rows = [row for batch in batches for row in batch.to_pylist()]
        self.rows.append([row["sort_index"] for row in rows])
        for row in rows:
            if stop.draining:
                break
            write_part(job.storage, job.run, uuid4().hex, self._outcome(row))
        return Execution()

    def _outcome(self, row: dict[str, Any]) -> pa.Table:
        try:
            y, z = self.function(row["a"], row["b"], row["n"], row["site"])
        except ValueError:
            return outcomes([row["sort_index"]], "failed").drop_columns(["out:y", "out:odd", "file:picture"])
        table = outcomes([row["sort_index"]]).drop_columns(["out:y", "out:odd", "file:picture"])
        table = table.append_column("out:y", pa.array([y], pa.float64()))
        return table.append_column("out:z", pa.array([z], pa.float64()))


def study_project(folder: Path, study: str, engine: Engine | None = None) -> Project:
    """A project with a study `s`; cases are answered in this process unless there is another engine."""
    sys.modules.pop("studied_model", None)
    ExperimentRegistry.clear()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "studied_model.py").write_text(CODE)
    config = '[scythe]\nstorage = "runs"\nworkers = 2\n[experiments.plant]\nentrypoint = "studied_model:simulate"\n'
    (folder / "experiments.toml").write_text(f"{config}[studies.s]\n{study}\n")
    project = open_project(start=folder)
    engine = engine or ComputingEngine()
    vars(project)["engine"] = engine
    vars(project)["engine_named"] = lambda _: engine
    return project


def studied(project: Project, name: str = "s", **options: Any) -> StudyResult:
    """The study, run to its end."""
    return run_study(project, configured_study(project, name), StudyOptions(**options))


def points_of(project: Project, names: Sequence[str] = ("a", "b", "n", "site")) -> list[tuple[Any, ...]]:
    """The cases of the latest run, in their order."""
    uri = Path(project.run().uri)
    return pl.read_parquet(uri / "specs.pq").sort("sort_index").select(names).rows()
