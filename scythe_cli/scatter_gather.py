"""The shape of scatter/gather, and waiting for what was allocated, under the names of scythe-engine."""

from __future__ import annotations

from scythe_cli.compat.outcome import GatheredExperimentRuns, ScatterGatherResult
from scythe_cli.compat.scattering import (
    ResultDataContent,
    ScatterGatherInput,
    ZipDataContent,
    combine_experiment_outputs,
    scatter_gather,
    sift_results,
)
from scythe_cli.core.recursion import (
    RecursionMap,
    RecursionSpec,
)

__all__ = [
    "GatheredExperimentRuns",
    "RecursionMap",
    "RecursionSpec",
    "ResultDataContent",
    "ScatterGatherInput",
    "ScatterGatherResult",
    "ZipDataContent",
    "combine_experiment_outputs",
    "scatter_gather",
    "sift_results",
]
