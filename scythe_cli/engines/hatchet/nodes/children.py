"""What a node asks for: runs of Hatchet tasks, with their inputs, in messages that gRPC takes.

A task of one spec has the spec as its input, as the dashboard shows it; the node makes it from the columns of
`specs.pq` alone, and needs no code of the experiment. Any other task points to rows.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
from pydantic_core import PydanticSerializationError, to_jsonable_python

from scythe_cli.arrow.build import array_of
from scythe_cli.arrow.content import row_contents
from scythe_cli.arrow.seeds import CONTENT, HIDDEN, SEED, RowSeeds
from scythe_cli.engines.hatchet.nodes.results import ChildError, Lost
from scythe_cli.engines.hatchet.payloads import (
    META_LEAF,
    NODE_NAME,
    ROWS_KEY,
    LeafAssignment,
    NodeInput,
    RowSet,
    RunPointer,
)
from scythe_cli.engines.hatchet.routing import place_of
from scythe_cli.executor.rows.call import RunContext
from scythe_cli.model.columns import decoder_of
from scythe_cli.model.spec_rows import META_SCHEMA, NOT_INPUT, artifacts_mark

__all__ = [
    "LIMIT_BYTES",
    "MESSAGE_BYTES",
    "MESSAGE_CHILDREN",
    "Child",
    "Spawner",
    "inline_specs",
    "messages",
    "node_child",
    "task_children",
    "with_contents",
]


LIMIT_BYTES = 256_000
"""A larger spec is read from the run's file instead."""

MESSAGE_BYTES = 2_000_000
"""Of the children in one message, about; a gRPC message can have 4 MB."""

MESSAGE_CHILDREN = 100


@dataclass(frozen=True, slots=True)
class Child:
    """A Hatchet run that a node asks for.

    Attributes:
        workflow: Its name.
        input: Its input, as JSON.
        metadata: What it is marked with.
        is_dag: Whether it has several tasks, so that it gives back an output for each.
        labels: What a worker needs to have, where the engine is to look at that.
        priority: Its place among what waits.
    """

    workflow: str
    input: str
    metadata: dict[str, Any]
    is_dag: bool = False
    labels: Sequence[Mapping[str, Any]] = ()
    priority: int | None = None


class Spawner(Protocol):
    """Runs children, durably."""

    async def __call__(self, children: Sequence[Child]) -> Sequence[Awaitable[Mapping[str, Any] | ChildError]]:
        """Ask for children whose inputs fit into one message; what is returned gives what each of them gives back."""
        ...


def node_child(node_input: NodeInput, place: str) -> Child:
    """A node, which is marked with its place in the tree."""
    metadata = {**node_input.run.metadata, "node": place}
    input_ = node_input.model_dump_json(exclude_none=True)
    return Child(NODE_NAME, input_, metadata, labels=place_labels(node_input.run), priority=node_input.run.priority)


def place_labels(run: RunPointer, own: Sequence[Mapping[str, Any]] = ()) -> list[Mapping[str, Any]]:
    """The labels of workers for a run where only some work at its place.

    Args:
        run: The run.
        own: What the task itself asks for: the engine looks either at those of the task or at these.
    """
    if run.place is None:
        return []
    return [*own, {"key": run.place, "value": place_of(run.storage), "required": True}]


def task_children(
    assignments: Sequence[LeafAssignment], specs: Mapping[int, str | None]
) -> tuple[list[Child], dict[int, ChildError]]:
    """Tasks that run specs.

    Args:
        assignments: What each of them is to do.
        specs: By `sort_index`, the JSON of specs that have a task of their own; see `inline_specs`.

    Returns:
        The children; and by their position among the assignments, those that cannot be asked for.
    """
    children: list[Child] = []
    refused: dict[int, ChildError] = {}
    for position, assignment in enumerate(assignments):
        run, rows = assignment.run, assignment.rows
        text = specs.get(rows.indices[0]) if rows.n == 1 else None
        if not run.is_workflow:
            children.append(_leaf_child(text, assignment))
        elif text is not None:
            input_ = _with_storage_settings(text, assignment)
            metadata = {**run.metadata, "row": str(rows.indices[0])}
            children.append(Child(run.experiment, input_, metadata, is_dag=True, priority=run.priority))
        else:
            message = "the case holds a value that JSON cannot, so that a workflow cannot get it"
            refused[position] = ChildError(Lost.FAILED, "InputError", message)
    return children, refused


