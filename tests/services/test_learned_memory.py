"""`memory = "auto"`: what cases of the last run took is measured, told, and reserved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from scythe_cli.analysis.run import Run
from scythe_cli.model import needs
from scythe_cli.model.outcome_schema import MEMORY
from scythe_cli.run.ledger import Ledger, read_part, write_part
from scythe_cli.services.allocation.learning import memory_taken, reserved_for
from scythe_cli.services.project import Project, open_project
from scythe_cli.services.runs.history import spec_history
from scythe_cli.storage.opening import open_storage
from tests.made_runs import make_run, outcomes
from tests.projects import make_project

MB = 10**6
HOG = """
import time
from scythe_cli import Input, Output

class Case(Input):
    megabytes: int

class Result(Output):
    n: int

def simulate(case: Case) -> Result:
    held = bytearray(case.megabytes * 10**6)
    held[::4096] = b"x" * len(held[::4096])
    time.sleep(0.1)
    return Result(n=len(held))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = make_project(tmp_path_factory.mktemp("hog") / "project", code=HOG, extra='memory = "auto"')
    (folder / "cases.csv").write_text("megabytes\n1\n300\n1\n1\n")
    return open_project(start=folder)


def _ledger(project: Project, run: str) -> pl.DataFrame:
    with Ledger.open(project.storage, project.run(run).layout) as ledger:
        parts = [read_part(p, ["sort_index", "started_at", "duration_s", MEMORY]) for p in ledger.parts]
    return pl.concat([pl.DataFrame(part) for part in parts]).sort("sort_index")


@pytest.mark.processes
@pytest.mark.parametrize("isolation", ["row", "process"])
def test_the_memory_of_each_case_is_its_own(tmp_path: Path, isolation: str) -> None:
    folder = make_project(tmp_path / "project", code=HOG, extra=f'isolation = "{isolation}"')
    (folder / "cases.csv").write_text("megabytes\n1\n300\n1\n")
    project = open_project(start=folder)
    result = project.allocate(folder / "cases.csv")
    taken = _ledger(project, result.experiment_id)[MEMORY].to_list()
    assert 300 * MB < taken[1] < 900 * MB
    assert all(taken[1] - each > 250 * MB for each in (taken[0], taken[2]))
    history = spec_history(project.run(result.experiment_id), 1)
    assert [attempt.memory_bytes for attempt in history.attempts] == [taken[1]]


@pytest.mark.processes
def test_as_many_cases_run_at_once_as_fit(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    first = project.allocate(project.root / "cases.csv", workers=2)
    assert any("no run has told yet what a case takes" in notice for notice in first.notices)
    taken = memory_taken(project.storage, project.run(first.experiment_id).layout)
    assert taken == _ledger(project, first.experiment_id)[MEMORY].max()
    assert taken is not None

    monkeypatch.setattr(needs, "usable_memory_bytes", lambda: int(1.9 * reserved_for(taken)))
    second = project.allocate(project.root / "cases.csv", workers=2)
    assert any(f"a tenth more than any of {first.experiment_id} took" in notice for notice in second.notices)
    rows = _ledger(project, second.experiment_id).sort("started_at")
    ends = rows["started_at"] + pl.Series([f"{s * 1e6:.0f}us" for s in rows["duration_s"]]).str.strip_suffix("us").cast(
        pl.Int64
    ).cast(pl.Duration("us"))
    assert (rows["started_at"].slice(1) >= ends.slice(0, rows.height - 1)).all()


@pytest.mark.parametrize(
    ("columns", "taken"),
    [
        ([("int64", [100 * MB, 300 * MB])], 300 * MB),
        ([("int64", [None, None])], None),
        ([("int64", [5 * MB, None]), (None, [])], 5 * MB),
        ([("string", ["a", "b"])], None),  # what other programs have written
        ([], None),
    ],
)
def test_what_is_read_of_it(tmp_path: Path, columns: list[tuple[str | None, list[Any]]], taken: int | None) -> None:
    storage = open_storage(str(tmp_path / "runs"))
    run = make_run(storage, tmp_path / "scratch", 4)
    for number, (kind, values) in enumerate(columns):
        part = outcomes([2 * number, 2 * number + 1])
        if kind is not None:
            part = part.append_column(MEMORY, pa.array(values, pa.type_for_alias(kind)))
        write_part(storage, run, f"local-20260101T000000-0a1b2c3d-{number:06}", part)
    assert memory_taken(storage, run) == taken


def test_failures_tell_nothing(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path / "runs"))
    run = make_run(storage, tmp_path / "scratch", 2)
    part = outcomes([0, 1], "failed").append_column(MEMORY, pa.array([MB, MB], pa.int64()))
    write_part(storage, run, "local-20260101T000000-0a1b2c3d-000001", part)
    assert memory_taken(storage, run) is None


def test_a_tenth_more_is_reserved() -> None:
    assert reserved_for(1) == 16 * 2**20
    assert reserved_for(100 * 2**20) == 112 * 2**20


def test_a_column_of_memory_that_is_none_of_ours_is_not_told(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path / "runs"))
    run = make_run(storage, tmp_path / "scratch", 1)
    part = outcomes([0]).append_column(MEMORY, pa.array(["much"]))
    write_part(storage, run, "local-20260101T000000-0a1b2c3d-000001", part)
    assert [attempt.memory_bytes for attempt in spec_history(Run(storage, run), 0).attempts] == [None]
