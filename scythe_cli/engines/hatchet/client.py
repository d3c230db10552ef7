"""The connection to a Hatchet server: submitting, asking and cancelling; whatever goes wrong is an `EngineError`."""

from __future__ import annotations

import contextlib
import itertools
import time
import warnings
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc

from scythe_cli.engines.hatchet.nodes.children import place_labels
from scythe_cli.engines.hatchet.payloads import META_KEY, META_TASK, NodeInput
from scythe_cli.engines.hatchet.recovery.answers import OpenChild
from scythe_cli.engines.hatchet.recovery.comparing import is_assigned, never_came, task_key
from scythe_cli.engines.hatchet.recovery.reports import TaskKey
from scythe_cli.engines.hatchet.routing import WorkerRecord
from scythe_cli.engines.hatchet.sdk_patches import fast_loading
from scythe_cli.engines.hatchet.sessions import Submission
from scythe_cli.errors import EngineError

with fast_loading():
    from hatchet_sdk import Hatchet
    from hatchet_sdk.client import Client
    from hatchet_sdk.clients.admin import WorkflowRunDetail
    from hatchet_sdk.clients.rest.exceptions import OpenApiException
    from hatchet_sdk.clients.rest.models.v1_task_status import V1TaskStatus
    from hatchet_sdk.clients.rest.models.v1_task_summary_list import V1TaskSummaryList
    from hatchet_sdk.config import TenacityConfig
    from hatchet_sdk.connection import new_conn
    from hatchet_sdk.contracts.dispatcher_pb2 import GetVersionRequest
    from hatchet_sdk.contracts.dispatcher_pb2_grpc import DispatcherStub
    from hatchet_sdk.features.runs import BulkCancelReplayOpts, RunFilter
    from hatchet_sdk.labels import DesiredWorkerLabel
    from hatchet_sdk.runnables.workflow import BaseWorkflow
    from hatchet_sdk.utils.api_auth import create_authorization_header

__all__ = ["Connection", "RunState", "connect", "wait_until_closed"]


_CONNECT_TIMEOUT_S = 5.0
_HEARTBEAT = timedelta(seconds=30)
_SINCE = timedelta(days=31)
_KNOWN_AFTER = timedelta(seconds=60)
_PAGE = 50
_LONG_PAGE = 1000


@dataclass(frozen=True, slots=True)
class RunState:
    """How far a submitted run is.

    Attributes:
        done: Whether it has come to its end.
        status: `QUEUED`, `RUNNING`, `COMPLETED`, `CANCELLED` or `FAILED`.
        output: What its node gave back, once it is completed.
        error: What went wrong, if it failed.
    """

    done: bool
    status: str
    output: dict[str, Any] | None
    error: str | None


@contextlib.contextmanager
def errors_mapped(address: str) -> Generator[None]:
    """Turn what the SDK raises into `EngineError`; no text of the SDK is repeated that may hold a token."""
    try:
        yield
    except grpc.RpcError as error:
        raise _grpc_error(error, address) from None
    except OpenApiException as error:
        status = getattr(error, "status", None)
        if status in (401, 403):
            raise _refused(address) from None
        what = f"answered with status {status}" if status else "does not answer"
        raise EngineError(f"the REST API of the Hatchet engine {what}", hint=_HINT) from None
    except OSError as error:
        raise EngineError(f"the Hatchet engine at {address} cannot be reached: {error}", hint=_HINT) from None


_HINT = "Is it running at the address in HATCHET_CLIENT_HOST_PORT and HATCHET_CLIENT_SERVER_URL?"


def _refused(address: str) -> EngineError:
    return EngineError(
        f"the Hatchet engine at {address} refuses the token",
        hint="Set HATCHET_CLIENT_TOKEN to a token of this engine.",
    )


def _code_of(error: grpc.RpcError) -> Any:
    return error.code() if isinstance(error, grpc.Call) else None


def _grpc_error(error: grpc.RpcError, address: str) -> EngineError:
    code = _code_of(error)
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return _refused(address)
    if code is grpc.StatusCode.UNAVAILABLE:
        return EngineError(f"the Hatchet engine at {address} cannot be reached", hint=_HINT)
    name = code.name if isinstance(code, grpc.StatusCode) else type(error).__name__
    details = error.details() if isinstance(error, grpc.Call) else None
    return EngineError(f"the Hatchet engine at {address} refused a request: {name}: {details}")


