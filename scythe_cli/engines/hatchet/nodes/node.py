"""A node of scatter/gather: asks for its children, collects what they give back, and writes the ledger.

A node holds no state that matters. When it moves to another worker it runs from its start again; the engine remembers
what it had asked for, in order, and gives it the same results, so that no task runs a second time. For that, a node
must ask for the same things in the same order: see `plan`. The parts that it writes have names that follow from its
place in the tree and the number of the wave.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from scythe_cli.core.recursion import RecursionMap
from scythe_cli.core.states import State
from scythe_cli.engines.hatchet.nodes.inline import inline_specs
from scythe_cli.engines.hatchet.nodes.leaf import ROWS_KEY
from scythe_cli.engines.hatchet.nodes.plan import (
    Measured,
    Shape,
    probe_size,
    shape_of,
    waves,
)
from scythe_cli.engines.hatchet.nodes.results import (
    ChildError,
    Lost,
    lost_rows,
    total,
    workflow_outcome,
)
from scythe_cli.engines.hatchet.nodes.specstore import SpecStore
from scythe_cli.engines.hatchet.payloads import (
    META_LEAF,
    LeafAssignment,
    LeafOutput,
    NodeInput,
    NodeOutput,
    RowSet,
    RunPointer,
    unpack_outcomes,
)
from scythe_cli.engines.hatchet.todo import Attempts, pack_todo, unpack_todo
from scythe_cli.executor.rows.call import RunContext
from scythe_cli.run.final.gather import gather
from scythe_cli.run.ledger import merge_outcomes, write_part
from scythe_cli.storage.base import Storage

__all__ = ["CANCEL_PREFIX", "NODE_NAME", "Child", "Node", "Spawner"]


NODE_NAME = "scythe_scatter_gather"
"""The name under which workers serve nodes."""

CANCEL_PREFIX = "cancel-"
"""Begins the names of parts that say what was cancelled: a node that sees one of its time asks for nothing more."""

_CANCEL_CHECK_S = 2.0
_MAX_OPEN_TASKS = 10_000
_MESSAGE_BYTES = 2_000_000
_MESSAGE_CHILDREN = 100


@dataclass(frozen=True, slots=True)
class Child:
    """A Hatchet run that a node asks for.

    Attributes:
        workflow: Its name.
        input: Its input, as JSON.
        metadata: What it is marked with.
        is_dag: Whether it has several tasks, so that it gives back an output for each.
    """

    workflow: str
    input: str
    metadata: dict[str, Any]
    is_dag: bool = False


class Spawner(Protocol):
    """Runs children, durably."""

    async def __call__(self, children: Sequence[Child]) -> list[Mapping[str, Any] | ChildError]:
        """Run children whose inputs fit into one message, and wait for what they give back."""
        ...


@dataclass(frozen=True, slots=True)
class _Wave:
    """Tasks whose outcomes become one part of the ledger."""

    name: str
    rows: list[RowSet]
    children: list[Child]
    refused: dict[int, ChildError]  # by position: tasks that cannot be asked for


@dataclass(frozen=True, slots=True)
class _Done:
    """What a wave has become."""

    n_tasks: int
    n_rows: int
    counts: dict[str, int]
    busy_s: float
    packed_bytes: int
    span_s: float
    lost: list[ChildError]


@dataclass
class Node:
    """One node, from its start to its end.

    Attributes:
        given: Its input.
        spawn: Runs its children.
        specs: The specs of runs on this machine.
        is_replay: Whether it may have written parts before.
    """

    given: NodeInput
    spawn: Spawner
    specs: SpecStore
    is_replay: bool
    _storage: Storage = field(init=False)
    _attempts: Attempts | None = field(init=False)
    _written: frozenset[str] = frozenset()
    _cancel_seen: bool = False
    _cancel_due_s: float = 0.0
    _lost: list[ChildError] = field(default_factory=list[ChildError])
    _counts: list[dict[str, int]] = field(default_factory=list[dict[str, int]])

    def __post_init__(self) -> None:
        self._storage = self.run.open_storage()
        self._attempts = None if self.given.todo is None else unpack_todo(self.given.todo)

    @property
    def run(self) -> RunPointer:
        """The run."""
        return self.given.run

    async def work(self) -> NodeOutput:
        """Run all specs of the node, and at the root make the final tables.

        Raises:
            StorageError: If specs cannot be read, or outcomes or tables cannot be written.
        """
        recursion = self.given.recursion
        rows = recursion.rows(self.run.n_specs)
        if self.is_replay:
            self._written = await asyncio.to_thread(self._list_parts)
        else:
            await self._look_for_cancel()
        if self._cancel_seen:
            output = NodeOutput(stopped=True)
        elif recursion.is_base_case(self.run.n_specs):
            output = await self._run_specs(rows)
        else:
            output = await self._run_nodes(recursion, rows)
        if recursion.is_root:
            gathered = await asyncio.to_thread(gather, self._storage, self.run.layout)
            totals = {state.value: gathered.counts.of(state) for state in State}
            output = output.model_copy(
                update={"tables": sorted(gathered.tables), "totals": totals, "damaged": gathered.damaged}
            )
        return output

    def _list_parts(self) -> frozenset[str]:
        own = f"{self.run.session}-{_path_name(self.given.recursion)}-"
        files = self._storage.list_files(self.run.layout.outcomes, starting=own)
        return frozenset(file.name.removesuffix(".pq") for file in files)

    async def _ask(self, children: Sequence[Child]) -> list[Mapping[str, Any] | ChildError]:
        """Run children, in as many messages as they need."""
        groups = [asyncio.create_task(self.spawn(group)) for group in _messages(children)]
        try:
            return [result for group in groups for result in await group]
        finally:
            for group in groups:
                group.cancel()  # where one of them failed, or the node is to end

    # inner nodes

    async def _run_nodes(self, recursion: RecursionMap, rows: range) -> NodeOutput:
        children: list[Child] = []
        for offset, child in enumerate(recursion.children()):
            if not child.rows(self.run.n_specs):
                break
            todo: str | None = None
            if self._attempts is not None:
                # of this node's specs, a child has every factor-th: as in the tree, so in the list
                chosen = self._attempts[offset :: recursion.factor]
                if not chosen.any():
                    continue
                todo = pack_todo(chosen)
            given = self.given.model_copy(update={"recursion": child, "todo": todo})
            metadata = {**self.run.metadata, "node": _path_name(child)}
            children.append(Child(NODE_NAME, given.model_dump_json(exclude_none=True), metadata))
        outputs: list[NodeOutput] = []
        for result in await self._ask(children):
            if isinstance(result, ChildError):
                self._lost.append(result)
            else:
                outputs.append(NodeOutput.model_validate(result))
        notices = [notice for output in outputs for notice in output.notices]
        stopped = any(output.stopped for output in outputs) or self._is_cancelled()
        return NodeOutput(
            counts=total([output.counts for output in outputs]),
            notices=list(dict.fromkeys([*notices, *self._notices("node")]))[:20],
            stopped=stopped,
        )

    # base nodes

    async def _run_specs(self, rows: range) -> NodeOutput:
        todo = list(rows)
        numbers: dict[int, int] = {}
        if self._attempts is not None:
            todo = [row for row, attempt in zip(rows, self._attempts.tolist(), strict=True) if attempt]
            numbers = dict(zip(todo, (int(a) for a in self._attempts if a), strict=True))
        per_task = 1 if self.run.is_workflow else self.given.specs_per_task
        n_waves = 0
        shape = Shape(per_task or 1)
        if per_task is None:
            n_probes = probe_size(self._n_base_nodes())
            probes = todo[:n_probes]
            done: list[_Done] = []
            for tasks in waves(probes, Shape(1, max(4, n_probes // 2))):
                wave = await asyncio.to_thread(self._prepare, n_waves, tasks, numbers)
                done.append(await self._run_wave(wave))
                n_waves += 1
            todo = todo[n_probes:]
            if todo and done:
                shape = shape_of(_measure(done), len(todo))
        await self._run_waves(waves(todo, shape, n_waves), numbers, n_waves)
        return NodeOutput(counts=total(self._counts), notices=self._notices("task"), stopped=self._is_cancelled())

    def _n_base_nodes(self) -> int:
        recursion = self.given.recursion
        return recursion.factor**recursion.depth

    async def _run_waves(self, todo: Iterator[list[Sequence[int]]], numbers: Mapping[int, int], first: int) -> None:
        """Run waves side by side: a slow task holds up its own wave's part of the ledger, and nothing else."""
        open_waves: set[asyncio.Task[_Done]] = set()
        n_open = 0
        try:
            for number, tasks in enumerate(todo, first):
                while n_open and n_open + len(tasks) > _MAX_OPEN_TASKS:
                    finished, open_waves = await asyncio.wait(open_waves, return_when=asyncio.FIRST_COMPLETED)
                    n_open -= sum(task.result().n_tasks for task in finished)
                await self._look_for_cancel()
                if self._is_stopped():
                    break
                wave = await asyncio.to_thread(self._prepare, number, tasks, numbers)
                # what is started first asks the engine first
                open_waves.add(asyncio.create_task(self._run_wave(wave)))
                n_open += len(tasks)
                await asyncio.sleep(0)
            while open_waves:
                finished, open_waves = await asyncio.wait(open_waves, return_when=asyncio.FIRST_COMPLETED)
                for task in finished:
                    task.result()
        finally:
            for task in open_waves:
                task.cancel()

    async def _look_for_cancel(self) -> None:
        """See in the ledger whether the run was cancelled; nothing of it may be queued at that moment."""
        if not self._cancel_seen and time.monotonic() >= self._cancel_due_s:
            # of a large run's ledger, only what tells of it
            list_files, ledger = self._storage.list_files, self.run.layout.outcomes
            files = await asyncio.to_thread(list_files, ledger, starting=CANCEL_PREFIX)
            begun = self.run.session.split("-")[1]
            marks = [file.name.removeprefix(CANCEL_PREFIX) for file in files]
            self._cancel_seen = any(mark.split("-")[0] >= begun for mark in marks)
            self._cancel_due_s = time.monotonic() + _CANCEL_CHECK_S

    def _is_cancelled(self) -> bool:
        return self._cancel_seen or any(error.kind is Lost.CANCELLED for error in self._lost)

    def _is_stopped(self) -> bool:
        limit = self.given.max_failures
        if limit is not None:
            counts = total(self._counts)
            if sum(n for state, n in counts.items() if state != State.SUCCEEDED.value) >= limit:
                return True
        return self._is_cancelled()

    async def _run_wave(self, wave: _Wave) -> _Done:
        """Run the tasks of a wave, and write one part of the ledger."""
        asked_s = time.monotonic()
        results = iter(await self._ask(wave.children))
        limit_s = self.run.schedule_timeout_s
        ran_out = limit_s is not None and time.monotonic() - asked_s >= limit_s
        everything = [wave.refused.get(position) or next(results) for position in range(len(wave.rows))]
        if ran_out:
            everything = [_never_started(result) for result in everything]
        done, tables = await asyncio.to_thread(self._collect, wave.rows, everything)
        self._lost += done.lost
        self._counts.append(done.counts)
        if tables and wave.name not in self._written:
            await asyncio.to_thread(self._write, wave.name, tables)
        return done

    def _prepare(self, number: int, tasks: Sequence[Sequence[int]], numbers: Mapping[int, int]) -> _Wave:
        """Make the inputs of the tasks of a wave."""
        name = f"{self.run.session}-{_path_name(self.given.recursion)}-w{number:06d}"
        row_sets = [RowSet.of(list(rows), [numbers.get(row, 1) for row in rows]) for rows in tasks]
        children: list[Child] = []
        refused: dict[int, ChildError] = {}
        indices = [rows.indices[0] for rows in row_sets if rows.n == 1]
        texts = inline_specs(self.specs.read(self.run, indices)) if indices else []
        inline = dict(zip(indices, texts, strict=True))
        for position, rows in enumerate(row_sets):
            text = inline.get(rows.indices[0]) if rows.n == 1 else None
            if not self.run.is_workflow:
                children.append(
                    self._leaf_child(text, LeafAssignment(run=self.run, rows=rows, part=f"{name}-t{position:04d}"))
                )
            elif text is not None:
                children.append(Child(self.run.experiment, self._workflow_input(text), self.run.metadata, is_dag=True))
            else:
                message = "the spec holds a value that JSON cannot, so that a workflow cannot get it"
                refused[position] = ChildError(Lost.FAILED, "InputError", message)
        return _Wave(name, row_sets, children, refused)

    def _leaf_child(self, text: str | None, assignment: LeafAssignment) -> Child:
        run = self.run
        if text is None:
            given = {ROWS_KEY: assignment.model_dump(mode="json", exclude_defaults=True)}
            return Child(run.experiment, json.dumps(given), run.metadata)
        metadata = {
            **run.metadata,
            "sort_index": str(assignment.rows.indices[0]),
            META_LEAF: assignment.to_metadata(),
        }
        return Child(run.experiment, text, metadata)

    def _workflow_input(self, text: str) -> str:
        context = RunContext(self.run.storage, self.run.experiment_id, self.run.root_workflow_run_id, "")
        spec = json.loads(text)
        spec["storage_settings"] = context.storage_settings.model_dump(mode="json")
        return json.dumps(spec)

    def _collect(
        self, row_sets: Sequence[RowSet], results: Sequence[Mapping[str, Any] | ChildError]
    ) -> tuple[_Done, list[pa.Table]]:
        tables: list[pa.Table] = []
        # of tasks alone: what this node adds itself is not the same when it is replayed
        measured: list[pa.Table] = []
        lost: list[ChildError] = []
        counts: list[dict[str, int]] = []
        busy_s = 0.0
        packed_bytes = 0
        for rows, result in zip(row_sets, results, strict=True):
            if isinstance(result, ChildError) and result.kind is not Lost.FAILED:
                lost.append(result)  # its specs have not been run: they stay pending
            elif self.run.is_workflow:
                schema = self.specs.output_schema(self.run)
                table = workflow_outcome(self.run, rows, result, schema)
                tables.append(table)
                counts.append({str(table.column("state")[0].as_py()): 1})
            elif isinstance(result, ChildError):
                lost.append(result)
                tables.append(lost_rows(self.run, rows, result))
                counts.append({State.FAILED.value: rows.n})
            else:
                output = LeafOutput.model_validate(result)
                measured += unpack_outcomes(output.outcomes or [])
                counts.append(output.states)
                busy_s += output.busy_s
                packed_bytes += sum(map(len, output.outcomes or []))
        done = _Done(
            n_tasks=len(row_sets),
            n_rows=sum(rows.n for rows in row_sets),
            counts=total(counts),
            busy_s=busy_s,
            packed_bytes=packed_bytes,
            span_s=_span_s(measured),
            lost=lost,
        )
        return done, [*measured, *tables]

    def _write(self, name: str, tables: list[pa.Table]) -> None:
        # the one whose name says that the wave is written comes last
        for position, table in reversed(list(enumerate(merge_outcomes(tables)))):
            write_part(self._storage, self.run.layout, name if not position else f"{name}-{position}", table)

    def _notices(self, what: str) -> list[str]:
        notices: list[str] = []
        for kind, words in (
            (Lost.NEVER_STARTED, "were taken by no worker in time; their specs are pending"),
            (Lost.CANCELLED, "were cancelled"),
            (Lost.FAILED, "did not come to their end"),
        ):
            errors = [error for error in self._lost if error.kind is kind]
            if errors:
                said, _, _ = errors[0].message[:300].partition("\n")
                detail = f": {said}" if kind is Lost.FAILED else ""
                notices.append(f"{len(errors)} {what}s {words}{detail}")
        return notices


