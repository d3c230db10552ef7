"""What is changed of `hatchet_sdk`, and what is used of its private parts; nothing else in the package does either.

It was written for the versions in `PATCHED_VERSIONS`. With any other one, which `is_patched` tells by the version of
the installed distribution, the SDK is left as it is:

| what is done | with other versions |
| --- | --- |
| `fast_loading` takes two thirds of the time to import the SDK | it takes all of it |
| `client_config` has a worker report for ten minutes what became of a task | the SDK gives up after three |
| and say again what the engine has lost of that | a task that the engine has lost waits for its time limit |
| and its second process ends when the first is killed | it lives on for some 12 s, and is given tasks |
| `evict_waiting_nodes` hands back nodes while a worker ends | the SDK alone does, once |
| and listens for the answers of children whatever the engine ends its stream with | after some it listens no more |
| and knows at once that the engine has lost a request over that stream | it waits for a minute |
| `spawn_each` asks for many children in one message, and hears of each as it ends | a message for each |
| and asks for the answers that the stream has lost | a node waits for them for ever |
"""

from __future__ import annotations

import asyncio
import functools
import logging
import multiprocessing
import sys
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import grpc
import pydantic

from scythe_cli.core.processes import end_with_parent
from scythe_cli.engines.hatchet.recovery.answers import Answers, ChildrenAtEngine
from scythe_cli.engines.hatchet.recovery.comparing import compare_for_ever
from scythe_cli.engines.hatchet.recovery.pulse import Pulse, Waiting
from scythe_cli.engines.hatchet.recovery.reports import Reports

if TYPE_CHECKING:
    from hatchet_sdk.config import ClientConfig


__all__ = [
    "PATCHED_VERSIONS",
    "client_config",
    "evict_waiting_nodes",
    "fast_loading",
    "is_patched",
    "is_patched_version",
    "spawn_each",
]


logger = logging.getLogger("hatchet")

PATCHED_VERSIONS = frozenset({(1, 43)})
"""Major and minor numbers."""

_SLOW_S = 3.0

_GREET_S = 2.0
"""How long a node waits for the engine to take what it asks for, before the engine is greeted behind it."""

_ATTEMPTS = 60
"""With waits of up to 10 s between them: about ten minutes."""


def is_patched_version(text: str) -> bool:
    """Whether this module was written for a version of the SDK."""
    numbers = text.split(".")[:2]
    return all(number.isdecimal() for number in numbers) and tuple(map(int, numbers)) in PATCHED_VERSIONS


@functools.cache
def is_patched() -> bool:
    """Whether it was written for the version that is installed."""
    return is_patched_version(version("hatchet-sdk"))


@contextmanager
def fast_loading() -> Generator[None]:
    """Import `hatchet_sdk` inside this, for the first time, in less time.

    Its REST client lets pydantic check the arguments of some 450 methods, and makes what checks them when it is
    imported. Here that is made when a method is called for the first time.
    """
    if "hatchet_sdk" in sys.modules or not is_patched():
        yield
        return
    eager: Any = pydantic.validate_call

    def validate_call(function: Any = None, /, **options: Any) -> Any:
        if not callable(function) or options:
            return eager(function, **options)
        return _checked_when_called(function, eager)

    pydantic.validate_call = validate_call
    try:
        yield
    finally:
        pydantic.validate_call = eager


