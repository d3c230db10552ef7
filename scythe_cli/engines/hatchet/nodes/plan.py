"""How the rows of a node are cut into tasks, and tasks into waves. Pure arithmetic, no I/O.

A node is replayed from its start when it moves to another worker, and must then ask for the same tasks in the same
order. So a wave may depend on the node's rows and on what the first waves, the probes, have measured (a replay gets
the same outputs), and on nothing else: neither the time nor which task happens to finish first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Measured", "Shape", "WaveTiming", "count_tasks", "measure", "probe_size", "shape_of", "waves"]


_PROBES = 64
_PROBES_PER_NODE = 8
_TASK_S = 1.5
_MAX_ROWS = 20_000
_WAVE_S = 10.0
_WAVE_TASKS = (10, 20, 40, 80, 100)
_MAX_WAVE_TASKS = 500
_MAX_WAVE_BYTES = 32_000_000
_MAX_WAVE_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class WaveTiming:
    """How long a wave took.

    Attributes:
        n_rows: Its rows.
        busy_s: The time that they took, all together.
        packed_bytes: The size of their outcomes, as they were sent.
        span_s: From the first start of a row to the last end.
    """

    n_rows: int
    busy_s: float
    packed_bytes: int
    span_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What probes have shown.

    Attributes:
        row_s: The time that a row takes.
        row_bytes: The size of the outcome of a row, as it is sent.
        rows_per_s: Rows finished a second.
    """

    row_s: float
    row_bytes: float
    rows_per_s: float


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of tasks and waves.

    Attributes:
        rows_per_task: Rows in one task.
        tasks_per_wave: Tasks in one wave; None: a few in the first waves and more in later ones.
    """

    rows_per_task: int = 1
    tasks_per_wave: int | None = None


def probe_size(n_base_nodes: int) -> int:
    """How many rows a node runs one by one to see how long they take."""
    return max(_PROBES_PER_NODE, _PROBES // max(1, n_base_nodes))


def measure(probes: Sequence[WaveTiming]) -> Measured:
    """What waves of probes have shown; there is one at least."""
    n = sum(wave.n_rows for wave in probes)
    # the first wave includes the start of processes; the last tells more
    last = probes[-1]
    return Measured(
        row_s=sum(wave.busy_s for wave in probes) / max(1, n),
        row_bytes=sum(wave.packed_bytes for wave in probes) / max(1, n),
        rows_per_s=last.n_rows / last.span_s if last.span_s > 0 else 1e6,
    )


def shape_of(measured: Measured, n_rows: int) -> Shape:
    """The shape for the rest of a node, when the size of a task is left to measurement.

    Args:
        measured: What the probes have shown.
        n_rows: The remaining rows.
    """
    rows = _MAX_ROWS if measured.row_s <= 0 else int(_TASK_S / measured.row_s)
    if measured.row_bytes > 0:
        rows = min(rows, int(400_000 / measured.row_bytes))
    rows = max(1, min(rows, _MAX_ROWS, n_rows))
    tasks = int(measured.rows_per_s * _WAVE_S / rows)
    if measured.row_bytes > 0:
        tasks = min(tasks, int(_MAX_WAVE_BYTES / (measured.row_bytes * rows)))
    return Shape(rows, max(8, min(tasks, _MAX_WAVE_TASKS, _MAX_WAVE_ROWS // rows)))


def count_tasks(n_rows: int, shape: Shape, first: int = 0) -> tuple[int, int]:
    """How many tasks and waves `waves` would make of so many rows.

    Args:
        n_rows: The number of rows.
        shape: The size of tasks and waves.
        first: The number of waves that there have been before.
    """
    tasks = -(-n_rows // shape.rows_per_task)
    number, done = first, 0
    while done < tasks:
        done += _tasks_in_wave(shape, number)
        number += 1
    return tasks, number - first


def _tasks_in_wave(shape: Shape, number: int) -> int:
    n_tasks = shape.tasks_per_wave or _WAVE_TASKS[min(number, len(_WAVE_TASKS) - 1)]
    return max(1, min(n_tasks, _MAX_WAVE_ROWS // shape.rows_per_task))


def waves(rows: Sequence[int], shape: Shape, first: int = 0) -> Iterator[list[Sequence[int]]]:
    """Cut rows into waves of tasks.

    Args:
        rows: The rows, in order.
        shape: The size of tasks and waves.
        first: The number of waves that there have been before.
    """
    at, number = 0, first
    while at < len(rows):
        n_tasks = _tasks_in_wave(shape, number)
        wave: list[Sequence[int]] = []
        while len(wave) < n_tasks and at < len(rows):
            wave.append(rows[at : at + shape.rows_per_task])
            at += shape.rows_per_task
        yield wave
        number += 1
