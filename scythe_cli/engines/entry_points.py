"""Engines by their names: ours, and those that other distributions add as entry points of `scythe_cli.engines`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scythe_cli.core.distribution import ENGINES, entry_point, entry_point_names
from scythe_cli.errors import EngineError, UsageError, first_line

if TYPE_CHECKING:
    from scythe_cli.engines.base import Engine

__all__ = ["check_engine_name", "get_engine", "is_engine", "needs_lease"]


def check_engine_name(name: str) -> str:
    """Return the name when there is an engine of this name.

    Raises:
        UsageError: If there is none.
    """
    if not is_engine(name):
        *others, last = entry_point_names(ENGINES)
        names = f"{', '.join(others)} and {last}" if others else last
        raise UsageError(f"there is no engine {name!r}", hint=f"Engines are {names}.")
    return name


def is_engine(name: str) -> bool:
    """Whether an engine of this name is installed."""
    return entry_point(ENGINES, name) is not None


def get_engine(name: str, settings: Mapping[str, Any] | None = None) -> Engine:
    """Make the engine of a name.

    Args:
        name: Its name.
        settings: What the table of its name in the configuration says.

    Raises:
        UsageError: If there is none of this name, or its settings are wrong.
        EngineError: If it cannot be loaded.
    """
    return _engine_class(check_engine_name(name))(settings or {})


def needs_lease(name: str | None) -> bool:
    """Whether one process at a time is at work on a run of an engine; False for an engine that is not installed."""
    return name is not None and is_engine(name) and _engine_class(name).needs_lease


def _engine_class(name: str) -> type[Engine]:
    from scythe_cli.engines.base import Engine

    point = entry_point(ENGINES, name)
    assert point is not None
    try:
        loaded: Any = point.load()
    except (ImportError, AttributeError) as error:
        raise EngineError(
            f"the engine {name!r} cannot be loaded from {point.value}: {first_line(error)}",
            hint="Reinstall the distribution that provides it, or choose another with --engine.",
        ) from error
    if not isinstance(loaded, type) or not issubclass(loaded, Engine):
        raise EngineError(
            f"the engine {name!r} cannot be used: {point.value} is not a subclass of scythe_cli.engines.base.Engine",
            hint="Choose another with --engine.",
        )
    return loaded
