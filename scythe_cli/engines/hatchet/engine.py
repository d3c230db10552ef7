"""`Engine` on a Hatchet fleet: submits a run as one small message, and waits by reading the run's folder."""

from __future__ import annotations

import importlib
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from scythe_cli.core.progress import ProgressCallback
from scythe_cli.engines.base import CANCEL_GRACE_S, Engine, Execution, Job, Priority
from scythe_cli.engines.cancelled import write_cancelled
from scythe_cli.engines.hatchet.connection import client_of, get_hatchet
from scythe_cli.engines.hatchet.embedded import worker_beside
from scythe_cli.engines.hatchet.routing import (
    WorkerRecord,
    chosen_place,
    chosen_task,
    code_fingerprint,
    place_of,
    route_of,
    run_key,
    schema_fingerprint,
    told_worker,
    unserved,
)
from scythe_cli.engines.hatchet.sessions import (
    Submission,
    after_cancellations,
    claim_session,
    new_session,
    note_submission,
    noted_submissions,
    submitted_at,
)
from scythe_cli.engines.hatchet.waiting import HatchetRunRef
from scythe_cli.engines.todo_file import write_todo
from scythe_cli.errors import EngineError, UsageError
from scythe_cli.executor.code import code_of
from scythe_cli.executor.limits import StopSignal
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.manifest import RunManifest, read_manifest
from scythe_cli.storage.base import Storage

if TYPE_CHECKING:
    from pathlib import Path

    from scythe_cli.core.records import FleetWorker
    from scythe_cli.engines.hatchet.client import Connection
    from scythe_cli.engines.hatchet.payloads import NodeInput
    from scythe_cli.engines.hatchet.workflows import WorkflowExperiment
    from scythe_cli.engines.outline import Outline
    from scythe_cli.model.experiment import RegisteredExperiment
    from scythe_cli.model.registration import WorkflowLike
    from scythe_cli.run.manifest import RecursionRecord

__all__ = ["HatchetEngine"]

_CLOSED_S = 15.0
_ENDED_S = 30.0
_SMALL = 100
_PRIORITIES: dict[Priority, int] = {"low": 1, "normal": 2, "high": 3}
_AGAIN_S = 3.0


class HatchetEngine(Engine):
    """Executes specs on the workers of a Hatchet server.

    Attributes:
        embedded: Whether the server is started beside this process, and ends with it.
        namespace: What tasks are named under, unless HATCHET_CLIENT_NAMESPACE says it.
    """

    name = "hatchet"
    needs_lease = False  # the server gives each spec to one worker

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        """Make the engine of a project; `embedded` and `namespace` are the settings."""
        super().__init__(settings)
        self.embedded = bool(self.settings.get("embedded"))
        self.namespace: str | None = self.settings.get("namespace")

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
        with client_of(self.embedded, self.namespace):
            yield

    def experiment_of(self, workflow: WorkflowLike) -> WorkflowExperiment:
        """A workflow in the form of an experiment."""
        from scythe_cli.engines.hatchet.workflows import workflow_experiment

        return workflow_experiment(workflow)

    def _connect(self) -> Connection:
        from scythe_cli.engines.hatchet.client import connect

        return connect(get_hatchet(self.embedded, self.namespace))

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
        key = run_key(job.storage.location, job.run.experiment_id)
        earlier = [] if job.todo is None and not job.takes_over else noted_submissions(job.storage, job.run)
        if job.takes_over:
            _cancel(connection, key, 0.0, earlier)
        elif job.todo is not None and not wait_until_closed(connection, key, _CLOSED_S, earlier):
            raise UsageError(
                f"{job.run.experiment_id} is still running on the fleet",
                hint="`scythe status` shows its progress, `scythe cancel` stops it, and `scythe retry --force` stops "
                "what runs and takes it over.",
            )
        given = _node_input(job, connection.workers())

        async def served_by_workers(*_: Any) -> Any:
            raise EngineError("this task is served by workers, and not here")

        node = tasks.node_definition(connection.hatchet, served_by_workers)
        definitions = [node]
        if not given.run.is_workflow:
            name = given.run.task_name
            definitions.append(tasks.leaf_definition(connection.hatchet, job.experiment, served_by_workers, name))
        # a store that the run cannot be kept in refuses this, and nothing is queued
        claim_session(job.storage, job.run, given.run.session)
        connection.register(definitions)
        if given.todo is not None and job.todo is not None:
            write_todo(job.storage, job.run.hatchet(given.todo), job.todo)
        run_id = connection.start(node, given)
        note_submission(job.storage, job.run, given.run.session, run_id)
        return HatchetRunRef(job, run_id, given.run, connection, self.embedded)

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
        return [worker.name for worker in self._connect().workers() if experiment.lower() in worker.serves]

    def fleet(self, experiments: Sequence[RegisteredExperiment[Any, Any]], root: Path | None) -> list[FleetWorker]:
        """The workers that are alive; see `Engine.fleet`."""
        routes = {
            each.name.lower(): route_of(each.name, schema_fingerprint(each), code_of(each, root))
            for each in experiments
        }
        return [told_worker(worker, routes) for worker in self._connect().workers()]

    def unserved(self, storage: Storage, run: RunLayout, experiment: str) -> str | None:
        """Why no worker is at work on a run; see `Engine.unserved`."""
        connection = self._connect()
        task = connection.task_of(run_key(storage.location, run.experiment_id))
        return unserved(experiment, task or experiment, place_of(storage.location), connection.workers())

    def unserved_experiment(
        self, experiment: RegisteredExperiment[Any, Any], root: Path | None, location: str
    ) -> str | None:
        """Why no worker could be at work on an experiment; see `Engine.unserved_experiment`."""
        workers = self._connect().workers()
        return unserved(
            experiment.name, _task_of(experiment, code_of(experiment, root), workers), place_of(location), workers
        )

    def cancel(self, storage: Storage, run: RunLayout, *, grace_s: float = CANCEL_GRACE_S) -> int:
        """Cancel what is queued of a run, and after a grace what runs; see `Engine.cancel`."""
        connection = self._connect()
        # first of all: nodes look for it before they ask for more
        n = write_cancelled(storage, run, not_before=submitted_at(storage, run))
        _cancel(connection, run_key(storage.location, run.experiment_id), grace_s, noted_submissions(storage, run))
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


