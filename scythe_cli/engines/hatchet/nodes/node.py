"""A node of scatter/gather: gives its specs to nodes below it, or to tasks, and makes the final tables at the root.

A node holds no state that matters. When it moves to another worker it runs from its start again; the engine remembers
what it had asked for, in order, and gives it the same results, so that no task runs a second time. For that, a node
must ask for the same things in the same order: see `plan`. The parts that it writes have names that follow from its
place in the tree and the number of the wave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import polars as pl

from scythe_cli.core.recursion import RecursionMap
from scythe_cli.core.states import State
from scythe_cli.engines.hatchet.nodes.children import Child, Spawner, node_child
from scythe_cli.engines.hatchet.nodes.plan import Fleet, Shape, waves
from scythe_cli.engines.hatchet.nodes.results import ChildError, Collected, Lost, notices_of, total
from scythe_cli.engines.hatchet.nodes.specstore import SpecStore
from scythe_cli.engines.hatchet.nodes.supply import Supply
from scythe_cli.engines.hatchet.nodes.wave import Wave, WaveRunner, ask
from scythe_cli.engines.hatchet.payloads import NodeInput, NodeOutput, RowSet, RunPointer
from scythe_cli.engines.hatchet.sessions import CancelWatch
from scythe_cli.engines.todo_file import read_todo
from scythe_cli.run.final.gather import Known, gather
from scythe_cli.storage.base import Storage

__all__ = ["Node", "place_of", "reached_limit"]


_MAX_NOTICES = 20
_MAX_PARTS = 20_000
_LOOK_S = 0.1


@dataclass
class Node:
    """One node, from its start to its end.

    Attributes:
        node_input: Which run, and which part of it.
        spawn: Runs its children.
        specs: The specs of runs on this machine.
        is_replay: Whether it may have written parts before.
        count_slots: Tells how many slots there are for the run; None where it is not known.
    """

    node_input: NodeInput
    spawn: Spawner
    specs: SpecStore
    is_replay: bool
    count_slots: Callable[[RunPointer], int | None] = lambda run: None
    _storage: Storage = field(init=False)
    _todo: pl.DataFrame | None = None
    _cancel: CancelWatch = field(init=False)
    _written: frozenset[str] = frozenset()
    _n_open: int = 0
    _lost: list[ChildError] = field(default_factory=list[ChildError])
    _counts: list[dict[str, int]] = field(default_factory=list[dict[str, int]])
    _parts: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.specs.admit(self.run)
        self._storage = self.run.open_storage()
        self._cancel = CancelWatch(self._storage, self.run.layout, self.run.session)

    @property
    def run(self) -> RunPointer:
        """The run."""
        return self.node_input.run

    async def work(self) -> NodeOutput:
        """Run all specs of the node, and at the root make the final tables.

        Raises:
            StorageError: If specs cannot be read, or outcomes or tables cannot be written.
        """
        recursion = self.node_input.recursion
        rows = recursion.rows(self.run.n_specs)
        if self.node_input.todo is not None:
            self._todo = await asyncio.to_thread(self._read_todo, self.node_input.todo, rows)
        if self.is_replay:
            self._written = await asyncio.to_thread(self._list_parts)
        else:
            await self._cancel.look()
        if self._cancel.seen:
            output = NodeOutput(stopped=True)
        elif recursion.is_base_case(self.run.n_specs):
            output = await self._run_specs(rows)
        else:
            output = await self._run_nodes(recursion)
        if recursion.is_root:
            parts = [f"{self.run.session}-{name}.pq" for name in output.parts or ()]
            known = Known(parts=parts, n_ended=sum(output.counts.values()) if output.parts is None else 0)
            gathered = await asyncio.to_thread(gather, self._storage, self.run.layout, known=known)
            totals = {state.value: gathered.counts.of(state) for state in State}
            output = output.model_copy(
                update={
                    "parts": [],
                    "tables": sorted(gathered.tables),
                    "totals": totals,
                    "damaged": gathered.damaged,
                    "table_notices": gathered.notices,
                    "n_warnings": gathered.n_warnings,
                }
            )
        return output

    def _read_todo(self, name: str, rows: range) -> pl.DataFrame:
        """What is to be run of this node's specs."""
        steps = pl.col("sort_index") - rows.start
        chosen = steps.is_between(0, rows.stop - rows.start - 1) & (steps % rows.step == 0)
        return read_todo(self._storage, self.run.layout.hatchet(name)).filter(chosen)

    def _list_parts(self) -> frozenset[str]:
        own = f"{self.run.session}-{place_of(self.node_input.recursion)}-"
        files = self._storage.list_files(self.run.layout.outcomes, starting=own)
        return frozenset(file.name.removesuffix(".pq") for file in files)

    # inner nodes

    async def _run_nodes(self, recursion: RecursionMap) -> NodeOutput:
        outputs: list[NodeOutput] = []
        for result in await ask(self.spawn, self._nodes_below(recursion)):
            if isinstance(result, ChildError):
                self._lost.append(result)
            else:
                outputs.append(NodeOutput.model_validate(result))
        notices = [notice for output in outputs for notice in output.notices]
        stopped = any(output.stopped for output in outputs) or self._is_cancelled()
        return NodeOutput(
            counts=total([output.counts for output in outputs]),
            notices=list(dict.fromkeys([*notices, *notices_of(self._lost, "node")]))[:_MAX_NOTICES],
            parts=self._told_parts([output.parts for output in outputs]),
            stopped=stopped,
        )

    def _told_parts(self, parts: Sequence[Collection[str] | None]) -> list[str] | None:
        """The names of all parts below this node, for the node above; None for too many."""
        names = sorted({name.removeprefix(f"{self.run.session}-") for each in parts for name in each or ()})
        return None if None in parts or len(names) > _MAX_PARTS else names

    def _nodes_below(self, recursion: RecursionMap) -> list[Child]:
        rows, wanted = recursion.rows(self.run.n_specs), None
        if self._todo is not None:
            # of this node's specs, a child has every factor-th
            step = pl.col("sort_index") - rows.start
            wanted = set(self._todo.select(step // rows.step % recursion.factor).to_series().unique())
        children: list[Child] = []
        for offset, child in enumerate(recursion.children()):
            if not child.rows(self.run.n_specs):
                break
            if wanted is not None and offset not in wanted:
                continue
            node_input = self.node_input.model_copy(update={"recursion": child})
            children.append(node_child(node_input, place_of(child)))
        return children

    # base nodes

    async def _run_specs(self, rows: range) -> NodeOutput:
        todo, attempts = _to_run(rows, self._todo)
        recursion = self.node_input.recursion
        runner = WaveRunner(self.run, place_of(recursion), self._storage, self.specs, self.spawn, self._written)
        per_task = 1 if self.run.is_workflow else self.node_input.specs_per_task
        if per_task is None:
            count_slots = partial(self.count_slots, self.run)
            supply = Supply(todo, attempts, runner, count_slots, self._n_nodes, self._may_ask, self._take)
            await supply.run(is_replay=self.is_replay)
        else:
            await self._run_waves(runner, todo, Shape(per_task), attempts)
        return NodeOutput(
            counts=total(self._counts),
            notices=notices_of(self._lost, "task"),
            parts=self._told_parts([{*self._parts, *runner.parts, *self._written}]),
            stopped=self._is_cancelled(),
        )

    async def _run_waves(
        self, runner: WaveRunner, todo: Sequence[int], shape: Shape, attempts: Mapping[int, int]
    ) -> None:
        """Run waves side by side: a slow task holds up its own wave's part of the ledger, and nothing else."""
        open_waves: set[asyncio.Task[Collected]] = set()
        slots = await asyncio.to_thread(self.count_slots, self.run)
        fleet = Fleet(slots or 0, self._n_nodes)
        try:
            for number, tasks in enumerate(waves(todo, shape)):
                while self._n_open >= fleet.max_open:
                    finished, open_waves = await asyncio.wait(
                        open_waves, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED
                    )
                    for task in finished:
                        task.result()
                if not await self._may_ask():
                    break
                row_sets = [RowSet.of(list(rows), [attempts.get(row, 1) for row in rows]) for rows in tasks]
                wave = await runner.prepare(number, row_sets)
                # what is started first asks the engine first
                open_waves.add(asyncio.create_task(self._run_wave(runner, wave)))
                self._n_open += len(wave.children)
                await asyncio.sleep(0)
            while open_waves:
                finished, open_waves = await asyncio.wait(open_waves, return_when=asyncio.FIRST_COMPLETED)
                for task in finished:
                    task.result()
        finally:
            for task in open_waves:
                task.cancel()

    def _one_is_done(self) -> None:
        self._n_open -= 1

    @property
    def _n_nodes(self) -> int:
        """How many nodes share the slots."""
        return self.node_input.recursion.factor**self.node_input.recursion.depth

    async def _may_ask(self) -> bool:
        await self._cancel.look()
        return not self._is_cancelled() and not reached_limit(total(self._counts), self.node_input.max_failures)

    def _take(self, collected: Collected) -> None:
        self._lost += collected.lost
        self._counts.append(collected.counts)
        self._parts += collected.parts

    async def _run_wave(self, runner: WaveRunner, wave: Wave) -> Collected:
        collected = await runner.ask(wave, self._one_is_done)
        self._take(collected)
        await runner.write(wave, collected)
        return collected

    def _is_cancelled(self) -> bool:
        return self._cancel.seen or any(error.kind is Lost.CANCELLED for error in self._lost)


def _to_run(rows: range, chosen: pl.DataFrame | None) -> tuple[Sequence[int], dict[int, int]]:
    """The specs to run, and the number of the next attempt of those that are not run for the first time."""
    if chosen is None:
        return rows, {}
    attempts = dict(zip(chosen["sort_index"].to_list(), chosen["attempt"].to_list(), strict=True))
    return list(attempts), attempts


def reached_limit(counts: Mapping[str, int], max_failures: int | None) -> bool:
    """Whether so many specs have ended without success that no more are to be asked for."""
    failures = sum(n for state, n in counts.items() if state != State.SUCCEEDED.value)
    return max_failures is not None and failures >= max_failures


def place_of(recursion: RecursionMap) -> str:
    """The place in the tree, as part of a file's name."""
    return "root" if recursion.path is None else "n" + "-".join(str(step.offset) for step in recursion.path)
