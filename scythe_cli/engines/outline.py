"""How a run would be cut into pieces, before it is: what `scythe allocate --plan` tells of an engine."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Outline", "local_outline"]


@dataclass(frozen=True, slots=True)
class Outline:
    """The pieces of a run; None is what is not known before.

    Attributes:
        workers: Processes of this machine; None for an engine with workers of its own.
        nodes: Nodes of scatter/gather; None for an engine without.
        tasks: Tasks in the engine's queue; None for an engine without.
        rows_per_task: The most specs of one task.
        parts: Parts of the ledger.
        cores_per_task: Cores of one task, where the engine reserves them.
        tasks_at_once: Tasks that may run at the same time, where the engine limits them.
    """

    workers: int | None = None
    nodes: int | None = None
    tasks: int | None = None
    rows_per_task: int | None = None
    parts: int | None = None
    cores_per_task: int | None = None
    tasks_at_once: int | None = None


def local_outline(n: int, workers: int, spec_s: float | None) -> Outline:
    """The pieces of a run on this machine.

    Args:
        n: The number of specs to execute.
        workers: The number of processes.
        spec_s: How long one spec takes, in seconds; None when it is not known.
    """
    expected_s = None if spec_s is None else spec_s * n / max(1, min(workers, n))
    return Outline(workers=workers, parts=_local_parts(expected_s, n))


def _local_parts(expected_s: float | None, n: int) -> int | None:
    """How many parts the ledger of a run on this machine gets: see `LedgerWriter` for when one is written."""
    if not n:
        return 0
    if expected_s is None:
        return None
    if expected_s <= 100:
        parts = expected_s
    elif expected_s <= 3000:
        parts = 100 + 100 * math.log(expected_s / 100)
    else:
        parts = 100 + 100 * math.log(30) + (expected_s - 3000) / 30
    return max(1, min(n, math.ceil(parts)))
