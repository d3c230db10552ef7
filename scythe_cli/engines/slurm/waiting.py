"""Following a submitted run from outside: its folder is read, and now and then Slurm's queue."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from scythe_cli.core.progress import PhaseCallback, ProgressCallback
from scythe_cli.engines.base import Execution, Job
from scythe_cli.engines.follow import AS_IT_GOES_ON, Follower, not_finished
from scythe_cli.engines.slurm.assignment import closing_name, read_end, write_stop
from scythe_cli.engines.slurm.commands import Slurm
from scythe_cli.engines.slurm.queue import QueuedTask, parse_queue, told_reasons
from scythe_cli.errors import EngineError
from scythe_cli.executor.limits import StopSignal

__all__ = ["SlurmRunRef", "judged", "queue_line"]


_POLL_S = 1.0
_MAX_POLL_S = 10.0
_QUEUE_S = 5.0
_MAX_QUEUE_S = 60.0
_UNSEEN_S = 60.0


@dataclass(frozen=True)
class SlurmRunRef:
    """A submitted run.

    Attributes:
        job: Its cases.
        workflow_run_id: The id of the job array.
        session: What the parts of the ledger begin with that this submission writes.
        job_name: The name of its jobs.
        log_folder: Where they write what they have to say.
        slurm: Slurm's commands.
    """

    job: Job
    workflow_run_id: str
    session: str
    job_name: str
    log_folder: str
    slurm: Slurm = field(repr=False)

    @property
    def look(self) -> str:
        """The command of Slurm that shows its jobs."""
        return f"squeue --name={self.job_name},{closing_name(self.job_name)}"

    def wait(
        self,
        *,
        stop: StopSignal | None = None,
        progress: ProgressCallback | None = None,
        timeout_s: float | None = None,
    ) -> Execution:
        """Wait for the end of the run; see `Submitted.wait`."""
        return _Wait(self, stop or StopSignal(), progress, timeout_s).until_done()


Judgement = Literal["goes on", "ended", "failed"]


def judged(tasks: Sequence[QueuedTask], closing: str) -> Judgement:
    """What the queue says of a run whose end is not written yet.

    Args:
        tasks: The jobs of the run, those included that have just ended.
        closing: The name of the job that gathers.
    """
    if any(task.is_active for task in tasks):
        return "goes on"
    last = [task for task in tasks if task.name == closing]
    if not last:
        return "ended"
    newest = max(last, key=lambda task: int(task.job) if task.job.isdecimal() else 0)
    # what it has written may take a while to be seen on this machine
    return "ended" if newest.state == "COMPLETED" else "failed"


def queue_line(tasks: Sequence[QueuedTask], closing: str) -> str | None:
    """How the tasks stand, in one line; None when there is nothing to say."""
    waiting = [task for task in tasks if task.name != closing and task.is_active and task.state == "PENDING"]
    running = sum(task.name != closing and task.is_active and task.state != "PENDING" for task in tasks)
    if running or not waiting:
        return None  # progress shows by itself
    reasons = told_reasons(waiting)
    return f"{len(waiting):,} tasks queued" + (f": {reasons[0]}" if reasons else "")


class _Wait:
    def __init__(
        self, ref: SlurmRunRef, stop: StopSignal, progress: ProgressCallback | None, timeout_s: float | None
    ) -> None:
        self._ref = ref
        self._stop = stop
        self._progress = progress
        self._counts_matter = progress is not None and not isinstance(progress, PhaseCallback)
        self._follower = Follower(ref.job, ref.session, goes_on=True)
        self._started_s = time.monotonic()
        self._deadline = None if timeout_s is None else self._started_s + timeout_s
        self._queue_due_s = self._started_s + _QUEUE_S
        self._ended_s: float | None = None
        self._told: str | None = None
        self._stopping = False

    def until_done(self) -> Execution:
        job = self._ref.job
        while True:
            end = read_end(job.storage, job.run, self._ref.session)
            if end is not None:
                return Execution(list(end.notices))
            if self._has_ended():
                return Execution([self._why_unfinished()])
            self._look()
            if self._stop.draining:
                return Execution([AS_IT_GOES_ON])
            now_s = time.monotonic()
            if self._deadline is not None and now_s > self._deadline:
                raise not_finished(job)
            # a run that has lasted for long is asked after less often
            pause_s = min(max(_POLL_S, (now_s - self._started_s) / 50), _MAX_POLL_S)
            select.select([self._stop.drain_fd, self._stop.kill_fd], [], [], pause_s)

    def _look(self) -> None:
        limit = self._ref.job.max_failures
        if self._counts_matter or limit is not None:
            self._follower.look_if_due()
        if self._progress:
            self._progress(self._follower.progress(self._told))
        if limit is not None and self._follower.failures >= limit and not self._stopping:
            self._stopping = True
            why = f"stopped: {self._follower.failures:,} cases did not succeed; the rest are pending"
            write_stop(self._ref.job.storage, self._ref.job.run, self._ref.session, why)

    def _has_ended(self) -> bool:
        """Whether nothing of the run is in the queue any more, although it has written no end."""
        now_s = time.monotonic()
        if now_s < self._queue_due_s:
            return False
        self._queue_due_s = now_s + min(max(_QUEUE_S, (now_s - self._started_s) / 20), _MAX_QUEUE_S)
        closing = closing_name(self._ref.job_name)
        try:
            tasks = parse_queue(self._ref.slurm.queue([self._ref.job_name, closing]))
        except EngineError as error:
            self._told, self._ended_s = error.message, None
            return False
        self._told = queue_line(tasks, closing)
        judgement = judged(tasks, closing)
        if judgement == "goes on":
            self._ended_s = None
            return False
        if judgement == "failed":
            return True
        self._ended_s = self._ended_s or now_s
        return now_s - self._ended_s >= _UNSEEN_S

    def _why_unfinished(self) -> str:
        self._follower.look()
        job = self._ref.job
        if not self._follower.finished:
            raise EngineError(
                f"the jobs of {job.run.experiment_id} ended, and no case was run: "
                f"the nodes may not see {job.storage.location} or {self._ref.log_folder}",
                hint="`scythe doctor --engine slurm` tries a node out.",
            )
        return f"the job that gathers has failed: see {self._ref.log_folder}; `scythe retry` resumes the run"
