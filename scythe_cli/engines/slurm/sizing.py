"""How many cases one task has, and what memory: decided here, without input or output."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scythe_cli.config.slurm import SlurmConfig
from scythe_cli.model.needs import Needs

__all__ = ["FIRST_TASKS", "Wave", "first_wave", "rows_of_task", "wave_of", "with_memory_of"]


FIRST_TASKS = 16
"""Tasks that are made at least where there is work of a minute for each, so that a small run uses a cluster as well."""

FIRST_WAVE_S = 60.0
"""After so long, tasks of a first wave begin no more cases: what they have measured sizes the next one."""

_SHORTEST_S = 60.0
_OWN_BYTES = 2**29
"""Memory of a task for this program itself."""

_SHARE_OF_LIMIT = 0.8


@dataclass(frozen=True, slots=True)
class Wave:
    """The tasks of one array.

    Attributes:
        rows_per_task: Cases of one task.
        n_tasks: The number of tasks.
        budget_s: After how long a task begins no more cases; None for its time limit alone.
    """

    rows_per_task: int
    n_tasks: int
    budget_s: float | None = None


def first_wave(n_rows: int, *, cpus: int, max_tasks: int, array_limit: int | None) -> Wave:
    """Tasks for cases of which nobody knows how long they take.

    All cases are shared among a few tasks. If they turn out short, these do them all; else each task stops after a
    minute, or after one case on each core, and the rest is shared among as many tasks as it then takes.
    """
    wanted = min(FIRST_TASKS, max_tasks, array_limit or FIRST_TASKS, math.ceil(n_rows / cpus))
    return _cut(n_rows, math.ceil(n_rows / max(1, wanted)), FIRST_WAVE_S)


def wave_of(
    n_rows: int,
    row_s: float,
    *,
    cpus: int,
    task_s: float,
    time_limit_s: float | None,
    max_tasks: int,
) -> Wave:
    """Tasks for cases that take so long.

    Args:
        n_rows: The cases.
        row_s: How long one takes, in seconds.
        cpus: Cores of one task.
        task_s: How long one task should take.
        time_limit_s: How long it may take; None where only the partition limits it.
        max_tasks: How many tasks an array may have.
    """
    target_s = task_s if time_limit_s is None else min(task_s, _SHARE_OF_LIMIT * time_limit_s)
    share_s = n_rows * row_s / cpus / FIRST_TASKS
    target_s = min(target_s, max(share_s, _SHORTEST_S))
    per_task = n_rows if row_s <= 0 else min(n_rows, int(target_s * cpus / row_s))
    # no core of a task is left without a case, and no array is larger than it may be
    per_task = max(per_task, min(cpus, n_rows), math.ceil(n_rows / max_tasks), 1)
    return _cut(n_rows, per_task, None)


def _cut(n_rows: int, rows_per_task: int, budget_s: float | None) -> Wave:
    return Wave(rows_per_task, math.ceil(n_rows / max(1, rows_per_task)), budget_s)


def rows_of_task(task: int, rows_per_task: int, n_rows: int) -> range:
    """Which of the rows of a wave a task has."""
    return range(min(task * rows_per_task, n_rows), min((task + 1) * rows_per_task, n_rows))


def with_memory_of(config: SlurmConfig, needs: Needs) -> SlurmConfig:
    """The settings with memory for all cases that a task runs at once, where it was learned and nobody has said it."""
    if config.memory is not None or not needs.learns_memory or not isinstance(needs.memory, int):
        return config
    at_once = config.cpus // needs.cpus if isinstance(needs.cpus, int) else config.cpus
    return config.model_copy(update={"memory": max(1, at_once) * needs.memory + _OWN_BYTES})
