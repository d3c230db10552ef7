"""Loads `hatchet_sdk`, when it is imported, in two thirds of the time that the SDK takes by itself.

Its REST client lets pydantic check the arguments of some 450 methods, and makes what checks them when it is imported.
Here that is made when a method is called for the first time.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from types import FrameType
from typing import Any

import grpc
import pydantic
import tenacity
from hatchet_sdk.clients.dispatcher.dispatcher import DispatcherClient
from hatchet_sdk.clients.rest.tenacity_utils import tenacity_should_retry
from hatchet_sdk.config import ClientConfig

from scythe_cli.errors import StoppedError

__all__ = ["PatientConfig", "end_at_once", "lifespan_of", "stop_at_second_signal"]


def _load() -> None:
    eager: Any = pydantic.validate_call

    def validate_call(function: Any = None, /, **options: Any) -> Any:
        if not callable(function) or options:
            return eager(function, **options)
        return _checked_when_called(function, eager)

    pydantic.validate_call = validate_call
    try:
        import hatchet_sdk  # noqa: F401  # pyright: ignore[reportUnusedImport]
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


if "hatchet_sdk" not in sys.modules:
    _load()

_ATTEMPTS = 60
"""With waits of up to 10 s between them: about ten minutes."""


class PatientConfig(ClientConfig):
    """The SDK's configuration.

    A worker's second process, which talks to the engine, gets it pickled: to read it, that process imports this module,
    and so does the same.
    """


def _should_retry(error: BaseException) -> bool:
    if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return error.code() is grpc.StatusCode.UNAUTHENTICATED or tenacity_should_retry(error)
    return tenacity_should_retry(error)


def _be_patient() -> None:
    # tenacity's way to change a decorated function's settings; the SDK has no setting of its own for this request
    send = getattr(DispatcherClient, "_try_send_step_action_event", None)
    retrying = getattr(send, "retry", None)
    if isinstance(retrying, tenacity.AsyncRetrying):
        retrying.retry = tenacity.retry_if_exception(_should_retry)
        retrying.stop = tenacity.stop_after_attempt(_ATTEMPTS)


_be_patient()

_CHECK_S = 0.5
_LAST_WORDS_S = 2.0


def lifespan_of(worker: Callable[[], Any]) -> Callable[[], AsyncGenerator[None, None]]:
    """What the SDK runs beside a worker, from its start to its end.

    When a worker is told to end, the SDK hands back the nodes that wait, once. A specs' task that finishes a moment
    later wakes its node again, and the server may give it to the same worker before it has noticed that this one takes
    nothing more. Such a node would wait for tasks that nobody here runs, and the worker would never end.

    Args:
        worker: Gives the SDK's worker.
    """

    async def hand_back() -> None:
        while True:
            await asyncio.sleep(_CHECK_S)
            it = worker()
            # the SDK has no public name for either of these
            if it is not None and it._killing and it._action_runner is not None:
                await it._action_runner.evict_all_waiting_durable_runs()

    async def lifespan() -> AsyncGenerator[None, None]:
        task = asyncio.create_task(hand_back())
        try:
            yield None
        finally:
            task.cancel()

    return lifespan


def stop_at_second_signal(kill: Callable[[], None]) -> None:
    """Make the second SIGTERM or SIGINT end this process at once; the SDK itself would wait for what runs.

    Args:
        kill: Ends what runs.
    """
    seen: list[int] = []

    def around(handler: Any) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            seen.append(number)
            if len(seen) == 1:
                handler(number, frame)
                return
            kill()
            raise SystemExit(1)

        return handle

    for number in (signal.SIGTERM, signal.SIGINT):
        handler = signal.getsignal(number)  # the SDK's
        if callable(handler):
            signal.signal(number, around(handler))


def end_at_once() -> None:
    """End the SDK's own processes, leave unsaid what its tasks would complain about, and end this process soon."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    for process in multiprocessing.active_children():
        process.kill()
    # the interpreter would wait for the SDK's threads, which wait for what has just been ended
    timer = threading.Timer(_LAST_WORDS_S, os._exit, [StoppedError.exit_code])
    timer.daemon = True
    timer.start()
