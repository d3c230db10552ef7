"""What a submission asks the engine for, and how a run is stopped."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.engines.base import Priority
from scythe_cli.engines.hatchet import engine
from scythe_cli.engines.hatchet.routing import WorkerRecord, place_label, place_of
from scythe_cli.services.allocation.intake import _depth
from tests.hatchet_jobs import make_job


class In(ExperimentInputSpec):
    x: float


class Out(ExperimentOutputSpec):
    y: float


def plain(spec: In) -> Out:
    return Out(y=spec.x)


@pytest.mark.parametrize(
    ("n", "priority", "number"), [(5, None, 3), (100, None, 3), (101, None, 2), (101, "high", 3), (5, "low", 1)]
)
def test_small_runs_go_first(tmp_path: Path, n: int, priority: Priority | None, number: int) -> None:
    job = make_job(tmp_path, plain, pa.table({"x": [0.5] * n}), factor=10, depth=0, per_task=1)
    object.__setattr__(job, "priority", priority)
    assert engine._node_input(job).run.priority == number


@pytest.mark.parametrize(("n", "depth"), [(1, 0), (1000, 0), (1001, 1)])
def test_few_cases_are_the_work_of_one_node(n: int, depth: int) -> None:
    assert _depth(None, n) == depth


def test_only_workers_that_work_there_are_asked_for(tmp_path: Path) -> None:
    job = make_job(tmp_path, plain, pa.table({"x": [0.5]}), factor=10, depth=0, per_task=1)
    here = place_of(job.storage.location)
    workers = [
        WorkerRecord("a", {"plain"}, labels={place_label(here): here}),
        WorkerRecord("b", {"plain"}, labels={place_label("/b"): "/b"}),
    ]
    assert engine._node_input(job).run.place is None
    assert engine._node_input(job, workers).run.place == place_label(here)


class Engine:
    """An engine on which tasks are queued, or run until they are cancelled."""

    def __init__(self, *, runs: bool) -> None:
        self.open = True
        self.runs = runs
        self.asked: list[bool] = []
        self.now_s = 0.0

    def replace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Be what `engine` waits for, with a clock of its own."""
        client = SimpleNamespace(wait_until_closed=self.wait)
        monkeypatch.setitem(sys.modules, "scythe_cli.engines.hatchet.client", client)
        monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: self.now_s))

    def cancel(self, key: str, *, running: bool = False) -> None:
        self.asked.append(running)
        self.open = self.open and self.runs and not running

    def wait(self, connection: object, key: str, timeout_s: float) -> bool:
        self.now_s += timeout_s if self.open else 0.0
        return not self.open


@pytest.mark.parametrize(
    ("runs", "grace_s", "asked"),
    [(False, 30.0, [False]), (True, 0.0, [True]), (True, 7.0, [False, False, False, True])],
)
def test_what_runs_is_stopped_after_the_grace(
    monkeypatch: pytest.MonkeyPatch, runs: bool, grace_s: float, asked: list[bool]
) -> None:
    fake = Engine(runs=runs)
    fake.replace(monkeypatch)
    engine._cancel(fake, "key", grace_s)  # type: ignore[arg-type]
    assert fake.asked == asked


def test_what_never_ends_is_left_alone_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Engine(runs=True)
    monkeypatch.setattr(fake, "cancel", lambda key, running: None)
    fake.replace(monkeypatch)
    engine._cancel(fake, "key", 5.0)  # type: ignore[arg-type]
    assert 35 <= fake.now_s < 40
