"""Waiting for a submitted run: its root node is asked after, and its folder is read."""

from __future__ import annotations

import select
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scythe_cli.core.progress import PhaseCallback, ProgressCallback
from scythe_cli.core.records import StateCounts
from scythe_cli.engines.base import Execution, Job
from scythe_cli.engines.follow import AS_IT_GOES_ON, LEDGER_S, Follower, not_finished
from scythe_cli.engines.hatchet.routing import place_of, run_key, unserved
from scythe_cli.errors import EngineError
from scythe_cli.executor.limits import StopSignal
from scythe_cli.run.final.gather import GatherResult

if TYPE_CHECKING:
    from scythe_cli.engines.hatchet.client import Connection, RunState
    from scythe_cli.engines.hatchet.payloads import RunPointer

__all__ = ["HatchetRunRef"]

_POLL_S = 0.3
_MAX_POLL_S = 5.0
_LOST_CONTACT_S = 600.0
_WORKER_CHECK_S = 15.0
_AS_IT_STOPS = "the run stops here, because its engine ends with this command; `scythe retry` resumes it"


@dataclass(frozen=True)
class HatchetRunRef:
    """A submitted run.

    Attributes:
        job: Its specs.
        workflow_run_id: The id of the root node's Hatchet run, which the dashboard shows.
        run: The submission.
        connection: The engine.
        embedded: Whether the engine ends with this process.
    """

    job: Job
    workflow_run_id: str
    run: RunPointer
    connection: Connection = field(repr=False)
    embedded: bool = False

    @property
    def look(self) -> None:
        """A command that shows it; Hatchet has a dashboard instead."""
        return None

    def wait(
        self,
        *,
        stop: StopSignal | None = None,
        progress: ProgressCallback | None = None,
        timeout_s: float | None = None,
    ) -> Execution:
        """Wait for the end of the run; see `Submitted.wait`. A run fails as a whole if its root node does."""
        return _Wait(self, stop or StopSignal(), progress, timeout_s).until_done()


class _Wait:
    """Watches a run until its root node has come to its end."""

    def __init__(
        self, ref: HatchetRunRef, stop: StopSignal, progress: ProgressCallback | None, timeout_s: float | None
    ) -> None:
        self._ref = ref
        self._stop = stop
        self._progress = progress
        self._counts_matter = progress is not None and not isinstance(progress, PhaseCallback)
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._follower = Follower(ref.job, ref.run.session, goes_on=not ref.embedded)
        self._started_s = self._contact_s = time.monotonic()
        self._workers_due_s = 0.0
        self._unreachable: str | None = None
        self._unserved: str | None = None

    def until_done(self) -> Execution:
        notices: list[str] = []
        while True:
            state = self._state()
            if state is not None and state.done:
                execution = _ending(self._ref.job, state)
                if self._progress and execution.gathered:
                    self._progress(self._follower.ended(execution.gathered.counts))
                return Execution([*notices, *execution.notices], execution.gathered)
            looked_s = self._look()
            if self._stop.draining:
                return Execution([*notices, _AS_IT_STOPS if self._ref.embedded else AS_IT_GOES_ON])
            now_s = time.monotonic()
            if self._deadline is not None and now_s > self._deadline:
                raise not_finished(self._ref.job)
            limit = self._ref.job.max_failures
            if limit is not None and self._follower.failures >= limit and not notices:
                notices.append(
                    f"stopped: {self._follower.failures} of {self._follower.finished} cases did not succeed; "
                    "the rest are pending"
                )
                self._ref.connection.cancel(run_key(self._ref.run.storage, self._ref.run.experiment_id))
            # a run that has lasted for long is asked after less often: what that adds is 2 % at most
            pause_s = min(max(_POLL_S, (now_s - self._started_s) / 50, 5 * looked_s), _MAX_POLL_S)
            select.select([self._stop.drain_fd, self._stop.kill_fd], [], [], pause_s)

    def _look(self) -> float:
        """See what the run's folder says, where somebody wants to know; returns how long that took."""
        started_s = time.monotonic()
        if self._counts_matter:
            self._look_for_workers()
        if self._counts_matter or self._ref.job.max_failures is not None:
            self._follower.look_if_due()
        if self._progress:
            self._progress(self._follower.progress(self._unreachable or self._unserved))
        return time.monotonic() - started_s

    def _state(self) -> RunState | None:
        try:
            state = self._ref.connection.state(self._ref.workflow_run_id)
        except EngineError as error:
            # an engine that is started again goes on where it was
            lost_s = time.monotonic() - self._contact_s
            if lost_s > _LOST_CONTACT_S:
                raise EngineError(
                    f"{error.message}, for {lost_s / 60:.0f} minutes",
                    hint="The run may still be going: `scythe status` shows it, `scythe retry` resumes it.",
                ) from error
            self._unreachable = error.message
            return None
        self._contact_s = time.monotonic()
        self._unreachable = None
        return state

    def _look_for_workers(self) -> None:
        """Say why nothing happens, when it is for want of workers."""
        now = time.monotonic()
        if self._unreachable is not None or now < self._workers_due_s:
            return
        self._workers_due_s = now + (_WORKER_CHECK_S if self._unserved is None else LEDGER_S)
        run = self._ref.run
        try:
            workers = self._ref.connection.workers()
            self._unserved = unserved(run.experiment, run.task_name, place_of(run.storage), workers)
        except EngineError as error:
            self._unreachable = error.message


def _ending(job: Job, state: RunState) -> Execution:
    from scythe_cli.engines.hatchet.payloads import NodeOutput

    if state.status == "COMPLETED":
        output = NodeOutput.model_validate(_only(state.output or {}))
        if not output.totals:
            return Execution(output.notices)  # a worker of an older version
        tables = {name: job.storage.uri(job.run.table(name)) for name in output.tables}
        totals = StateCounts(**output.totals)
        return Execution(
            output.notices,
            GatherResult(tables, totals, output.damaged, output.table_notices, output.n_warnings),
        )
    if state.status == "CANCELLED":
        return Execution(["the run was cancelled; cases that had not run are pending or cancelled"])
    first, *_ = (state.error or "").strip().splitlines() or ["for an unknown reason"]
    raise EngineError(
        f"the run's root node failed: {first.removeprefix('NonRetryableException: ')}",
        hint="Finished cases are kept; `scythe retry` resumes the run.",
    )


def _only(output: dict[str, Any]) -> dict[str, Any]:
    values = list(output.values())
    return values[0] if len(values) == 1 and isinstance(values[0], dict) else output