def _leaf_child(text: str | None, assignment: LeafAssignment) -> Child:
    run, rows = assignment.run, assignment.rows
    if text is None:
        pointer = {ROWS_KEY: assignment.model_dump(mode="json", exclude_defaults=True)}
        text, metadata = json.dumps(pointer), {**run.metadata, "rows": _told(rows)}
    else:
        metadata = {**run.metadata, "row": str(rows.indices[0]), META_LEAF: assignment.to_metadata()}
    labels = place_labels(run, run.labels)
    return Child(run.task_name, text, metadata, labels=labels, priority=run.priority)


def _told(rows: RowSet) -> str:
    """Rows, for people who look for one."""
    indices = rows.indices
    if rows.rows is not None:
        return ", ".join(map(str, indices[:20])) + (f", … ({rows.n})" if rows.n > 20 else "")
    step = f" in steps of {rows.step}" if rows.n > 1 and rows.step > 1 else ""
    return f"{indices[0]} to {indices[-1]}{step}" if rows.n > 1 else str(indices[0])


def _with_storage_settings(text: str, assignment: LeafAssignment) -> str:
    run = assignment.run
    context = RunContext(run.storage, run.experiment_id, run.root_workflow_run_id, "")
    spec = json.loads(text)
    # a model may refuse fields that it does not know, but these settings are ours
    settings = context.storage_settings.model_copy(update={"ROW_SEED": spec.pop(SEED, None)})
    spec["storage_settings"] = settings.model_dump(mode="json", exclude_none=True)
    return json.dumps(spec)


def with_contents(rows: pa.Table, run: RunPointer) -> pa.Table:
    """Rows with what their seeds follow from: the cells that a task makes of JSON may be others in form.

    The tasks of a workflow are the user's own, and get the seed itself.
    """
    artifacts = artifacts_mark(run.experiment_id)
    if run.is_workflow:
        seeds = RowSeeds(rows, run.seed, leave_out=META_SCHEMA.names, artifacts=artifacts)
        indices: list[Any] = rows.column("sort_index").to_pylist()
        texts = [str(seeds.of(index)) for index in indices]
        rows = rows.drop_columns([name for name in rows.column_names if name in HIDDEN])
        return rows.append_column(SEED, array_of(texts, pa.string()))
    contents = row_contents(rows, leave_out=NOT_INPUT, artifacts=artifacts)
    return rows.append_column(CONTENT, array_of([f"{content:016x}" for content in contents.tolist()], pa.string()))


def inline_specs(rows: pa.Table) -> list[str | None]:
    """The JSON of each row; None for a row that JSON in a database does not give back as it was.

    Those are NaN and infinities, the negative zero, NUL characters, bytes that are not text, and large rows.
    """
    names = rows.column_names
    cells: list[list[Any]] = []
    for of, column in zip(rows.schema, rows.columns, strict=True):
        decode = decoder_of(of)
        values = column.to_pylist()
        cells.append(values if decode is None else [None if v is None else decode(v) for v in values])
    return [_text(dict(zip(names, row, strict=True))) for row in zip(*cells, strict=True)]


def _text(spec: dict[str, Any]) -> str | None:
    try:
        text = json.dumps(to_jsonable_python(spec, inf_nan_mode="constants"), allow_nan=False)
    except (ValueError, PydanticSerializationError):
        return None
    if len(text) > LIMIT_BYTES or "\\u0000" in text or "-0.0" in text:
        return None
    return text


def messages(children: Sequence[Child]) -> Iterator[list[Child]]:
    """Groups of children that fit into one message each."""
    group: list[Child] = []
    size = 0
    for child in children:
        child_size = len(child.input) + len(json.dumps(child.metadata)) + 200
        if group and (size + child_size > MESSAGE_BYTES or len(group) >= MESSAGE_CHILDREN):
            yield group
            group, size = [], 0
        group.append(child)
        size += child_size
    if group:
        yield group
