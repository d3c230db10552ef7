"""The Hatchet objects that a worker serves: the node of scatter/gather, and a task for each experiment."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from scythe_cli.engines.hatchet.client import Connection
from scythe_cli.engines.hatchet.nodes.children import Child, Spawner
from scythe_cli.engines.hatchet.nodes.leaf import LeafRunner, SpecFailedError, leaf_timeout
from scythe_cli.engines.hatchet.nodes.node import Node
from scythe_cli.engines.hatchet.nodes.results import ChildError, Lost
from scythe_cli.engines.hatchet.nodes.specstore import SpecStore
from scythe_cli.engines.hatchet.payloads import LeafOutput, NodeInput, NodeOutput, RunPointer, desired_labels
from scythe_cli.engines.hatchet.recovery.answers import OpenChild
from scythe_cli.engines.hatchet.recovery.reports import TaskKey
from scythe_cli.engines.hatchet.routing import NODE_NAME
from scythe_cli.engines.hatchet.sdk_patches import fast_loading, spawn_each
from scythe_cli.errors import EngineError, InvalidInputError, StorageError
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.settings import TimeoutSettings

with fast_loading():
    from hatchet_sdk import Context, DurableContext, EvictionPolicy, Hatchet, NonRetryableException
    from hatchet_sdk.clients.admin import WorkflowRunDetail
    from hatchet_sdk.exceptions import NonDeterminismError, TaskRunError
    from hatchet_sdk.labels import DesiredWorkerLabel
    from hatchet_sdk.runnables.workflow import BaseWorkflow
    from hatchet_sdk.types.trigger import TriggerWorkflowOptions, WorkflowRunTriggerConfig

__all__ = ["is_final", "leaf_definition", "leaf_tasks", "node_definition", "node_task"]


_logger = logging.getLogger("hatchet")

_LONG = timedelta(days=30)
"""Hatchet keeps runs for 30 days; nothing that it runs for us needs a limit of its own below that."""

_NODE_RETRIES = 20
_LASTING_RETRIES = 3
"""Where a storage cannot be used until somebody has mended something, another worker may be able to."""

_LEAF_RETRIES = 4

_HOPELESS = (InvalidInputError, NonDeterminismError, ValueError, TypeError, LookupError, AttributeError)
"""What would go wrong each time, unlike a storage or a connection that fails."""

_T = TypeVar("_T")

NodeFunction = Callable[[NodeInput, DurableContext], Awaitable[NodeOutput]]
LeafFunction = Callable[[Mapping[str, Any], Context], Awaitable[LeafOutput]]


class LeafInput(BaseModel):
    """The input of a task: a spec, or rows of a run. It is checked by the experiment's own model later."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @property
    def content(self) -> Mapping[str, Any]:
        """All of it."""
        return self.model_extra or {}


def node_definition(hatchet: Hatchet, function: NodeFunction) -> BaseWorkflow[Any]:
    """The node of scatter/gather as a Hatchet task, around a function."""
    settings = TimeoutSettings()
    chosen = settings.model_fields_set
    execution = settings.SCATTER_GATHER_EXECUTION if "SCATTER_GATHER_EXECUTION" in chosen else _LONG
    schedule = settings.SCATTER_GATHER_SCHEDULE if "SCATTER_GATHER_SCHEDULE" in chosen else _LONG

    @hatchet.durable_task(
        name=NODE_NAME,
        description="Runs the specs of a part of a run, and gathers what they produce.",
        input_validator=NodeInput,
        execution_timeout=execution,
        schedule_timeout=schedule,
        retries=_NODE_RETRIES,
        backoff_factor=2.0,
        backoff_max_seconds=60,
        # a node waits for as long as its specs take; only where durable slots run out it makes room
        eviction_policy=EvictionPolicy(ttl=None, allow_capacity_eviction=True),
    )
    async def scythe_scatter_gather(node_input: NodeInput, ctx: DurableContext) -> NodeOutput:
        return await function(node_input, ctx)

    return scythe_scatter_gather


def node_task(
    hatchet: Hatchet, specs: SpecStore, count_slots: Callable[[RunPointer], int | None] = lambda run: None
) -> BaseWorkflow[Any]:
    """The node of scatter/gather, for a worker.

    Args:
        hatchet: The SDK's client.
        specs: The specs of runs on this machine.
        count_slots: See `Node`.
    """
    spawn = _spawner(hatchet)

    async def run(node_input: NodeInput, ctx: DurableContext) -> NodeOutput:
        is_replay = ctx.invocation_count > 1 or ctx.retry_count > 0
        try:
            return await Node(node_input, spawn, specs, is_replay, count_slots).work()
        except _HOPELESS as error:
            raise NonRetryableException(f"{type(error).__name__}: {error}") from error
        except StorageError as error:
            if is_final(error, ctx.retry_count):
                raise NonRetryableException(". ".join(filter(None, (error.message, error.hint)))) from error
            raise

    return node_definition(hatchet, run)


def is_final(error: StorageError, n_retries: int) -> bool:
    """Whether a node that has met an error is not tried again, after so many retries."""
    return error.lasting and n_retries >= _LASTING_RETRIES