def _checked_when_called(function: Callable[..., Any], validate_call: Any) -> Callable[..., Any]:
    @functools.cache
    def checked() -> Callable[..., Any]:
        return validate_call(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return checked()(*args, **kwargs)

    return call


def client_config(namespace: str | None = None) -> ClientConfig:
    """The configuration of a client, from the HATCHET_CLIENT_* variables.

    Where the engine is down, or does not know the worker's token for a moment, what became of a task is reported
    again and again by this process, and by the second one of a worker, which gets the configuration pickled.

    Args:
        namespace: What tasks are named under, instead of what the variables say.

    Raises:
        ValidationError: If there is no token, or a variable is not right.
        ValueError: If the token is none.
    """
    options: dict[str, Any] = {} if namespace is None else {"namespace": namespace}
    if is_patched():
        _report_patiently()
        return _patient_config()(**options)
    from hatchet_sdk.config import ClientConfig

    return ClientConfig(**options)


@functools.cache
def _patient_config() -> type[ClientConfig]:
    from hatchet_sdk.config import ClientConfig

    class PatientConfig(ClientConfig):
        def __reduce__(self) -> tuple[Any, ...]:
            return _unpickled, (self.__getstate__(),)

    return PatientConfig


def _unpickled(state: Any) -> ClientConfig:
    # the second process of a worker that was killed would go on telling the engine that the worker lives
    if multiprocessing.parent_process() is not None:
        end_with_parent()
    _report_patiently()
    cls = _patient_config()
    config = cls.__new__(cls)
    config.__setstate__(state)
    return config


@functools.cache
def _report_patiently() -> None:
    import tenacity
    from hatchet_sdk.clients.dispatcher.dispatcher import DispatcherClient
    from hatchet_sdk.clients.rest.tenacity_utils import tenacity_should_retry

    def should_retry(error: BaseException) -> bool:
        if isinstance(error, asyncio.CancelledError):
            # whichever report finds the engine away closes the channel that all of them share
            task = asyncio.current_task()
            return task is not None and not task.cancelling()
        if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call | grpc.aio.AioRpcError):
            return error.code() is grpc.StatusCode.UNAUTHENTICATED or tenacity_should_retry(error)
        return tenacity_should_retry(error)

    # tenacity's way to change a decorated function's settings; the SDK has no setting of its own for this request
    _compare_reports()
    _listen_on()
    send = getattr(DispatcherClient, "_try_send_step_action_event", None)
    retrying = getattr(send, "retry", None)
    if isinstance(retrying, tenacity.AsyncRetrying):
        retrying.retry = tenacity.retry_if_exception(should_retry)
        retrying.stop = tenacity.stop_after_attempt(_ATTEMPTS)


def _listen_on() -> None:
    """Have a worker keep its stream of durable events alive, and give up at once what was lost on it."""
    from hatchet_sdk.clients.listeners import durable_event_listener as module

    listener: Any = module.DurableEventListener
    listen, connect, handle = listener._receive_loop, listener._connect, listener._handle_response

    async def listen_on(self: Any) -> None:
        await listen(self)
        task = asyncio.current_task()
        # it ends for a status CANCELLED of the engine's as it does when it is itself told to end
        while self._running and task is not None and not task.cancelling():
            self._fail_pending_acks(ConnectionResetError("the stream of durable events was ended"))
            await asyncio.sleep(module.DEFAULT_RECONNECT_INTERVAL)
            await self._connect()
            await listen(self)

    async def connect_anew(self: Any) -> None:
        await connect(self)
        self.pulse = Pulse()
        # what was not sent over the last stream is sent over this one, greetings too
        self.pulse.greetings_queued(sum(each.HasField("register_worker") for each in self._request_queue._queue))

    async def handle_and_note(self: Any, response: Any) -> None:
        self.pulse.heard(is_greeting=response.HasField("register_worker"))
        await handle(self, response)

    async def await_event_ack(self: Any, key: Any, future: asyncio.Future[Any]) -> Any:
        try:
            return await _acknowledged(self, future)
        finally:
            if self._pending_event_acks.get(key) is future:
                del self._pending_event_acks[key]

    listener._receive_loop = listen_on
    listener._connect = connect_anew
    listener._handle_response = handle_and_note
    listener._await_event_ack = await_event_ack


