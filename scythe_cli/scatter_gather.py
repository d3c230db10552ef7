"""The names under which scythe-engine has the shape of scatter/gather."""

from __future__ import annotations

from scythe_cli.core.recursion import (
    RecursionMap,
    RecursionSpec,
)

__all__ = [
    "RecursionMap",
    "RecursionSpec",
]
