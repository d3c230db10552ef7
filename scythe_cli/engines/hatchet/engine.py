"""`Engine` on a Hatchet fleet: submits a run as one small message, and waits by reading the run's folder."""

from __future__ import annotations

import asyncio
import select
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import polars as pl
import pyarrow as pa

from scythe_cli.core.progress import PhaseCallback, ProgressCallback
from scythe_cli.core.records import StateCounts
from scythe_cli.core.states import State
from scythe_cli.engines.base import Execution, Job, conclude
from scythe_cli.engines.hatchet.connection import is_embedded
from scythe_cli.engines.hatchet.embedded import worker_beside
from scythe_cli.engines.hatchet.follow import Follower
from scythe_cli.errors import EngineError, UsageError, WaitTimeoutError
from scythe_cli.executor.limits import StopSignal
from scythe_cli.model.outcome_schema import OUTCOME_SCHEMA
from scythe_cli.run.final.gather import GatherResult
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import Ledger, write_part
from scythe_cli.run.manifest import RunManifest, read_manifest
from scythe_cli.run.outcomes.effective import effective_outcomes
from scythe_cli.storage.base import Storage

if TYPE_CHECKING:
    from scythe_cli.engines.hatchet.client import Connection, RunState, WorkerRecord
    from scythe_cli.engines.hatchet.payloads import NodeInput
    from scythe_cli.services.records import AllocateResult


__all__ = ["HatchetEngine", "HatchetRunRef"]


_POLL_S = 0.3
_MAX_POLL_S = 5.0
_LEDGER_S = 2.0
_MAX_LEDGER_S = 30.0
_LOST_CONTACT_S = 600.0
_WORKER_CHECK_S = 15.0
_CANCEL_WAIT_S = 30.0
_CLOSED_S = 15.0
_AS_IT_GOES_ON = "the run goes on; `scythe status` shows how far it is, and `scythe cancel` stops it"
_AS_IT_STOPS = "the run stops here, since its engine ends with this command; `scythe retry` goes on with it"


@dataclass(frozen=True)
class HatchetRunRef:
    """A submitted run.

    Attributes:
        job: Its specs.
        workflow_run_id: The id of the root node's Hatchet run, which the dashboard shows.
        session: What the parts of the ledger begin with that this submission writes.
        connection: The engine.
    """

    job: Job
    workflow_run_id: str
    session: str
    connection: Connection = field(repr=False)

    def wait(
        self,
        *,
        stop: StopSignal | None = None,
        progress: ProgressCallback | None = None,
        timeout_s: float | None = None,
    ) -> Execution:
        """Wait for the end of the run.

        Args:
            stop: Ends the wait; the run goes on.
            progress: Called as the run goes on.
            timeout_s: How long to wait at most.

        Raises:
            WaitTimeoutError: If the run is not done in time; it goes on.
            EngineError: If the run's root node failed, or the engine cannot be reached for minutes.
        """
        return _Wait(self, stop or StopSignal(), progress, timeout_s).until_done()

    def result(self, timeout_s: float | None = None) -> AllocateResult:
        """Wait for the end of the run, and tell what it did."""
        execution = self.wait(timeout_s=timeout_s)
        started = self.job.run.timestamp.replace(tzinfo=UTC)
        return conclude(self.job, "hatchet", execution, started=started, workflow_run_id=self.workflow_run_id)

    async def aio_result(self) -> AllocateResult:
        """The same, to await."""
        return await asyncio.to_thread(self.result)


