"""How far a run is, as the services tell it while they work."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from scythe_cli.core.quantities import format_duration, format_rate
from scythe_cli.core.records import StateCounts

__all__ = ["Phase", "PhaseCallback", "Progress", "ProgressCallback", "RateMeter", "progress_line"]


Phase = Literal["checking", "uploading", "running", "gathering"]


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of a run.

    Attributes:
        phase: What is being done.
        counts: Specs by state.
        rate_per_s: Specs finished a second, lately; None before the first.
        eta_s: Seconds to the end at this rate; None when unknown.
        elapsed_s: Seconds since the phase began.
        detail: What the phase is at, for people.
        failing: Specs of which an attempt failed and another is to come; they are pending.
        notice: What is to be said at once, and once.
        goes_on: Whether the run goes on by itself when this process ends.
    """

    phase: Phase
    counts: StateCounts
    rate_per_s: float | None = None
    eta_s: float | None = None
    elapsed_s: float = 0.0
    detail: str | None = None
    failing: int = 0
    notice: str | None = None
    goes_on: bool = False


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class PhaseCallback:
    """A callback to which only the phase matters.

    To count what a fleet has done takes requests to the run's storage; for one of these they are not made.

    Attributes:
        tell: What is called.
    """

    tell: ProgressCallback

    def __call__(self, progress: Progress) -> None:
        """Pass it on."""
        self.tell(progress)


@dataclass(slots=True)
class RateMeter:
    """Specs a second over the last `window_s` seconds."""

    window_s: float = 30.0
    started: float = field(default_factory=time.monotonic)
    _seen: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])
    _done: int = 0

    def add(self, finished: int) -> None:
        """Count specs that have just finished."""
        now = time.monotonic()
        if not self._seen:
            self._seen.append((self.started, 0))
        self._done += finished
        self._seen.append((now, self._done))
        while len(self._seen) > 2 and now - self._seen[0][0] > self.window_s:
            self._seen.popleft()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the meter was made."""
        return time.monotonic() - self.started

    @property
    def rate_per_s(self) -> float | None:
        """Specs a second; None before the first has finished."""
        if not self._done or not self._seen:
            return None
        since, before = self._seen[0]
        span_s = time.monotonic() - since
        return (self._done - before) / span_s if span_s > 0 and self._done > before else None

    def eta_s(self, remaining: int) -> float | None:
        """Seconds until `remaining` further specs have finished."""
        rate = self.rate_per_s
        return remaining / rate if rate else None


def progress_line(progress: Progress, width: int | None = None) -> str:
    """What is done, in words: `123/300 · 2 failed · 41/s · 4 s left`.

    Args:
        progress: The moment.
        width: How many columns there are; where they are too few, the rate is left out, and then the time left.
    """
    counts = progress.counts
    parts = [f"{counts.total - counts.pending:,}/{counts.total:,}"]
    if counts.unsuccessful:
        parts.append(f"{counts.unsuccessful:,} failed")
    if progress.failing:
        parts.append(f"{progress.failing:,} failing")
    rate = format_rate(progress.rate_per_s) if progress.rate_per_s else None
    time_left = f"{format_duration(progress.eta_s)} left" if progress.eta_s is not None and counts.pending else None
    lines = [" · ".join([*parts, *filter(None, more)]) for more in ((rate, time_left), (time_left,), ())]
    return next((line for line in lines if width is None or len(line) <= width), lines[-1])
