"""How the rows of a node are cut into tasks, and when it asks for more. Pure arithmetic, no I/O.

With a fixed number of rows in a task (`waves`), the cut follows from the rows alone. Otherwise `Pacing` decides it
while the run goes on, from what its rows have taken so far: the slowest rows first, large tasks first and small ones at
the end (guided self-scheduling: Polychronopoulos and Kuck, 1987, doi:10.1109/TC.1987.5009495), and never many more than
the fleet's slots can take soon.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Cut", "Fleet", "Pacing", "Shape", "Task", "auto_cut", "count_tasks", "waves"]


_MAX_ROWS = 50_000
_WAVE_TASKS = (10, 20, 40, 80, 100)
_MAX_WAVE_ROWS = 100_000

_STRETCHES = 32
_FIRST_S = 1.0
_FIRST_ROWS = 100
_FIRST_TASKS = 24
_FIRST_SPREAD = 0.8
_ENGINE_PER_S = 40.0
_ENGINE_SHARE = 1 / 3
_EASY_S = 30.0
_TASK_S = 3.0
_LAST_S = 0.5
_PER_SLOT = 1.5
_SURPRISE = 2.0
_AHEAD_S = 4.0
_MAX_AHEAD_S = 60.0
_REMEMBERED = 64.0
_TASK_BYTES = 400_000
_MIN_OPEN = 50
_MAX_OPEN = 300
_ROUND_BYTES = 32_000_000

Positions = np.ndarray[Any, np.dtype[np.int64]]
Seconds = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of tasks and waves, where the rows in a task are fixed.

    Attributes:
        rows_per_task: Rows in one task.
    """

    rows_per_task: int = 1


