"""The SDK's configuration, for who does not lose what a task has done when the engine loses its database.

An engine whose database is away answers every request with UNAUTHENTICATED, since it cannot look up the token. The SDK
takes that for final, so that the end of a task that falls into such a moment is never told, and its slot stays taken
until the time limit of the task. A token that is really wrong is found out before a worker starts (`client.connect`).
"""

from __future__ import annotations

import grpc
import tenacity
from hatchet_sdk.clients.dispatcher.dispatcher import DispatcherClient
from hatchet_sdk.clients.rest.tenacity_utils import tenacity_should_retry
from hatchet_sdk.config import ClientConfig

__all__ = ["PatientConfig"]

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
