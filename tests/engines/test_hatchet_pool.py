"""Processes of a worker: how many there are, and who waits for one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from scythe_cli.engines.hatchet.nodes import process_pool as module
from scythe_cli.engines.hatchet.nodes.process_pool import ProcessPool
from scythe_cli.executor.limits import Limits, StopSignal
from scythe_cli.executor.rows.call import RunContext
from scythe_cli.model.functions.reference import ExperimentTarget
from scythe_cli.model.outcome_schema import OUTCOME_SCHEMA


class FakeExecutor:
    """Stands for a process: these tests are about which call gets one, not about what runs in it."""

    made: list[FakeExecutor] = []
    call_s = 0.0
    gate: threading.Event | None = None

    def __init__(self, *key: Any, workers: int, templates: object) -> None:
        assert workers == 1
        self.key = key
        self.closed = False
        self.made.append(self)

    def run(self, rows: Any, *, stop: StopSignal) -> list[pa.Table]:
        if self.gate is not None:
            self.gate.wait(60)
        time.sleep(self.call_s)
        return [OUTCOME_SCHEMA.empty_table()]

    def close(self) -> None:
        self.closed = True


class FakeInterpreter:
    """Stands for the interpreter of the next run."""

    made: list[FakeInterpreter] = []

    def __init__(self, threads: int) -> None:
        self.closed = False
        self.mark = "mark"
        self.made.append(self)

    def suits(self, threads: int) -> bool:
        return True

    def close(self, *, is_in_order: bool = False) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def interpreter(monkeypatch: pytest.MonkeyPatch) -> type[FakeInterpreter]:
    class Fresh(FakeInterpreter):
        made: list[FakeInterpreter] = []

    monkeypatch.setattr(module, "Interpreter", Fresh)
    return Fresh


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> type[FakeExecutor]:
    class Fresh(FakeExecutor):
        made: list[FakeExecutor] = []

    monkeypatch.setattr(module, "Executor", Fresh)
    return Fresh


def call(pool: ProcessPool, run: str = "a/v1.0.0/2026-01-01_00-00-00") -> None:
    target = ExperimentTarget.__new__(ExperimentTarget)
    context = RunContext("runs", run, "root", "worker")
    pool.run(target, context, Limits(1.0, None, 0), [], StopSignal())


@pytest.fixture(autouse=True)
def same_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ExperimentTarget, "__eq__", lambda self, other: True)
    monkeypatch.setattr(ExperimentTarget, "__hash__", lambda self: 1)


def test_quick_calls_share_as_many_processes_as_there_are_cores(
    executor: type[FakeExecutor], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_FIRST_WAIT_S", "_QUICK_S", "_QUICK_WAIT_S"):
        monkeypatch.setattr(module, name, 60.0)  # on a busy machine, nothing is quick
    pool = ProcessPool(8, cores=2)
    with ThreadPoolExecutor(8) as threads:
        for future in [threads.submit(call, pool) for _ in range(200)]:
            future.result()
    assert len(executor.made) <= 2
    pool.close()
    assert all(made.closed for made in executor.made)


def test_slow_calls_get_a_process_each(executor: type[FakeExecutor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_WAIT_S", 0.05)
    executor.gate = threading.Event()
    pool = ProcessPool(6, cores=2)
    with ThreadPoolExecutor(6) as threads:
        calls = [threads.submit(call, pool) for _ in range(6)]
        deadline = time.monotonic() + 20
        while len(executor.made) < 6 and time.monotonic() < deadline:
            time.sleep(0.01)
        n_while_all_run = len(executor.made)
        executor.gate.set()
        for future in calls:
            future.result()
    assert n_while_all_run == 6
    pool.close()


def test_processes_of_other_runs_are_ended_where_there_are_too_many(executor: type[FakeExecutor]) -> None:
    pool = ProcessPool(1, cores=2)
    for second in range(6):
        call(pool, f"a/v1.0.0/2026-01-01_00-00-0{second}")
    assert len(executor.made) == 6
    assert [made.closed for made in executor.made] == [True, True, True, False, False, False]
    pool.close()


def test_a_process_whose_call_failed_is_not_used_again(
    executor: type[FakeExecutor], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = ProcessPool(1, cores=2)

    def fail(self: FakeExecutor, rows: Any, *, stop: StopSignal) -> list[pa.Table]:
        raise OSError("broken")

    with monkeypatch.context() as broken:
        broken.setattr(executor, "run", fail)
        with pytest.raises(OSError, match="broken"):
            call(pool)
    assert executor.made[0].closed
    call(pool)
    assert len(executor.made) == 2
    pool.close()


def test_the_first_run_gets_the_interpreter_that_waits_and_a_later_one_the_next(
    executor: type[FakeExecutor], interpreter: type[FakeInterpreter], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def templates(*arguments: Any) -> Any:
        given.append(arguments[-1])
        return SimpleNamespace(close=lambda: None)

    started = threading.Event()
    monkeypatch.setattr(module, "templates_for", templates)
    monkeypatch.setattr(module, "_QUIET_S", 0.0)
    pool = ProcessPool(1, cores=2)
    pool.start_spare()
    pool.start_spare()
    assert len(interpreter.made) == 1
    monkeypatch.setattr(interpreter, "__init__", _and_then(interpreter.__init__, started.set))
    call(pool)
    assert started.wait(60), "another one starts when nothing is at work"
    call(pool, "a/v1.0.0/2026-01-01_00-00-01")
    pool.close()
    assert given == interpreter.made[:2]
    assert not any(each.closed for each in interpreter.made[:2]), "they belong to the templates of their runs"


def _and_then(first: Callable[..., None], then: Callable[[], object]) -> Callable[..., None]:
    def both(*arguments: Any) -> None:
        first(*arguments)
        then()

    return both


def test_an_interpreter_that_nobody_has_used_ends_with_the_pool(interpreter: type[FakeInterpreter]) -> None:
    pool = ProcessPool(1, cores=2)
    pool.start_spare()
    pool.close()
    pool.start_spare()
    assert [each.closed for each in interpreter.made] == [True]
