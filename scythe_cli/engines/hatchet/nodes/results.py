"""From what a child of a node gave back to outcomes of its specs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from time import time
from typing import Any

import pyarrow as pa

from scythe_cli.core.states import State
from scythe_cli.engines.hatchet.payloads import RowSet, RunPointer
from scythe_cli.executor.rows.failure import Failure
from scythe_cli.executor.rows.outcomes import outcome_of_failure
from scythe_cli.model.outcome_schema import OUTCOME_SCHEMA, SCALAR
from scythe_cli.model.spec_rows import workflow_run_id

__all__ = ["ChildError", "Lost", "failure_rows", "lost_rows", "total", "workflow_outcome"]


class Lost(Enum):
    """Why a child gave back nothing."""

    FAILED = auto()  # it raised, on every attempt
    CANCELLED = auto()  # somebody cancelled it
    NEVER_STARTED = auto()  # no worker took it within the time that it may wait


@dataclass(frozen=True, slots=True)
class ChildError:
    """A child without a result.

    Attributes:
        kind: Why.
        error_type: The class of the error, if it is known.
        message: What the engine says.
    """

    kind: Lost
    error_type: str
    message: str


def failure_rows(run: RunPointer, rows: RowSet, failure: Failure, *, worker: str = "") -> pa.Table:
    """Outcomes of specs that all ended in the same way, without having been run."""
    return pa.concat_tables(
        [
            outcome_of_failure(
                failure,
                sort_index=row,
                attempt=attempt,
                final=True,
                workflow_run_id=workflow_run_id(run.root_workflow_run_id, row),
                worker=worker,
                started_s=time(),
                duration_s=0.0,
                log=None,
            )
            for row, attempt in zip(rows.indices, rows.attempt_numbers, strict=True)
        ]
    )


def lost_rows(run: RunPointer, rows: RowSet, error: ChildError) -> pa.Table:
    """Outcomes of specs whose task did not come to its end, whatever it was tried."""
    message = f"the task did not come to its end: {error.message}"
    return failure_rows(run, rows, Failure(State.FAILED, error.error_type, message))


def workflow_outcome(
    run: RunPointer, rows: RowSet, result: Mapping[str, Any] | ChildError, schema: pa.Schema
) -> pa.Table:
    """The outcome of a spec that a workflow of several tasks has run.

    Args:
        run: The run.
        rows: The one row.
        result: The outputs of its tasks, by name.
        schema: The schema of outcomes; a scalar is taken from the last task whose output has it.
    """
    if isinstance(result, ChildError):
        failure = Failure(State.FAILED, result.error_type, result.message)
        return failure_rows(run, rows, failure)
    values: dict[str, Any] = {}
    for output in result.values():
        if isinstance(output, Mapping):
            values.update(output)
    table = failure_rows(run, rows, Failure(State.SUCCEEDED, "", ""))
    for name in ("error_type", "message"):
        position = table.schema.get_field_index(name)
        table = table.set_column(position, table.schema.field(position), pa.nulls(1, pa.string()))
    try:
        for f in schema:
            if f.name not in OUTCOME_SCHEMA.names and f.name.startswith(SCALAR):
                array: Any = pa.array([values.get(f.name.removeprefix(SCALAR))])
                table = table.append_column(f, array.cast(f.type))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        return failure_rows(
            run, rows, Failure(State.FAILED, "OutputError", f"an output does not fit its column: {error}")
        )
    return table


def total(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """The sum of counts by state."""
    together: dict[str, int] = {}
    for each in counts:
        for state, n in each.items():
            together[state] = together.get(state, 0) + n
    return together
