"""Rows that take different parts of a machine: never more than there is, each once, the large ones first."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.errors import EngineError
from scythe_cli.executor.backlog import Backlog, Room, SortedBacklog
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
    with pytest.raises(EngineError, match="a case takes more than this machine has: cpus 5, token licence 0, of"):
        SortedBacklog([batch([(5, 0)])], 0, room).can_give()
