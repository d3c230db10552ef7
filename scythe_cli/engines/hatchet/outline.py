"""How a run would be cut into nodes and tasks of a fleet, before it is."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from scythe_cli.engines.hatchet.nodes.plan import Measured, Shape, count_tasks, probe_size, shape_of
from scythe_cli.engines.outline import Outline

if TYPE_CHECKING:
    from scythe_cli.run.manifest import RecursionRecord

__all__ = ["fleet_outline"]


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
            shape, n_probes, probed = Shape(per_task), 0, (0, 0)
        elif spec_s is None:
            return Outline(nodes=n_nodes)
        else:
            n_probes = min(rows, probe_size(sum(base.values())))
            probed = count_tasks(n_probes, Shape(1, max(4, n_probes // 2)))
            measured = Measured(row_s=spec_s, row_bytes=0.0, rows_per_s=1 / spec_s if spec_s > 0 else 1e6)
            shape = shape_of(measured, rows - n_probes) if rows > n_probes else Shape(1)
        rest = count_tasks(rows - n_probes, shape, probed[1])
        tasks += count * (probed[0] + rest[0])
        parts += count * (probed[1] + rest[1])
        rows_per_task = max(rows_per_task or 1, shape.rows_per_task)
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
