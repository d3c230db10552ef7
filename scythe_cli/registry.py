"""Registering functions as experiments."""

from __future__ import annotations

from scythe_cli.model.registration import (
    ExperimentFunction,
    ExperimentOptions,
    ExperimentRegistry,
    ExperimentTypeExists,
    ExperimentTypeNotFound,
    RegisteredExperiment,
    WorkflowLike,
    experiment_from_function,
)

__all__ = [
    "ExperimentFunction",
    "ExperimentOptions",
    "ExperimentRegistry",
    "ExperimentTypeExists",
    "ExperimentTypeNotFound",
    "RegisteredExperiment",
    "WorkflowLike",
    "experiment_from_function",
]