def connect(hatchet: Hatchet) -> Connection:
    """Connect to the engine of a client, and see that it answers.

    Raises:
        EngineError: If there is no token, it is refused, or the engine does not answer within seconds.
    """
    connection = Connection(hatchet)
    channel = new_conn(hatchet.config, False)
    # asking for something is quicker than `grpc.channel_ready_future`, whose thread looks five times a second only
    ask: Any = getattr(DispatcherStub(channel), "GetVersion")  # noqa: B009 - the stub has no types
    metadata = create_authorization_header(hatchet.config.token)
    try:
        ask(GetVersionRequest(), metadata=metadata, timeout=_CONNECT_TIMEOUT_S, wait_for_ready=True)
    except grpc.RpcError as error:
        code = _code_of(error)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            tls = hatchet.config.tls_config.strategy
            raise EngineError(
                f"the Hatchet engine at {connection.address} does not answer (TLS: {tls})",
                hint=f"{_HINT} HATCHET_CLIENT_TLS_STRATEGY=none is for an engine without TLS.",
            ) from None
        if code is not grpc.StatusCode.UNIMPLEMENTED:  # an engine that is too old to tell its version
            raise _grpc_error(error, connection.address) from None
    finally:
        channel.close()
    return connection


class Connection:
    """A Hatchet client that raises `EngineError`.

    Attributes:
        hatchet: The SDK's client.
        address: Where the engine is.
    """

    def __init__(self, hatchet: Hatchet) -> None:
        self.hatchet = hatchet
        self.address = hatchet.config.host_port
        # errors are told at once; who waits for a run tries again by itself
        config = hatchet.config.model_copy(update={"tenacity": TenacityConfig(max_attempts=1)})
        self._client = Client(config=config)

    def register(self, definitions: Sequence[BaseWorkflow[Any]]) -> None:
        """Make tasks known, so that they can be queued before any worker has been there."""
        with errors_mapped(self.address):
            for definition in definitions:
                self._client.admin.put_workflow(definition.to_proto())

    def start(self, node: BaseWorkflow[Any], node_input: NodeInput) -> str:
        """Queue a root node, and return the id of its Hatchet run."""
        run = node_input.run
        # what people look for, and workers that take runs of other code
        metadata = {**run.metadata, "node": "root", "experiment": run.experiment, META_TASK: run.task_name}
        labels = [DesiredWorkerLabel.model_validate(label) for label in place_labels(run)]
        with errors_mapped(self.address):
            ref: Any = getattr(node, "run")(  # noqa: B009 - it has no types
                node_input,
                wait_for_result=False,
                additional_metadata=metadata,
                desired_worker_labels=labels or None,
                priority=run.priority,
            )
        return str(ref.workflow_run_id)

    def state(self, workflow_run_id: str) -> RunState:
        """How far a run is."""
        with errors_mapped(self.address):
            details = self._client.admin.get_details(workflow_run_id)
        outputs = [run.output for run in details.task_runs.values() if run.output]
        errors = [run.error for run in details.task_runs.values() if run.error]
        output: Any = outputs[0] if outputs else None
        return RunState(details.done, details.status.value, output, errors[0] if errors else None)

    def workers(self) -> list[WorkerRecord]:
        """The workers that are alive, with what they serve in this client's namespace."""
        with errors_mapped(self.address):
            rows = self.hatchet.workers.list().rows or []
        records: list[WorkerRecord] = []
        namespace = self.hatchet.config.namespace.lower()
        for row in rows:
            seen = row.last_heartbeat_at
            if row.status is None or row.status.value != "ACTIVE":
                continue
            if seen is None or datetime.now(UTC) - seen.astimezone(UTC) > _HEARTBEAT:
                continue
            names = {action.partition(":")[0] for action in row.actions or []}
            slots = (row.slot_config or {}).get("default")
            records.append(
                WorkerRecord(
                    name=row.name,
                    serves={name.removeprefix(namespace) for name in names if name.startswith(namespace)},
                    last_heartbeat_at=seen,
                    labels={label.key: label.value or "" for label in row.labels or []},
                    slots=None if slots is None else slots.limit,
                    busy=None if slots is None or slots.available is None else slots.limit - slots.available,
                    id=row.metadata.id,
                )
            )
        return records

    def open_children(self, node_id: str) -> dict[str, OpenChild]:
        """By the ids of their Hatchet runs, what a node has asked for and what has not come to its end."""
        children: dict[str, OpenChild] = {}
        for offset in itertools.count(0, _LONG_PAGE):
            rows = self._list_open(parent_task_external_id=node_id, limit=_LONG_PAGE, offset=offset).rows
            for row in rows:
                is_task = row.task_external_id == row.workflow_run_external_id
                key = task_key(row) if is_task else None
                children[row.workflow_run_external_id] = OpenChild(key, row.status is V1TaskStatus.QUEUED)
            if len(rows) < _LONG_PAGE:
                break
        return children

    def is_assigned(self, workflow_run_id: str) -> bool:
        """Whether a Hatchet run of one task is a worker's, by the engine's book and not by its list."""
        with errors_mapped(self.address):
            return is_assigned(self._client.admin.get_details(workflow_run_id))

    def give_back(self, task: TaskKey, worker_id: str) -> None:
        """Have a task given out again that never came to its worker.

        Args:
            task: The task.
            worker_id: Any worker of the tenant's, which tells it.
        """
        channel = new_conn(self.hatchet.config, False)
        tell: Any = getattr(DispatcherStub(channel), "SendStepActionEvent")  # noqa: B009 - the stub has no types
        metadata = create_authorization_header(self.hatchet.config.token)
        with errors_mapped(self.address), contextlib.closing(channel):
            tell(never_came(task, worker_id), metadata=metadata, timeout=_CONNECT_TIMEOUT_S)

    def ending(self, workflow_run_id: str) -> WorkflowRunDetail | None:
        """What has become of a Hatchet run; None where it has not come to its end."""
        with errors_mapped(self.address):
            details = self._client.admin.get_details(workflow_run_id)
        return details if details.done else None

    def is_over(self, submission: Submission) -> bool:
        """Whether a submission has come to its end: the engine tells that at once, while what it lists lags behind."""
        with errors_mapped(self.address):
            try:
                return self._client.admin.get_details(submission.workflow_run_id).done
            except grpc.RpcError as error:
                if _code_of(error) is not grpc.StatusCode.NOT_FOUND:
                    raise
        # it does not know it yet, or no more
        return datetime.now(UTC) - submission.made_at > _KNOWN_AFTER

    def cancel(self, key: str, *, running: bool = False, submissions: Sequence[Submission] = ()) -> None:
        """Cancel what is queued of a run.

        Args:
            key: The run: `run_key`.
            running: Whether what has been started is cancelled as well.
            submissions: Those whose root nodes are cancelled then, also where the engine does not list them yet.
        """
        if running and submissions:
            with errors_mapped(self.address):
                self.hatchet.runs.bulk_cancel(BulkCancelReplayOpts(ids=[each.workflow_run_id for each in submissions]))
        statuses = [V1TaskStatus.QUEUED, *([V1TaskStatus.RUNNING] if running else [])]
        options = BulkCancelReplayOpts(
            filters=RunFilter(
                since=datetime.now(UTC) - _SINCE,
                statuses=statuses,
                additional_metadata={META_KEY: key},
            )
        )
        with errors_mapped(self.address):
            self.hatchet.runs.bulk_cancel(options)

    def open_runs(self, key: str) -> int:
        """The number of Hatchet runs of a run that have not come to their end, as far as the first page shows."""
        return len(self._open({META_KEY: key}))

    def task_of(self, key: str) -> str | None:
        """The name of the tasks of a run that is under way; None when it is not."""
        tasks = [task for metadata in self._open({META_KEY: key}) if (task := metadata.get(META_TASK))]
        return str(tasks[0]) if tasks else None

    def waiting_tasks(self, experiment: str) -> set[str]:
        """The names of the tasks of all runs of an experiment that are under way."""
        metadata_of_roots = self._open({"node": "root"}, limit=_LONG_PAGE)
        found = [metadata for metadata in metadata_of_roots if metadata.get("experiment") == experiment]
        return {str(task) for metadata in found if (task := metadata.get(META_TASK))}

    def _open(self, metadata: dict[str, str], limit: int = _PAGE) -> list[dict[str, Any]]:
        """The metadata of what has not come to its end, newest first: the first page."""
        page = self._list_open(additional_metadata=metadata, limit=limit)
        return [dict(row.additional_metadata or {}) for row in page.rows]

    def _list_open(self, **filters: Any) -> V1TaskSummaryList:
        with errors_mapped(self.address), warnings.catch_warnings():
            # the SDK warns of long ranges; the filters narrow this one down
            warnings.simplefilter("ignore", RuntimeWarning)
            return self.hatchet.runs.list(
                since=datetime.now(UTC) - _SINCE,
                statuses=[V1TaskStatus.QUEUED, V1TaskStatus.RUNNING],
                include_payloads=False,
                **filters,
            )


def wait_until_closed(
    connection: Connection, key: str, timeout_s: float, submissions: Sequence[Submission] = ()
) -> bool:
    """Wait until nothing of a run is queued or running.

    Args:
        connection: The engine.
        key: The run: `run_key`.
        timeout_s: For how long.
        submissions: What its folder has of them.
    """
    deadline = time.monotonic() + timeout_s
    while connection.open_runs(key) or not all(connection.is_over(each) for each in submissions):
        if time.monotonic() > deadline:
            return False
        time.sleep(1.0)
    return True
