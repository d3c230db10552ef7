"""What cases take of memory, learned from the runs that there are: `memory = "auto"`."""

from __future__ import annotations

from typing import Any

import polars as pl

from scythe_cli.core.quantities import format_size
from scythe_cli.core.states import State
from scythe_cli.errors import NotFoundError
from scythe_cli.model.experiment import RegisteredExperiment, with_options
from scythe_cli.model.needs import Needs
from scythe_cli.model.outcome_schema import MEMORY, measures_memory
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import Ledger, read_part
from scythe_cli.services.runs.listing import run_records
from scythe_cli.storage.base import Storage

__all__ = ["learned", "memory_taken", "reserved_for", "what_was_learned"]


_RUNS = 5
_SPARE = 1.1
_STEP_BYTES = 16 * 2**20


def learned(storage: Storage, folder: str, experiment: Any) -> Any:
    """The experiment, with the memory that its cases have taken where that is to be learned.

    Args:
        storage: Where runs are kept.
        folder: The folder of the experiment's runs.
        experiment: The experiment, or a workflow, which is returned as it is.

    Raises:
        StorageError: If runs cannot be read.
    """
    if not isinstance(experiment, RegisteredExperiment) or not experiment.options.needs.learns_memory:
        return experiment
    try:
        records = run_records(storage, folder, limit=_RUNS)
    except NotFoundError:
        return experiment  # it has not run yet
    for record in records:
        run = RunLayout.from_experiment_id(record.experiment_id)
        taken = None if run is None else memory_taken(storage, run)
        if taken is not None:
            needs = experiment.options.needs.learned(reserved_for(taken), record.experiment_id)
            return experiment.configured(name=experiment.name, options=with_options(experiment.options, needs=needs))
    return experiment


def memory_taken(storage: Storage, run: RunLayout) -> int | None:
    """The most memory that a case of a run has taken which succeeded; None where none was measured.

    Raises:
        StorageError: If the ledger cannot be read.
    """
    most = 0
    with Ledger.open(storage, run) as ledger:
        for part in ledger.parts:
            if not measures_memory(part.schema):
                continue
            cells: Any = pl.from_arrow(read_part(part, ["state", MEMORY]))
            most = max(most, cells.filter(pl.col("state") == State.SUCCEEDED.value)[MEMORY].max() or 0)
    return most or None


def reserved_for(taken_bytes: int) -> int:
    """What is reserved for a case where so much was taken at most: a tenth more, in steps of 16 MiB."""
    return -(-int(taken_bytes * _SPARE) // _STEP_BYTES) * _STEP_BYTES


def what_was_learned(needs: Needs) -> list[str]:
    """What the user is told of it."""
    if not needs.learns_memory:
        return []
    if needs.memory is None or needs.learned_from is None:
        return ['memory = "auto": no run has told yet what a case takes, so as many run at once as there are cores']
    size = format_size(int(needs.memory))
    return [f'memory = "auto": {size} for a case, a tenth more than any of {needs.learned_from} took']