def _cancel(connection: Connection, key: str, grace_s: float, submissions: Sequence[Submission] = ()) -> None:
    """Cancel what is queued of a run; and what runs, nodes included, where that has not ended after a grace."""
    from scythe_cli.engines.hatchet.client import wait_until_closed

    begun_s = time.monotonic()
    while True:
        waited_s = time.monotonic() - begun_s
        connection.cancel(key, running=waited_s >= grace_s, submissions=submissions)
        left_s = grace_s - waited_s if waited_s < grace_s else grace_s + _ENDED_S - waited_s
        # a node may have asked for more at the very moment
        if wait_until_closed(connection, key, max(0.0, min(_AGAIN_S, left_s)), submissions) or left_s <= 0:
            return


def _task_of(
    experiment: RegisteredExperiment[Any, Any], code: Mapping[str, str] | None, workers: Sequence[WorkerRecord]
) -> str:
    route = route_of(experiment.name, schema_fingerprint(experiment), code)
    return chosen_task(experiment.name, route, code_fingerprint(experiment), workers)


def _priority(job: Job) -> int:
    """A small run does not wait for all that larger ones have queued; whoever has submitted one waits for it."""
    return _PRIORITIES[job.priority or ("high" if job.n_rows <= _SMALL else "normal")]


def _node_input(job: Job, workers: Sequence[WorkerRecord] = ()) -> NodeInput:
    from scythe_cli.core.recursion import RecursionMap
    from scythe_cli.engines.hatchet.payloads import NodeInput, pointer_of
    from scythe_cli.engines.hatchet.workflows import WorkflowExperiment
    from scythe_cli.executor.code import comparable_hash

    manifest = read_manifest(job.storage, job.run) or RunManifest(
        workflow_run_id=job.workflow_run_id, experiment_id=job.run.experiment_id, experiment_name=job.experiment.name
    )
    shape = manifest.recursion
    recursion = RecursionMap(factor=shape.factor if shape else 10, max_depth=shape.max_depth if shape else 0)
    per_task = manifest.specs_per_task
    is_workflow = isinstance(job.experiment, WorkflowExperiment)
    run = pointer_of(
        job.experiment,
        storage=job.storage.location,
        experiment_id=job.run.experiment_id,
        root_workflow_run_id=job.workflow_run_id,
        session=new_session(None if job.todo is None else after_cancellations(job.storage, job.run)),
        n_specs=job.n_specs,
        is_workflow=is_workflow,
        task=None if is_workflow else _task_of(job.experiment, job.code, workers),
        priority=_priority(job),
        place=chosen_place(place_of(job.storage.location), workers),
        seed=job.seed,
        code=comparable_hash(job.code),
        code_mark=job.code_mark,
    )
    return NodeInput(
        run=run,
        recursion=recursion,
        specs_per_task=per_task if isinstance(per_task, int) else None,
        todo=None if job.todo is None else f"{run.session}-todo.pq",
        max_failures=job.max_failures,
    )
