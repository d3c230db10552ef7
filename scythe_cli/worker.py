"""Workers of a fleet, configured by `SCYTHE_WORKER_*`."""

from __future__ import annotations

from scythe_cli.services.worker import (
    ScytheWorkerConfig,
    ScytheWorkerLabel,
    Served,
    WorkerNameConfig,
    load_served,
)

__all__ = [
    "ScytheWorkerConfig",
    "ScytheWorkerLabel",
    "Served",
    "WorkerNameConfig",
    "load_served",
]