async def _acknowledged(listener: Any, future: asyncio.Future[Any]) -> Any:
    """The engine's answer to the request that was put into the queue last.

    Raises:
        ConnectionResetError: If the engine has not taken it. The attempt fails, and is made again.
    """
    pulse: Pulse = listener.pulse
    mark = pulse.mark()
    while True:
        await asyncio.wait((future,), timeout=_GREET_S)
        if future.done():
            return future.result()
        if pulse is not listener.pulse:
            # the request was put into the queue of the new stream too, if it had not been sent
            pulse, mark = listener.pulse, listener.pulse.mark()
        match pulse.look(mark):
            case Waiting.LOST:
                raise ConnectionResetError("the engine has not taken what was asked for")
            case Waiting.DEAD:
                logger.warning("the engine answers nothing over the stream of durable events: it is opened anew")
                listener._stream.cancel()
            case Waiting.WAIT:
                pulse.greetings_queued(1)
                await listener._register_worker()


def _compare_reports() -> None:
    """Have the second process of a worker say again what the engine has lost of it."""
    from hatchet_sdk.clients.dispatcher.dispatcher import DispatcherClient
    from hatchet_sdk.contracts.dispatcher_pb2 import (
        STEP_EVENT_TYPE_COMPLETED,
        STEP_EVENT_TYPE_FAILED,
        STEP_EVENT_TYPE_STARTED,
    )
    from hatchet_sdk.worker.action_listener_process import WorkerActionListenerProcess

    reports = Reports()
    dispatcher: Any = DispatcherClient
    listener: Any = WorkerActionListenerProcess
    send, start = dispatcher.send_step_action_event, listener.start

    async def send_and_note(self: Any, action: Any, event_type: Any, payload: str | None, *rest: Any) -> Any:
        task = action.step_run_id, action.retry_count
        if event_type == STEP_EVENT_TYPE_STARTED:
            reports.started(task)
        began_s = time.monotonic()
        answer: Any = None
        try:
            answer = await send(self, action, event_type, payload, *rest)
        finally:
            if answer is None or time.monotonic() - began_s > _SLOW_S:
                reports.had_trouble()
            if event_type in (STEP_EVENT_TYPE_COMPLETED, STEP_EVENT_TYPE_FAILED):
                reports.finished(task, (action, event_type, payload, *rest), len(payload or ""))
        return answer

    async def start_and_compare(self: Any, *arguments: Any) -> None:
        await start(self, *arguments)
        if self.listener is not None:
            self.comparing = asyncio.create_task(compare_for_ever(self, reports))  # kept, or it would be collected

    dispatcher.send_step_action_event = send_and_note
    listener.start = start_and_compare


async def evict_waiting_nodes(worker: Any) -> None:
    """Hand the nodes that wait back to the engine, if a worker is about to end.

    Args:
        worker: The SDK's.
    """
    # the SDK has no public name for either of these
    if is_patched() and worker._killing and worker._action_runner is not None:
        await worker._action_runner.evict_all_waiting_durable_runs()


async def spawn_each(
    workflow: Any, configs: list[Any], children_of: Callable[[str, str], ChildrenAtEngine]
) -> list[Awaitable[Any]]:
    """Ask for children of a durable task, and return what gives back the result of each as it comes.

    Args:
        workflow: Any workflow of the SDK's: what is run is said by each configuration.
        configs: The children.
        children_of: By the ids of a durable task and of its worker, what the engine knows of the children.
    """
    from hatchet_sdk.runnables.contextvars import ctx_durable_context

    context: Any = ctx_durable_context.get()
    if context is None or not is_patched() or not context._supports_durable_eviction:
        return [asyncio.ensure_future(_only(workflow, config)) for config in configs]
    answers = _answers.get(context)
    if answers is None:
        answers = _answers[context] = Answers(children_of(context.step_run_id, context.worker_id))
    refs = await context._spawn_children_no_wait(configs)
    return [
        answers.of(
            ref.workflow_run_external_id,
            context._aio_result_for_spawned_child(ref.node_id, ref.branch_id, ref.workflow_name),
        )
        for ref in refs
    ]


_answers: WeakKeyDictionary[Any, Answers] = WeakKeyDictionary()


async def _only(workflow: Any, config: Any) -> Any:
    (result,) = await workflow.aio_run_many([config])
    return result
