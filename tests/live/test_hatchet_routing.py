"""Old and new code beside one another: no row fails for it."""

from __future__ import annotations

import shutil
from pathlib import Path

from scythe_cli.analysis.run import Run
from scythe_cli.core.records import StateCounts
from scythe_cli.engines.hatchet.connection import get_hatchet
from scythe_cli.engines.hatchet.engine import HatchetEngine
from scythe_cli.engines.hatchet.routing import run_key
from scythe_cli.services.runs.fleet import cancel_run
from scythe_cli.storage.opening import open_storage
from tests.live.fleet import Allocation, LiveProject
from tests.waiting import wait_for


def _other_project(live: LiveProject) -> Path:
    """A project beside it, with an experiment of the same name, that may reach the same storage."""
    elsewhere = live.root.with_name("elsewhere")
    shutil.copytree(live.root, elsewhere)
    module = elsewhere / "live_module.py"
    module.write_text(module.read_text() + "\nCHANGED = True\n")
    return elsewhere


def test_worker_of_other_code_gets_nothing(live: LiveProject) -> None:
    live.configure("other", max_depth=0, specs_per_task=4)
    cases = live.write_cases(8)
    elsewhere = _other_project(live)
    live.start_worker("--slots", "1", cwd=elsewhere, env={"SCYTHE_WORKER_STORAGES": str(live.root / "runs")})
    allocation = Allocation(live, cases)
    wait_for(
        lambda: any(d and "1 worker serves 'other', none with this run's code" in d for d in allocation.details), 90
    )
    status = live.open().status()
    assert status.counts == StateCounts(pending=8)
    assert status.notice is not None
    assert "none with this run's code (theirs is of " in status.notice
    # a worker that takes any code takes what waits, too
    live.start_worker("--slots", "1", "--allow-mismatch")
    assert allocation.result(180).counts == StateCounts(succeeded=8)
    assert not (elsewhere / "calls.txt").exists()


def test_file_that_is_edited_in_mid_run_fails_no_row(live: LiveProject) -> None:
    # each row has a process of its own, which loads the files anew
    live.configure("edited", max_depth=0, specs_per_task=1, rows_per_process=1, start_method="spawn")
    cases = live.write_cases(12, sleep_s=lambda i: 0.5)
    same = live.root.with_name("same")
    shutil.copytree(live.root, same)
    first = live.start_worker("--slots", "1")
    allocation = Allocation(live, cases)
    wait_for(lambda: len(live.calls()) >= 2, 120)
    live.write_module(lambda text: text + "\n# a comment\n")
    n = len(live.calls())
    wait_for(lambda: len(live.calls()) >= n + 2, 120)
    live.write_module(lambda text: text + "\nCHANGED = True\n")
    assert first.process.wait(120) == 0, "it ends, since it has not the code any more that it has told"
    assert "start it again: the code" in first.log.read_text()
    live.start_worker("--slots", "1", cwd=same, env={"SCYTHE_WORKER_STORAGES": str(live.root / "runs")})
    assert allocation.result(180).counts == StateCounts(succeeded=12)


def test_runs_of_one_second_in_two_storages_are_apart(live: LiveProject) -> None:
    from scythe_cli.engines.hatchet.client import connect

    live.configure("twice", max_depth=0)
    project = live.open()
    run = project.run(project.submit(live.write_cases(3)).experiment_id)
    copied = live.root.with_name("copied")
    shutil.copytree(live.root / "runs", copied)
    twin = Run(open_storage(str(copied)), run.layout)
    connection = connect(get_hatchet(False))
    ours = run_key(run.storage.location, run.experiment_id)
    wait_for(lambda: connection.open_runs(ours) == 1, 30)
    assert cancel_run(twin, HatchetEngine()).cancelled == 3
    assert connection.open_runs(ours) == 1
    wait_for(lambda: connection.task_of(ours) is not None, 60)  # what the engine lists lags behind
    assert cancel_run(run, HatchetEngine()).cancelled == 3
    assert connection.open_runs(ours) == 0


def test_a_small_run_does_not_wait_for_a_large_one(live: LiveProject) -> None:
    live.configure("fair", max_depth=0, specs_per_task=1)
    live.start_worker("--slots", "2")
    project = live.open()
    large = project.submit(live.write_cases(300, sleep_s=lambda _: 0.3))
    wait_for(lambda: len(live.calls()) >= 5, 120)
    result = project.allocate(live.write_cases(6))
    assert result.counts == StateCounts(succeeded=6)
    counts = project.status(large.experiment_id).counts
    assert counts is not None
    assert counts.pending > 100
    assert cancel_run(project.run(large.experiment_id), HatchetEngine(), grace_s=1.0).cancelled > 100