def leaf_definition(
    hatchet: Hatchet, experiment: RegisteredExperiment[Any, Any], function: LeafFunction, name: str
) -> BaseWorkflow[Any]:
    """An experiment as a Hatchet task of one of its names (`routing`), around a function."""
    options = experiment.options
    settings = TimeoutSettings()
    chosen = settings.model_fields_set
    schedule = settings.EXPERIMENT_SCHEDULE if "EXPERIMENT_SCHEDULE" in chosen else _LONG

    @hatchet.task(
        name=name,
        description=experiment.description or None,
        input_validator=_input_model(experiment),
        execution_timeout=leaf_timeout(options.execution_timeout.total_seconds(), options.retry_rule.times),
        schedule_timeout=options.schedule_timeout or schedule,
        # specs are tried again by the worker's processes; this is for storage that fails
        retries=_LEAF_RETRIES,
        backoff_factor=2.0,
        backoff_max_seconds=30,
        desired_worker_labels=_labels(desired_labels(options.desired_worker_labels)) or None,
        **dict(options.task_config),
    )
    async def run_specs(leaf_input: LeafInput, ctx: Context) -> LeafOutput:
        return await function(leaf_input.content, ctx)

    return run_specs


def leaf_tasks(hatchet: Hatchet, runner: LeafRunner) -> list[BaseWorkflow[Any]]:
    """An experiment, for a worker: a task for each name under which it is served."""

    async def run(task_input: Mapping[str, Any], ctx: Context) -> LeafOutput:
        try:
            return await runner.run(task_input, ctx)
        except SpecFailedError as error:
            raise NonRetryableException(error.message) from error

    return [leaf_definition(hatchet, runner.experiment, run, name) for name in runner.names]


def _input_model(experiment: RegisteredExperiment[Any, Any]) -> type[LeafInput]:
    """The input of a task, which shows the experiment's own schema in the dashboard."""
    model: type[BaseModel] = experiment.input_validator_type

    class Input(LeafInput):
        @classmethod
        def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> Any:
            del core_schema
            return handler(model.__pydantic_core_schema__)

    Input.__name__ = Input.__qualname__ = model.__name__
    return Input


def _labels(desired: Sequence[Mapping[str, Any]]) -> list[DesiredWorkerLabel]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of comparators that are numbers, as JSON has them
        return [DesiredWorkerLabel.model_validate(label) for label in desired]


def _spawner(hatchet: Hatchet) -> Spawner:
    # only for its method: what is run is said by each child
    anything = hatchet.workflow(name=NODE_NAME)
    connection = Connection(hatchet)

    async def spawn(children: Sequence[Child]) -> Sequence[Awaitable[Mapping[str, Any] | ChildError]]:
        configs = [
            WorkflowRunTriggerConfig(
                workflow_name=child.workflow,
                input=child.input,
                options=TriggerWorkflowOptions(
                    additional_metadata=child.metadata,
                    desired_worker_label=_labels(child.labels) or None,
                    priority=child.priority,
                ),
            )
            for child in children
        ]
        answers = await spawn_each(anything, configs, partial(_Children, connection))
        return [_answer(child, answer) for child, answer in zip(children, answers, strict=True)]

    return spawn


class _Children:
    """The children of a node, as the engine knows them: see `ChildrenAtEngine`."""

    def __init__(self, connection: Connection, node_id: str, worker_id: str) -> None:
        self._connection = connection
        self._node_id = node_id
        self._worker_id = worker_id

    async def list_open(self) -> Mapping[str, OpenChild] | None:
        return await self._asked("which children are open", self._connection.open_children, self._node_id)

    async def result_of(self, child_id: str) -> Callable[[], Any] | None:
        details = await self._asked(f"what has become of task {child_id}", self._connection.ending, child_id)
        if details is None:
            return None
        _logger.warning("the answer of task %s was lost on its way: the engine is asked for it", child_id)
        return partial(_ending, details)

    async def is_assigned(self, child_id: str) -> bool | None:
        return await self._asked(f"whether task {child_id} is a worker's", self._connection.is_assigned, child_id)

    async def give_back(self, task: TaskKey) -> None:
        _logger.warning("task %s came to no worker: the engine is told to give it out again", task[0])
        await self._asked(f"whether task {task[0]} is given out", self._connection.give_back, task, self._worker_id)

    async def _asked(self, what: str, ask: Callable[..., _T], *arguments: Any) -> _T | None:
        try:
            return await asyncio.to_thread(ask, *arguments)
        except EngineError as error:
            _logger.info("it cannot be told now %s: %s", what, error.message)
            return None


def _ending(details: WorkflowRunDetail) -> dict[str, Any]:
    """What a child gave back, in the form in which its answer has it.

    Raises:
        TaskRunError: If it failed.
    """
    runs = details.task_runs
    if details.status.value == "FAILED":
        raise TaskRunError.deserialize(next((run.error for run in runs.values() if run.error), "the task failed"))
    return {name: run.output for name, run in runs.items() if run.output is not None}


async def _answer(child: Child, answer: Awaitable[dict[str, Any]]) -> Mapping[str, Any] | ChildError:
    try:
        return _result(child, await answer)
    except TaskRunError as error:
        return _child_error(error)


def _result(child: Child, result: dict[str, Any] | None) -> Mapping[str, Any] | ChildError:
    if not result:
        return ChildError(Lost.CANCELLED, "Cancelled", "it was cancelled")
    if child.is_dag or len(result) != 1:
        return result
    only = next(iter(result.values()))
    return only if isinstance(only, Mapping) else result


def _child_error(error: TaskRunError) -> ChildError:
    return ChildError(Lost.FAILED, error.exc_type or "TaskError", error.exc or str(error))
