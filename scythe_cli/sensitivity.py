"""How much each input accounts for of an output."""

from __future__ import annotations

from scythe_cli.analysis.sensitivity import (
    FieldEffect,
    FieldEffects,
    SensitivityIndex,
    SobolIndices,
    field_effects,
    sobol_indices,
)
from scythe_cli.analysis.sobol import SobolEstimates, sobol_from_blocks

__all__ = [
    "FieldEffect",
    "FieldEffects",
    "SensitivityIndex",
    "SobolEstimates",
    "SobolIndices",
    "field_effects",
    "sobol_from_blocks",
    "sobol_indices",
]
