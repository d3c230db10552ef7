"""`Engine` on a Hatchet fleet: submits a run as one small message, and waits by reading the run's folder."""

from __future__ import annotations

import importlib
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from scythe_cli.core.progress import ProgressCallback
from scythe_cli.engines.base import Engine, Execution, Job
from scythe_cli.engines.cancelled import write_cancelled
from scythe_cli.engines.hatchet.connection import client_of, get_hatchet
from scythe_cli.engines.hatchet.embedded import worker_beside
from scythe_cli.engines.hatchet.waiting import HatchetRunRef
from scythe_cli.errors import EngineError, UsageError
from scythe_cli.executor.limits import StopSignal
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.manifest import RunManifest, read_manifest
from scythe_cli.storage.base import Storage

if TYPE_CHECKING:
    from scythe_cli.engines.hatchet.client import Connection
    from scythe_cli.engines.hatchet.payloads import NodeInput
    from scythe_cli.engines.hatchet.workflows import WorkflowExperiment
    from scythe_cli.engines.outline import Outline
    from scythe_cli.model.registration import WorkflowLike
    from scythe_cli.run.manifest import RecursionRecord

__all__ = ["HatchetEngine"]

_CANCEL_WAIT_S = 30.0
_CLOSED_S = 15.0


class HatchetEngine(Engine):
    """Executes specs on the workers of a Hatchet server.

    Attributes:
        embedded: Whether the server is started beside this process, and ends with it.
    """

    name = "hatchet"
    needs_lease = False  # the server gives each spec to one worker

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        """Make the engine of a project; `embedded` is the one setting."""
        super().__init__(settings)
        self.embedded = bool(self.settings.get("embedded"))

    @property
    def label(self) -> str:
        """What people call it."""
        return "embedded Hatchet" if self.embedded else self.name

    @property
    def outlives_client(self) -> bool:
        """Whether a run goes on when the process ends that has submitted it."""
        return not self.embedded

    def prepare(self) -> None:
        """Load the client, which takes as long as much of what else a submission does."""
        importlib.import_module("scythe_cli.engines.hatchet.client")

    @contextmanager
    def loading(self) -> Generator[None]:
        """Let `scythe_cli.hatchet.hatchet` be the client of this engine, as modules with workflows need it."""
        with client_of(self.embedded):
            yield

    def experiment_of(self, workflow: WorkflowLike) -> WorkflowExperiment:
        """A workflow in the form of an experiment."""
        from scythe_cli.engines.hatchet.workflows import workflow_experiment

        return workflow_experiment(workflow)

    def _connect(self) -> Connection:
        from scythe_cli.engines.hatchet.client import connect

        return connect(get_hatchet(self.embedded))

    def execute(self, job: Job, *, stop: StopSignal, progress: ProgressCallback | None = None) -> Execution:
        """Execute a job, and wait for its end; see `Engine.execute`.

        When `stop` ends the wait, the run goes on.
        """
        if not job.n_rows:
            return Execution()
        with worker_beside(job) if self.embedded else nullcontext():
            return self.submit(job).wait(stop=stop, progress=progress, timeout_s=job.wait_timeout_s)

    def submit(self, job: Job) -> HatchetRunRef:
        """Queue a job, and return at once.

        Raises:
            EngineError: If there is no token, it is refused, or the engine cannot be reached.
            UsageError: If specs of the run are to be run again while the fleet is still at work on it.
        """
        from scythe_cli.engines.hatchet.client import wait_until_closed
        from scythe_cli.engines.hatchet.nodes import tasks

        connection = self._connect()
        # what the engine lists lags behind by a moment
        if job.todo is not None and not wait_until_closed(connection, job.run.experiment_id, _CLOSED_S):
            raise UsageError(
                f"{job.run.experiment_id} is still running on the fleet",
                hint="`scythe status` shows its progress, `scythe cancel` stops it.",
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
        return HatchetRunRef(job, run_id, given.run.session, connection, self.embedded)

    def check(self) -> str:
        """See that the engine answers and takes the token; returns what is known of it.

        Raises:
            EngineError: If it does not.
        """
        connection = self._connect()
        workers = connection.workers()
        return f"Hatchet at {connection.address}, {len(workers)} worker{'' if len(workers) == 1 else 's'}"

    def workers(self, experiment: str) -> list[str]:
        """The names of the workers that are alive and run specs of an experiment; see `Engine.workers`."""
        return [worker.name for worker in self._connect().workers_for(experiment)]

    def cancel(self, storage: Storage, run: RunLayout, *, running: bool = False) -> int:
        """Cancel what is queued of a run; see `Engine.cancel`."""
        from scythe_cli.engines.hatchet.client import wait_until_closed

        connection = self._connect()
        # first of all: nodes look for it before they ask for more
        n = write_cancelled(storage, run)
        deadline = time.monotonic() + _CANCEL_WAIT_S
        connection.cancel(run.experiment_id, running=running)
        while not wait_until_closed(connection, run.experiment_id, 3.0) and time.monotonic() < deadline:
            connection.cancel(run.experiment_id, running=running)
        return n

    def outline(
        self,
        n: int,
        *,
        workers: int,
        recursion: RecursionRecord,
        specs_per_task: int | str,
        spec_s: float | None,
    ) -> Outline:
        """How a fleet would cut a run; see `Engine.outline`."""
        from scythe_cli.engines.hatchet.outline import fleet_outline

        del workers
        return fleet_outline(n, recursion, specs_per_task, spec_s)


def _node_input(job: Job) -> NodeInput:
    from scythe_cli.core.recursion import RecursionMap
    from scythe_cli.engines.hatchet.payloads import NodeInput, pointer_of
    from scythe_cli.engines.hatchet.todo import pack_todo, todo_array
    from scythe_cli.engines.hatchet.workflows import WorkflowExperiment
    from scythe_cli.executor.code import comparable_hash

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
        seed=job.seed,
        code=comparable_hash(job.code),
        code_mark=job.code_mark,
    )
    return NodeInput(
        run=run,
        recursion=recursion,
        specs_per_task=per_task if isinstance(per_task, int) else None,
        todo=None if job.todo is None else pack_todo(todo_array(job.todo, job.n_specs)),
        max_failures=job.max_failures,
    )
