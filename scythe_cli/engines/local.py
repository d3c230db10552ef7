"""The engine without a server: processes of this machine."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from scythe_cli.core.progress import Progress, ProgressCallback, RateMeter
from scythe_cli.core.records import StateCounts
from scythe_cli.core.states import State
from scythe_cli.engines.base import Execution, Job
from scythe_cli.executor.limits import Limits, StopSignal
from scythe_cli.executor.pool import Executor
from scythe_cli.executor.rows.call import RunContext
from scythe_cli.model.function_ref import target_of
from scythe_cli.run.active import RunningFile
from scythe_cli.run.ledger import LedgerWriter
from scythe_cli.run.outcomes.error_groups import Alike, alike_key
from scythe_cli.run.specs_file import SpecFile

__all__ = ["LocalEngine"]


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Executes specs in a pool of processes of this machine."""

    name: str = "local"

    def execute(self, job: Job, *, stop: StopSignal, progress: ProgressCallback | None = None) -> Execution:
        """Execute a job; see `Engine.execute`."""
        options = job.experiment.options
        context = RunContext(
            storage_location=job.storage.location,
            experiment_id=job.run.experiment_id,
            root_workflow_run_id=job.workflow_run_id,
            worker=socket.gethostname(),
        )
        limits = Limits(
            execution_timeout_s=options.execution_timeout.total_seconds(),
            memory_limit_bytes=options.memory_limit_bytes,
            retries=options.retries,
        )
        session = f"local-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:8]}"
        writer = LedgerWriter(job.storage, job.run, session)
        published = RunningFile(job.run.experiment_id)
        tally = _Tally(job)
        stopped = False
        with (
            published,
            SpecFile.open(job.storage, job.run) as specs,
            Executor(target_of(job.experiment, root=job.root), context, limits, workers=job.workers) as executor,
        ):
            try:
                for outcomes in executor.run(_rows(specs, job.todo), stop=stop):
                    if outcomes.num_rows:
                        writer.add(outcomes)
                        tally.add(outcomes)
                    else:
                        writer.flush_if_due()
                    published.write_if_due(executor.running)
                    if progress:
                        progress(tally.progress())
                    if job.max_failures is not None and tally.failures >= job.max_failures and not stopped:
                        stopped = True
                        stop.drain()
            finally:
                writer.flush()  # what has finished is kept, whatever ended the loop
        # told at the end, when the specs that were running then are counted as well
        return Execution([tally.why_stopped(job.run.experiment_id)] if stopped else [])


def _rows(specs: SpecFile, todo: pa.Table | None) -> Iterator[pa.RecordBatch]:
    """The rows to execute, with the number of the attempt."""
    if todo is None:
        for batch in specs.batches():
            attempts = pa.array([1], pa.int32()).take(pa.array([0] * batch.num_rows, pa.int32()))
            yield batch.append_column("__attempt__", attempts)
        return
    wanted = todo.column("sort_index").combine_chunks()
    attempts = todo.column("attempt").combine_chunks()
    for batch in specs.batches(wanted):
        at = pc.index_in(batch.column("sort_index"), value_set=wanted)
        yield batch.append_column("__attempt__", pc.take(attempts, at))


class _Tally:
    """Counts specs by state while outcomes come in."""

    def __init__(self, job: Job) -> None:
        self._counts = {state: job.counts.of(state) for state in State}
        self._meter = RateMeter()
        self._todo = job.n_specs if job.todo is None else job.todo.num_rows
        self._alike: Counter[Alike] = Counter()
        self._messages: dict[Alike, str] = {}
        self._looks_at_failures = job.max_failures is not None
        self.finished = 0
        self.failures = 0

    def add(self, outcomes: pa.Table) -> None:
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
        if failures and self._looks_at_failures:
            self._group(outcomes.filter(is_final).filter(pc.field("state") != State.SUCCEEDED.value))
        self._counts[State.PENDING] -= finished
        self.finished += finished
        self._meter.add(finished)

    def _group(self, failed: pa.Table) -> None:
        for row in failed.select(["state", "error_type", "message", "traceback"]).to_pylist():
            alike = alike_key(row["state"], row["error_type"], row["traceback"])
            self._alike[alike] += 1
            self._messages.setdefault(alike, row["message"] or "")

    def why_stopped(self, experiment_id: str) -> str:
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
        return f"stopped: {what}; the rest is pending, and `scythe retry {experiment_id}` runs it"

    def progress(self) -> Progress:
        return Progress(
            phase="running",
            counts=StateCounts(**{state.value: n for state, n in self._counts.items()}),
            rate_per_s=self._meter.rate_per_s,
            eta_s=self._meter.eta_s(self._todo - self.finished),
            elapsed_s=self._meter.elapsed_s,
        )
