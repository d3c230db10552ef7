"""A wave: tasks that a node asks for together, whose outcomes become one part of the ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    collect,
    never_started,
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
    """

    run: RunPointer
    place: str
    storage: Storage
    specs: SpecStore
    spawn: Spawner
    written: frozenset[str]

    async def prepare(self, number: int, tasks: Sequence[Sequence[int]], attempts: Mapping[int, int]) -> Wave:
        """Make the inputs of the tasks of a wave.

        Args:
            number: The number of waves that there have been before.
            tasks: The specs (`sort_index`) of each task.
            attempts: The number of the next attempt of a spec; 1 where there is none.

        Raises:
            StorageError: If the specs cannot be read.
        """
        return await asyncio.to_thread(self._prepare, number, tasks, attempts)

    def _prepare(self, number: int, tasks: Sequence[Sequence[int]], attempts: Mapping[int, int]) -> Wave:
        # a replay gives the same name to the same wave
        name = f"{self.run.session}-{self.place}-w{number:06d}"
        row_sets = [RowSet.of(list(rows), [attempts.get(row, 1) for row in rows]) for rows in tasks]
        singles = [rows.indices[0] for rows in row_sets if rows.n == 1]
        texts = inline_specs(with_contents(self.specs.read(self.run, singles), self.run)) if singles else []
        assignments = [
            LeafAssignment(run=self.run, rows=rows, part=f"{name}-t{position:04d}")
            for position, rows in enumerate(row_sets)
        ]
        children, refused = task_children(assignments, dict(zip(singles, texts, strict=True)))
        return Wave(name, row_sets, children, refused)

    async def ask(self, wave: Wave) -> Collected:
        """Run the tasks of a wave, and wait for what they give back."""
        asked_s = time.monotonic()
        answers = iter(await ask(self.spawn, wave.children))
        limit_s = self.run.schedule_timeout_s
        ran_out = limit_s is not None and time.monotonic() - asked_s >= limit_s
        results = [wave.refused.get(position) or next(answers) for position in range(len(wave.rows))]
        if ran_out:
            results = [never_started(result) for result in results]
        return await asyncio.to_thread(self._collect, wave.rows, results)

    def _collect(self, rows: Sequence[RowSet], results: Sequence[Mapping[str, Any] | ChildError]) -> Collected:
        schema = self.specs.output_schema(self.run) if self.run.is_workflow else None
        pairs = zip(rows, results, strict=True)
        return collect(rows, [result_of_task(self.run, each, result, schema) for each, result in pairs])

    async def write(self, wave: Wave, collected: Collected) -> None:
        """Write the outcomes of a wave to the ledger, unless an earlier invocation of the node has.

        Raises:
            StorageError: If the ledger cannot be written.
        """
        if collected.tables and wave.name not in self.written:
            await asyncio.to_thread(self._write, wave.name, collected.tables)

    def _write(self, name: str, tables: list[pa.Table]) -> None:
        # the one whose name says that the wave is written comes last
        for position, table in reversed(list(enumerate(merge_outcomes(tables)))):
            part = name if not position else f"{name}-{position}"
            write_part(self.storage, self.run.layout, part, with_code(table, self.run.code_mark))


async def ask(spawn: Spawner, children: Sequence[Child]) -> list[Mapping[str, Any] | ChildError]:
    """Run children, in as many messages as they need, and wait for what they give back."""
    groups = [asyncio.create_task(spawn(group)) for group in messages(children)]
    try:
        return [result for group in groups for result in await group]
    finally:
        for group in groups:
            group.cancel()  # where one of them failed, or the node is to end
