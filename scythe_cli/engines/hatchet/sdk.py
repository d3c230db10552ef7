"""Loads `hatchet_sdk`, when it is imported, in two thirds of the time that the SDK takes by itself.

Its REST client lets pydantic check the arguments of some 450 methods, and makes what checks them when it is imported.
Here that is made when a method is called for the first time.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import pydantic


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
