"""The rows of a run on their way, without the processes that they go to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pyarrow as pa

from scythe_cli.core.states import RetryOn, RetryRule, State
from scythe_cli.executor.attribution import Death
from scythe_cli.executor.backlog import Backlog, Room
from scythe_cli.executor.dispatch import Chunk, Dispatch, Pace
from scythe_cli.executor.protocol import ATTEMPT, TRIES_REMAINING, Phase, Snapshot
from scythe_cli.executor.rows.call import RunContext
from scythe_cli.executor.rows.failure import Failure
from scythe_cli.model.needs import Needs
from scythe_cli.model.outcome_schema import OUTCOME_SCHEMA

CRASH = Failure(State.CRASHED, "SIGABRT", "it died", "here")


def rows(n: int, first: int = 0) -> pa.RecordBatch:
    ids = pa.array([None] * n, pa.string())
    return pa.RecordBatch.from_pydict({"sort_index": list(range(first, first + n)), "workflow_run_id": ids})


def indices(batch: pa.RecordBatch) -> list[Any]:
    return batch.column("sort_index").to_pylist()


def dispatch(*batches: pa.RecordBatch, retries: int = 0, retry_on: tuple[RetryOn, ...] = get_args(RetryOn)) -> Dispatch:
    context = RunContext("runs", "a/v1.0.0/2025-01-01_00-00-00", "root", "here")
    return Dispatch(batches, RetryRule(retries, retry_on), context, workers=2)


def told(n: int, busy_s: float, **fields: Any) -> dict[str, Any]:
    """What a child says when it has run so many rows of a chunk, all of which have succeeded."""
    return {"n": n, "busy_s": busy_s, "failed": [], "again": [], "done": n, "back": False} | fields


def chunk_of(run: Dispatch, n: int) -> Chunk:
    """A chunk as a child would have it."""
    run.holds(n)
    return Chunk(7, run._backlog.take(n))


def rest(run: Dispatch) -> list[list[Any]]:
    """What waits, as the chunks of a slow function."""
    chunks: list[list[Any]] = []
    while run.holds(1):
        chunks.append(indices(run._backlog.take(100)))
    return chunks


def test_rows_wait_in_order_and_are_asked_for_as_they_are_needed() -> None:
    asked: list[int] = []

    def source() -> Iterator[pa.RecordBatch]:
        for first in (0, 3, 3, 6):
            asked.append(first)
            yield rows(3 if len(asked) != 3 else 0, first)

    backlog = Backlog(source(), retries=2)
    assert (backlog.holds(1), asked, backlog.remaining()) == (True, [0], None)
    assert (backlog.holds(4), asked) == (True, [0, 3])
    batch = backlog.take(4)
    assert indices(batch) == [0, 1, 2, 3]
    assert batch.column(ATTEMPT).to_pylist() == [1] * 4
    assert batch.column(TRIES_REMAINING).to_pylist() == [2] * 4
    assert not backlog.holds(9)
    assert backlog.remaining() == 5
    assert indices(backlog.take(9)) == [4, 5, 6, 7, 8]
    assert not backlog.holds(1)


def test_rows_that_come_back_are_run_first_and_so_are_those_that_failed() -> None:
    backlog = Backlog([rows(6)], retries=1)
    assert backlog.holds(6)
    batch = backlog.take(4)
    backlog.put_again(batch.slice(0, 1))
    backlog.put_back(batch.slice(2), alone=True)
    backlog.put_back(batch.slice(1, 1))
    backlog.put_back(batch.slice(4))  # none
    taken: list[pa.RecordBatch] = []
    while backlog.holds(1):
        taken.append(backlog.take(10))
    # those that are to be alone are
    assert [indices(each) for each in taken] == [[1], [2], [3], [0, 4, 5]]
    assert taken[-1].column(ATTEMPT).to_pylist() == [2, 1, 1]
    assert taken[-1].column(TRIES_REMAINING).to_pylist() == [0, 1, 1]


def test_chunks_grow_as_long_as_rows_are_quick() -> None:
    pace = Pace()
    assert (pace.rows(None, 2), pace.is_fast) == (1, False)
    pace.record(1, 0.001)
    assert [pace.rows(None, 2) for _ in range(5)] == [4, 16, 64, 256, 500]
    assert pace.is_fast
    assert (pace.rows(100, 2), pace.rows(99, 2)) == (25, 25)  # at the end, no child keeps what another could run
    assert pace.rows(1, 2) == 1
    pace.record(10, 1.0)  # slower counts at once
    assert (pace.rows(None, 2), pace.is_fast) == (5, False)
    pace.record(10, 0.0)  # quicker only by and by
    assert pace.rows(None, 2) == 10


def test_a_chunk_is_never_larger_than_one_message_may_be() -> None:
    pace = Pace()
    pace.record(1, 0.0)
    assert [pace.rows(None, 2) for _ in range(9)][-2:] == [20_000, 20_000]


def test_a_run_is_deadly_where_a_large_chunk_would_probably_not_survive() -> None:
    pace = Pace()
    pace.record(1, 0.001)
    assert [pace.rows(None, 1) for _ in range(3)] == [4, 16, 64]
    assert not pace.is_deadly
    pace.record_death()
    pace.record(61, 0.001)
    assert pace.is_deadly
    pace.record(1, 0.001)
    assert not pace.is_deadly  # one in 64


def test_chunks_go_out_in_order_and_come_back_in_front() -> None:
    run = dispatch(rows(40))
    assert (run.has_failures, run.has_outcomes, run.can_give(), run.row_s) == (False, False, True, None)
    first = run.next_rows()
    assert indices(first) == [0]
    assert run.add_outcomes(Chunk(1, first), [], told(1, 0.001))
    assert run.row_s == 0.001
    assert indices(run.next_rows()) == [1, 2, 3, 4]
    assert not run.holds(36)
    # of 35 rows that are left, two processes get a quarter at a time
    chunk = run.next_rows()
    assert indices(chunk) == list(range(5, 14))
    run.take_back(chunk)
    assert indices(run.next_rows())[0] == 5


def test_what_is_known_of_rows_from_before_counts_for_the_first_chunk() -> None:
    context = RunContext("runs", "a/v1.0.0/2025-01-01_00-00-00", "root", "here")
    run = Dispatch([rows(100)], RetryRule(0, ()), context, workers=1, pace=Pace(row_s=0.001, largest=8))
    assert run.is_fast
    assert indices(run.next_rows()) == list(range(32))


def test_rows_that_take_parts_of_the_machine_wait_until_there_is_room() -> None:
    needs = Needs(cpus="cores")
    room = Room(needs, needs.capacity(4))
    batch = rows(4).append_column("cores", pa.array([1, 3, 2, 4], pa.int64()))
    context = RunContext("runs", "a/v1.0.0/2025-01-01_00-00-00", "root", "here")
    run = Dispatch([batch], RetryRule(1, ("crashed",)), context, workers=4, pace=Pace(row_s=1e-5), room=room)
    assert not run.is_fast  # its next rows may take more than it has room for
    all_of_it = run.next_rows()
    assert (indices(all_of_it), all_of_it.column(TRIES_REMAINING).to_pylist()) == ([3], [1])
    assert not run.can_give()
    assert run.add_outcomes(Chunk(1, all_of_it), [], told(1, 0.1))
    three, one = run.next_rows(), run.next_rows()
    assert (indices(three), indices(one), run.can_give()) == ([1], [0], False)
    run.take_back(one)
    run.settle(Death(7, 1, 0, Snapshot(Phase.RUNNING, 7, 0, 0, 5.0)), [Chunk(7, three)], CRASH, 6.5, None)
    # nothing runs any more: the largest that is left, once more, is the first
    again = run.next_rows()
    assert (indices(again), again.column(ATTEMPT).to_pylist()) == ([1], [2])
    assert (indices(run.next_rows()), run.can_give()) == ([0], False)


def test_outcomes_end_a_chunk_and_failures_are_tried_again() -> None:
    run = dispatch(rows(6), retries=1)
    chunk = chunk_of(run, 4)
    table = OUTCOME_SCHEMA.empty_table()
    done = {"n": 2, "busy_s": 0.1, "failed": [1], "again": [1], "done": 2, "back": False}
    assert not run.add_outcomes(chunk, [table], done)
    assert (chunk.n_remaining, run.has_failures, run.has_outcomes) == (2, True, True)
    assert run.take_outcomes() == [table]
    assert (run.has_failures, run.has_outcomes) == (False, False)
    # the child gives back what it has not begun
    assert run.add_outcomes(chunk, [], {"n": 1, "busy_s": 0.1, "failed": [], "again": [], "done": 3, "back": True})
    assert not run.has_failures
    assert run.holds(4)
    again = run._backlog.take(4)
    assert indices(again) == [3, 1, 4, 5]
    assert again.column(ATTEMPT).to_pylist() == [1, 2, 1, 1]
    # it was the last attempt
    last = Chunk(8, again.slice(1, 1))
    told = {"n": 1, "busy_s": 0.1, "failed": [0], "again": [], "done": 1, "back": False}
    assert run.add_outcomes(last, [table], told)
    assert not run.holds(1)


def test_a_death_is_the_outcome_of_one_row() -> None:
    run = dispatch(rows(10), retries=1)
    chunks = [chunk_of(run, 6), chunk_of(run, 3)]
    chunks[0].done = 1
    run.settle(Death(7, 6, 1, Snapshot(Phase.RUNNING, 7, 3, 0, 5.0)), chunks, CRASH, 6.5, "printed")
    assert run.has_failures
    (table,) = run.take_outcomes()
    (outcome,) = table.to_pylist()
    assert (outcome["sort_index"], outcome["attempt"], outcome["final"]) == (3, 1, False)
    assert (outcome["state"], outcome["error_type"], outcome["traceback"]) == ("crashed", "SIGABRT", "here")
    assert (outcome["workflow_run_id"], outcome["worker"]) == ("root-00000003", "here")
    assert (outcome["duration_s"], outcome["log"]) == (1.5, "printed")
    started = datetime.fromtimestamp(5.0 + time.time() - time.monotonic(), UTC)
    assert abs(outcome["started_at"].astimezone(UTC) - started) < timedelta(minutes=1)
    # the retry is alone, and first; rows that it has taken along come without others that may do so again
    assert rest(run) == [[3], [1, 2], [4, 5, 6, 7, 8, 9]]


def test_a_death_is_final_where_nothing_is_tried_again_after_one() -> None:
    run = dispatch(rows(2), retries=3, retry_on=("failed", "timeout"))
    run.settle(Death(7, 2, 0, Snapshot(Phase.RUNNING, 7, 0, 0, 5.0)), [chunk_of(run, 2)], CRASH, 6.5, None)
    (table,) = run.take_outcomes()
    assert table.column("final").to_pylist() == [True]
    assert rest(run) == [[1]]


def test_rows_that_cannot_be_told_apart_run_alone() -> None:
    run = dispatch(rows(4))
    building = Snapshot(Phase.BUILDING, 7, 1, 3, 5.0)
    run.settle(Death(7, 4, 0, building), [chunk_of(run, 4)], CRASH, 6.0, None)
    assert not run.has_outcomes
    assert rest(run) == [[0], [1], [2], [3]]


def test_deaths_before_any_row_are_taken_for_chance_at_first() -> None:
    run = dispatch(rows(2))
    before = Snapshot(Phase.IDLE, 6, 0, 0, 5.0)
    run.settle(Death(7, 2, 0, before), [chunk_of(run, 2)], CRASH, 6.0, None)
    chunk = chunk_of(run, 2)
    assert indices(chunk.rows) == [0, 1]
    run.settle(Death(7, 2, 0, before), [chunk], CRASH, 6.0, None)
    for n_times in (1, 2, 3):
        chunk = chunk_of(run, 2)
        assert indices(chunk.rows) == [0]
        run.settle(Death(7, 1, 0, before), [chunk], CRASH, 6.0, None)
        assert run.has_outcomes == (n_times == 3)
    (outcome,) = run.take_outcomes()[0].to_pylist()
    # it is not known when the row began
    assert (outcome["sort_index"], outcome["state"], outcome["duration_s"]) == (0, "crashed", 0.0)
    assert rest(run) == [[1]]


def test_each_row_has_its_own_chances() -> None:
    """Two rows that died before they began, each twice, are both tried once more."""
    run = dispatch(rows(2))
    both = chunk_of(run, 2).rows
    before = Death(7, 1, 0, Snapshot(Phase.IDLE, 6, 0, 0, 5.0))
    for row in (0, 1, 0, 1):
        run.settle(before, [Chunk(7, both.slice(row, 1))], CRASH, 6.0, None)
    assert not run.has_outcomes
    run.settle(before, [Chunk(7, both.slice(1, 1))], CRASH, 6.0, None)
    assert run.take_outcomes()[0].column("sort_index").to_pylist() == [1]


def test_outcomes_are_kept_until_they_are_taken_and_the_longest_import_is_remembered() -> None:
    run = dispatch(rows(3))
    tables = [OUTCOME_SCHEMA.empty_table() for _ in range(3)]
    chunk = chunk_of(run, 3)
    run.add_outcomes(chunk, [tables[0]], told(1, 0.1))
    assert run.imports_s == 0.0
    run.add_outcomes(chunk, [tables[1]], told(1, 0.1, imports_s=0.3, done=2))
    run.add_outcomes(chunk, [tables[2]], told(1, 0.1, imports_s=0.1, done=3))
    assert run.imports_s == 0.3
    assert [id(table) for table in run.take_outcomes()] == [id(table) for table in tables]
    assert run.take_outcomes() == []
