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
    "timeout_settings",
]

timeout_settings: TimeoutSettings


def __getattr__(name: str) -> TimeoutSettings:
    if name == "timeout_settings":  # read when it is asked for: a wrong variable is no reason not to be imported
        return TimeoutSettings()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