@dataclass(frozen=True, slots=True)
class HatchetEngine:
    """Executes specs on the workers of a Hatchet server."""

    name: str = "hatchet"

    def execute(self, job: Job, *, stop: StopSignal, progress: ProgressCallback | None = None) -> Execution:
        """Execute a job, and wait for its end; see `Engine.execute`.

        When `stop` ends the wait, the run goes on.
        """
        if job.todo is not None and not job.todo.num_rows:
            return Execution()
        with worker_beside(job):
            return self.submit(job).wait(stop=stop, progress=progress, timeout_s=job.wait_timeout_s)

    def submit(self, job: Job) -> HatchetRunRef:
        """Queue a job, and return at once.

        Raises:
            EngineError: If there is no token, it is refused, or the engine cannot be reached.
            UsageError: If specs of the run are to be run again while the fleet is still at work on it.
        """
        from scythe_cli.engines.hatchet.client import connect, wait_until_closed
        from scythe_cli.engines.hatchet.nodes import tasks

        connection = connect()
        # what the engine lists lags behind by a moment
        if job.todo is not None and not wait_until_closed(connection, job.run.experiment_id, _CLOSED_S):
            raise UsageError(
                f"{job.run.experiment_id} still runs on the fleet",
                hint="`scythe status` shows how far it is, `scythe cancel` stops it.",
            )
        given = _node_input(job)

        async def served_by_workers(*_: Any) -> Any:
            raise EngineError("this task is served by workers, and not here")

        node = tasks.node_definition(connection.hatchet, served_by_workers)
        definitions = [node]
        if not given.run.is_workflow:
            definitions.append(tasks.leaf_definition(connection.hatchet, job.experiment, served_by_workers))
        connection.register(definitions)
        run_id = connection.start(node, given)
        return HatchetRunRef(job, run_id, given.run.session, connection)

    def check(self) -> str:
        """See that the engine answers and takes the token; returns what is known of it.

        Raises:
            EngineError: If it does not.
        """
        from scythe_cli.engines.hatchet.client import connect

        connection = connect()
        workers = connection.workers()
        return f"Hatchet at {connection.address}, {len(workers)} worker{'' if len(workers) == 1 else 's'}"

    def workers_for(self, experiment: str) -> list[WorkerRecord]:
        """The workers that are alive and run specs of an experiment.

        Raises:
            EngineError: If the engine cannot be asked.
        """
        from scythe_cli.engines.hatchet.client import connect

        return connect().workers_for(experiment)

    def cancel(self, storage: Storage, run: RunLayout, *, running: bool = False) -> int:
        """Stop what has not run of a run; the results so far are kept and gathered.

        Args:
            storage: Where the run is kept.
            run: The run.
            running: Whether specs that are being run are stopped as well. Else they finish, and their outcomes take
                the place of `cancelled`, also when that takes longer than this call.

        Returns:
            The number of specs that are cancelled.

        Raises:
            EngineError: If the engine cannot be reached.
            StorageError: If the run cannot be read or written.
        """
        from scythe_cli.engines.hatchet.client import connect, wait_until_closed
        from scythe_cli.run.final.gather import gather

        connection = connect()
        # first of all: nodes look for it before they ask for more
        n = _write_cancelled(storage, run)
        deadline = time.monotonic() + _CANCEL_WAIT_S
        connection.cancel(run.experiment_id, running=running)
        while not wait_until_closed(connection, run.experiment_id, 3.0) and time.monotonic() < deadline:
            connection.cancel(run.experiment_id, running=running)
        # what was running and has finished since counts with what it became
        return gather(storage, run).counts.cancelled if n else 0


def _node_input(job: Job) -> NodeInput:
    from scythe_cli.core.recursion import RecursionMap
    from scythe_cli.engines.hatchet.nodes.leaf import pointer_of
    from scythe_cli.engines.hatchet.payloads import NodeInput
    from scythe_cli.engines.hatchet.todo import pack_todo, todo_array
    from scythe_cli.engines.hatchet.workflows import WorkflowExperiment

    manifest = read_manifest(job.storage, job.run) or RunManifest(
        workflow_run_id=job.workflow_run_id, experiment_id=job.run.experiment_id, experiment_name=job.experiment.name
    )
    shape = manifest.recursion
    recursion = RecursionMap(factor=shape.factor if shape else 10, max_depth=shape.max_depth if shape else 0)
    per_task = manifest.specs_per_task
    run = pointer_of(
        job.experiment,
        storage=job.storage.location,
        experiment_id=job.run.experiment_id,
        root_workflow_run_id=job.workflow_run_id,
        session=f"hatchet-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:8]}",
        n_specs=job.n_specs,
        is_workflow=isinstance(job.experiment, WorkflowExperiment),
    )
    return NodeInput(
        run=run,
        recursion=recursion,
        specs_per_task=per_task if isinstance(per_task, int) else None,
        todo=None if job.todo is None else pack_todo(todo_array(job.todo, job.n_specs)),
        max_failures=job.max_failures,
    )


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
        self._follower = Follower(ref.job, ref.session)
        self._started_s = self._contact_s = time.monotonic()
        self._ledger_due_s = 0.0
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
                return Execution([*notices, _AS_IT_STOPS if is_embedded() else _AS_IT_GOES_ON])
            now_s = time.monotonic()
            if self._deadline is not None and now_s > self._deadline:
                raise WaitTimeoutError(
                    f"{self._ref.job.run.experiment_id} is not done yet; it goes on",
                    hint="`scythe status` shows how far it is.",
                )
            limit = self._ref.job.max_failures
            if limit is not None and self._follower.failures >= limit and not notices:
                notices.append(
                    f"stopped: {self._follower.failures} of {self._follower.finished} specs did not succeed; "
                    "the rest is pending"
                )
                self._ref.connection.cancel(self._ref.job.run.experiment_id)
            # a run that has lasted for long is asked after less often: what that adds is 2 % at most
            pause_s = min(max(_POLL_S, (now_s - self._started_s) / 50, 5 * looked_s), _MAX_POLL_S)
            select.select([self._stop.drain_fd, self._stop.kill_fd], [], [], pause_s)

    def _look(self) -> float:
        """See what the run's folder says, where somebody wants to know; returns how long that took."""
        started_s = time.monotonic()
        if self._counts_matter:
            self._look_for_workers()
        if (self._counts_matter or self._ref.job.max_failures is not None) and started_s >= self._ledger_due_s:
            self._follower.look()
            # each look is a request to the store at least, and one for each new part
            self._ledger_due_s = time.monotonic() + min(
                max(_LEDGER_S, (started_s - self._started_s) / 10), _MAX_LEDGER_S
            )
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
                    hint="The run may go on: `scythe status` shows it, `scythe retry` takes it up again.",
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
        self._workers_due_s = now + (_WORKER_CHECK_S if self._unserved is None else _LEDGER_S)
        connection = self._ref.connection
        name = self._ref.job.experiment.name
        try:
            if not connection.workers_for(name):
                self._unserved = f"no worker serves {name!r}; `scythe worker` starts one"
            elif not connection.node_workers():
                self._unserved = "no worker runs scatter/gather; `scythe worker` without --no-fan does"
            else:
                self._unserved = None
        except EngineError as error:
            self._unreachable = error.message


