"""`hatchet`: the Hatchet client, made on first use, from the HATCHET_CLIENT_* variables."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from scythe_cli.errors import EngineError

if TYPE_CHECKING:
    from hatchet_sdk import Hatchet
    from pydantic_core import ErrorDetails

__all__ = ["get_hatchet", "hatchet"]

_client: Hatchet | None = None


def get_hatchet() -> Hatchet:
    """The client of this process.

    Raises:
        EngineError: If there is no token, or the variables are not right.
    """
    global _client
    if _client is None:
        from pydantic import ValidationError

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the SDK's own, about what it calls while it loads
            from hatchet_sdk import Hatchet

        try:
            _client = Hatchet()
        except (ValidationError, ValueError) as error:
            # the SDK's own text may repeat the token
            raise EngineError(
                f"no Hatchet client can be made: {_reason(error)}",
                hint="Set HATCHET_CLIENT_TOKEN, and HATCHET_CLIENT_TLS_STRATEGY=none for an engine without TLS.",
            ) from None
    return _client


def _reason(error: Exception) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return "; ".join(_wording(details) for details in error.errors(include_input=False))
    return "the HATCHET_CLIENT_* variables are not right"


def _wording(details: ErrorDetails) -> str:
    place = ".".join(map(str, details["loc"]))
    # the SDK's hint is the beginning of the token
    message = details["msg"].removeprefix("Value error, ").partition(" Hint:")[0]
    return f"{place}: {message}" if place else message


class _LazyHatchet:
    """Stands for the client, so that importing it needs neither a token nor the SDK."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(get_hatchet(), name)

    def __repr__(self) -> str:
        return "<the Hatchet client, made on first use>"


hatchet: Any = _LazyHatchet()
