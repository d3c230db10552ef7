"""Experiments from Python, with the names and shapes of scythe-engine 1.3."""

from __future__ import annotations

from scythe_cli.compat.experiments import (
    BaseExperiment,
    DatetimeFormat,
    ExperimentRun,
    ExperimentRunManifest,
    InputArtifactLocations,
    VersionedExperiment,
)
from scythe_cli.compat.faults import (
    BaseNotFoundError,
    DuplicateInputArtifactsError,
    ExperimentNotFoundError,
    ExperimentRunNotFoundError,
    ExperimentSpecsMismatchError,
    ExperimentVersionNotFoundError,
    SpecNotSucceededError,
)
from scythe_cli.compat.outcome import BatchResult, RunRef
from scythe_cli.compat.runnables import SerializableRunnable
from scythe_cli.core.semver import SemVer, VersioningStrategy

__all__ = [
    "BaseExperiment",
    "BaseNotFoundError",
    "BatchResult",
    "DatetimeFormat",
    "DuplicateInputArtifactsError",
    "ExperimentNotFoundError",
    "ExperimentRun",
    "ExperimentRunManifest",
    "ExperimentRunNotFoundError",
    "ExperimentSpecsMismatchError",
    "ExperimentVersionNotFoundError",
    "InputArtifactLocations",
    "RunRef",
    "SemVer",
    "SerializableRunnable",
    "SpecNotSucceededError",
    "VersionedExperiment",
    "VersioningStrategy",
]
