"""The processes of a worker that run specs: at most one for each slot, kept from task to task."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from scythe_cli.executor import Executor, Limits, StopSignal
from scythe_cli.leaf import RunContext
from scythe_cli.ledger import merge_outcomes
from scythe_cli.target import ExperimentTarget

__all__ = ["ProcessPool"]

_Key = tuple[ExperimentTarget, RunContext, Limits]

_IDLE_S = 300.0
_KEPT_PER_SLOT = 3


@dataclass(frozen=True, slots=True)
class _Idle:
    key: _Key
    executor: Executor
    since_s: float


@dataclass(slots=True)
class ProcessPool:
    """Runs rows of any experiment and run, each call in a process of its own that is kept for the next one.

    A process belongs to an experiment and a run. Runs whose tasks alternate keep their processes; those that have
    been idle for long, or longest where there are too many, are ended.

    Attributes:
        slots: How many calls there are at the same time.
    """

    slots: int
    _idle: list[_Idle] = field(default_factory=list[_Idle])
    _n: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _is_closed: bool = False

    def run(
        self,
        target: ExperimentTarget,
        context: RunContext,
        limits: Limits,
        rows: Sequence[pa.RecordBatch],
        stop: StopSignal,
    ) -> list[pa.Table]:
        """Run rows, and wait for their outcomes.

        Args:
            target: The experiment.
            context: The run.
            limits: What one spec may use.
            rows: See `Executor.run`.
            stop: Ends the run early.

        Returns:
            The outcomes; several tables where their columns contradict each other.

        Raises:
            EntrypointError: If the experiment cannot be loaded.
            EngineError: If no process can be started.
        """
        key = (target, context, limits)
        executor = self._take(key)
        try:
            outcomes = [table for table in executor.run(rows, stop=stop) if table.num_rows]
        except BaseException:
            self._drop(executor)
            raise
        self._give_back(key, executor)
        return merge_outcomes(outcomes)

    def _take(self, key: _Key) -> Executor:
        surplus: list[_Idle] = []
        found: Executor | None = None
        with self._lock:
            for position in reversed(range(len(self._idle))):
                if self._idle[position].key == key:
                    found = self._idle.pop(position).executor
                    break
            else:
                self._n += 1
            old_s = time.monotonic() - _IDLE_S
            while self._idle and (self._n > _KEPT_PER_SLOT * self.slots or self._idle[0].since_s < old_s):
                surplus.append(self._idle.pop(0))
                self._n -= 1
        for idle in surplus:
            idle.executor.close()
        return found or Executor(*key, workers=1)

    def _give_back(self, key: _Key, executor: Executor) -> None:
        with self._lock:
            if not self._is_closed:
                self._idle.append(_Idle(key, executor, time.monotonic()))
                return
        executor.close()

    def _drop(self, executor: Executor) -> None:
        with self._lock:
            self._n -= 1
        executor.close()

    def close(self) -> None:
        """End the idle processes, and those at work when they are done."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for each in idle:
            each.executor.close()
