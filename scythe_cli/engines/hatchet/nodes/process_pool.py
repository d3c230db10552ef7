"""The processes of a worker that run specs: at most one for each slot, kept from task to task."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pyarrow as pa

from scythe_cli.core.cores import share_of_cores, usable_cores
from scythe_cli.errors import EngineError
from scythe_cli.executor.limits import Limits, StopSignal
from scythe_cli.executor.pool import Executor, templates_for
from scythe_cli.executor.rows.call import RunContext
from scythe_cli.executor.starting.interpreter import Interpreter, can_fork
from scythe_cli.executor.starting.template import Templates
from scythe_cli.model.functions.reference import ExperimentTarget
from scythe_cli.run.ledger import merge_outcomes

__all__ = ["ProcessPool"]


_Key = tuple[ExperimentTarget, RunContext, Limits]

_IDLE_S = 300.0
_KEPT_PER_SLOT = 3
_QUICK_S = 0.1
_QUICK_WAIT_S = 0.3
_FIRST_WAIT_S = 2.0
_QUIET_S = 0.3


@dataclass(frozen=True, slots=True)
class _Idle:
    key: _Key
    executor: Executor
    since_s: float


@dataclass(slots=True)
class _Use:
    """The processes of one experiment and run.

    Attributes:
        templates: What they are forked from.
        n: How many there are, at work or idle.
        call_s: How long the last call took; None before the first has ended.
    """

    templates: Templates
    n: int = 0
    call_s: float | None = None


@dataclass(slots=True)
class ProcessPool:
    """Runs rows of any experiment and run, each call in a process of its own that is kept for the next one.

    A process belongs to an experiment and a run. Runs whose tasks alternate keep their processes; those that have
    been idle for long, or longest where there are too many, are ended. To start a process takes most of a second of a
    core, so that calls that end within a fraction of that wait for one another's processes instead.

    An interpreter that has loaded this package waits for the next run, whose first rows then wait for the experiment
    alone. The experiment itself is loaded anew for each run: what its modules read when they are loaded may be another
    by then.

    Attributes:
        slots: How many calls there are at the same time.
        cores: How many processes can be at work at the same time.
    """

    slots: int
    cores: int = field(default_factory=usable_cores)
    _idle: list[_Idle] = field(default_factory=list[_Idle])
    _uses: dict[_Key, _Use] = field(default_factory=dict[_Key, _Use])
    _stops: list[StopSignal] = field(default_factory=list[StopSignal])
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _unused: list[Templates] = field(default_factory=list[Templates])
    _spare: Interpreter | None = None
    _spare_timer: threading.Timer | None = None
    _is_closed: bool = False

    def start_spare(self) -> None:
        """Start the interpreter that the next run will use, unless there is one."""
        with self._changed:
            if self._is_closed or self._spare is not None or not can_fork():
                return
            # without it, one is started when it is needed, which tells why that cannot be done
            with suppress(EngineError):
                self._spare = Interpreter(share_of_cores(self.slots))

    def _take_spare(self) -> Interpreter | None:
        spare, self._spare = self._spare, None
        return spare

    def _start_spare_soon(self) -> None:
        """Start it when rows do not need the cores just now."""
        if self._spare_timer is not None:
            self._spare_timer.cancel()
        if self._spare is None:
            self._spare_timer = threading.Timer(_QUIET_S, self.start_spare)
            self._spare_timer.daemon = True
            self._spare_timer.start()

    def run(
        self,
        target: ExperimentTarget,
        context: RunContext,
        limits: Limits,
        rows: Sequence[pa.RecordBatch],
        stop: StopSignal,
        budget_s: float | None = None,
    ) -> list[pa.Table]:
        """Run rows, and wait for their outcomes.

        Args:
            target: The experiment.
            context: The run.
            limits: What one spec may use.
            rows: See `Executor.run`.
            stop: Ends the run early.
            budget_s: After how long no more rows are begun, counted from the first one; at least one is run.

        Returns:
            The outcomes; several tables where their columns contradict each other.

        Raises:
            EntrypointError: If the experiment cannot be loaded.
            EngineError: If no process can be started.
        """
        key = (target, context, limits)
        executor = self._take(key)
        started_s = time.monotonic()
        try:
            with self._changed:
                self._stops.append(stop)
            outcomes = _within(budget_s, executor, rows, stop)
        except BaseException:
            self._drop(key, executor)
            raise
        finally:
            with self._changed:
                self._stops.remove(stop)
        self._give_back(key, executor, time.monotonic() - started_s)
        return merge_outcomes(outcomes)

    def _take(self, key: _Key) -> Executor:
        until_s: float | None = None
        while True:
            with self._changed:
                executor = self._idle_one(key)
                use = self._uses.get(key)
                if use is None:
                    use = self._uses[key] = _Use(templates_for(*key, self.slots, self._take_spare()))
                now_s = time.monotonic()
                if until_s is None:
                    until_s = now_s + self._patience_s(use)
                if executor is None and now_s < until_s:
                    self._changed.wait(until_s - now_s)
                    continue
                if executor is None:
                    use.n += 1
                surplus = self._surplus()
            for idle in surplus:
                idle.executor.close()
            self._close_unused()
            return executor or Executor(*key, workers=1, templates=use.templates)

    def _idle_one(self, key: _Key) -> Executor | None:
        for position in reversed(range(len(self._idle))):
            if self._idle[position].key == key:
                return self._idle.pop(position).executor
        return None

    def _patience_s(self, use: _Use) -> float:
        """How long a call waits for a process before it starts a further one."""
        if use.n < min(self.slots, self.cores):
            return 0.0
        if use.call_s is None:
            return _FIRST_WAIT_S
        return _QUICK_WAIT_S if use.call_s < _QUICK_S else 0.0

    def _surplus(self) -> list[_Idle]:
        """Take out what is kept for nothing."""
        surplus: list[_Idle] = []
        old_s = time.monotonic() - _IDLE_S
        n = sum(use.n for use in self._uses.values())
        while self._idle and (n > _KEPT_PER_SLOT * self.slots or self._idle[0].since_s < old_s):
            surplus.append(self._idle.pop(0))
            self._forget(surplus[-1].key)
            n -= 1
        return surplus

    def _forget(self, key: _Key) -> None:
        use = self._uses[key]
        use.n -= 1
        if not use.n:
            del self._uses[key]
            self._unused.append(use.templates)

    def _close_unused(self) -> None:
        """End the templates that no process needs any more; not while others wait for the lock."""
        with self._changed:
            unused, self._unused = self._unused, []
        for templates in unused:
            templates.close()

    def _give_back(self, key: _Key, executor: Executor, call_s: float) -> None:
        with self._changed:
            use = self._uses[key]
            # the first call includes the start of the process
            use.call_s = call_s if use.call_s is None else min(call_s, 2 * use.call_s)
            if not self._is_closed:
                self._idle.append(_Idle(key, executor, time.monotonic()))
                self._changed.notify_all()
                if not self._stops:
                    self._start_spare_soon()
                return
            self._forget(key)
        executor.close()
        self._close_unused()

    def _drop(self, key: _Key, executor: Executor) -> None:
        with self._changed:
            self._forget(key)
            self._changed.notify_all()
        executor.close()
        self._close_unused()

    def kill(self) -> None:
        """End what runs at once; its calls return without the outcomes of specs that were running."""
        with self._changed:
            self._is_closed = True
            for stop in self._stops:
                stop.kill()

    def close(self) -> None:
        """End the idle processes, and those at work when they are done."""
        with self._changed:
            self._is_closed = True
            idle, self._idle = self._idle, []
            for each in idle:
                self._forget(each.key)
            self._changed.notify_all()
            spare = self._take_spare()
            if self._spare_timer is not None:
                self._spare_timer.cancel()
        if spare is not None:
            spare.close()
        for each in idle:
            each.executor.close()
        self._close_unused()


def _within(
    budget_s: float | None, executor: Executor, rows: Sequence[pa.RecordBatch], stop: StopSignal
) -> list[pa.Table]:
    outcomes: list[pa.Table] = []
    begun_s: float | None = None
    for table in executor.run(rows, stop=stop):
        if table.num_rows:
            outcomes.append(table)
        if budget_s is None:
            continue
        if begun_s is None and (outcomes or executor.running()):
            begun_s = time.monotonic()
        if begun_s is not None and time.monotonic() - begun_s >= budget_s:
            stop.drain()
    return outcomes
