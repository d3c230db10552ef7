"""Runs on a real Hatchet engine, with workers that live."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from scythe_cli.core.records import StateCounts
from scythe_cli.engines.hatchet.connection import get_hatchet
from scythe_cli.engines.hatchet.engine import HatchetEngine
from scythe_cli.engines.hatchet.payloads import META_KEY
from scythe_cli.engines.hatchet.routing import run_key
from scythe_cli.errors import EngineError, UsageError
from scythe_cli.run.ledger import Ledger, read_part
from scythe_cli.services.runs.fleet import cancel_run, submit_job
from tests.live.fleet import LiveProject
from tests.waiting import wait_for

_IDS = ["experiment_id", "workflow_run_id", "root_workflow_run_id"]


def _without_ids(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.drop(_IDS)


def test_two_workers_give_the_tables_of_the_local_engine(live: LiveProject) -> None:
    live.configure(factor=3, max_depth=2)
    cases = live.write_cases(2000, fails=lambda i: "true" if i % 500 == 7 else "false")
    for _ in range(2):
        live.start_worker("--slots", "1")
    project = live.open()
    fleet = project.allocate(cases)
    assert fleet.counts == StateCounts(succeeded=1996, failed=4)
    # the engine may hand out a task again, whose worker it takes for lost
    assert set(live.calls()) == set(range(2000))
    assert len(live.calls()) < 2500
    local = live.open("local").allocate(cases)
    assert local.counts == fleet.counts
    for table in ("scalars", "errors"):
        a, b = (project.run(result.experiment_id).table(table).collect() for result in (fleet, local))
        changing = ["duration_s", "traceback"] if table == "errors" else _IDS
        assert_frame_equal(a.drop(changing), b.drop(changing))
    # a part for each wave, not an object for each spec
    assert len(project.storage.list_files(f"{fleet.experiment_id}/outcomes")) <= 60


def test_deep_tree_with_one_worker_of_one_slot(live: LiveProject) -> None:
    live.configure(factor=3, max_depth=3, specs_per_task=1)
    cases = live.write_cases(40)
    live.start_worker("--slots", "1")
    result = live.open().allocate(cases)
    assert result.counts == StateCounts(succeeded=40)
    assert sorted(live.calls()) == list(range(40))


def test_specs_that_raise_have_errors_and_can_be_retried(live: LiveProject) -> None:
    live.configure(specs_per_task=5, max_depth=0)
    cases = live.write_cases(100, fails=lambda i: "true" if i % 8 == 1 and i < 96 else "false")
    live.start_worker("--slots", "2")
    project = live.open()
    result = project.allocate(cases)
    assert result.counts == StateCounts(succeeded=88, failed=12)
    errors = project.run().table("errors").collect()
    assert errors["error_type"].to_list() == ["ValueError"] * 12
    assert errors["message"][0] == "cannot simulate case 1"
    assert errors["sort_index"].to_list() == list(range(1, 96, 8))
    # whoever looks at the engine's dashboard sees them, too
    runs = get_hatchet(False).runs.list(
        additional_metadata={META_KEY: run_key(project.storage.location, result.experiment_id)}, only_tasks=True
    )
    task = next(row for row in runs.rows if (row.additional_metadata or {}).get("rows") == "5 to 9")
    wait_for(lambda: bool(get_hatchet(False).logs.list(task.metadata.id).rows), 30)
    (line,) = get_hatchet(False).logs.list(task.metadata.id).rows or []
    assert line.message == "case 9: failed: ValueError: cannot simulate case 9"
    again = project.retry()
    assert again.counts == result.counts
    assert project.run().table("errors").collect()["attempt"].to_list() == [2] * 12
    assert len(live.calls()) == 112


def test_run_waits_for_a_worker_and_says_so(live: LiveProject) -> None:
    live.configure("lonely", max_depth=0)
    cases = live.write_cases(5)
    seen: list[str | None] = []
    results: list[Any] = []
    thread = threading.Thread(
        target=lambda: results.append(live.open().allocate(cases, progress=lambda p: seen.append(p.detail)))
    )
    thread.start()
    wait_for(lambda: any(d and "no worker serves 'lonely'" in d for d in seen), 40)
    with pytest.raises(UsageError, match="is still running on the fleet"):
        live.open().retry()
    live.start_worker("--slots", "1")
    thread.join(60)
    assert results[0].counts == StateCounts(succeeded=5)


def test_cancel_keeps_what_has_finished(live: LiveProject) -> None:
    live.configure(max_depth=0, specs_per_task=1)
    cases = live.write_cases(60, sleep_s=lambda _: 4.0)
    live.start_worker("--slots", "2")
    project = live.open()
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(project.allocate(cases)))
    thread.start()
    wait_for(lambda: len(live.calls()) >= 4, 120)
    run = project.run()
    cancelled = cancel_run(run, HatchetEngine()).cancelled
    thread.join(60)
    counts = run.status().counts
    assert counts is not None
    assert counts.cancelled == cancelled > 30
    assert counts.succeeded == 60 - cancelled
    # a task that was being taken at that moment may have been begun
    assert 0 <= len(set(live.calls())) - counts.succeeded <= 2
    assert run.scalars().height == counts.succeeded
    live.hurry()
    assert project.retry().counts.succeeded == 60


def test_too_many_failures_stop_a_run(live: LiveProject) -> None:
    live.configure("doomed", max_depth=0, specs_per_task=1)
    cases = live.write_cases(80, fails=lambda _: "true", sleep_s=lambda _: 1.0)
    live.start_worker("--slots", "2")
    result = live.open().allocate(cases, max_failures=10)
    assert result.counts.failed >= 10
    assert result.counts.pending >= 20
    assert result.counts.failed + result.counts.pending == 80
    assert any("stopped" in notice for notice in result.notices), result.notices
    assert len(live.calls()) < 60


def test_labels_choose_the_worker(live: LiveProject) -> None:
    live.write_module(
        lambda text: text.replace(
            "Register(retries=0", "Register(desired_worker_labels=ScytheWorkerLabel.HAS_GPU.worker_label, retries=0"
        ).replace("import os, time", "import os, time\nfrom scythe_cli.worker import ScytheWorkerLabel")
    )
    live.configure("gpu", max_depth=0, specs_per_task=1)
    cases = live.write_cases(6)
    live.start_worker("--slots", "2")
    live.start_worker("--slots", "1", "--no-fan", env={"SCYTHE_WORKER_HAS_GPU": "true"})
    project = live.open()
    assert project.allocate(cases).counts == StateCounts(succeeded=6)
    with Ledger.open(project.storage, project.run().layout) as ledger:
        workers = {name for part in ledger.parts for name in read_part(part, ["worker"]).column("worker").to_pylist()}
    assert {name.partition("@")[0] for name in workers} == {f"{live.root.parent.name}-1"}


def test_submit_without_waiting(live: LiveProject) -> None:
    from scythe_cli.services.allocation.intake import read_cases
    from scythe_cli.services.allocation.options import AllocateOptions
    from scythe_cli.services.allocation.submission import submit

    live.configure(max_depth=0)
    project = live.open()
    live.start_worker("--slots", "2")
    options = AllocateOptions()
    submission = submit(read_cases(project, live.write_cases(10), options).request(project, options))
    started = time.monotonic()
    ref = submit_job(submission.job, project.engine)
    assert ref.workflow_run_id
    assert time.monotonic() - started < 60
    result = ref.result(timeout_s=300)
    assert result.counts == StateCounts(succeeded=10)
    assert {"scalars", "errors"} <= result.tables.keys()


def test_clear_errors_within_seconds(live: LiveProject, monkeypatch: pytest.MonkeyPatch) -> None:
    project = live.open()
    cases = live.write_cases(2)
    token = os.environ["HATCHET_CLIENT_TOKEN"]

    def fails(match: str) -> None:
        monkeypatch.setattr("scythe_cli.engines.hatchet.connection._clients", {})
        started = time.monotonic()
        with pytest.raises(EngineError, match=match) as caught:
            project.allocate(cases)
        assert time.monotonic() - started < 60
        assert caught.value.exit_code == 4
        assert token not in str(caught.value)
        assert token[:20] not in str(caught.value)

    head, claims, signature = token.split(".")
    wrong = ".".join([head, claims, signature[:-6] + ("AAAAAA" if signature[-6:] != "AAAAAA" else "BBBBBB")])
    monkeypatch.setenv("HATCHET_CLIENT_TOKEN", wrong)
    fails("refuses the token")
    monkeypatch.setenv("HATCHET_CLIENT_TOKEN", "nonsense")
    fails("no Hatchet client can be made")
    monkeypatch.delenv("HATCHET_CLIENT_TOKEN")
    fails("no Hatchet client can be made")
    monkeypatch.setenv("HATCHET_CLIENT_TOKEN", token)
    monkeypatch.setenv("HATCHET_CLIENT_HOST_PORT", "127.0.0.1:9")
    fails("does not answer")


_DRAWING = """
import random
import numpy as np
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.registry import ExperimentRegistry

