"""What every engine must do, as a class of tests.

    from scythe_cli.testing.engines import EngineContract

    class TestSerial(EngineContract):
        @pytest.fixture
        def engine(self, contract_project: Path) -> Engine:
            return SerialEngine()

A fleet starts its workers in `contract_project`, a folder with an experiments.toml whose one experiment is
`contract`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from scythe_cli.analysis.run import Run
from scythe_cli.core.progress import Progress
from scythe_cli.core.states import State
from scythe_cli.engines.base import Engine, Execution, Job
from scythe_cli.executor.limits import StopSignal
from scythe_cli.model.experiment import with_options
from scythe_cli.run.ledger import Ledger
from scythe_cli.services.allocation.intake import read_cases
from scythe_cli.services.allocation.options import AllocateOptions
from scythe_cli.services.allocation.submission import execute, submit
from scythe_cli.services.project import Project, open_project
from scythe_cli.services.records import AllocateResult
from scythe_cli.services.runs.retry import retry_run

__all__ = ["CONTRACT_MODULE", "EngineContract", "write_contract_project"]

CONTRACT_MODULE = '''
import os
import time
from pathlib import Path

import pyarrow as pa

from scythe_cli.arrow.build import array_of
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry


class Case(ExperimentInputSpec):
    x: float
    does: str = "well"
    folder: str = ""


class Answer(ExperimentOutputSpec):
    y: float


@ExperimentRegistry.Register(name="contract", retries=0, execution_timeout="20s")
def contract(case: Case) -> Answer:
    """Square, or end in one of the ways in which functions end."""
    if case.folder:
        with (Path(case.folder) / f"calls-{case.sort_index}").open("a") as calls:
            calls.write("x")
    if case.does == "raise":
        raise KeyError("no such material")
    if case.does == "abort":
        os.abort()
    if case.does == "loop":
        while True:
            time.sleep(0.01)
    if case.does == "recover" and (Path(case.folder) / f"calls-{case.sort_index}").read_text() == "x":
        raise ValueError("not yet")
    if case.does == "slow" and not (Path(case.folder) / "hurry").exists():
        time.sleep(0.2)
    kwh = array_of([case.x, 2 * case.x], pa.float64())
    months = pa.Table.from_arrays([array_of([1, 2], pa.int64()), kwh], ["month", "kwh"])
    return Answer(y=case.x**2, dataframes={"monthly": months})
'''
"""The module of the project that the contract runs: one experiment, `contract`."""


def write_contract_project(folder: Path) -> Path:
    """Write the project that the contract runs.

    Args:
        folder: Where to; made when it is not there.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "contract_module.py").write_text(CONTRACT_MODULE)
    (folder / "experiments.toml").write_text(
        '[scythe]\nworkers = 1\n\n[experiments.contract]\nentrypoint = "contract_module:contract"\n'
    )
    return folder


