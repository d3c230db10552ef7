"""A wave of a run: its rows are written, its array is submitted, and behind it the job that gathers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pyarrow as pa

from scythe_cli.engines.slurm.assignment import Assignment, WaveRecord
from scythe_cli.engines.slurm.commands import Slurm, is_unreachable
from scythe_cli.engines.slurm.scripts import array_options, batch_script, closing_options
from scythe_cli.engines.slurm.sizing import Wave, first_wave, wave_of
from scythe_cli.errors import EngineError, ScytheError
from scythe_cli.storage.base import Storage

__all__ = ["patiently", "sized", "submit_wave"]


TASK_MODULE = "scythe_cli.engines.slurm.task"
CLOSING_MODULE = "scythe_cli.engines.slurm.closing"

_PATIENCE_S = 600.0
_PAUSE_S = 10.0

T = TypeVar("T")


def sized(assignment: Assignment, row_s: float | None, max_tasks: int) -> Assignment:
    """The assignment with the size of its tasks.

    Args:
        assignment: What is to be submitted.
        row_s: How long one case takes, in seconds; None where nobody knows.
        max_tasks: How many tasks an array may have.
    """
    settings = assignment.settings
    if row_s is None:
        wave: Wave = first_wave(
            assignment.n_rows, cpus=settings.cpus, max_tasks=max_tasks, array_limit=settings.array_limit
        )
    else:
        wave = wave_of(
            assignment.n_rows,
            row_s,
            cpus=settings.cpus,
            task_s=60 * settings.task_minutes,
            time_limit_s=None if settings.time is None else settings.time.total_seconds(),
            max_tasks=max_tasks,
        )
    return assignment.model_copy(update={"rows_per_task": wave.rows_per_task, "budget_s": wave.budget_s})


def submit_wave(slurm: Slurm, storage: Storage, assignment: Assignment, todo: pa.Table | None) -> WaveRecord:
    """Submit the tasks of a wave and its closing job: two calls of sbatch.

    Args:
        slurm: Slurm's commands.
        storage: Where the run is kept.
        assignment: What the jobs are told, with the size of tasks.
        todo: The rows, `sort_index` and `attempt`; None for all, for the first time.

    Raises:
        ConfigError: If what was asked for does not exist on this cluster.
        EngineError: If Slurm refuses it; then nothing of it is in the queue.
        StorageError: If the rows cannot be written.
    """
    if todo is not None:
        assignment.write_todo(storage, todo)
    settings, text = assignment.settings, assignment.to_text()
    n_tasks = -(-assignment.n_rows // assignment.rows_per_task)
    log = f"{assignment.log_folder}/%A_%a.log"
    options = array_options(settings, n_tasks=n_tasks, name=assignment.job_name, log=log)
    array = slurm.submit(options, batch_script(TASK_MODULE, text, settings.setup))
    log = f"{assignment.log_folder}/%j-end.log"
    options = closing_options(settings, after=array, name=assignment.closing_name, log=log)
    try:
        closing = slurm.submit(options, batch_script(CLOSING_MODULE, text, settings.setup))
        record = WaveRecord(
            session=assignment.session,
            wave=assignment.wave,
            array=array,
            closing=closing,
            n_tasks=n_tasks,
            rows_per_task=assignment.rows_per_task,
            n_rows=assignment.n_rows,
            cpus=settings.cpus,
        )
        storage.write_bytes(assignment.layout.slurm(f"{assignment.session}.json"), record.model_dump_json().encode())
    except ScytheError:
        # without the job behind it, nobody would gather
        slurm.cancel([array])
        raise
    return record


def patiently(call: Callable[[], T], *, sleep: Callable[[float], None] = time.sleep) -> T:
    """Call something of Slurm, again and again while its controller does not answer: it may be starting anew.

    Raises:
        EngineError: If it does not answer for ten minutes, or refuses.
    """
    waited_s = 0.0
    while True:
        try:
            return call()
        except EngineError as error:
            if waited_s >= _PATIENCE_S or not is_unreachable(error.message):
                raise
            sleep(_PAUSE_S)
            waited_s += _PAUSE_S
