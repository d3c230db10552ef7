"""How a run would be cut into nodes and tasks of a fleet, before it is."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from scythe_cli.engines.hatchet.nodes.plan import Cut, Fleet, Shape, auto_cut, count_tasks
from scythe_cli.engines.outline import Outline

if TYPE_CHECKING:
    from scythe_cli.run.manifest import RecursionRecord

__all__ = ["fleet_outline"]


_SLOTS = 8
"""Of the fleet, as long as nobody knows it."""


def fleet_outline(n: int, recursion: RecursionRecord, per_task: int | str, spec_s: float | None) -> Outline:
    """The pieces of a run on a fleet, as far as they do not depend on what it measures itself.

    Args:
        n: The number of specs to execute.
        recursion: The shape of scatter/gather.
        per_task: Specs of one task, or `auto`.
        spec_s: How long one spec takes, in seconds; None when it is not known.
    """
    base, inner = _nodes(n, recursion.factor, recursion.max_depth)
    n_nodes = sum(base.values()) + inner
    tasks = parts = 0
    rows_per_task: int | None = None
    for rows, count in base.items():
        if isinstance(per_task, int):
            cut = Cut(*count_tasks(rows, Shape(per_task)), per_task)
        elif spec_s is None:
            return Outline(nodes=n_nodes)
        else:
            cut = auto_cut(rows, spec_s, Fleet(_SLOTS, sum(base.values())))
        tasks += count * cut.tasks
        parts += count * cut.rounds
        rows_per_task = max(rows_per_task or 1, cut.rows_per_task)
    return Outline(nodes=n_nodes, tasks=tasks, rows_per_task=rows_per_task, parts=parts)


def _nodes(n: int, factor: int, max_depth: int) -> tuple[Counter[int], int]:
    """Nodes that run specs, by how many they have, and the number of nodes above them; see `RecursionMap`."""
    level: Counter[int] = Counter({n: 1})
    base: Counter[int] = Counter()
    inner = 0
    for depth in range(max_depth + 1):
        below: Counter[int] = Counter()
        for rows, count in level.items():
            if depth >= max_depth or rows <= factor:
                base[rows] += count
                continue
            inner += count
            for offset in range(factor):
                share = len(range(offset, rows, factor))
                if share:
                    below[share] += count
        level = below
    return base, inner
