"""What a worker has told the engine of its tasks, to be compared with what the engine has booked.

An engine that is killed, or loses its database for a moment, may take a report and lose it: the task is done at the
worker and runs for ever at the engine. So a worker asks now and then which of its tasks run, as the engine sees it, and
says again what it has finished, and that it does not run what it has never got. The engine may have lost that the task
was ever begun, so that it lists it at no worker: of tasks that were finished around a trouble, a worker asks for each.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from scythe_cli.engines.hatchet.recovery.sightings import Sightings

__all__ = ["Final", "Reports", "TaskKey"]


TaskKey = tuple[str, int]
"""A task by its id, and how many times it has been given out again."""

_KEPT_S = 1800.0
_KEPT_BYTES = 64_000_000
_SETTLED_S = 10.0
_NEVER_GOT_S = 20.0
_MAX_TIMES = 10
_CALM_S = 300.0
_BEFORE_S = 60.0
_ASKED_AT_ONCE = 50


@dataclass(slots=True)
class Final:
    """The last report of a task.

    Attributes:
        arguments: What it was sent with.
        size_bytes: Its size.
        at_s: When it was sent last.
        times: How many times it was sent again.
        is_booked: Whether the engine is known to have it.
    """

    arguments: tuple[Any, ...]
    size_bytes: int
    at_s: float
    times: int = 0
    is_booked: bool = False


@dataclass
class Reports:
    """The tasks that a worker has, and the last reports of those that it had.

    Attributes:
        clock: Tells seconds.
    """

    clock: Callable[[], float] = time.monotonic
    _running: set[TaskKey] = field(default_factory=set[TaskKey])
    _finals: OrderedDict[TaskKey, Final] = field(default_factory=OrderedDict[TaskKey, Final])
    _strange: Sightings[TaskKey] = field(init=False)
    _size_bytes: int = 0
    _trouble_s: float | None = None
    _doubt_from_s: float = math.inf

    def __post_init__(self) -> None:
        self._strange = Sightings(_NEVER_GOT_S, self.clock)

    def had_trouble(self) -> None:
        """A request has failed, or taken long."""
        now = self.clock()
        if self._trouble_s is None or now - self._trouble_s > _CALM_S:
            self._doubt_from_s = now - _BEFORE_S
        self._trouble_s = now

    def trouble_since_s(self) -> float | None:
        """How long ago that was; None where it never was."""
        return None if self._trouble_s is None else self.clock() - self._trouble_s

    def started(self, task: TaskKey) -> None:
        """A task has come."""
        # the task may have come again under the same number: then what it was before says nothing
        self._forget(task)
        self._running.add(task)

    def finished(self, task: TaskKey, arguments: tuple[Any, ...], size_bytes: int) -> None:
        """The last report of a task has been sent, or could not be."""
        self._running.discard(task)
        self._forget(task)
        self._finals[task] = Final(arguments, size_bytes, self.clock())
        self._size_bytes += size_bytes
        old_s = self.clock() - _KEPT_S
        while self._finals and (self._size_bytes > _KEPT_BYTES or next(iter(self._finals.values())).at_s < old_s):
            self._forget(next(iter(self._finals)))

    def _forget(self, task: TaskKey) -> None:
        known = self._finals.pop(task, None)
        if known is not None:
            self._size_bytes -= known.size_bytes

    def doubtful(self) -> list[tuple[TaskKey, Final]]:
        """Some of the tasks that were finished around a trouble, and that the engine may not know to be."""
        settled_s = self.clock() - _SETTLED_S
        finals = (
            (task, final)
            for task, final in self._finals.items()
            if self._doubt_from_s <= final.at_s <= settled_s and not final.is_booked and final.times < _MAX_TIMES
        )
        return list(itertools.islice(finals, _ASKED_AT_ONCE))

    def compare(self, listed: Iterable[TaskKey]) -> tuple[list[Final], list[TaskKey]]:
        """What to say, when the engine says which tasks run here.

        Args:
            listed: Those tasks.

        Returns:
            The reports to send again; and tasks that are not here and never were.
        """
        again: list[Final] = []
        strange: list[TaskKey] = []
        now = self.clock()
        for task in listed:
            final = self._finals.get(task)
            if final is not None:
                # what the engine lists lags behind by a moment
                if now - final.at_s >= _SETTLED_S and final.times < _MAX_TIMES:
                    final.at_s, final.times = now, final.times + 1
                    again.append(final)
            elif task not in self._running:
                strange.append(task)
        return again, self._strange.look(strange)
