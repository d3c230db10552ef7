"""Registering functions as experiments."""

from __future__ import annotations

from scythe_cli.model.experiment import (
    ExperimentFunction,
    ExperimentOptions,
    RegisteredExperiment,
    experiment_from_function,
)
from scythe_cli.model.registration import ExperimentRegistry, ExperimentTypeExists, ExperimentTypeNotFound, WorkflowLike

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
