"""A wave: tasks that a node asks for together, whose outcomes become one part of the ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from scythe_cli.engines.hatchet.nodes.children import (
    Child,
    Spawner,
    inline_specs,
    messages,
    task_children,
    with_contents,
)
from scythe_cli.engines.hatchet.nodes.results import (
    ChildError,
    Collected,
    TaskResult,
    collect,
    never_started,
    part_names,
    result_of_task,
)
from scythe_cli.engines.hatchet.nodes.specstore import SpecStore
from scythe_cli.engines.hatchet.payloads import LeafAssignment, RowSet, RunPointer
from scythe_cli.model.outcome_schema import with_code
from scythe_cli.run.ledger import merge_outcomes, write_part
from scythe_cli.storage.base import Storage

__all__ = ["Wave", "WaveRunner", "ask"]


@dataclass(frozen=True, slots=True)
class Wave:
    """Tasks that have not been asked for yet.

    Attributes:
        name: Of the ledger's part.
        rows: The specs of each task.
        children: The tasks, but for those that are refused.
        refused: By position: tasks that cannot be asked for.
    """

    name: str
    rows: list[RowSet]
    children: list[Child]
    refused: dict[int, ChildError]


@dataclass(frozen=True, slots=True)
class WaveRunner:
    """Runs the waves of one node.

    Attributes:
        run: The run.
        place: The node's place in the tree, as part of a file's name.
        storage: Where the run is kept.
        specs: The specs of runs on this machine.
        spawn: Runs children.
        written: The names of parts that an earlier invocation of the node has written.
        parts: The names of those that this one has written.
    """

    run: RunPointer
    place: str
    storage: Storage
    specs: SpecStore
    spawn: Spawner
    written: frozenset[str]
    parts: set[str] = field(default_factory=set[str])

    def name_of(self, number: int) -> str:
        """The name of a wave: a replay gives the same name to the same wave.

        Args:
            number: The number of waves that there have been before.
        """
        return f"{self.run.session}-{self.place}-w{number:06d}"

    async def prepare(self, number: int, tasks: Sequence[RowSet], budgets: Sequence[float | None] = ()) -> Wave:
        """Make the inputs of the tasks of a wave.

        Args:
            number: The number of waves that there have been before.
            tasks: The specs (`sort_index`) of each task.
            budgets: For each task, after how many seconds it begins no more of them; it runs all without.

        Raises:
            StorageError: If the specs cannot be read.
        """
        return await asyncio.to_thread(self._prepare, number, tasks, budgets or [None] * len(tasks))

    def _prepare(self, number: int, tasks: Sequence[RowSet], budgets: Sequence[float | None]) -> Wave:
        name = self.name_of(number)
        row_sets = list(tasks)
        singles = sorted(rows.indices[0] for rows in row_sets if rows.n == 1)
        texts = inline_specs(with_contents(self.specs.read(self.run, singles), self.run)) if singles else []
        assignments = [
            LeafAssignment(run=self.run, rows=rows, part=f"{name}-t{position:04d}", budget_s=budget_s)
            for position, (rows, budget_s) in enumerate(zip(row_sets, budgets, strict=True))
        ]
        children, refused = task_children(assignments, dict(zip(singles, texts, strict=True)))
        return Wave(name, row_sets, children, refused)

    async def ask(self, wave: Wave, done: Callable[[], None]) -> Collected:
        """Run the tasks of a wave, and wait for what they give back.

        Args:
            wave: The wave.
            done: Called whenever one has come to its end.
        """
        asked_s = time.monotonic()
        answers = iter(await ask(self.spawn, wave.children, done))
        limit_s = self.run.schedule_timeout_s
        ran_out = limit_s is not None and time.monotonic() - asked_s >= limit_s
        results = [wave.refused.get(position) or next(answers) for position in range(len(wave.rows))]
        if ran_out:
            results = [never_started(result) for result in results]
        return await asyncio.to_thread(self._collect, wave.rows, results)

    def result(self, rows: RowSet, result: Mapping[str, Any] | ChildError, asked_s: float) -> TaskResult:
        """What a task, which was asked for at some time, means for its specs."""
        limit_s = self.run.schedule_timeout_s
        if limit_s is not None and time.monotonic() - asked_s >= limit_s:
            result = never_started(result)
        return result_of_task(self.run, rows, result, None)

    def _collect(self, rows: Sequence[RowSet], results: Sequence[Mapping[str, Any] | ChildError]) -> Collected:
        schema = self.specs.output_schema(self.run) if self.run.is_workflow else None
        pairs = zip(rows, results, strict=True)
        return collect([result_of_task(self.run, each, result, schema) for each, result in pairs])

    async def write(self, wave: Wave, collected: Collected) -> None:
        """Write the outcomes of a wave to the ledger, unless an earlier invocation of the node has.

        Raises:
            StorageError: If the ledger cannot be written.
        """
        await self.write_tables(wave.name, collected.tables)

    async def write_tables(self, name: str, tables: list[pa.Table], *, of: str | None = None) -> None:
        """Write outcomes to the ledger, unless an earlier invocation of the node has.

        Args:
            name: The name of the part.
            tables: The outcomes.
            of: The name of the whole that this is a piece of: it is written when that is.

        Raises:
            StorageError: If the ledger cannot be written.
        """
        if tables and (of or name) not in self.written:
            await asyncio.to_thread(self._write, name, tables)

    def _write(self, name: str, tables: list[pa.Table]) -> None:
        # the one whose name says that the wave is written comes last
        merged = merge_outcomes(tables)
        for part, table in reversed(list(zip(part_names(name, len(merged)), merged, strict=True))):
            write_part(self.storage, self.run.layout, part, with_code(table, self.run.code_mark))
            self.parts.add(part)


async def ask(
    spawn: Spawner, children: Sequence[Child], done: Callable[[], None] = lambda: None
) -> list[Mapping[str, Any] | ChildError]:
    """Run children, in as many messages as they need, and wait for what they give back; `done` is called for each."""
    open_: list[asyncio.Future[Mapping[str, Any] | ChildError]] = []
    try:
        for group in messages(children):
            asked = [asyncio.ensure_future(each) for each in await spawn(group)]
            for each in asked:
                each.add_done_callback(lambda _: done())
            open_ += asked
        return [await each for each in open_]
    finally:
        for each in open_:
            each.cancel()  # where one of them failed, or the node is to end
