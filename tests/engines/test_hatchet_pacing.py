"""How rows are given to a fleet whose tasks have no fixed size: simulated, with the shapes that real files have."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scythe_cli.engines.hatchet.nodes.plan import Fleet, Pacing, Task, auto_cut

_ANSWER_S = 0.1
_TASKS_PER_S = 60.0


@dataclass
class Simulation:
    """A fleet whose slots sleep, around an engine that gives out so many tasks a second.

    Attributes:
        row_s: What each row takes.
        slots: How many run at the same time.
        knows: How many the node takes them for.
    """

    row_s: np.ndarray
    slots: int
    knows: int | None = None
    tasks: list[int] = field(default_factory=list)
    ran: list[int] = field(default_factory=list)
    rounds: int = 0
    longest_s: float = 0.0
    n_handed_back: int = 0

    def run(self) -> float:
        """Run all rows; returns how busy the slots were, from the first to the last row."""
        pacing = Pacing(len(self.row_s))
        fleet = Fleet(self.knows or self.slots)
        free = [0.0] * self.slots  # when each slot is free
        engine_s = now = end = 0.0
        open_: list[tuple[float, int, np.ndarray, np.ndarray]] = []
        number = 0
        while True:
            chosen = pacing.next_round(fleet, len(open_), now)
            self.rounds += bool(chosen)
            for task in chosen:
                engine_s = max(engine_s, now) + 1 / _TASKS_PER_S
                begin = max(heapq.heappop(free), engine_s)
                done, rest = self._within(task)
                last = begin + float(self.row_s[done].sum())
                heapq.heappush(free, last)
                number += 1
                heapq.heappush(open_, (last + _ANSWER_S, number, done, rest))
                self.tasks.append(len(task.positions))
                self.longest_s = max(self.longest_s, last - begin)
                end = max(end, last)
            if not open_:
                break
            now, _, done, rest = heapq.heappop(open_)
            self.ran += done.tolist()
            seconds = self.row_s[done]
            pacing.note(done, seconds, span_s=float(seconds.sum()), size_bytes=100 * len(done))
            if len(rest):
                self.n_handed_back += len(rest)
                pacing.give_back(rest, float(seconds.max()))
        assert sorted(self.ran) == list(range(len(self.row_s)))
        return float(self.row_s.sum()) / self.slots / end

    def _within(self, task: Task) -> tuple[np.ndarray, np.ndarray]:
        if task.budget_s is None:
            return task.positions, task.positions[:0]
        begins = np.cumsum(self.row_s[task.positions]) - self.row_s[task.positions]
        n = max(1, int((begins < task.budget_s).sum()))
        return task.positions[:n], task.positions[n:]


def _shuffled(row_s: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).permutation(row_s)


SHAPES: dict[str, tuple[Callable[[], np.ndarray], int, float]] = {
    "0.5 s each": (lambda: np.full(4000, 0.5), 64, 0.9),
    "5 ms each": (lambda: np.full(100_000, 0.005), 16, 0.9),
    "sorted from 1 ms to 30 s": (lambda: np.linspace(0.001, 30, 2000), 64, 0.95),
    "sorted, the slowest first": (lambda: np.linspace(30, 0.001, 2000), 64, 0.95),
    "of any order": (lambda: _shuffled(np.linspace(0.001, 30, 2000)), 64, 0.9),
    "sorted, five rows a slot": (lambda: np.linspace(0.001, 30, 320), 64, 0.93),
    "320 of 5 ms, then 640 of 2 s": (lambda: np.repeat([0.005, 2.0], [320, 640]), 64, 0.9),
    "80 of 5 ms, then 160 of 2 s": (lambda: np.repeat([0.005, 2.0], [80, 160]), 16, 0.85),
    "ten minutes each": (lambda: np.full(640, 600.0), 64, 0.98),
    "a few that take ten minutes": (lambda: np.where(np.arange(4000) % 500 == 7, 600.0, 1.0), 8, 0.7),
    "slower and slower": (lambda: np.repeat([0.01, 0.1, 1.0, 10.0], 1000), 32, 0.95),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_slots_are_busy_whatever_rows_take(shape: str) -> None:
    make, slots, expected = SHAPES[shape]
    simulation = Simulation(make(), slots)
    assert simulation.run() >= expected


def test_a_fleet_that_is_larger_than_it_seemed() -> None:
    assert Simulation(np.full(2000, 0.5), 64, knows=40).run() > 0.5
    assert Simulation(np.full(2000, 0.5), 16, knows=200).run() > 0.9


@pytest.mark.parametrize("n", [1, 2, 15, 24, 30, 31, 32, 33, 1000])
def test_the_first_tasks_come_from_all_over(n: int) -> None:
    first = Pacing(n).next_round(Fleet(64), 0, 0.0)
    rows = np.sort(np.concatenate([task.positions for task in first]))
    assert np.diff(rows, prepend=-1, append=n).max() <= max(2, n / 16)


def test_of_where_nothing_has_come_back_from_the_farthest_comes_first() -> None:
    """In a file that is sorted, what has come back first says least of what is slow."""
    pacing = Pacing(320)
    fleet = Fleet(64)
    first = pacing.next_round(fleet, 0, 0.0)
    back = [task for task in first if task.positions.max() < 100]
    for task in back:
        n = len(task.positions)
        pacing.note(task.positions, np.full(n, 0.01), span_s=0.01 * n, size_bytes=10)
    then = pacing.next_round(fleet, 64, 3.0)
    assert then[0].positions.min() >= 310
    assert max(len(task.positions) for task in then if task.positions.min() >= 100) == 1


def test_what_is_handed_back_is_taken_to_be_as_slow_as_what_held_it_up() -> None:
    pacing = Pacing(1000)
    fleet = Fleet(2)
    for task in pacing.next_round(fleet, 0, 0.0):
        n = len(task.positions)
        pacing.note(task.positions, np.full(n, 0.001), span_s=0.001 * n, size_bytes=10)
    task = next(each for each in pacing.next_round(fleet, 0, 1.0) if len(each.positions) > 10)
    pacing.note(task.positions[:1], np.array([2.0]), span_s=2.0, size_bytes=10)
    pacing.give_back(task.positions[1:], 2.0)
    rounds = (pacing.next_round(fleet, 0, 4.0) for _ in range(100))
    again = next(each for round_ in rounds for each in round_ if task.positions[1] in each.positions)
    assert len(again.positions) == 1


@pytest.mark.parametrize(("n", "slots", "rounds"), [(222, 1, 6), (240, 8, 4), (20, 8, 2)])
def test_quick_rows_are_asked_for_a_few_times(n: int, slots: int, rounds: int) -> None:
    """Each time is a part of the ledger, and a message to the engine."""
    simulation = Simulation(np.full(n, 0.005), slots)
    simulation.run()
    assert simulation.rounds <= rounds


def test_slow_rows_hold_up_no_others() -> None:
    """What was believed to be quick and is not is handed back."""
    simulation = Simulation(np.repeat([0.001, 600.0], [4000, 60]), 16)
    simulation.run()
    assert simulation.n_handed_back > 0
    assert simulation.longest_s < 1250, "of the slow rows, no task runs more than one or two"


def test_quick_rows_make_few_tasks_and_small_ones_at_the_end() -> None:
    simulation = Simulation(np.full(100_000, 0.005), 16)
    simulation.run()
    assert len(simulation.tasks) < 600
    assert np.mean(simulation.tasks[-16:]) < np.max(simulation.tasks) / 3


def test_a_run_of_days_has_no_part_a_second() -> None:
    cut = auto_cut(100_000, 10.0, Fleet(8))
    assert cut.rounds < 6000
    assert auto_cut(100_000, 600.0, Fleet(2000, 10)).tasks == 100_000


@pytest.mark.parametrize(("row_s", "slots"), [(0.001, 2000), (1.0, 2000), (10.0, 2000), (600.0, 2000)])
def test_the_engine_keeps_up_with_a_large_fleet(row_s: float, slots: int) -> None:
    n = int(100_000 / row_s)
    cut = auto_cut(n, row_s, Fleet(slots, 10))
    assert cut.tasks * 10 / (n * 10 * row_s / slots) < 75


def test_large_outcomes_make_small_tasks() -> None:
    pacing = Pacing(1000)
    fleet = Fleet(8)
    first = pacing.next_round(fleet, 0, 0.0)
    for task in first:
        n = len(task.positions)
        pacing.note(task.positions, np.full(n, 1e-6), span_s=1e-6 * n, size_bytes=100_000 * n)
    assert max(len(task.positions) for task in pacing.next_round(fleet, 0, 1.0)) <= 4


@settings(max_examples=30)
@given(
    n=st.integers(1, 100),
    seed=st.integers(0, 2**16),
    known=st.lists(st.integers(0, 299), max_size=50),
)
def test_each_row_is_asked_for_until_it_has_an_outcome(n: int, seed: int, known: list[int]) -> None:
    """Whatever is handed back, and whatever an earlier invocation has asked for."""
    draw = np.random.default_rng(seed)
    pacing = Pacing(n)
    before = np.unique(np.array([row % n for row in known], np.int64))
    pacing.take_known(before)
    open_ = [before] if len(before) else []
    done: list[int] = []
    for _ in range(2000):
        open_ += [task.positions for task in pacing.next_round(Fleet(4), len(open_), 0.0)]
        if not open_:
            break
        rows = open_.pop(int(draw.integers(len(open_))))
        ran = rows[: int(draw.integers(1, len(rows) + 1))]
        done += ran.tolist()
        pacing.note(ran, draw.random(len(ran)), span_s=1.0, size_bytes=10)
        pacing.give_back(rows[len(ran) :])
    assert sorted(done) == list(range(n))


def test_what_is_handed_back_after_it_was_asked_for_again() -> None:
    """A replay asks for all that is written down before it hears what became of the first of it."""
    pacing = Pacing(10)
    pacing.take_known(np.arange(10))
    pacing.take_known(np.arange(5, 10))
    pacing.give_back(np.arange(5, 10))
    assert pacing.n_waiting == 0
    pacing.give_back(np.arange(7, 10))
    assert pacing.n_waiting == 3
