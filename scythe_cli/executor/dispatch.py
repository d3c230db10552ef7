"""The rows of one run on their way: which wait, how many go at once, which go again, and what became of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from scythe_cli.core.states import RetryRule
from scythe_cli.executor.attribution import Death, Evidence, evidence_of, resolve
from scythe_cli.executor.backlog import Backlog, Room, SortedBacklog
from scythe_cli.executor.protocol import ATTEMPT, TRIES_REMAINING
from scythe_cli.executor.rows.attempts import outcome_of_failure

if TYPE_CHECKING:
    from scythe_cli.executor.rows.call import RunContext
    from scythe_cli.executor.rows.failure import Failure

__all__ = ["Chunk", "Dispatch", "Pace"]


_TARGET_S = 0.5
_MAX_ROWS = 20_000
_GROWTH = 4


@dataclass(slots=True)
class Chunk:
    """Rows that a child has.

    Attributes:
        serial: Its number, which no other chunk has that the child ever had.
        rows: The rows.
        done: How many of them are finished, and their outcomes received.
    """

    serial: int
    rows: pa.RecordBatch
    done: int = 0

    @property
    def n_remaining(self) -> int:
        """The number of rows that are not finished."""
        return self.rows.num_rows - self.done


@dataclass(slots=True)
class Pace:
    """How many rows a chunk should have: few enough to be done soon, enough that the handling of chunks costs little.

    Attributes:
        row_s: The time that a row takes, lately; None before the first.
        largest: The largest chunk so far.
        imports_s: The longest time for which a process has imported modules in its first row, beside that.
        n_run: How many rows have been run.
        n_deaths: How many of them have ended their process.
    """

    row_s: float | None = None
    largest: int = 1
    imports_s: float = 0.0
    n_run: int = 0
    n_deaths: int = 0

    def record(self, n_rows: int, busy_s: float) -> None:
        """Learn from rows that have been run."""
        self.n_run += n_rows
        row_s = busy_s / n_rows
        # slower counts at once: a chunk that takes too long does more harm than one too many
        self.row_s = row_s if self.row_s is None or row_s > self.row_s else max(row_s, self.row_s / 2)

    def record_death(self) -> None:
        """Learn from a row that has ended its process."""
        self.n_run += 1
        self.n_deaths += 1

    def rows(self, remaining: int | None, workers: int) -> int:
        """The size of the next chunk."""
        if self.row_s is None:
            return 1
        n = min(self.largest * _GROWTH, int(_TARGET_S / max(self.row_s, 1e-7)), _MAX_ROWS)
        if remaining is not None:
            # at the end, no child keeps rows that another could run
            n = min(n, -(-remaining // (2 * workers)))
        n = max(n, 1)
        self.largest = max(self.largest, n)
        return n

    @property
    def is_deadly(self) -> bool:
        """Whether a row of a large chunk ends its process more likely than not."""
        return self.n_deaths * self.largest > self.n_run

    @property
    def is_fast(self) -> bool:
        """Whether a child should have its next chunk before it asks: not where rows take longer than a message."""
        return self.row_s is not None and self.row_s < 0.02


class Dispatch:
    """Hands out the rows of a run, and takes what became of them.

    Args:
        source: Batches of rows, see `Executor.run`.
        retry: How often a row is run again, and after what.
        context: The run.
        workers: How many processes run rows at the same time.
        pace: What is known of the time that rows take; it is changed.
        room: What there is of the machine, where rows take different parts of it.
    """

    def __init__(
        self,
        source: Iterable[pa.RecordBatch],
        retry: RetryRule,
        context: RunContext,
        workers: int,
        pace: Pace | None = None,
        room: Room | None = None,
    ) -> None:
        self._backlog = Backlog(source, retry.times) if room is None else SortedBacklog(source, retry.times, room)
        self._room = room
        self._pace = Pace() if pace is None else pace
        self._retry = retry
        self._context = context
        self._workers = workers
        self._outcomes: list[pa.Table] = []
        self._n_unexplained = 0  # deaths of children that had not begun with their rows
        self._suspected: Counter[int] = Counter()  # how often a row was alone in such a child, by sort_index
        self.has_failures = False
        """Whether any of the outcomes at hand is of a row that did not succeed."""

    @property
    def is_fast(self) -> bool:
        """See `Pace.is_fast`; a child whose next rows may take more than it has room for must ask."""
        return self._pace.is_fast and self._room is None

    @property
    def is_deadly(self) -> bool:
        """See `Pace.is_deadly`."""
        return self._pace.is_deadly

    @property
    def row_s(self) -> float | None:
        """See `Pace.row_s`."""
        return self._pace.row_s

    @property
    def imports_s(self) -> float:
        """See `Pace.imports_s`."""
        return self._pace.imports_s

    @property
    def has_outcomes(self) -> bool:
        """Whether there are outcomes at hand."""
        return bool(self._outcomes)

    def holds(self, n: int) -> bool:
        """Whether `n` rows wait at least; asks the source as far as necessary."""
        return self._backlog.holds(n)

    def can_give(self) -> bool:
        """Whether a row waits that there is room for."""
        return self._backlog.can_give()

    def next_rows(self) -> pa.RecordBatch:
        """Take the rows of the next chunk; one must wait that there is room for."""
        n = self._pace.rows(self._backlog.remaining(), self._workers)
        self._backlog.holds(n)
        rows = self._backlog.take(n)
        if self._room is not None:
            self._room.take(rows)
        return rows

    def take_back(self, rows: pa.RecordBatch) -> None:
        """Take rows back that were not given to a child after all."""
        self._leave(rows)
        self._backlog.put_back(rows)

    def _leave(self, rows: pa.RecordBatch) -> None:
        """Take note that nothing of these rows is run any more."""
        if self._room is not None:
            self._room.leave(rows)

    def take_outcomes(self) -> list[pa.Table]:
        """The outcomes at hand; then there are none."""
        outcomes, self._outcomes = self._outcomes, []
        self.has_failures = False
        return outcomes

    def add_outcomes(self, chunk: Chunk, outcomes: Sequence[pa.Table], fields: dict[str, Any]) -> bool:
        """Take outcomes of a chunk.

        Args:
            chunk: The chunk; it is changed.
            outcomes: The tables.
            fields: What the child says with them.

        Returns:
            Whether its child is done with the chunk.
        """
        self._outcomes += outcomes
        if fields["n"]:
            self._pace.record(fields["n"], fields["busy_s"])
        self._pace.imports_s = max(self._pace.imports_s, fields.get("imports_s", 0.0))
        if fields["failed"]:
            self.has_failures = True
        chunk.done = fields["done"]
        if fields["back"]:
            self._backlog.put_back(chunk.rows.slice(chunk.done))
        if fields["again"]:
            self._backlog.put_again(chunk.rows.take(pa.array(fields["again"])))
        is_done: bool = fields["back"] or not chunk.n_remaining
        if is_done:
            self._leave(chunk.rows)
        return is_done

    def settle(
        self, death: Death, chunks: Sequence[Chunk], failure: Failure, died_s: float, log: str | None
    ) -> int | None:
        """Take back the rows of a child that died, and attribute its death to one of them where that is known.

        Args:
            death: What is known of its end.
            chunks: What it had, in the order in which it would have run them; the first is the one of `death`.
            failure: What the row becomes that is the cause.
            died_s: When it died, on the monotonic clock.
            log: What that row printed.

        Returns:
            The `sort_index` of the row that is the cause; None where that is not known.
        """
        chunk = chunks[0]
        for each in chunks:
            self._leave(each.rows)
        evidence = evidence_of(death)
        resolution = resolve(death, evidence, self._count(evidence, chunk))
        # what is put to the front last is run first
        for other in reversed(chunks[1:]):
            self._backlog.put_back(other.rows)
        for span in reversed(resolution.again):
            rows = chunk.rows.slice(span.start, span.stop - span.start)
            self._backlog.put_back(rows, alone=span.alone, survived=span.survived)
        if resolution.attributed is not None:
            started_s = death.snapshot.started_s if resolution.has_begun else died_s
            return self._attribute(chunk.rows.slice(resolution.attributed, 1), failure, started_s, died_s, log)
        return None

    def _count(self, evidence: Evidence, chunk: Chunk) -> int:
        """How many deaths have been of this kind; see `resolve`."""
        if evidence is Evidence.NONE:
            self._n_unexplained += 1
            return self._n_unexplained
        if evidence is Evidence.NONE_ALONE:
            row: Any = chunk.rows.column("sort_index")[0].as_py()
            self._suspected[row] += 1
            return self._suspected[row]
        return 1

    def _attribute(
        self, row: pa.RecordBatch, failure: Failure, started_s: float, died_s: float, log: str | None
    ) -> int:
        """Make the outcome of a row that ended its process; returns its `sort_index`."""
        from scythe_cli.model.spec_rows import workflow_run_id

        cells = row.select(["sort_index", "workflow_run_id", ATTEMPT, TRIES_REMAINING]).to_pylist()[0]
        retries = self._retry.allows(failure.state, cells[TRIES_REMAINING])
        run_id = cells["workflow_run_id"] or workflow_run_id(self._context.root_workflow_run_id, cells["sort_index"])
        self.has_failures = True
        self._pace.record_death()
        self._outcomes.append(
            outcome_of_failure(
                failure,
                sort_index=cells["sort_index"],
                attempt=cells[ATTEMPT],
                final=not retries,
                workflow_run_id=run_id,
                worker=self._context.worker,
                started_s=started_s + time.time() - time.monotonic(),
                duration_s=max(0.0, died_s - started_s),
                log=log,
            )
        )
        if retries:
            self._backlog.put_again(row, alone=True)
        return cells["sort_index"]
