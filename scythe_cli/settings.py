"""What the environment can say."""

from __future__ import annotations

from scythe_cli.model.settings import (
    EngineSettings,
    ScytheStorageSettings,
    TimeoutSettings,
)

__all__ = [
    "EngineSettings",
    "ScytheStorageSettings",
    "TimeoutSettings",
]
