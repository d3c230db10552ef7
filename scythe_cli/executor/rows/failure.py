"""What is told about a spec that did not succeed."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from scythe_cli.core.states import State
from scythe_cli.errors import ScytheError
from scythe_cli.model.functions.reference import SCRIPT_MODULE

__all__ = ["PACKAGE_FOLDER", "Failure", "cut_middle", "failure_from", "safe_text"]


MESSAGE_LIMIT = 2_000
TRACEBACK_LIMIT = 20_000
_NAME_LIMIT = 200

PACKAGE_FOLDER = f"{Path(__file__).parents[2]}/"
"""Where the code of this package is: what a file of a frame begins with that is not the user's."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt did not succeed.

    Attributes:
        state: `failed`, `timeout` or `crashed`.
        error_type: The kind of error: the name of its class, or of a signal.
        message: What happened.
        traceback: Where; None when it was not in the user's code.
    """

    state: State
    error_type: str
    message: str
    traceback: str | None = None


def failure_from(error: BaseException) -> Failure:
    """Describe an exception that came out of running a spec."""
    state = State.CRASHED if isinstance(error, MemoryError) else State.FAILED
    return Failure(state, _name_of(type(error)), cut_middle(_message_of(error), MESSAGE_LIMIT), _traceback_of(error))


def _name_of(cls: type[BaseException]) -> str:
    module: Any = cls.__module__  # a class can say anything here
    name = cut_middle(safe_text(cls.__qualname__), _NAME_LIMIT)
    if not isinstance(module, str) or module in ("builtins", SCRIPT_MODULE) or module.startswith("scythe_cli."):
        return name
    return f"{safe_text(module)}.{name}"


def _message_of(error: BaseException) -> str:
    try:
        if isinstance(error, MemoryError) and not str(error):
            return "out of memory"
        return safe_text(str(error) or repr(error))
    except BaseException as second:  # noqa: BLE001 - a user's class may do anything here
        return f"(its message cannot be shown: __str__ raised {type(second).__name__})"


def _traceback_of(error: BaseException) -> str | None:
    trace = _first_foreign(error.__traceback__)
    if trace is None and isinstance(error, ScytheError):
        return None
    try:
        text = "".join(traceback.format_exception(type(error), error, trace))
    except BaseException:  # noqa: BLE001 - a user's class may do anything here
        text = "".join(traceback.format_tb(trace))
    return cut_middle(safe_text(text.rstrip().replace(f"{SCRIPT_MODULE}.", "")), TRACEBACK_LIMIT)


def _first_foreign(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame on that is not of this package."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(PACKAGE_FOLDER):
        trace = trace.tb_next
    return trace


def safe_text(text: str) -> str:
    """The text with everything that is not valid Unicode escaped, so that a column can hold it."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def cut_middle(text: str, limit: int) -> str:
    """The text, without its middle where it is longer than the limit; begin and end tell most."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"
