"""Which process gets rows, whose time is over, and how long the loop may sleep: no process is needed to tell."""

from __future__ import annotations

from typing import Any

import pytest

from scythe_cli.executor.protocol import Phase, Snapshot
from scythe_cli.executor.scheduling import (
    ChildState,
    Overdue,
    TimeAction,
    children_to_ask_back,
    is_bloated,
    is_stalled,
    next_to_feed,
    rows_per_process,
    rows_to_start_for,
    time_action,
    wait_s,
)

NOW = 1_000.0


def snapshot(phase: Phase = Phase.RUNNING, started_s: float = NOW, row: int = 0) -> Snapshot:
    return Snapshot(phase, 1, row, 0, started_s)


def child(phase: Phase = Phase.IDLE, started_s: float = NOW, **state: Any) -> ChildState:
    return ChildState(snapshot(phase, started_s), **state)


IDLE = child()
STARTING = child(is_ready=False)
BUSY = child(n_chunks=1, n_remaining=5)
FULL = child(n_chunks=2, n_remaining=9)
OVERDUE = child(n_chunks=1, is_overdue=True)
TERMINATED = child(n_chunks=1, is_terminated=True)
GIVES_BACK = child(n_chunks=1, n_remaining=5, gives_back=True)


@pytest.mark.parametrize(
    ("children", "workers", "keeps_spare", "rows"),
    [
        ([], 2, False, 1),
        ([STARTING], 2, False, 2),  # the first row is for the one that starts
        ([IDLE], 2, False, 2),
        ([BUSY], 2, False, 1),
        ([BUSY, BUSY], 2, False, None),
        ([BUSY, STARTING], 2, False, None),
        ([BUSY, BUSY], 2, True, 1),
        ([BUSY, STARTING], 2, True, 2),
        ([BUSY, BUSY, IDLE], 2, True, None),
        ([BUSY, BUSY, IDLE], 2, False, None),
    ],
)
def test_how_many_rows_are_worth_a_process(
    children: list[ChildState], workers: int, keeps_spare: bool, rows: int | None
) -> None:
    assert rows_to_start_for(children, workers, keeps_spare=keeps_spare) == rows


@pytest.mark.parametrize(
    ("children", "workers", "slow", "fast"),
    [
        ([], 2, None, None),
        ([STARTING, IDLE], 2, 1, 1),
        ([IDLE, IDLE], 2, 0, 0),
        ([BUSY, IDLE], 2, 1, 1),  # idle ones come first
        ([BUSY, IDLE], 1, None, 0),  # the spare waits
        ([BUSY, BUSY], 2, None, 0),
        ([FULL, BUSY], 2, None, 1),
        ([FULL, FULL], 2, None, None),
        ([GIVES_BACK, BUSY], 2, None, 1),
        ([GIVES_BACK], 1, None, None),
        ([child(gives_back=True)], 1, 0, 0),  # it has nothing any more to give back
        ([OVERDUE, TERMINATED], 3, None, None),
        ([child(is_overdue=True), child(is_terminated=True)], 2, None, None),
    ],
)
def test_who_gets_rows_next(children: list[ChildState], workers: int, slow: int | None, fast: int | None) -> None:
    assert next_to_feed(children, workers, is_fast=False) == slow
    assert next_to_feed(children, workers, is_fast=True) == fast


@pytest.mark.parametrize(
    ("children", "workers", "positions"),
    [
        ([BUSY, IDLE], 2, [0]),
        ([BUSY, IDLE, GIVES_BACK], 3, [0, 2]),
        ([BUSY, BUSY], 2, []),  # nobody is idle
        ([BUSY, STARTING], 2, []),  # nor ready
        ([BUSY, IDLE], 1, []),  # nor to run anything
        ([child(n_chunks=1, n_remaining=1), IDLE], 2, []),  # the last row is being run
        ([child(n_chunks=1, n_remaining=5, last_message_s=NOW - 0.05), IDLE], 2, []),  # it has just said something
        ([child(n_chunks=1, n_remaining=5, last_message_s=NOW - 0.1), IDLE], 2, [0]),
        ([child(n_chunks=1, n_remaining=2), IDLE], 2, [0]),
    ],
)
def test_who_gives_rows_back(children: list[ChildState], workers: int, positions: list[int]) -> None:
    assert children_to_ask_back(children, workers, NOW) == positions


def test_a_process_is_asked_as_soon_as_it_has_said_nothing_for_long_enough() -> None:
    silent = child(n_chunks=1, n_remaining=2, last_message_s=0.0)
    assert children_to_ask_back([silent, IDLE], 2, 0.1) == [0]
    due = wait_s([silent, IDLE], now_s=0.0, execution_timeout_s=60.0, memory_due_s=None)
    assert children_to_ask_back([silent, IDLE], 2, due) == [0]  # the loop wakes up in time for it


@pytest.mark.parametrize(
    ("used", "baseline", "bloated"),
    [(100, 100, False), (549, 100, False), (550, 100, True), (900, 100, True), (50, 100, False), (2_000, 2_000, False)],
)
def test_memory_that_specs_leave_behind(used: int, baseline: int, bloated: bool) -> None:
    assert is_bloated(used, baseline, 1_000) == bloated


RUN = snapshot(started_s=NOW - 2)
ASKED = Overdue(RUN, NOW + 0.5)