def count_tasks(n_rows: int, shape: Shape) -> tuple[int, int]:
    """How many tasks and waves `waves` would make of so many rows.

    Args:
        n_rows: The number of rows.
        shape: The size of tasks and waves.
    """
    tasks = -(-n_rows // shape.rows_per_task)
    number, done = 0, 0
    while done < tasks:
        done += _tasks_in_wave(shape, number)
        number += 1
    return tasks, number


def _tasks_in_wave(shape: Shape, number: int) -> int:
    n_tasks = _WAVE_TASKS[min(number, len(_WAVE_TASKS) - 1)]
    return max(1, min(n_tasks, _MAX_WAVE_ROWS // shape.rows_per_task))


def waves(rows: Sequence[int], shape: Shape) -> Iterator[list[Sequence[int]]]:
    """Cut rows into waves of tasks.

    Args:
        rows: The rows, in order.
        shape: The size of tasks and waves.
    """
    at, number = 0, 0
    while at < len(rows):
        n_tasks = _tasks_in_wave(shape, number)
        wave: list[Sequence[int]] = []
        while len(wave) < n_tasks and at < len(rows):
            wave.append(rows[at : at + shape.rows_per_task])
            at += shape.rows_per_task
        yield wave
        number += 1


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a node has to keep busy.

    Attributes:
        slots: Of all workers that take the run's tasks.
        nodes: How many nodes share them.
    """

    slots: float
    nodes: int = 1

    @property
    def share(self) -> float:
        """The slots of one node."""
        return max(1.0, self.slots / self.nodes)

    @property
    def longest_s(self) -> float:
        """How long a task takes at most.

        The engine gives out so many a second; where that does not make tasks long, it is to have time for others.
        """
        shortest_s = self.slots / _ENGINE_PER_S
        return max(_TASK_S, shortest_s, min(_EASY_S, shortest_s / _ENGINE_SHARE))

    @property
    def max_open(self) -> int:
        """How many tasks of fixed size wait and run, about, so that other runs get their turn."""
        return int(max(_MIN_OPEN, _MAX_OPEN / self.nodes, 2 * self.share))

    def task_s(self, work_s: float) -> float:
        """How long the next tasks of a node are to take: a part of the remaining work, so that all end at once.

        Args:
            work_s: How long all that has not been asked for would take in one slot.
        """
        shortest_s = max(_LAST_S, self.slots / _ENGINE_PER_S / 1.5)
        return min(self.longest_s, max(shortest_s, work_s / (_PER_SLOT * self.share)))

    def n_ahead(self, task_s: float, elapsed_s: float) -> int:
        """How many tasks are to wait, beside those that run.

        Args:
            task_s: How long one takes.
            elapsed_s: How long the node has been at work: what is asked for at once becomes a part of the ledger, and a
                run of days has no part a second.
        """
        per_s = min(self.share / task_s, 1.5 * _ENGINE_PER_S)
        wanted_s = min(_MAX_AHEAD_S, max(_AHEAD_S, elapsed_s / 50))
        return int(max(2.0, self.share / 2, per_s * wanted_s))


@dataclass(frozen=True, slots=True)
class Task:
    """Rows for one task.

    Attributes:
        positions: Of its rows among those of the node, ascending.
        budget_s: After how long it begins no more of them; None for a task of one row.
    """

    positions: Positions
    budget_s: float | None


@dataclass
class Pacing:
    """The rows of a node that have not been asked for, and what is known of the time that they take.

    Rows that are near one another in a sampling file often take alike, so that what is known is kept for a few dozen
    stretches of it. A stretch of which nothing has come back, though some of it had a slot at once, is taken to be
    slow, the more so the longer that lasts. Whatever it says may be wrong: a task that takes far longer than it was
    made for hands back the rows that it has not begun.

    Attributes:
        n: The number of rows.
    """

    n: int
    _waiting: np.ndarray[Any, np.dtype[np.bool_]] = field(init=False, repr=False)
    _owed: np.ndarray[Any, np.dtype[np.int16]] = field(init=False, repr=False)
    _edges: Positions = field(init=False, repr=False)
    _n_waiting: Positions = field(init=False, repr=False)
    _row_s: Seconds = field(init=False, repr=False)
    _weights: Seconds = field(init=False, repr=False)
    _begun: np.ndarray[Any, np.dtype[np.bool_]] = field(init=False, repr=False)
    _row_bytes: float = 0.0
    _beside: float = 1.0

    def __post_init__(self) -> None:
        n_stretches = max(1, min(_STRETCHES, self.n))
        self._waiting = np.ones(self.n, np.bool_)
        self._owed = np.zeros(self.n, np.int16)
        self._edges = np.linspace(0, self.n, n_stretches + 1).astype(np.int64)
        self._n_waiting = np.diff(self._edges)
        self._row_s = np.zeros(n_stretches)
        self._weights = np.zeros(n_stretches)
        self._begun = np.zeros(n_stretches, np.bool_)

    @property
    def n_waiting(self) -> int:
        """How many rows have not been asked for."""
        return int(self._n_waiting.sum())

    def take_known(self, positions: Positions) -> None:
        """Take out what an earlier invocation of the node has asked for; some of it may be handed back only later."""
        waits = self._waiting[positions]
        self._waiting[positions[waits]] = False
        self._owed[positions[~waits]] += 1
        self._n_waiting -= self._by_stretch(positions[waits])

    def give_back(self, positions: Positions, slowest_s: float = 0.0) -> None:
        """Take rows back that a task has not begun.

        Args:
            positions: The rows.
            slowest_s: What the slowest row of the task has taken; where that is far more than expected, the others are
                taken to be like it.
        """
        if len(positions):
            stretch = int(np.searchsorted(self._edges, positions[0], side="right")) - 1
            if self._weights[stretch] and slowest_s > _SURPRISE * self._row_s[stretch]:
                self._row_s[stretch], self._weights[stretch] = slowest_s, 1.0
        owed = self._owed[positions] > 0
        self._owed[positions[owed]] -= 1
        self._waiting[positions[~owed]] = True
        self._n_waiting += self._by_stretch(positions[~owed])

    def note(self, positions: Positions, seconds: Seconds, *, span_s: float, size_bytes: int) -> None:
        """Take note of what a task has taken.

        Args:
            positions: Its rows, those that it ran.
            seconds: What each has taken.
            span_s: From the first start of a row to the last end.
            size_bytes: The size of their outcomes, as they were sent.
        """
        if not len(positions):
            return
        n = self._by_stretch(positions)
        sums = self._by_stretch(positions, seconds)
        seen = n > 0
        # what is longer ago counts for less: a fleet may get slower, and rows differ within a stretch
        kept = np.minimum(self._weights[seen], _REMEMBERED)
        self._row_s[seen] = (self._row_s[seen] * kept + sums[seen]) / (kept + n[seen])
        self._weights[seen] = kept + n[seen]
        busy_s = float(seconds.sum())
        if busy_s > 0 and len(positions) > 1:
            self._beside += (min(50.0, max(1.0, span_s / busy_s)) - self._beside) * 0.2
        self._row_bytes = max(self._row_bytes, size_bytes / len(positions))

    def next_round(self, fleet: Fleet, n_open: int, elapsed_s: float) -> list[Task]:
        """What to ask for now; nothing while enough waits.

        Args:
            fleet: Whom to keep busy.
            n_open: How many tasks have been asked for and are not done.
            elapsed_s: How long the node has been at work.
        """
        if not self.n_waiting:
            return []
        if not self._weights.any():
            wanted = int(max(_FIRST_TASKS, fleet.share * 1.5))
            return [] if n_open >= wanted / 1.5 else self._first(fleet, wanted - n_open)
        expected_s = self._expected_s(elapsed_s)
        work_s = float(self._n_waiting @ expected_s)
        task_s = fleet.task_s(work_s)
        slowest_first = [int(each) for each in np.argsort(-expected_s, kind="stable")]
        # a task has one row at least
        slowest_s = float(expected_s[self._n_waiting > 0].max())
        ahead = fleet.n_ahead(max(task_s, slowest_s), elapsed_s)
        if bool((self._n_waiting[self._is_silent] > 0).any()):
            # what is asked for now cannot be put into a better order when more is known
            ahead = min(ahead, max(_FIRST_TASKS, int(fleet.share / 2)))
        if n_open > fleet.share + ahead / 2:
            return []
        tasks: list[Task] = []
        size = 0.0
        while self.n_waiting and n_open + len(tasks) < fleet.share + ahead and size < _ROUND_BYTES:
            stretch = next(each for each in slowest_first if self._n_waiting[each])
            if self._is_silent[stretch]:
                tasks.append(self._take(stretch, self._n_first(fleet), _FIRST_S))
            else:
                tasks.append(self._take(stretch, self._n_rows(expected_s[stretch], task_s), 2 * task_s))
            n = len(tasks[-1].positions)
            size += self._row_bytes * n
            work_s -= n * float(expected_s[stretch])
            task_s = fleet.task_s(work_s)
        return tasks

    def _n_first(self, fleet: Fleet) -> int:
        """How many rows a task has while nothing is known of them."""
        return self._that_fit(min(_FIRST_ROWS, int(self.n / (8 * fleet.share))))

    def _first(self, fleet: Fleet, n_tasks: int) -> list[Task]:
        """Rows from all over: as many tasks as there are slots, which say how long a row takes."""
        n_rows = self._n_first(fleet)
        n_stretches = len(self._n_waiting)
        # in the order of the golden ratio, those that are run first lie far from one another
        order = np.argsort(np.arange(n_stretches) * 0.618033988749895 % 1.0).tolist()
        tasks: list[Task] = []
        number = 0
        while len(tasks) < n_tasks and self.n_waiting:
            stretch, is_from_end = order[number % n_stretches], number // n_stretches % 2 == 1
            number += 1
            if self._n_waiting[stretch]:
                self._begun[stretch] |= len(tasks) < fleet.share
                # tasks that end one after the other do not all want the engine at once
                factor = 1 + _FIRST_SPREAD * (2 * len(tasks) / n_tasks - 1)
                n = max(1, int(n_rows * factor))
                tasks.append(self._take(stretch, n, _FIRST_S * factor, is_from_end=is_from_end))
        return tasks

    def _take(self, stretch: int, n_rows: int, budget_s: float, *, is_from_end: bool = False) -> Task:
        begin, end = int(self._edges[stretch]), int(self._edges[stretch + 1])
        waiting = np.flatnonzero(self._waiting[begin:end]) + begin
        positions = waiting[-n_rows:] if is_from_end else waiting[:n_rows]
        self._waiting[positions] = False
        self._n_waiting[stretch] -= len(positions)
        return Task(positions, budget_s if len(positions) > 1 else None)

    def _n_rows(self, row_s: float, task_s: float) -> int:
        return self._that_fit(_MAX_ROWS if row_s <= 0 else int(task_s / row_s))

    def _that_fit(self, n: int) -> int:
        """So many rows, or as many as a task may have."""
        if self._row_bytes > 0:
            n = min(n, int(_TASK_BYTES / self._row_bytes))
        return max(1, min(n, _MAX_ROWS))

    def _expected_s(self, elapsed_s: float) -> Seconds:
        """What a row takes, by stretch.

        Of a stretch of which nothing has come back, it is what rows of the nearest one take; and where some have had a
        slot since the beginning, at least the time that has gone by: the farthest from all that is known comes first.
        """
        known = np.flatnonzero(self._weights)
        if not len(known):
            return np.zeros(len(self._row_s))
        distances = np.abs(np.arange(len(self._row_s))[:, None] - known[None, :])
        expected_s = self._row_s[known[distances.argmin(axis=1)]] * self._beside
        at_least_s = elapsed_s * (1 + 0.01 * distances.min(axis=1))
        return np.where(self._is_silent, np.maximum(expected_s, at_least_s), expected_s)

    @property
    def _is_silent(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """The stretches of which rows are run since the beginning, and none has come back."""
        return self._begun & (self._weights == 0)

    def _by_stretch(self, positions: Positions, weights: Seconds | None = None) -> np.ndarray[Any, Any]:
        stretches = np.searchsorted(self._edges, positions, side="right") - 1
        return np.bincount(stretches, weights, minlength=len(self._row_s))


@dataclass(frozen=True, slots=True)
class Cut:
    """How `Pacing` cuts rows that all take alike.

    Attributes:
        tasks: How many tasks.
        rounds: How many times a node asks for some.
        rows_per_task: Of the largest.
    """

    tasks: int
    rounds: int
    rows_per_task: int


def auto_cut(n: int, row_s: float, fleet: Fleet, row_bytes: float = 0.0) -> Cut:
    """How a node would cut its rows, if all took alike.

    Args:
        n: The number of rows.
        row_s: How long each takes.
        fleet: Whom to keep busy.
        row_bytes: The size of the outcome of a row.
    """
    tasks = rounds = largest = 0
    elapsed_s = 0.0
    while n > 0:
        task_s = fleet.task_s(n * row_s)
        rows = _MAX_ROWS if row_s <= 0 else max(1, int(task_s / row_s))
        if row_bytes > 0:
            rows = min(rows, max(1, int(_TASK_BYTES / row_bytes)))
        rows = min(rows, _MAX_ROWS, n)
        taken_s = max(rows * row_s, 1e-3)
        at_once = min(max(1, fleet.n_ahead(taken_s, elapsed_s) // 2), -(-n // rows))
        tasks, rounds, largest = tasks + at_once, rounds + 1, max(largest, rows)
        elapsed_s += at_once * taken_s / fleet.share
        n -= at_once * rows
    return Cut(tasks, rounds, largest)