class EngineContract:
    """The tests; a subclass has a fixture `engine`."""

    @pytest.fixture
    def contract_project(self, tmp_path: Path) -> Generator[Path]:
        """The folder of the project; its module can be imported anew by each test."""
        path = list(sys.path)
        yield write_contract_project(tmp_path / "contract project")
        sys.path[:] = path
        sys.modules.pop("contract_module", None)

    @pytest.fixture
    def allocate(self, contract_project: Path, engine: Engine) -> Callable[..., tuple[AllocateResult, Run]]:
        """Runs cases, given as dicts, on the engine; returns what became of them."""

        def run_cases(cases: list[dict[str, Any]], **options: Any) -> tuple[AllocateResult, Run]:
            job, project, submission = _submitted(contract_project, engine, cases, **options)
            result = execute(submission, engine)
            return result, Run(project.storage, job.run)

        return run_cases

    def test_it_says_what_it_is(self, engine: Engine) -> None:
        """A name, two traits, and what is known of it."""
        assert engine.name
        assert engine.label
        assert isinstance(engine.needs_lease, bool)
        assert isinstance(engine.outlives_client, bool)
        assert engine.check() is None or isinstance(engine.check(), str)

    def test_every_row_gives_what_a_direct_call_gives(self, allocate: Any) -> None:
        """Scalars and frames of all rows, in the order of the file."""
        result, run = allocate([{"x": i / 3} for i in range(30)], workers=2)
        assert result.ok
        scalars = run.scalars().sort("sort_index")
        assert scalars["sort_index"].to_list() == list(range(30))
        assert scalars["y"].to_list() == [(i / 3) ** 2 for i in range(30)]
        assert result.counts.succeeded == 30
        assert pl.read_parquet(result.tables["monthly"]).height == 60

    def test_a_row_that_ends_badly_costs_itself_alone(self, allocate: Any) -> None:
        """One raises, one takes its process along, one never ends; the others succeed."""
        does = {3: "raise", 7: "abort", 11: "loop"}
        cases = [{"x": float(i), "does": does.get(i, "well")} for i in range(16)]
        result, run = allocate(cases, execution_timeout_s=2.0, workers=2)
        assert (result.counts.succeeded, result.counts.total) == (13, 16)
        assert _errors(run) == {3: "failed", 7: "crashed", 11: "timeout"}

    def test_a_row_is_tried_again(self, allocate: Any, tmp_path: Path) -> None:
        """As often as `retries` says; each attempt is in the ledger, and the last one counts."""
        cases = [{"x": 1.0, "does": "recover", "folder": str(tmp_path)}, {"x": 2.0, "folder": str(tmp_path)}]
        result, run = allocate(cases, retries=1)
        assert result.ok
        assert _attempts(run) == [(0, 1, "failed", False), (0, 2, "succeeded", True), (1, 1, "succeeded", True)]
        assert [(tmp_path / f"calls-{i}").read_text() for i in range(2)] == ["xx", "x"]

    def test_a_retry_runs_only_what_is_asked_for(
        self, allocate: Any, contract_project: Path, engine: Engine, tmp_path: Path
    ) -> None:
        """What has succeeded is not run again; attempts go on counting."""
        cases = [{"x": float(i), "does": "raise" if i == 1 else "well", "folder": str(tmp_path)} for i in range(4)]
        result, run = allocate(cases)
        assert (result.counts.succeeded, result.counts.failed) == (3, 1)
        project = open_project(start=contract_project)
        again = retry_run(run, project.experiment("contract")[1], engine, root=contract_project)
        assert (again.counts.succeeded, again.counts.failed) == (3, 1)
        assert [(tmp_path / f"calls-{i}").read_text() for i in range(4)] == ["x", "xx", "x", "x"]
        assert [row[1] for row in _attempts(run) if row[0] == 1] == [1, 2]

    def test_a_job_without_rows_runs_nothing(self, contract_project: Path, engine: Engine, tmp_path: Path) -> None:
        """Nothing is called, and nothing is written."""
        job, _, _ = _submitted(contract_project, engine, [{"x": 1.0, "folder": str(tmp_path)}])
        nothing = _nothing_of(job)
        assert engine.execute(nothing, stop=StopSignal()) == Execution()
        assert not (tmp_path / "calls-0").exists()

    def test_progress_adds_up(self, contract_project: Path, engine: Engine) -> None:
        """At each moment the states add up to the number of rows."""
        _, _, submission = _submitted(contract_project, engine, [{"x": float(i)} for i in range(12)])
        moments: list[Progress] = []
        result = execute(submission, engine, progress=moments.append)
        assert result.ok
        assert moments
        assert {moment.counts.total for moment in moments} == {12}

    def test_a_stop_leaves_the_rest_pending(self, contract_project: Path, engine: Engine, tmp_path: Path) -> None:
        """What runs is finished, what has not begun stays pending and can be retried; a fleet goes on."""
        cases = [{"x": float(i), "does": "slow", "folder": str(tmp_path)} for i in range(40)]
        _, project, submission = _submitted(contract_project, engine, cases)
        stop = StopSignal()

        def stop_after_the_first(progress: Progress) -> None:
            if progress.counts.succeeded:
                stop.drain()

        result = execute(submission, engine, stop=stop, progress=stop_after_the_first)
        assert result.counts.total == 40
        assert result.counts.succeeded >= 1
        if not engine.outlives_client:
            assert result.counts.pending > 0
            (tmp_path / "hurry").touch()
            run = Run(project.storage, submission.job.run)
            again = retry_run(run, project.experiment("contract")[1], engine, root=contract_project, workers=1)
            assert again.ok

    def test_too_many_failures_end_it(self, contract_project: Path, engine: Engine) -> None:
        """With `max_failures`, the rest is pending and the reason is told."""
        cases = [{"x": float(i), "does": "raise" if i < 3 else "slow"} for i in range(60)]
        _, _, submission = _submitted(contract_project, engine, cases, max_failures=3)
        result = execute(submission, engine)
        assert result.counts.failed == 3
        assert result.counts.pending > 0
        assert any("stopped" in notice for notice in result.notices)

    def test_its_outline_is_of_this_run(self, contract_project: Path, engine: Engine) -> None:
        """What `--plan` tells: numbers of something, or None."""
        from scythe_cli.run.manifest import RecursionRecord

        outline = engine.outline(
            100, workers=2, recursion=RecursionRecord(factor=10, max_depth=1), specs_per_task="auto", spec_s=0.5
        )
        for number in (outline.workers, outline.nodes, outline.tasks, outline.rows_per_task, outline.parts):
            assert number is None or number > 0


def _submitted(
    folder: Path,
    engine: Engine,
    cases: list[dict[str, Any]],
    *,
    execution_timeout_s: float | None = None,
    retries: int | None = None,
    max_failures: int | None = None,
    workers: int = 1,
) -> tuple[Job, Project, Any]:
    from datetime import timedelta

    file = folder / "cases.parquet"
    pl.DataFrame(cases).write_parquet(file)
    project = open_project(start=folder)
    intake = read_cases(project, file, AllocateOptions(experiment="contract"))
    options = with_options(
        intake.experiment.options,
        execution_timeout=None if execution_timeout_s is None else timedelta(seconds=execution_timeout_s),
        retries=retries,
    )
    request = intake.request(project, AllocateOptions(workers=workers, max_failures=max_failures))
    experiment = intake.experiment.configured(name="contract", options=options)
    submission = submit(replace(request, experiment=experiment, engine=engine))
    return submission.job, project, submission


def _nothing_of(job: Job) -> Job:
    import pyarrow as pa

    todo = pa.table({"sort_index": pa.array([], pa.int64()), "attempt": pa.array([], pa.int32())})
    return replace(job, todo=todo)


def _errors(run: Run) -> dict[int, str]:
    table = pl.read_parquet(run.storage.uri(run.layout.table("errors")))
    return dict(zip(table["sort_index"].to_list(), table["state"].to_list(), strict=True))


def _attempts(run: Run) -> list[tuple[int, int, str, bool]]:
    with Ledger.open(run.storage, run.layout) as ledger:
        rows = ledger.outcomes().select("sort_index", "attempt", "state", "final").rows()
    return sorted((int(row[0]), int(row[1]), State(row[2]).value, bool(row[3])) for row in rows)
