"""The engine without a server: processes of this machine."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scythe_cli.core.progress import Progress, ProgressCallback, RateMeter
from scythe_cli.core.records import StateCounts
from scythe_cli.core.states import State
from scythe_cli.engines.base import Engine, Execution, Job
from scythe_cli.executor.limits import StopSignal
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.workflows.declared import DeclaredWorkflow
from scythe_cli.run.active import RunningFile
from scythe_cli.run.outcomes.error_groups import Alike, alike_key

__all__ = ["LocalEngine", "Tally"]


class LocalEngine(Engine):
    """Executes specs in a pool of processes of this machine."""

    name = "local"

    def experiment_of(self, workflow: Any) -> RegisteredExperiment[Any, Any] | None:
        """A workflow whose tasks are run one after the other, in the process of a spec."""
        return workflow.as_experiment() if isinstance(workflow, DeclaredWorkflow) else None

    def execute(self, job: Job, *, stop: StopSignal, progress: ProgressCallback | None = None) -> Execution:
        """Execute a job; see `Engine.execute`."""
        writer = job.writer(self.name)
        published = RunningFile(job.run.experiment_id)
        tally = Tally(job)
        stopped = False
        with published, job.rows() as rows, job.executor() as executor:
            try:
                for outcomes in executor.run(rows, stop=stop):
                    if outcomes.num_rows:
                        writer.add(outcomes)
                        tally.add(outcomes)
                    else:
                        writer.flush_if_due()
                    published.write_if_due(executor.running)
                    if progress:
                        progress(tally.progress())
                    if tally.has_too_many_failures and not stopped:
                        stopped = True
                        stop.drain()
            finally:
                writer.flush()  # what has finished is kept, whatever ended the loop
            notices = executor.notices
        # told at the end, when the specs that were running then are counted as well
        return Execution([*notices, *([tally.why_stopped()] if stopped else [])])


class Tally:
    """Counts the specs of a job by state while outcomes come in.

    Attributes:
        finished: Specs that have come to an outcome since the start of the job.
        failures: Those of them that did not succeed.
    """

    def __init__(self, job: Job) -> None:
        self._counts = {state: job.counts.of(state) for state in State}
        self._meter = RateMeter()
        self._todo = job.n_rows
        self._alike: Counter[Alike] = Counter()
        self._messages: dict[Alike, str] = {}
        self._max_failures = job.max_failures
        self._experiment_id = job.run.experiment_id
        self.finished = 0
        self.failures = 0

    @property
    def has_too_many_failures(self) -> bool:
        """Whether as many specs have ended without success as the job allows."""
        return self._max_failures is not None and self.failures >= self._max_failures

    def add(self, outcomes: pa.Table) -> None:
        """Count outcomes that an executor has given."""
        is_final: Any = outcomes.column("final")
        states: Any = outcomes.column("state").filter(is_final)  # the other columns would be copied for nothing
        counts: Any = states.value_counts()
        finished = failures = 0
        for item in counts.to_pylist():
            state, n = State(item["values"]), int(item["counts"])
            self._counts[state] += n
            finished += n
            if state is not State.SUCCEEDED:
                failures += n
        self.failures += failures
        if failures and self._max_failures is not None:
            self._group(outcomes.filter(is_final).filter(pc.field("state") != State.SUCCEEDED.value))
        self._counts[State.PENDING] -= finished
        self.finished += finished
        self._meter.add(finished)

    def _group(self, failed: pa.Table) -> None:
        for row in failed.select(["state", "error_type", "message", "traceback"]).to_pylist():
            alike = alike_key(row["state"], row["error_type"], row["traceback"])
            self._alike[alike] += 1
            self._messages.setdefault(alike, row["message"] or "")

    def why_stopped(self) -> str:
        """Say that there were too many failures, and what most of them were."""
        alike, n = self._alike.most_common(1)[0]
        # the first line is enough: `scythe errors` shows the rest
        message = next(iter(self._messages[alike].strip().splitlines()), "")[:200]
        kind = f"{alike.error_type} {message}".strip()
        of_all = f"{self.failures:,} of {self.finished:,}"
        if n == self.failures:
            what = f"{of_all} failed alike, {kind}" if n > 1 else f"{of_all} failed, {kind}"
        else:
            what = f"{of_all} failed, {n:,} of them alike, {kind}"
        return f"stopped: {what}; the rest is pending, and `scythe retry {self._experiment_id}` runs it"

    def progress(self) -> Progress:
        """How far the job is."""
        return Progress(
            phase="running",
            counts=StateCounts(**{state.value: n for state, n in self._counts.items()}),
            rate_per_s=self._meter.rate_per_s,
            eta_s=self._meter.eta_s(self._todo - self.finished),
            elapsed_s=self._meter.elapsed_s,
        )
