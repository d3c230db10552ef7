"""What is changed of `hatchet_sdk`, and what is used of its private parts; nothing else in the package does either.

It was written for the versions in `PATCHED_VERSIONS`. With any other one, which `is_patched` tells by the version of
the installed distribution, the SDK is left as it is:

| what is done | with other versions |
| --- | --- |
| `fast_loading` takes two thirds of the time to import the SDK | it takes all of it |
| `client_config` has a worker report for ten minutes what became of a task | the SDK gives up after three |
| `evict_waiting_nodes` hands back nodes while a worker ends | the SDK alone does, once |
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pydantic

if TYPE_CHECKING:
    from hatchet_sdk.config import ClientConfig


__all__ = [
    "PATCHED_VERSIONS",
    "client_config",
    "evict_waiting_nodes",
    "fast_loading",
    "is_patched",
    "is_patched_version",
]


PATCHED_VERSIONS = frozenset({(1, 43)})
"""Major and minor numbers."""

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


def client_config() -> ClientConfig:
    """The configuration of a client, from the HATCHET_CLIENT_* variables.

    Where the engine is down, or does not know the worker's token for a moment, what became of a task is reported
    again and again by this process, and by the second one of a worker, which gets the configuration pickled.

    Raises:
        ValidationError: If there is no token, or a variable is not right.
        ValueError: If the token is none.
    """
    if is_patched():
        _report_patiently()
        return _patient_config()()
    from hatchet_sdk.config import ClientConfig

    return ClientConfig()


@functools.cache
def _patient_config() -> type[ClientConfig]:
    from hatchet_sdk.config import ClientConfig

    class PatientConfig(ClientConfig):
        def __reduce__(self) -> tuple[Any, ...]:
            return _unpickled, (self.__getstate__(),)

    return PatientConfig


def _unpickled(state: Any) -> ClientConfig:
    _report_patiently()
    cls = _patient_config()
    config = cls.__new__(cls)
    config.__setstate__(state)
    return config


@functools.cache
def _report_patiently() -> None:
    import grpc
    import tenacity
    from hatchet_sdk.clients.dispatcher.dispatcher import DispatcherClient
    from hatchet_sdk.clients.rest.tenacity_utils import tenacity_should_retry

    def should_retry(error: BaseException) -> bool:
        if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call | grpc.aio.AioRpcError):
            return error.code() is grpc.StatusCode.UNAUTHENTICATED or tenacity_should_retry(error)
        return tenacity_should_retry(error)

    # tenacity's way to change a decorated function's settings; the SDK has no setting of its own for this request
    send = getattr(DispatcherClient, "_try_send_step_action_event", None)
    retrying = getattr(send, "retry", None)
    if isinstance(retrying, tenacity.AsyncRetrying):
        retrying.retry = tenacity.retry_if_exception(should_retry)
        retrying.stop = tenacity.stop_after_attempt(_ATTEMPTS)


async def evict_waiting_nodes(worker: Any) -> None:
    """Hand the nodes that wait back to the engine, if a worker is about to end.

    Args:
        worker: The SDK's.
    """
    # the SDK has no public name for either of these
    if is_patched() and worker._killing and worker._action_runner is not None:
        await worker._action_runner.evict_all_waiting_durable_runs()
