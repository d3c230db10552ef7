"""Sampling files: reading them, and checking every cell against the input model."""

from __future__ import annotations

from scythe_cli.sampling.pieces import Helpers
from scythe_cli.sampling.problems import BadCellsError, CellProblem
from scythe_cli.sampling.round_trip import check_round_trip
from scythe_cli.sampling.table import SamplingTable, read_sampling_file

__all__ = ["BadCellsError", "CellProblem", "Helpers", "SamplingTable", "check_round_trip", "read_sampling_file"]
