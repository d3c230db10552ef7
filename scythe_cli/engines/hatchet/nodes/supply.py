"""Keeps the fleet supplied with a node's rows, where the size of tasks is not fixed: decides while the run goes on.

A node that is replayed must ask for the same as before, and what `Pacing` decides depends on the moment. So each round
is written down in the run's folder before it is asked for, and a replay asks for what is written down first.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa

from scythe_cli.engines.hatchet.nodes.children import messages
from scythe_cli.engines.hatchet.nodes.plan import Fleet, Pacing, Positions
from scythe_cli.engines.hatchet.nodes.results import ChildError, Collected, TaskResult, collect, span_s
from scythe_cli.engines.hatchet.nodes.wave import WaveRunner
from scythe_cli.engines.hatchet.payloads import RowSet

__all__ = ["Supply"]


_LOOK_S = 1.0
_SLOTS_S = 15.0
_SLOTS = 8
_PATIENCE_S = 20.0

Answer = asyncio.Future[Mapping[str, Any] | ChildError]


@dataclass
class _Round:
    """Tasks that were asked for together, whose outcomes become a part of the ledger."""

    name: str
    asked_s: float
    n_open: int
    results: list[TaskResult] = field(default_factory=list[TaskResult])
    n_written: int = 0
    written_s: float = 0.0


@dataclass
class Supply:
    """The rows of one node, until all have an outcome.

    Attributes:
        rows: Those that are to be run (`sort_index`), ascending.
        attempts: The number of the next attempt of a row; 1 where there is none.
        runner: Makes tasks, and writes to the ledger.
        count_slots: Tells how many slots there are for the run; None where it is not known.
        n_nodes: How many nodes share them.
        may_ask: Whether more is to be asked for.
        take: Called with what has become of rows.
    """

    rows: Sequence[int]
    attempts: dict[int, int]
    runner: WaveRunner
    count_slots: Callable[[], int | None]
    n_nodes: int
    may_ask: Callable[[], Awaitable[bool]]
    take: Callable[[Collected], None]
    _pacing: Pacing = field(init=False)
    _fleet: Fleet = field(init=False)
    _begun_s: float = field(default_factory=time.monotonic)
    _open: dict[Answer, tuple[_Round, RowSet]] = field(default_factory=dict[Answer, tuple[_Round, RowSet]])
    _rounds: list[_Round] = field(default_factory=list[_Round])
    _n_rounds: int = 0
    _invocation: str = ""
    _slots_due_s: float = 0.0
    _asking: asyncio.Task[int | None] | None = None

    def __post_init__(self) -> None:
        self._pacing = Pacing(len(self.rows))
        self._fleet = Fleet(_SLOTS * self.n_nodes, self.n_nodes)

    async def run(self, *, is_replay: bool) -> None:
        """Ask for tasks until all rows have an outcome, or no more is to be asked for.

        Raises:
            StorageError: If specs cannot be read, or rounds or outcomes cannot be written.
        """
        try:
            await self._look_at_slots(wait=True)
            if is_replay:
                # what was at hand when a round was written in pieces is not what is at hand now
                self._invocation = f"{uuid4().hex[:6]}-"
                for number, (tasks, budgets) in enumerate(await asyncio.to_thread(self._read_rounds)):
                    for rows in tasks:
                        self._pacing.take_known(self._positions(rows))
                    await self._ask(number, tasks, budgets)
            while (await self.may_ask() and await self._ask_for_more()) or self._open:
                await self._look_at_slots()
                done, _ = await asyncio.wait(self._open, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                await self._take(done)
        finally:
            for answer in self._open:
                answer.cancel()
            if self._asking is not None:
                self._asking.cancel()

    # asking

    async def _ask_for_more(self) -> bool:
        elapsed_s = time.monotonic() - self._begun_s
        chosen = self._pacing.next_round(self._fleet, len(self._open), elapsed_s)
        if chosen:
            tasks = [self._row_set(task.positions) for task in chosen]
            budgets = [task.budget_s for task in chosen]
            if not await asyncio.to_thread(self._write_round, self._n_rounds, tasks, budgets):
                # an invocation of this node that was taken for dead has been quicker
                for task in chosen:
                    self._pacing.give_back(task.positions)
                tasks, budgets = await asyncio.to_thread(self._read_round, self._n_rounds)
                for rows in tasks:
                    self._pacing.take_known(self._positions(rows))
            await self._ask(self._n_rounds, tasks, budgets)
        return self._pacing.n_waiting > 0

    async def _ask(self, number: int, tasks: list[RowSet], budgets: list[float | None]) -> None:
        wave = await self.runner.prepare(number, tasks, budgets)
        now_s = time.monotonic()
        round_ = _Round(wave.name, now_s, len(tasks), written_s=now_s)
        self._rounds.append(round_)
        self._n_rounds = number + 1
        rest = iter(tasks)
        for group in messages(wave.children):
            for answer in await self.runner.spawn(group):
                self._open[asyncio.ensure_future(answer)] = round_, next(rest)

    def _row_set(self, positions: Positions) -> RowSet:
        rows = [self.rows[position] for position in positions.tolist()]
        return RowSet.of(rows, [self.attempts.get(row, 1) for row in rows])

    def _positions(self, rows: RowSet) -> Positions:
        indices = np.asarray(rows.indices, np.int64)
        if isinstance(self.rows, range):
            return (indices - self.rows.start) // self.rows.step
        return np.searchsorted(np.asarray(self.rows, np.int64), indices)

    # what is written down

    def _key(self, number: int) -> str:
        return self.runner.run.layout.hatchet(f"{self.runner.name_of(number)}.json")

    def _write_round(self, number: int, tasks: Sequence[RowSet], budgets: Sequence[float | None]) -> bool:
        told = [[rows.model_dump(exclude_defaults=True), budget] for rows, budget in zip(tasks, budgets, strict=True)]
        return self.runner.storage.create(self._key(number), json.dumps(told, separators=(",", ":")).encode())

    def _read_round(self, number: int) -> tuple[list[RowSet], list[float | None]]:
        told = json.loads(self.runner.storage.read_bytes(self._key(number)))
        return [RowSet.model_validate(rows) for rows, _ in told], [budget for _, budget in told]

    def _read_rounds(self) -> list[tuple[list[RowSet], list[float | None]]]:
        folder, _, own = self._key(0).rpartition("/")
        begins = own.removesuffix("w000000.json") + "w"
        n = len(self.runner.storage.list_files(folder, starting=begins))
        return [self._read_round(number) for number in range(n)]

    # what comes back

    async def _take(self, answers: set[Answer]) -> None:
        for answer in answers:
            round_, rows = self._open.pop(answer)
            result = await asyncio.to_thread(self.runner.result, rows, answer.result(), round_.asked_s)
            round_.n_open -= 1
            round_.results.append(result)
            self._note(rows, result)
            self.take(collect([result]))
        now_s = time.monotonic()
        for round_ in list(self._rounds):
            if not round_.n_open:
                self._rounds.remove(round_)
                await self._write(round_, round_.name)
            elif round_.results and now_s - round_.written_s > _PATIENCE_S:
                # one slow row does not hold up what people see of the others
                round_.n_written += 1
                await self._write(round_, f"{round_.name}-p{self._invocation}{round_.n_written}", of=round_.name)

    async def _write(self, round_: _Round, name: str, of: str | None = None) -> None:
        tables = collect(round_.results).tables
        round_.results, round_.written_s = [], time.monotonic()
        await self.runner.write_tables(name, tables, of=of)

    def _note(self, rows: RowSet, result: TaskResult) -> None:
        rest = result.rest
        handed_back = None if rest is None else self._positions(rest)
        slowest_s = 0.0
        if result.lost is None:
            positions, seconds = self._times(rows, result, handed_back)
            self._pacing.note(positions, seconds, span_s=span_s(result.sent), size_bytes=result.packed_bytes)
            slowest_s = float(seconds.max(initial=0.0))
        if rest is not None and handed_back is not None:
            attempts = zip(rest.indices, rest.attempt_numbers, strict=True)
            self.attempts.update({row: attempt for row, attempt in attempts if attempt > 1})
            self._pacing.give_back(handed_back, slowest_s)

    def _times(self, rows: RowSet, result: TaskResult, rest: Positions | None) -> tuple[Positions, Any]:
        if result.sent:
            indices = np.concatenate([table.column("sort_index").to_numpy() for table in result.sent])
            seconds = np.concatenate([_seconds(table) for table in result.sent])
            return self._positions(RowSet(rows=indices.tolist(), n=len(indices))), seconds
        positions = self._positions(rows)
        if rest is not None:
            positions = np.setdiff1d(positions, rest)
        return positions, np.full(len(positions), result.busy_s / max(1, len(positions)))

    async def _look_at_slots(self, *, wait: bool = False) -> None:
        """See how many slots there are; while the engine is asked, the node goes on."""
        if self._asking is not None and (wait or self._asking.done()):
            with contextlib.suppress(asyncio.CancelledError):
                n = await self._asking
                if n:
                    self._fleet = Fleet(n, self.n_nodes)
            self._asking = None
        now_s = time.monotonic()
        if self._asking is None and now_s >= self._slots_due_s:
            self._slots_due_s = now_s + _SLOTS_S
            self._asking = asyncio.create_task(asyncio.to_thread(self.count_slots))
            if wait:
                await self._look_at_slots(wait=True)


def _seconds(table: pa.Table) -> Any:
    return np.nan_to_num(table.column("duration_s").to_numpy(zero_copy_only=False).astype(float))
