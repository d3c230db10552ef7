"""Where specs run: `local` processes, or a `hatchet` fleet."""

from __future__ import annotations

from scythe_cli.engines.base import (
    Engine,
)
from scythe_cli.errors import UsageError

__all__ = ["ENGINE_NAMES", "get_engine"]


ENGINE_NAMES = ("local", "hatchet")


def get_engine(name: str) -> Engine:
    """The engine of a name.

    Raises:
        UsageError: If there is none of this name.
    """
    if name == "local":
        from scythe_cli.engines.local import LocalEngine

        return LocalEngine()
    if name == "hatchet":
        from scythe_cli.engines.hatchet.engine import HatchetEngine

        return HatchetEngine()
    raise UsageError(f"there is no engine {name!r}", hint=f"Engines are {' and '.join(ENGINE_NAMES)}.")