class Case(ExperimentInputSpec):
    x: float
    weather: FileReference

class Draws(ExperimentOutputSpec):
    seed: str
    own: float
    shared: float

@ExperimentRegistry.Register()
def simulate(spec: Case) -> Draws:
    return Draws(seed=str(spec.seed), own=spec.rng().random(), shared=random.random() + np.random.rand())
"""


@pytest.mark.parametrize("specs_per_task", [1, 7])
def test_random_numbers_are_those_of_the_local_engine(live: LiveProject, specs_per_task: int) -> None:
    live.configure(specs_per_task=specs_per_task)
    live.write_module(lambda _: _DRAWING)
    (live.root / "mild.epw").write_text("mild")
    cases = live.root / "cases.csv"
    cases.write_text("\n".join(["x,weather", *(f"{n % 15 / 7},mild.epw" for n in range(40)), ""]))
    live.start_worker("--slots", "2")
    tables: list[pl.DataFrame] = []
    for engine in ("hatchet", "local"):
        project = live.open(engine)
        result = project.allocate(cases, seed=11)
        assert result.counts == StateCounts(succeeded=40)
        tables.append(project.run(result.experiment_id).table("scalars").collect())
    assert tables[0]["seed"].n_unique() == 40
    fleet, local = (_without_ids(table) for table in tables)
    assert_frame_equal(fleet, local)
