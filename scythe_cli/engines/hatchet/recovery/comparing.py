"""A worker compares what it has told the engine with what the engine has booked, and says what is missing."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc

from scythe_cli.engines.hatchet.recovery.reports import Final, Reports, TaskKey
from scythe_cli.engines.hatchet.recovery.sightings import Sightings

if TYPE_CHECKING:
    from hatchet_sdk.clients.admin import WorkflowRunDetail
    from hatchet_sdk.contracts.dispatcher_pb2 import StepActionEvent

__all__ = ["compare_for_ever", "is_assigned", "never_came", "task_key"]

logger = logging.getLogger("hatchet")

_CALM_S = 60.0
_TROUBLED_S = 10.0
_TROUBLE_LASTS_S = 300.0
"""How often a worker asks what the engine has booked: more often for a while after a request that failed."""

_PAGE = 1000
_MAX_ROOTS = 50
_NEVER_CAME_S = 20.0
_TELL_S = 30.0


async def compare_for_ever(process: Any, reports: Reports) -> None:
    """Compare now and then, and more often after a trouble, until it is cancelled.

    Args:
        process: The SDK's second process of a worker, `WorkerActionListenerProcess`.
        reports: What it has told.
    """
    from hatchet_sdk.clients.rest.exceptions import OpenApiException

    looked_s = time.monotonic()
    never_came_roots: Sightings[TaskKey] = Sightings(_NEVER_CAME_S)
    while True:
        await asyncio.sleep(_TROUBLED_S)
        if not process.listener.last_heartbeat_succeeded:
            reports.had_trouble()
        since_s = reports.trouble_since_s()
        doubtful = reports.doubtful()
        is_calm = (since_s is None or since_s > _TROUBLE_LASTS_S) and not doubtful
        if is_calm and time.monotonic() - looked_s < _CALM_S:
            continue
        looked_s = time.monotonic()
        try:
            listed = await asyncio.to_thread(_running_on, process.client, process.listener.worker_id)
            listed += await asyncio.to_thread(_not_booked, process.client, doubtful)
            roots = await asyncio.to_thread(_roots_of_nobody, process.client)
        except (OpenApiException, grpc.RpcError, OSError, ValueError):
            reports.had_trouble()
            continue
        again, strange = reports.compare(listed)
        for final in again:
            logger.warning(
                "the engine has lost what became of task %s: it is told again", final.arguments[0].step_run_id
            )
            try:
                await asyncio.wait_for(process.dispatcher_client.send_step_action_event(*final.arguments), _TELL_S)
            except TimeoutError:
                reports.had_trouble()
        for task in [*strange, *never_came_roots.look(roots)]:
            logger.warning("task %s never came to its worker: the engine is told to give it out again", task[0])
            await _give_back(process, task)


def _running_on(client: Any, worker_id: str) -> list[TaskKey]:
    """The tasks that run at a worker, as the engine lists it."""
    from hatchet_sdk.clients.rest.models.v1_task_status import V1TaskStatus

    rows = _tasks(client, V1TaskStatus.RUNNING, _PAGE, worker_id=worker_id)
    return [task_key(row) for row in rows]


def _roots_of_nobody(client: Any) -> list[TaskKey]:
    """The nodes at the roots of runs that are queued by the list, and a worker's by the book.

    What is asked for by a node is looked after by that node; see `Answers`.
    """
    from hatchet_sdk.clients.rest.models.v1_task_status import V1TaskStatus

    rows = _tasks(client, V1TaskStatus.QUEUED, _MAX_ROOTS, additional_metadata={"node": "root"})
    booked = ((row, _details(client, row.workflow_run_external_id)) for row in rows)
    return [task_key(row) for row, details in booked if details is not None and is_assigned(details)]


def task_key(row: Any) -> TaskKey:
    """The task and its attempt, of a row of the engine's list."""
    return row.task_external_id, row.retry_count or 0


def is_assigned(details: WorkflowRunDetail) -> bool:
    """Whether a Hatchet run of one task is a worker's, by the engine's book and not by its list."""
    return [run.status.value for run in details.task_runs.values()] == ["RUNNING"]


def _tasks(client: Any, status: Any, limit: int, **filters: Any) -> Sequence[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of long ranges
        page = client.runs.list(
            since=datetime.now(UTC) - timedelta(days=31),
            only_tasks=True,
            statuses=[status],
            limit=limit,
            include_payloads=False,
            **filters,
        )
    return page.rows


def _not_booked(client: Any, finals: list[tuple[TaskKey, Final]]) -> list[TaskKey]:
    """Those of finished tasks that go on as the engine sees it, whatever it lists."""
    open_: list[TaskKey] = []
    for task, final in finals:
        details = _details(client, final.arguments[0].workflow_run_id)
        final.is_booked = details is None or details.done
        if not final.is_booked:
            open_.append(task)
    return open_


def _details(client: Any, workflow_run_id: str) -> Any:
    """What the engine has booked of a Hatchet run; None where it no longer knows it."""
    try:
        return client.admin.get_details(workflow_run_id)
    except grpc.RpcError as error:
        if not isinstance(error, grpc.Call) or error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        return None


def never_came(task: TaskKey, worker_id: str) -> StepActionEvent:
    """What tells the engine that a task is at no worker: it gives it out again, as one more of its retries.

    Args:
        task: The task.
        worker_id: The worker that tells it.
    """
    from hatchet_sdk.contracts.dispatcher_pb2 import STEP_EVENT_TYPE_FAILED, StepActionEvent

    event = StepActionEvent(
        worker_id=worker_id,
        task_run_external_id=task[0],
        event_type=STEP_EVENT_TYPE_FAILED,
        event_payload=json.dumps({"message": "the task never came to its worker"}),
        retry_count=task[1],
    )
    event.event_timestamp.GetCurrentTime()
    return event


async def _give_back(process: Any, task: TaskKey) -> None:
    from hatchet_sdk.utils.api_auth import create_authorization_header

    listener = process.listener
    try:
        await listener.aio_client.SendStepActionEvent(
            never_came(task, listener.worker_id), metadata=create_authorization_header(listener.token), timeout=_TELL_S
        )
    except grpc.RpcError as error:
        logger.warning("it could not be told: %s", type(error).__name__)