def _never_started(result: Mapping[str, Any] | ChildError) -> Mapping[str, Any] | ChildError:
    """Tell a task that waited for too long from one that was cancelled: the engine ends both in the same way."""
    if isinstance(result, ChildError) and result.kind is Lost.CANCELLED:
        return replace(result, kind=Lost.NEVER_STARTED)
    return result


def _path_name(recursion: RecursionMap) -> str:
    """The place in the tree, as part of a file's name."""
    return "root" if recursion.path is None else "n" + "-".join(str(step.offset) for step in recursion.path)


def _messages(children: Sequence[Child]) -> Iterator[list[Child]]:
    """Groups of children that fit into one message each."""
    group: list[Child] = []
    size = 0
    for child in children:
        child_size = len(child.input) + len(json.dumps(child.metadata)) + 200
        if group and (size + child_size > _MESSAGE_BYTES or len(group) >= _MESSAGE_CHILDREN):
            yield group
            group, size = [], 0
        group.append(child)
        size += child_size
    if group:
        yield group


def _span_s(tables: Sequence[pa.Table]) -> float:
    """The time from the first start to the last end."""
    starts: list[float] = []
    ends: list[float] = []
    for table in tables:
        begun: Any = pc.cast(table.column("started_at"), pa.int64())
        lasted: Any = table.column("duration_s")
        for start, duration in zip(begun.to_pylist(), lasted.to_pylist(), strict=True):
            if start is not None:
                starts.append(start / 1e6)
                ends.append(start / 1e6 + (duration or 0.0))
    return max(ends) - min(starts) if starts else 0.0


def _measure(done: Sequence[_Done]) -> Measured:
    n = sum(wave.n_rows for wave in done)
    # the first wave includes the start of processes; the last tells more
    last = done[-1]
    return Measured(
        row_s=sum(wave.busy_s for wave in done) / max(1, n),
        row_bytes=sum(wave.packed_bytes for wave in done) / max(1, n),
        rows_per_s=last.n_rows / last.span_s if last.span_s > 0 else 1e6,
    )
