"""Combining pandas tables of results."""

from __future__ import annotations

from scythe_cli.compat.frames import (
    transpose_dataframe_dict,
)

__all__ = [
    "transpose_dataframe_dict",
]
