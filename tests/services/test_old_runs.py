"""Runs of version 0.1.0: whatever has changed since, they are listed, shown, gathered, retried and compared."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from tests.commands import run_here

DATA = Path(__file__).parent.parent / "data" / "run_of_0_1_0"
FIRST, SECOND = "old/v1.0.0", "old/v1.0.1"
COUNTS = {"succeeded": 2, "failed": 2, "pending": 0}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of a project as version 0.1.0 has left it: two runs of four specs, of which two have failed."""
    folder = tmp_path / "project"
    shutil.copytree(DATA, folder)
    return folder


def final(project: Path, table: str, version: str = "v1.0.0") -> pl.DataFrame:
    (path,) = project.glob(f"runs/old/{version}/*/final/{table}.pq")
    return pl.read_parquet(path)


def test_listed_and_shown(project: Path) -> None:
    runs = run_here("--json", "runs", cwd=project).json
    assert [run["experiment_id"][:10] for run in runs] == [SECOND, FIRST]
    counts = run_here("--json", "status", FIRST, cwd=project).json["counts"]
    assert {state: counts[state] for state in COUNTS} == COUNTS
    shown = run_here("results", "show", FIRST, cwd=project)
    assert shown.code == 0
    assert "energy" in shown.out
    errors = run_here("errors", FIRST, cwd=project)
    assert "no slow mode at 10" in errors.out
    query = run_here("--json", "results", "query", "select sum(kwh) as s from monthly", FIRST, cwd=project)
    assert query.code == 0
    assert "60" in query.out


def test_gathered_again(project: Path) -> None:
    before = {name: final(project, name) for name in ("scalars", "monthly", "errors")}
    for path in project.glob("runs/old/v1.0.0/*/final"):
        shutil.rmtree(path)
    assert run_here("results", "fetch", FIRST, "--dest", "out", "--partial", cwd=project).code == 0
    for name, table in before.items():
        (path,) = project.glob(f"out/**/{name}.pq")
        again = pl.read_parquet(path)
        assert again.height == table.height
        assert set(table.columns) <= set(again.columns), name


@pytest.mark.processes
def test_retried_and_compared(project: Path) -> None:
    assert run_here("results", "diff", FIRST, SECOND, cwd=project).code == 0
    again = run_here("retry", FIRST, cwd=project, env={"WELL": "1"})
    assert again.code == 0, again.err
    scalars = final(project, "scalars")
    assert scalars["sort_index"].to_list() == [0, 1, 2, 3]
    assert scalars["energy"].to_list() == [0.0, 5.0, 5.0, 15.0]
    assert final(project, "monthly").height == 8
    assert run_here("results", "diff", FIRST, SECOND, cwd=project).code == 1


def test_its_sampling_file_is_still_read(project: Path) -> None:
    assert run_here("--json", "validate", "cases.csv", cwd=project).json["n_specs"] == 4
