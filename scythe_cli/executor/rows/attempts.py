"""What all outcomes tell, whatever the spec returned: which attempt, when, how long, where, and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from scythe_cli.arrow.build import array_of, numbers, repeated
from scythe_cli.executor.rows.failure import Failure
from scythe_cli.model.outcome_schema import MEMORY, OUTCOME_SCHEMA

__all__ = [
    "NO_ATTEMPTS",
    "Attempts",
    "Took",
    "attempt_arrays",
    "failure_arrays",
    "outcome_of_failure",
    "outcome_table",
]


Took = tuple[int, float, float, str | None, int | None]
"""Position in the chunk, start and duration in seconds, log, and the most memory in bytes where it was measured."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """What is known of specs before they are run, as columns.

    Attributes:
        sort_index: int64.
        attempt: int32; the number of the attempt.
        workflow_run_id: string; the id of the execution.
    """

    sort_index: pa.Array[Any]
    attempt: pa.Array[Any]
    workflow_run_id: pa.Array[Any]

    @classmethod
    def of(cls, sort_index: Sequence[int], attempt: Sequence[int], workflow_run_id: Sequence[str]) -> Attempts:
        """Make columns of values."""
        return cls(
            array_of(sort_index, pa.int64()), array_of(attempt, pa.int32()), array_of(workflow_run_id, pa.string())
        )


NO_ATTEMPTS = Attempts.of([], [], [])


def outcome_of_failure(
    failure: Failure,
    *,
    sort_index: int,
    attempt: int,
    final: bool,
    workflow_run_id: str,
    worker: str,
    started_s: float,
    duration_s: float,
    log: str | None,
) -> pa.Table:
    """One outcome, of a spec that ended its process or was ended with it."""
    attempts = Attempts.of([sort_index], [attempt], [workflow_run_id])
    arrays = attempt_arrays(attempts, [(0, started_s, duration_s, log, None)], 0.0, worker) | failure_arrays([failure])
    arrays["final"] = repeated(final, 1)
    return outcome_table(arrays, OUTCOME_SCHEMA)


def attempt_arrays(
    attempts: Attempts, took: Sequence[Took], clock_offset_s: float, worker: str
) -> dict[str, pa.Array[Any]]:
    """The columns of some outcomes that say which attempts they are of.

    Args:
        attempts: All specs of the chunk.
        took: The outcomes; there must be one.
        clock_offset_s: What to add to the times of starts, to get seconds since 1970.
        worker: The name of this worker.
    """
    rows, start, duration, log, memory = zip(*took, strict=True)
    n = len(rows)
    started_us = np.rint((np.array(start, np.float64) + clock_offset_s) * 1e6).astype(np.int64)
    columns = {name: getattr(attempts, name) for name in ("sort_index", "attempt", "workflow_run_id")}
    if rows == tuple(range(rows[0], rows[0] + n)):
        arrays: dict[str, pa.Array[Any]] = {name: column.slice(rows[0], n) for name, column in columns.items()}
    else:
        at = array_of(rows, pa.int64())
        arrays = {name: column.take(at) for name, column in columns.items()}
    if memory.count(None) < n:
        arrays[MEMORY] = array_of(memory, pa.int64())
    return arrays | {
        "started_at": numbers(started_us, pa.timestamp("us", tz="UTC")),
        "duration_s": numbers(np.array(duration, np.float64), pa.float64()),
        "worker": repeated(worker, n),
        "log": pa.nulls(n, pa.string()) if log.count(None) == n else array_of(log, pa.string()),
    }


def failure_arrays(failures: Sequence[Failure]) -> dict[str, pa.Array[Any]]:
    """The columns of outcomes that say what went wrong."""
    return {
        "state": array_of([failure.state.value for failure in failures], pa.string()),
        "error_type": array_of([failure.error_type for failure in failures], pa.string()),
        "message": array_of([failure.message for failure in failures], pa.string()),
        "traceback": array_of([failure.traceback for failure in failures], pa.string()),
    }


def outcome_table(arrays: dict[str, pa.Array[Any]], schema: pa.Schema) -> pa.Table:
    """A table of a schema, null where there is no array; and what memory specs took, where that was measured."""
    n = len(arrays["sort_index"])
    columns = [arrays[f.name] if f.name in arrays else pa.nulls(n, f.type) for f in schema]
    table = pa.Table.from_arrays(columns, schema=schema)
    return table.append_column(MEMORY, arrays[MEMORY]) if MEMORY in arrays else table
