"""Counting the specs of a job by state while outcomes come in, and what is to be said of those that fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scythe_cli.core.progress import Progress, RateMeter
from scythe_cli.core.records import StateCounts
from scythe_cli.core.states import State
from scythe_cli.engines.base import Job
from scythe_cli.run.outcomes.error_groups import Alike, alike_key

__all__ = ["FAILURE_COLUMNS", "FirstFailures", "Tally"]


FAILURE_COLUMNS = ["sort_index", "state", "error_type", "message", "traceback"]
"""What `FirstFailures` looks at."""

_TOLD_AT = 3
_MESSAGE_CHARS = 200


class FirstFailures:
    """Notices that the first specs of a job all fail alike: then the others are likely to as well.

    Attributes:
        notice: What is to be said of it; None while there is nothing.
        is_over: Whether no further outcome matters.
    """

    def __init__(self) -> None:
        self.notice: str | None = None
        self.is_over = False
        self._alike: Alike | None = None
        self._rows: set[int] = set()

    def look(self, outcomes: pa.Table) -> None:
        """Take note of outcomes, in the order in which they came."""
        if self.is_over or not outcomes.num_rows:
            return
        for row in outcomes.select(FAILURE_COLUMNS).slice(0, 4 * _TOLD_AT).to_pylist():
            self.see(row)

    def see(self, outcome: Mapping[str, Any]) -> None:
        """Take note of one outcome, by `FAILURE_COLUMNS`; of an attempt as well that is not the last."""
        if self.is_over or outcome["state"] == State.CANCELLED.value:
            return
        alike = alike_key(outcome["state"], outcome["error_type"], outcome["traceback"])
        if outcome["state"] == State.SUCCEEDED.value or self._alike not in (None, alike):
            self.is_over = True
            return
        self._alike = alike
        self._rows.add(outcome["sort_index"])
        if len(self._rows) == _TOLD_AT:
            self.is_over = True
            what = f"{alike.error_type} {_first_line(outcome['message'])}".strip()
            where = f", at {alike.place}" if alike.place else ""
            self.notice = f"the first {_TOLD_AT} cases all failed in the same way: {what}{where}"


class Tally:
    """Counts the specs of a job by state while outcomes come in.

    Attributes:
        finished: Specs that have come to an outcome since the start of the job.
    """

    def __init__(self, job: Job) -> None:
        self._counts = {state: job.counts.of(state) for state in State}
        self._meter = RateMeter()
        self._todo = job.n_rows
        self._failing: dict[int, Alike | None] = {}
        self._alike: Counter[Alike] = Counter()
        self._messages: dict[Alike, str] = {}
        self._max_failures = job.max_failures
        self._experiment_id = job.run.experiment_id
        self._first = FirstFailures()
        self._n_failed = 0
        self.finished = 0

    @property
    def failures(self) -> int:
        """Specs that have not succeeded: those that ended so, and those that are to be tried again."""
        return self._n_failed + len(self._failing)

    @property
    def has_too_many_failures(self) -> bool:
        """Whether as many specs have failed as the job allows."""
        return self._max_failures is not None and self.failures >= self._max_failures

    def add(self, outcomes: pa.Table) -> None:
        """Count outcomes that an executor has given."""
        self._first.look(outcomes)
        is_final: Any = outcomes.column("final")
        states: Any = outcomes.column("state").filter(is_final)  # the other columns would be copied for nothing
        if self._failing:
            ended: list[Any] = outcomes.column("sort_index").filter(is_final).to_pylist()
            self._end(ended)
        counts: Any = states.value_counts()
        finished = failures = 0
        for item in counts.to_pylist():
            state, n = State(item["values"]), int(item["counts"])
            self._counts[state] += n
            finished += n
            if state is not State.SUCCEEDED:
                failures += n
        self._n_failed += failures
        if failures and self._max_failures is not None:
            for row in _failures(outcomes.filter(is_final)):
                self._note(row)
        if finished < outcomes.num_rows:
            for row in _failures(outcomes.filter(pc.invert(is_final))):
                self._end([row["sort_index"]])
                self._failing[row["sort_index"]] = None if self._max_failures is None else self._note(row)
        self._counts[State.PENDING] -= finished
        self.finished += finished
        self._meter.add(finished)

    def _end(self, rows: Iterable[int]) -> None:
        """Specs are not failing any more, or no longer for what they were."""
        for row in rows:
            alike = self._failing.pop(row, None)
            if alike is not None:
                self._alike[alike] -= 1

    def _note(self, row: Mapping[str, Any]) -> Alike:
        alike = alike_key(row["state"], row["error_type"], row["traceback"])
        self._alike[alike] += 1
        self._messages.setdefault(alike, row["message"] or "")
        return alike

    def why_stopped(self) -> str:
        """Say that there were too many failures, and what most of them were."""
        alike, n = self._alike.most_common(1)[0]
        # the first line is enough: `scythe errors` shows the rest
        kind = f"{alike.error_type} {_first_line(self._messages[alike])}".strip()
        of_all = f"{self.failures:,} of {self.finished + len(self._failing):,}"
        if n == self.failures:
            what = f"{of_all} failed in the same way: {kind}" if n > 1 else f"{of_all} failed, {kind}"
        else:
            what = f"{of_all} failed, {n:,} of them in the same way: {kind}"
        return f"stopped: {what}; the rest are pending, and `scythe retry {self._experiment_id}` runs them"

    def progress(self) -> Progress:
        """How far the job is."""
        return Progress(
            phase="running",
            counts=StateCounts(**{state.value: n for state, n in self._counts.items()}),
            rate_per_s=self._meter.rate_per_s,
            eta_s=self._meter.eta_s(self._todo - self.finished),
            elapsed_s=self._meter.elapsed_s,
            failing=len(self._failing),
            notice=self._first.notice,
        )


def _failures(outcomes: pa.Table) -> Iterable[Mapping[str, Any]]:
    failed: Any = pc.field("state") != State.SUCCEEDED.value
    return outcomes.filter(failed).select(FAILURE_COLUMNS).to_pylist()


def _first_line(message: str | None) -> str:
    return next(iter((message or "").strip().splitlines()), "")[:_MESSAGE_CHARS]
