"""Registering functions as experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from scythe_cli.model.experiment import (
    ExperimentFunction,
    ExperimentOptions,
    RegisteredExperiment,
    TInput,
    TOutput,
    experiment_from_function,
)
from scythe_cli.model.registration import ExperimentRegistry, ExperimentTypeExists, ExperimentTypeNotFound, WorkflowLike

__all__ = [
    "ExperimentFunction",
    "ExperimentFunctionWithTempdir",
    "ExperimentFunctionWithoutTempdir",
    "ExperimentOptions",
    "ExperimentRegistry",
    "ExperimentStandaloneType",
    "ExperimentTypeExists",
    "ExperimentTypeNotFound",
    "ExperimentWorkflowType",
    "RegisteredExperiment",
    "Standalone",
    "TInput",
    "TOutput",
    "Workflow",
    "WorkflowLike",
    "experiment_from_function",
]


Standalone = RegisteredExperiment
"""What `Register()` makes of a function; scythe-engine made a Hatchet task."""

ExperimentStandaloneType = RegisteredExperiment[Any, Any]
"""A registered function."""

Workflow = WorkflowLike
"""Several tasks that together run one spec."""

ExperimentWorkflowType = WorkflowLike
"""A workflow that was included."""


class ExperimentFunctionWithoutTempdir(Protocol):
    """A function that takes a spec."""

    def __call__(self, input_spec: Any) -> Any:
        """Run one spec."""
        ...


class ExperimentFunctionWithTempdir(Protocol):
    """A function that takes a spec and a folder for its files."""

    def __call__(self, input_spec: Any, tempdir: Path) -> Any:
        """Run one spec."""
        ...
