"""Rows that take different parts of a machine: never more than there is, each once, the large ones first."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.errors import EngineError
from scythe_cli.executor.backlog import Backlog, Room, SortedBacklog
from scythe_cli.executor.protocol import ATTEMPT, TRIES_REMAINING
from scythe_cli.model.needs import Needs
from tests.fuzzing import cases

NEEDS = Needs(cpus="cores", tokens={"licence": "licences"}, totals={"licence": 3})


def batch(rows: list[tuple[int, int]], first: int = 0) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {
            "sort_index": pa.array(range(first, first + len(rows)), pa.int64()),
            "cores": pa.array([cores for cores, _ in rows], pa.int64()),
            "licences": pa.array([licences for _, licences in rows], pa.int64()),
        }
    )


def indices(rows: pa.RecordBatch) -> list[Any]:
    return rows.column("sort_index").to_pylist()


def start(backlog: Backlog, room: Room, n: int = 1) -> pa.RecordBatch:
    rows = backlog.take(n)
    room.take(rows)
    return rows


@given(
    st.lists(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3)), max_size=4), max_size=3),
    st.data(),
)
@cases(15, 1000)
def test_never_more_than_there_is_and_every_row_once(rows: list[list[tuple[int, int]]], data: st.DataObject) -> None:
    firsts = [sum(map(len, rows[:i])) for i in range(len(rows))]
    room = Room(NEEDS, NEEDS.capacity(4))
    backlog = SortedBacklog([batch(some, first) for some, first in zip(rows, firsts, strict=True)], 0, room)
    running: list[pa.RecordBatch] = []
    done: list[Any] = []
    while True:
        if backlog.can_give() and data.draw(st.booleans(), label="start"):
            running.append(start(backlog, room, data.draw(st.integers(1, 3), label="at most")))
            taken = [[cells["cores"], cells["licences"]] for some in running for cells in some.to_pylist()[:1]]
            assert sum(cores for cores, _ in taken) <= 4
            assert sum(licences for _, licences in taken) <= 3
        elif running:
            ended = running.pop(data.draw(st.integers(0, len(running) - 1), label="ended"))
            room.leave(ended)
            n_done = data.draw(st.integers(1, ended.num_rows), label="done")
            done += indices(ended.slice(0, n_done))
            backlog.put_back(ended.slice(n_done))
        elif not backlog.can_give():
            break
    assert sorted(done) == list(range(sum(map(len, rows))))
    assert not backlog.holds(1)


def test_large_rows_come_first_and_small_ones_fill_the_rest() -> None:
    room = Room(NEEDS, NEEDS.capacity(4))
    backlog = SortedBacklog([batch([(1, 0), (2, 1), (3, 0), (1, 0)])], 0, room)
    assert backlog.can_give()
    first, second, third = (start(backlog, room, n) for n in (5, 1, 1))
    assert [indices(first), indices(second), indices(third)] == [[1], [0], [3]]
    room.leave(first)
    assert not backlog.can_give()  # two cores are free, and the row that waits takes three
    room.leave(second)
    assert backlog.can_give()
    assert indices(start(backlog, room)) == [2]


def test_rows_further_on_are_looked_at_while_there_is_room_for_none_of_the_first() -> None:
    asked: list[int] = []

    def source() -> Any:
        for first, cores in ((0, 3), (1, 3), (2, 1)):
            asked.append(first)
            yield batch([(cores, 0)], first)

    room = Room(NEEDS, NEEDS.capacity(4))
    backlog = SortedBacklog(source(), 0, room)
    assert backlog.can_give()
    assert asked == [0]
    assert indices(start(backlog, room)) == [0]
    assert backlog.can_give()
    assert asked == [0, 1, 2]
    assert indices(start(backlog, room)) == [2]


def test_a_row_that_takes_more_than_there_is_is_an_error() -> None:
    room = Room(NEEDS, NEEDS.capacity(4))
    with pytest.raises(EngineError) as error:
        SortedBacklog([batch([(5, 0)])], 0, room).can_give()
    assert error.value.message == (
        "a case takes more than this machine has: cpus 5, token licence 0, of cpus 4, token licence 3"
    )
    assert error.value.hint == (
        "--workers says how many cores are used; `tokens` in experiments.toml, how many there are."
    )


def test_one_row_is_enough_to_go_on() -> None:
    backlog = Backlog([batch([(1, 0)])], 0)
    assert backlog.can_give()
    assert indices(backlog.take(1)) == [0]
    assert not backlog.can_give()


def test_attempts_that_rows_bring_along_are_theirs() -> None:
    rows = pa.RecordBatch.from_pydict({ATTEMPT: pa.array([3, 1], pa.int32()), "sort_index": [0, 1]})
    taken = Backlog([rows], 2)
    assert taken.holds(2)
    batch = taken.take(2)
    assert batch.schema.names == [ATTEMPT, "sort_index", TRIES_REMAINING]
    assert batch.column(ATTEMPT).to_pylist() == [3, 1]
    taken.put_again(batch)
    again = taken.take(2)
    assert again.schema == batch.schema
    assert again.to_pydict() == {ATTEMPT: [4, 2], "sort_index": [0, 1], TRIES_REMAINING: [1, 1]}
    assert [again.column(name).type for name in (ATTEMPT, TRIES_REMAINING)] == [pa.int32()] * 2


def test_rows_that_come_back_are_alone_only_where_that_is_asked_for() -> None:
    room = Room(NEEDS, NEEDS.capacity(4))
    backlog = SortedBacklog([batch([(1, 0), (1, 0), (2, 0), (1, 0), (1, 0)])], 0, room)
    assert not backlog.holds(6)
    two, ones = backlog.take(9), backlog.take(9)
    assert (indices(two), indices(ones), backlog.remaining()) == ([2], [0, 1, 3, 4], 0)
    backlog.put_back(ones.slice(2))
    backlog.put_back(ones.slice(0, 2), alone=True)
    backlog.put_back(two)
    assert backlog.remaining() == 5
    assert [indices(backlog.take(9)) for _ in range(4)] == [[2], [0], [1], [3, 4]]
    assert backlog.remaining() == 0


@pytest.mark.parametrize("is_sorted", [False, True])
def test_rows_that_have_survived_once_come_without_others(is_sorted: bool) -> None:
    rows = batch([(1, 0)] * 9)
    backlog = SortedBacklog([rows], 0, Room(NEEDS, NEEDS.capacity(4))) if is_sorted else Backlog([rows], 0)
    assert backlog.holds(9)
    first = backlog.take(6)
    backlog.put_back(first.slice(5))
    backlog.put_back(first.slice(2, 2), survived=True)
    backlog.put_back(first.slice(0, 2), survived=True)
    assert [indices(backlog.take(n)) for n in (3, 9, 9)] == [[0, 1, 2], [3], [5, 6, 7, 8]]
    assert not backlog.holds(1)


def test_no_row_is_looked_for_while_the_machine_is_full_or_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def source() -> Any:
        for first in range(9):
            asked.append(first)
            yield batch([(3, 0)], first)

    room = Room(NEEDS, NEEDS.capacity(4))
    monkeypatch.setattr("scythe_cli.executor.backlog._LOOKED_AT", 3)
    backlog = SortedBacklog(source(), 0, room)
    assert backlog.can_give()
    start(backlog, room)
    # one core is free, and each row takes three
    assert not backlog.can_give()
    assert asked == [0, 1, 2, 3]
    room.take(batch([(1, 0)]))
    monkeypatch.setattr("scythe_cli.executor.backlog._LOOKED_AT", 9)
    assert room.is_full
    assert not backlog.can_give()
    assert asked == [0, 1, 2, 3]
