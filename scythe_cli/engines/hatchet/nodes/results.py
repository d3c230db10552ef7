"""From what the children of a node gave back to outcomes of its specs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from time import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import to_jsonable_python

from scythe_cli.arrow.build import array_of
from scythe_cli.core.states import State
from scythe_cli.engines.hatchet.payloads import LeafOutput, RowSet, RunPointer, unpack_outcomes
from scythe_cli.executor.rows.attempts import outcome_of_failure
from scythe_cli.executor.rows.failure import Failure
from scythe_cli.model.outcome_schema import OUTCOME_SCHEMA, SCALAR
from scythe_cli.model.spec_rows import workflow_run_id
from scythe_cli.model.workflows.running import TASK_OUTPUTS

__all__ = [
    "ChildError",
    "Collected",
    "Lost",
    "TaskResult",
    "collect",
    "failed_lines",
    "failure_rows",
    "never_started",
    "notices_of",
    "part_names",
    "rest_of",
    "result_of_task",
    "span_s",
    "total",
    "workflow_outcome",
]


_MAX_LINES = 20


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


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What the specs of one task have become; those without an outcome are pending.

    Attributes:
        counts: The specs with an outcome, by state.
        sent: Outcomes that the task sent; others it wrote itself.
        made: Outcomes that are made here, in the place of a task that sent none.
        lost: Why it gave back nothing.
        busy_s: The time that its specs took.
        packed_bytes: The size of what it sent.
        rest: Specs that it has not begun.
        parts: The parts of the ledger that it has written itself.
    """

    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    sent: Sequence[pa.Table] = ()
    made: Sequence[pa.Table] = ()
    lost: ChildError | None = None
    busy_s: float = 0.0
    packed_bytes: int = 0
    rest: RowSet | None = None
    parts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Collected:
    """What the tasks of a wave have given back, all together.

    Attributes:
        n_tasks: The number of tasks.
        counts: The specs with an outcome, by state.
        lost: Tasks that gave back nothing.
        tables: The outcomes.
        parts: The parts of the ledger that hold others.
    """

    n_tasks: int
    counts: dict[str, int]
    lost: list[ChildError]
    tables: list[pa.Table]
    parts: list[str] = field(default_factory=list[str])


def part_names(name: str, n: int) -> list[str]:
    """The names of parts that hold what was to be one, where columns contradict each other."""
    return [name if not number else f"{name}-{number}" for number in range(n)]


def result_of_task(
    run: RunPointer, rows: RowSet, result: Mapping[str, Any] | ChildError, schema: pa.Schema | None
) -> TaskResult:
    """What a task means for its specs.

    | the task | of an experiment | of a workflow |
    | --- | --- | --- |
    | came to its end | the outcomes that it sent or wrote | `workflow_outcome` |
    | raised, on every attempt | failed; it is lost | failed |
    | was cancelled, or never started | pending; it is lost | pending; it is lost |

    Args:
        run: The run.
        rows: The specs.
        result: What came back.
        schema: The schema of outcomes, of a workflow.
    """
    if isinstance(result, ChildError) and result.kind is not Lost.FAILED:
        return TaskResult(lost=result)
    if schema is not None:
        table = workflow_outcome(run, rows, result, schema)
        return TaskResult({str(table.column("state")[0].as_py()): 1}, made=[table])
    if isinstance(result, ChildError):
        failure = Failure(State.FAILED, result.error_type, f"the task did not finish: {result.message}")
        return TaskResult({State.FAILED.value: rows.n}, made=[failure_rows(run, rows, failure)], lost=result)
    output = LeafOutput.model_validate(result)
    packed = output.outcomes or []
    return TaskResult(
        output.states,
        unpack_outcomes(packed),
        busy_s=output.busy_s,
        packed_bytes=sum(map(len, packed)),
        rest=output.rest,
        parts=part_names(output.part, output.n_parts) if output.part else (),
    )


