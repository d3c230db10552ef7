"""The rows of a stochastic model draw the same, bit by bit, however they come to be run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from scythe_cli.core.states import State
from scythe_cli.services.project import Project, open_project
from scythe_cli.services.runs.history import rerun_spec
from tests.stochastic import N_ROWS, QUEUE, numbers_of, write_rows
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("odd [chance]")
    (folder / "queueing.py").write_text(QUEUE)
    (folder / "experiments.toml").write_text('[experiments.queue]\nentrypoint = "queueing:simulate"\nretries = 1\n')
    write_rows(folder)
    path = list(sys.path)
    yield open_project(start=folder)
    sys.path[:] = path
    sys.modules.pop("queueing", None)


@pytest.fixture(scope="module")
def expected(project: Project) -> list[pl.DataFrame]:
    """With one worker."""
    project.allocate(project.root / "queues.csv", workers=1)
    numbers = numbers_of(project)
    assert numbers[0]["shared"].n_unique() == N_ROWS
    return numbers


def assert_same(numbers: list[pl.DataFrame], expected: list[pl.DataFrame]) -> None:
    assert all(one.equals(other) for one, other in zip(numbers, expected, strict=True))


@pytest.mark.parametrize("workers", [2, 5])
def test_with_any_number_of_workers_and_on_a_retry(
    project: Project, expected: list[pl.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setenv("TRIED", str(tmp_path))
    result = project.allocate(project.root / "queues.csv", workers=workers)
    assert result.counts.succeeded == N_ROWS
    assert len(list(tmp_path.iterdir())) > N_ROWS // 8
    assert_same(numbers_of(project), expected)


def test_in_a_run_that_was_killed(project: Project, expected: list[pl.DataFrame], tmp_path: Path) -> None:
    (tmp_path / "slow").touch()
    command = [sys.executable, "-m", "scythe_cli.cli", "allocate", "queues.csv", "--workers", "2"]
    runs = project.root / "runs"
    before = set(runs.rglob("outcomes/*"))
    process = subprocess.Popen(
        command,
        cwd=project.root,
        env={**os.environ, "TRIED": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: set(runs.rglob("outcomes/*.pq")) - before or process.poll() is not None, 60)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    killed = project.run()
    assert 0 < killed.status().counts.of(State.SUCCEEDED) < N_ROWS
    assert project.retry(workers=2).counts.succeeded == N_ROWS
    assert_same(numbers_of(project), expected)


def test_in_a_row_that_runs_alone(project: Project, expected: list[pl.DataFrame]) -> None:
    run = project.run()
    for row in (0, 7, N_ROWS // 2, N_ROWS - 1):
        again = rerun_spec(run, project.experiment_of(run), row, root=project.root).model_dump()
        stored = expected[0].row(row, named=True)
        assert {name: again[name] for name in ("mean_s", "longest_s", "shared")} == {
            name: stored[name] for name in ("mean_s", "longest_s", "shared")
        }
    assert project.verify(n=20).ok
