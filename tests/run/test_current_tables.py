"""Whether the tables of a run are made of its ledger is told by the run itself, and by the times of its files."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from scythe_cli.analysis.run import Run
from scythe_cli.run.final.gather import gather
from scythe_cli.run.outcomes.summary import empty_summary, put_summary, read_summary
from scythe_cli.storage.local import LocalStorage
from tests.result_runs import Case, finished_run

_LAST = 2_000_000_000


@pytest.fixture
def run(tmp_path: Path) -> Run:
    cases = [Case(tilt=i, site="Oslo") for i in range(4)]
    answers = [{"power": float(i)} for i in range(3)] + [{"state": "failed", "message": "no"}]
    return finished_run(LocalStorage(tmp_path / "runs"), tmp_path / "scratch", cases, answers)


def _copied(run: Run, seed: int) -> None:
    """Give all files other times, as a copy that takes them in any order does."""
    draw = random.Random(seed)
    for file in Path(run.storage.uri(run.layout.experiment_id)).rglob("*"):
        when = draw.randrange(1_000_000_000, _LAST)
        os.utime(file, (when, when))


def _add_part(run: Run, name: str) -> Path:
    folder = Path(run.storage.uri(run.layout.outcomes))
    return Path(shutil.copy(next(folder.glob("*.pq")), folder / name))


@pytest.mark.parametrize("seed", range(8))
def test_a_copy_of_old_tables_is_not_current(run: Run, seed: int) -> None:
    assert run.status().gathered
    empty_summary(run.storage, run.layout)  # more of it is run, and that is stopped before new tables are made
    _copied(run, seed)
    assert not run.tables_are_current(surely=False)
    assert not run.status().gathered
    gather(run.storage, run.layout)
    assert run.status().gathered


@pytest.mark.parametrize("seed", range(8))
def test_a_part_that_came_after_the_tables_is_noticed(run: Run, seed: int) -> None:
    _add_part(run, "later.pq")
    _copied(run, seed)
    assert not run.tables_are_current(surely=False)


@pytest.mark.parametrize("how", ["of an earlier version", "of more parts than are listed"])
@pytest.mark.parametrize(("when", "is_current"), [(1_000_000_000, True), (_LAST, False)])
def test_else_times_tell(run: Run, how: str, when: int, is_current: bool) -> None:
    summary = read_summary(run.storage, run.layout)
    assert summary is not None
    assert summary.n_parts == 1
    known = {"n_parts": None, "parts": None} if how == "of an earlier version" else {"n_parts": 3, "parts": "of all"}
    put_summary(run.storage, run.layout, summary.model_copy(update=known))
    os.utime(_add_part(run, "later.pq"), (when, when))
    assert run.tables_are_current() is is_current