@pytest.mark.parametrize(
    ("now", "overdue", "asked_s", "has_stack", "action"),
    [
        (snapshot(started_s=NOW - 1), None, 2.0, False, TimeAction.NOTHING),
        (RUN, None, 2.0, False, TimeAction.ASK_FOR_STACK),
        (snapshot(Phase.BUILDING, NOW - 2), None, 2.0, False, TimeAction.ASK_FOR_STACK),
        (snapshot(Phase.IDLE, NOW - 2), None, 2.0, False, TimeAction.NOTHING),
        (RUN, ASKED, 2.0, False, TimeAction.NOTHING),
        (RUN, ASKED, 2.0, True, TimeAction.TERMINATE),
        (RUN, Overdue(RUN, NOW), 2.0, False, TimeAction.TERMINATE),
        (snapshot(row=1), ASKED, 2.0, False, TimeAction.FORGET),
        (snapshot(row=1), ASKED, 2.0, True, TimeAction.FORGET),
        (snapshot(Phase.IDLE), Overdue(RUN, NOW), 2.0, True, TimeAction.FORGET),
    ],
)
def test_whose_time_is_over(
    now: Snapshot, overdue: Overdue | None, asked_s: float, has_stack: bool, action: TimeAction
) -> None:
    assert time_action(now, overdue, now_s=NOW, execution_timeout_s=asked_s, has_stack=has_stack) is action


@pytest.mark.parametrize(
    ("children", "timeout_s", "memory_due_s", "seconds"),
    [
        ([], 60.0, None, 0.5),
        ([], 0.2, None, 0.2),  # a spec may begin at once
        ([IDLE], 60.0, NOW, 0.5),
        ([child(is_polled=True)], 60.0, None, 0.05),
        ([child(Phase.RUNNING, NOW - 59.9, n_chunks=1, n_remaining=1)], 60.0, None, 0.1),
        ([child(Phase.BUILDING, NOW - 59.9, n_chunks=1, n_remaining=1)], 60.0, None, 0.1),
        ([child(Phase.RUNNING, NOW - 61, n_chunks=1, n_remaining=1)], 60.0, None, 0.0),
        ([child(Phase.RUNNING, NOW - 61, n_chunks=1, is_overdue=True)], 60.0, None, 0.02),
        ([child(Phase.IDLE, NOW - 61, n_chunks=1, n_remaining=1)], 60.0, None, 0.5),
        ([child(Phase.RUNNING, NOW, n_chunks=1, n_remaining=1)], 60.0, NOW + 0.03, 0.03),
        ([child(Phase.RUNNING, NOW, n_chunks=1, n_remaining=1)], 60.0, NOW - 1, 0.0),
        ([child(Phase.RUNNING, NOW, n_chunks=1, n_remaining=2)], 60.0, None, 0.5),  # nobody could help
        ([child(Phase.RUNNING, NOW, n_chunks=1, n_remaining=2), IDLE], 60.0, None, 0.1),
        ([child(Phase.RUNNING, NOW, n_chunks=1, n_remaining=1), IDLE], 60.0, None, 0.5),  # the last row is being run
        ([child(Phase.RUNNING, NOW, n_chunks=1, n_remaining=2, last_message_s=NOW + 0.1), IDLE], 60.0, None, 0.2),
    ],
)
def test_for_how_long_nothing_is_due(
    children: list[ChildState], timeout_s: float, memory_due_s: float | None, seconds: float
) -> None:
    due = wait_s(children, now_s=NOW, execution_timeout_s=timeout_s, memory_due_s=memory_due_s)
    assert due == pytest.approx(seconds)


def test_time_that_the_machine_stood_still_does_not_count() -> None:
    running = snapshot(started_s=NOW - 12)
    assert time_action(running, None, now_s=NOW, execution_timeout_s=10, has_stack=False) is TimeAction.ASK_FOR_STACK
    action = time_action(running, None, now_s=NOW, execution_timeout_s=10, has_stack=False, paused_s=5.0)
    assert action is TimeAction.NOTHING
    paused = child(Phase.RUNNING, NOW - 12, n_chunks=1, n_remaining=1, paused_s=2.2)
    assert wait_s([paused], now_s=NOW, execution_timeout_s=10, memory_due_s=None) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("children", "has_rows", "stalled"),
    [
        ([IDLE, IDLE], True, True),
        ([], True, True),
        ([IDLE], False, False),
        ([IDLE, STARTING], True, False),
        ([IDLE, BUSY], True, False),
        ([IDLE, child(is_terminated=True)], True, False),  # another takes its place when it is dead
        ([child(is_overdue=True)], True, True),  # this is what let runs stand still
    ],
)
def test_a_run_that_would_wait_for_ever(children: list[ChildState], has_rows: bool, stalled: bool) -> None:
    assert is_stalled(children, has_rows=has_rows) is stalled


def test_rows_have_processes_of_their_own_where_that_costs_little() -> None:
    def own(row_s: float | None, imports_s: float = 0.0, fork_s: float | None = 0.005) -> int:
        return rows_per_process("auto", None, fork_s=fork_s, row_s=row_s, imports_s=imports_s)

    assert [own(None), own(0.1), own(0.2), own(10.0, fork_s=None)] == [0, 0, 1, 0]
    # what each row would import anew counts as well
    assert [own(1.0, 0.1), own(2.0, 0.1), own(3.0, 0.1)] == [0, 0, 1]
    assert rows_per_process("auto", None, fork_s=0.005, row_s=0.3) == 1
    assert rows_per_process("row", None, fork_s=0.005, row_s=1.0, imports_s=5.0) == 1