def _ending(job: Job, state: RunState) -> Execution:
    from scythe_cli.engines.hatchet.payloads import NodeOutput

    if state.status == "COMPLETED":
        output = NodeOutput.model_validate(_only(state.output or {}))
        if not output.totals:
            return Execution(output.notices)  # a worker of an older version
        tables = {name: job.storage.uri(job.run.table(name)) for name in output.tables}
        return Execution(output.notices, GatherResult(tables, StateCounts(**output.totals), output.damaged))
    if state.status == "CANCELLED":
        return Execution(["the run was cancelled; what had not been run is pending or cancelled"])
    first, *_ = (state.error or "").strip().splitlines() or ["no reason is known"]
    raise EngineError(
        f"the run's root node failed: {first}",
        hint="What has finished is kept; `scythe retry` takes the run up again.",
    )


def _only(output: dict[str, Any]) -> dict[str, Any]:
    values = list(output.values())
    return values[0] if len(values) == 1 and isinstance(values[0], dict) else output


def _write_cancelled(storage: Storage, run: RunLayout) -> int:
    """Give an outcome to every spec that has none."""
    from scythe_cli.engines.hatchet.nodes.node import CANCEL_PREFIX

    manifest = read_manifest(storage, run)
    n_specs = manifest.n_specs if manifest and manifest.n_specs else 0
    with Ledger.open(storage, run) as ledger:
        outcomes = ledger.outcomes()
    known = effective_outcomes(outcomes).select("sort_index")
    last = outcomes.group_by("sort_index").agg(pl.col("attempt").max())
    missing = (
        pl.DataFrame({"sort_index": pl.int_range(0, n_specs, eager=True)})
        .join(known, on="sort_index", how="anti")
        .join(last, on="sort_index", how="left")
        .sort("sort_index")
    )
    n = missing.height
    if n:
        columns: dict[str, pa.Array[Any]] = {f.name: pa.nulls(n, f.type) for f in OUTCOME_SCHEMA}
        columns["sort_index"] = missing["sort_index"].to_arrow().cast(pa.int64())
        columns["state"] = pa.repeat(State.CANCELLED.value, n)
        columns["attempt"] = missing["attempt"].fill_null(0).to_arrow().cast(pa.int32())
        columns["final"] = pa.repeat(pa.scalar(True), n)
        columns["error_type"] = pa.repeat("Cancelled", n)
        columns["message"] = pa.repeat("the run was cancelled before this spec was run", n)
        table = pa.table(columns, schema=OUTCOME_SCHEMA)
        write_part(storage, run, f"{CANCEL_PREFIX}{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:8]}", table)
    return n