def collect(results: Sequence[TaskResult]) -> Collected:
    """Put the results of a wave together."""
    sent = [table for result in results for table in result.sent]
    return Collected(
        n_tasks=len(results),
        counts=total([result.counts for result in results]),
        lost=[result.lost for result in results if result.lost is not None],
        tables=[*sent, *(table for result in results for table in result.made)],
        parts=[part for result in results for part in result.parts],
    )


def span_s(tables: Sequence[pa.Table]) -> float:
    """The time from the first start of a row to the last end."""
    begin, end = math.inf, -math.inf
    for table in tables:
        if table.num_rows:
            started_s = pc.cast(table.column("started_at"), pa.int64()).to_numpy() / 1e6
            lasted_s = np.nan_to_num(table.column("duration_s").to_numpy().astype(float))
            begin, end = min(begin, float(started_s.min())), max(end, float((started_s + lasted_s).max()))
    return max(0.0, end - begin) if end > begin else 0.0


def rest_of(rows: RowSet, tables: Sequence[pa.Table]) -> RowSet | None:
    """The rows without a final outcome, with the numbers of their next attempts; None when all have one.

    Args:
        rows: The rows of a task.
        tables: Their outcomes.
    """
    done: set[int] = set()
    tried: dict[int, int] = {}
    for table in tables:
        indices: list[Any] = table.column("sort_index").to_pylist()
        for row, final in zip(indices, table.column("final").to_pylist(), strict=True):
            if final:
                done.add(row)
            else:
                tried[row] = tried.get(row, 0) + 1
    remaining = [(row, n + tried.get(row, 0)) for row, n in zip(rows.indices, rows.attempt_numbers, strict=True)]
    remaining = [(row, n) for row, n in remaining if row not in done]
    return RowSet.of([row for row, _ in remaining], [n for _, n in remaining]) if remaining else None


def failed_lines(tables: Sequence[pa.Table]) -> list[str]:
    """What is told of rows that did not succeed, a line for each, for whoever looks at a task.

    Args:
        tables: Outcomes.
    """
    lines: list[str] = []
    n = 0
    for table in tables:
        states: list[Any] = table.column("state").to_pylist()
        failed = table.filter(array_of([state != State.SUCCEEDED.value for state in states], pa.bool_()))
        n += failed.num_rows
        for row in failed.slice(0, _MAX_LINES - len(lines)).to_pylist():
            message, _, _ = str(row["message"] or "").partition("\n")
            again = "" if row["final"] else ", and is tried again"
            state = f"{row['state']}{again}"
            told = [f"case {row['sort_index']}", state, row["error_type"], message[:300]]
            lines.append(": ".join(filter(None, told)).replace("\0", "\N{REPLACEMENT CHARACTER}"))
    return [*lines, f"and {n - len(lines)} more"] if n > len(lines) else lines


def never_started(result: Mapping[str, Any] | ChildError) -> Mapping[str, Any] | ChildError:
    """What a task gave back that may have waited for too long: the engine ends it as if somebody had cancelled it."""
    if isinstance(result, ChildError) and result.kind is Lost.CANCELLED:
        return replace(result, kind=Lost.NEVER_STARTED)
    return result


def notices_of(lost: Sequence[ChildError], what: str) -> list[str]:
    """What the user is told of children without a result.

    Args:
        lost: The children.
        what: What they are: `task` or `node`.
    """
    notices: list[str] = []
    for kind, words in (
        (Lost.NEVER_STARTED, "were not picked up by a worker in time; their cases are pending"),
        (Lost.CANCELLED, "were cancelled"),
        (Lost.FAILED, "did not finish"),
    ):
        errors = [error for error in lost if error.kind is kind]
        if errors:
            first_line, _, _ = errors[0].message[:300].partition("\n")
            detail = f": {first_line}" if kind is Lost.FAILED else ""
            notices.append(f"{len(errors)} {what}s {words}{detail}")
    return notices


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
    values.setdefault(TASK_OUTPUTS, json.dumps(to_jsonable_python(dict(result))))
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
