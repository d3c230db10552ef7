"""The Hatchet client, made on first use, of the engine that HATCHET_CLIENT_* name or of an embedded one."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING

from scythe_cli.errors import EngineError

if TYPE_CHECKING:
    from hatchet_sdk import Hatchet
    from pydantic_core import ErrorDetails


__all__ = ["EMBEDDED_VARIABLE", "client_of", "get_hatchet", "project_client", "stop_embedded"]


EMBEDDED_VARIABLE = "SCYTHE_HATCHET_EMBEDDED"
"""Set for the worker that is started beside an embedded engine, whose address the SDK hands down by itself."""

_clients: dict[tuple[bool, str | None], Hatchet] = {}  # by `embedded` and `namespace`; making one takes a second
_embedded: ContextVar[bool | None] = ContextVar("embedded", default=None)
_namespace: ContextVar[str | None] = ContextVar("namespace", default=None)

_NAMESPACE_VARIABLE = "HATCHET_CLIENT_NAMESPACE"


@contextmanager
def client_of(embedded: bool, namespace: str | None = None) -> Generator[None]:
    """Let `hatchet` be the client of one kind of engine while inside.

    Args:
        embedded: Whether the engine lives beside this process.
        namespace: What the project's tasks are named under, unless HATCHET_CLIENT_NAMESPACE says it.
    """
    tokens = _embedded.set(embedded), _namespace.set(namespace)
    try:
        yield
    finally:
        _embedded.reset(tokens[0])
        _namespace.reset(tokens[1])


def stop_embedded() -> None:
    """End an engine that was started beside this process; the next client starts it again."""
    client = _clients.pop((True, None), None)
    if client is not None:
        client.stop_embedded()


def get_hatchet(embedded: bool | None = None, namespace: str | None = None) -> Hatchet:
    """A client, made on first use.

    Args:
        embedded: Whether it is that of an engine that the SDK starts beside this process, and that ends with it, or of
            the engine that the HATCHET_CLIENT_* variables name; unless given, the one that is being loaded for, else
            the one that this process was started for.
        namespace: What its tasks are named under, unless HATCHET_CLIENT_NAMESPACE says it; that of what is being
            loaded unless given. An engine beside this process needs none.

    Raises:
        EngineError: If there is no token, or the variables are not right.
    """
    if embedded is None:
        embedded = _embedded.get()
    if embedded is None:
        embedded = bool(os.environ.get(EMBEDDED_VARIABLE))
    key = embedded, None if embedded else namespace or _namespace.get()
    client = _clients.get(key)
    if client is None:
        client = _clients[key] = _made(*key)
    return client


def project_client() -> Callable[[], Hatchet]:
    """What gives, later, the client of the project that is being loaded now."""
    return partial(get_hatchet, _embedded.get(), _namespace.get())


def _made(embedded: bool, namespace: str | None) -> Hatchet:
    from pydantic import ValidationError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the SDK's own, about what it calls while it loads
        from scythe_cli.engines.hatchet.sdk_patches import client_config, fast_loading

        with fast_loading():
            from hatchet_sdk import Hatchet

    _log_to_stderr()
    if embedded:
        return _from_embedded(Hatchet)
    try:
        return Hatchet(config=client_config(None if os.environ.get(_NAMESPACE_VARIABLE) else namespace))
    except (ValidationError, ValueError) as error:
        # the SDK's own text may repeat the token
        raise EngineError(
            f"no Hatchet client can be made: {_reason(error)}",
            hint="Set HATCHET_CLIENT_TOKEN, and HATCHET_CLIENT_TLS_STRATEGY=none for an engine without TLS; "
            "embedded = true under [hatchet] starts an engine on this machine.",
        ) from None


def _log_to_stderr() -> None:
    """Keep stdout for what a command was asked for; the SDK logs to it."""
    for handler in logging.getLogger("hatchet").handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            handler.setStream(sys.stderr)


def _from_embedded(cls: type[Hatchet]) -> Hatchet:
    from pydantic import ValidationError

    try:
        return cls.from_embedded()
    except (RuntimeError, OSError, TimeoutError, ValidationError) as error:
        reason = _reason(error) if isinstance(error, ValidationError) else str(error)
        raise EngineError(
            f"the embedded Hatchet engine cannot be started: {reason}",
            hint="It is downloaded once; HATCHET_CLIENT_EMBEDDED_BINARY_PATH can name a file that you have.",
        ) from None


def _reason(error: Exception) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return "; ".join(_wording(details) for details in error.errors(include_input=False))
    return "the HATCHET_CLIENT_* variables are wrong"


def _wording(details: ErrorDetails) -> str:
    place = ".".join(map(str, details["loc"]))
    # the SDK's hint is the beginning of the token
    message = details["msg"].removeprefix("Value error, ").partition(" Hint:")[0]
    return f"{place}: {message}" if place else message
