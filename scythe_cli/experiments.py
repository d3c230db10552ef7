"""Experiments from Python, with the names and shapes of scythe-engine 1.3."""

from __future__ import annotations

from scythe_cli.compat.experiments import (
    BaseExperiment,
    ExperimentNotFoundError,
    ExperimentRun,
    ExperimentSpecsMismatchError,
    RunRef,
    SemVer,
    VersionedExperiment,
    VersioningStrategy,
)

__all__ = [
    "BaseExperiment",
    "ExperimentNotFoundError",
    "ExperimentRun",
    "ExperimentSpecsMismatchError",
    "RunRef",
    "SemVer",
    "VersionedExperiment",
    "VersioningStrategy",
]
