"""What has become of each spec of a ledger of any size: a few bytes for each, while its parts are read one by one.

The same outcomes count as `effective_outcomes` and `failing_outcomes` choose from a frame of all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from scythe_cli.arrow.build import numbers
from scythe_cli.core.records import StateCounts
from scythe_cli.core.states import State
from scythe_cli.run.ledger import Ledger, read_part
from scythe_cli.run.outcomes.effective import effective_outcomes

__all__ = ["Standings", "bad_outcomes", "standings_of"]


Flags = np.ndarray[Any, np.dtype[Any]]

_STATES = [state for state in State if state is not State.PENDING]  # their numbers count from 1; 0 has no outcome
_NAMES = pl.Enum([state.value for state in _STATES])
_SUCCEEDED = _STATES.index(State.SUCCEEDED) + 1
_STATE = np.uint8(0x07)
_RAN = np.uint8(0x40)  # it was run here, and not cancelled or taken over
_TRIED = np.uint8(0x80)  # an attempt has failed that is not the last
_SMALL = 255
_AT_ONCE = 4_000_000


@dataclass(slots=True)
class Standings:
    """What has become of each spec so far.

    Attributes:
        n_specs: The number of specs.
        first: The first start, of the outcomes that count once all are known.
        last: The last end.
        has_rivals: Whether a spec has had more than one final outcome.
    """

    n_specs: int
    first: datetime | None = None
    last: datetime | None = None
    has_rivals: bool = False
    _flags: Flags = field(init=False)
    _attempts: Flags = field(init=False)  # of the outcome that counts
    _highest: Flags = field(init=False)  # of all outcomes

    def __post_init__(self) -> None:
        self._flags, self._attempts, self._highest = (np.zeros(self.n_specs, np.uint8) for _ in range(3))

    def add(self, outcomes: pl.DataFrame) -> None:
        """Take note of the outcomes of a part; parts come in the order of the ledger."""
        if not outcomes.height:
            return
        rows, attempts = _rows(outcomes), outcomes["attempt"].to_numpy()
        if self._highest.dtype == np.uint8 and attempts.max() > _SMALL:
            self._attempts, self._highest = (array.astype(np.int32) for array in (self._attempts, self._highest))
        attempts = attempts.astype(self._highest.dtype)
        np.maximum.at(self._highest, rows, attempts)
        final = outcomes
        if not outcomes["final"].all():
            tried = outcomes.filter(~pl.col("final") & (pl.col("state") != State.SUCCEEDED.value))
            self._flags[_rows(tried)] |= _TRIED
            final = outcomes.filter("final")
        if not final.height:
            return
        self.note_times(final)
        if not _are_distinct(final):
            final, self.has_rivals = effective_outcomes(final), True
        self._choose(final)

    def grow(self, n_specs: int) -> None:
        """Know of as many specs; further ones are pending."""
        n_more = n_specs - self.n_specs
        if n_more > 0:
            arrays = (self._flags, self._attempts, self._highest)
            self._flags, self._attempts, self._highest = (np.pad(array, (0, n_more)) for array in arrays)
            self.n_specs = n_specs

    def note_times(self, outcomes: pl.DataFrame) -> None:
        """Take note of when they began and ended."""
        first, last = _span(outcomes)
        if first is not None:
            self.first = first if self.first is None else min(first, self.first)
        if last is not None:
            self.last = last if self.last is None else max(last, self.last)

    def _choose(self, final: pl.DataFrame) -> None:
        """See which of them count more than what was known; each is of another spec."""
        rows, states = _rows(final), _state_numbers(final)
        attempts = final["attempt"].to_numpy().astype(self._attempts.dtype)
        known = self._flags[rows] & _STATE
        count = known == 0
        if not count.all():
            self.has_rivals = True
            before = self._attempts[rows]
            is_good, was_good = states == _SUCCEEDED, known == _SUCCEEDED
            count |= is_good & (~was_good | (attempts < before))
            count |= ~is_good & ~was_good & (attempts > before)
        ran = (final["started_at"].is_not_null() & (final["state"] != State.CANCELLED.value)).to_numpy()
        self._flags[rows[count]] = (states | np.where(ran, _RAN, np.uint8(0)))[count]
        self._attempts[rows[count]] = attempts[count]

    def counts(self) -> StateCounts:
        """The specs by state."""
        n = np.zeros(len(_STATES) + 1, np.int64)
        for start in range(0, self.n_specs, _AT_ONCE):
            states = self._flags[start : start + _AT_ONCE] & _STATE
            # a tenth of the time of np.bincount, which makes an int64 of each
            n += [np.count_nonzero(states == number) for number in range(len(n))]
        known = {state.value: int(n[number]) for number, state in enumerate(_STATES, 1)}
        return StateCounts(**known, pending=int(n[0]))

    def n_failing(self) -> int:
        """How many specs are pending and have failed before."""
        return int(np.count_nonzero((self._flags & (_STATE | _TRIED)) == _TRIED))

    def n_ran(self) -> int:
        """How many specs have an outcome that counts and that comes from being run."""
        return int(np.count_nonzero(self._flags & _RAN))

    def are_bad(self, rows: Sequence[int]) -> list[bool]:
        """Whether each of some specs has ended without success, or is pending and has failed before."""
        flags = self._flags[np.asarray(rows, np.int64)]
        return ((flags & _STATE > _SUCCEEDED) | ((flags & (_STATE | _TRIED)) == _TRIED)).tolist()

    def todo(self, states: Collection[State]) -> pa.Table:
        """The specs in some states, with the number of their next attempt: one more than the highest of all."""
        wanted = np.array([State.PENDING in states, *(state in states for state in _STATES)])
        counts = self.counts()
        n = sum(counts.of(state) for state in (State.PENDING, *_STATES) if state in states)
        rows, attempts = np.empty(n, np.int64), np.empty(n, np.int32)
        filled = 0
        for start in range(0, self.n_specs, _AT_ONCE):  # what is made on the way takes several times as much
            here = np.flatnonzero(wanted[self._flags[start : start + _AT_ONCE] & _STATE]) + start
            rows[filled : filled + len(here)] = here
            attempts[filled : filled + len(here)] = self._highest[here]
            filled += len(here)
        attempts += 1
        return pa.table({"sort_index": numbers(rows, pa.int64()), "attempt": numbers(attempts, pa.int32())})

    def that_count(self, outcomes: pl.DataFrame, seen: Flags) -> pl.DataFrame:
        """The outcomes of a part that count.

        Args:
            outcomes: The part; parts come in the order of the ledger.
            seen: Of which specs an earlier part had it, bool; it is changed.
        """
        rows = _rows(outcomes)
        count = outcomes["final"].to_numpy() & ((self._flags[rows] & _STATE) == _state_numbers(outcomes))
        count &= (self._attempts[rows] == outcomes["attempt"].to_numpy()) & ~seen[rows]
        positions = np.flatnonzero(count)
        # twice the same attempt in one part: the first
        positions = np.sort(positions[np.unique(rows[positions], return_index=True)[1]])
        seen[rows[positions]] = True
        return outcomes[pl.Series(positions)]

    def that_fail(self, outcomes: pl.DataFrame) -> pl.DataFrame:
        """The last attempts in a part of specs that are pending and have failed before."""
        rows = _rows(outcomes)
        fail = ~outcomes["final"].to_numpy() & ((self._flags[rows] & (_STATE | _TRIED)) == _TRIED)
        fail &= self._highest[rows] == outcomes["attempt"].to_numpy()
        return outcomes.filter(pl.Series(fail)).filter(pl.col("state") != State.SUCCEEDED.value)


def standings_of(ledger: Ledger, n_specs: int) -> Standings:
    """Read what has become of each spec.

    Args:
        ledger: The ledger, open.
        n_specs: The number of specs of the run.
    """
    standings = Standings(n_specs)
    for _, outcomes in ledger.pieces(n_specs):
        standings.add(outcomes)
    if standings.has_rivals:  # those that do not count must not count here either
        standings.first = standings.last = None
        seen = np.zeros(n_specs, bool)
        for _, outcomes in ledger.pieces(n_specs):
            standings.note_times(standings.that_count(outcomes, seen))
    return standings


def bad_outcomes(
    ledger: Ledger, standings: Standings, columns: list[str], *, failing: bool = False
) -> Iterator[pl.DataFrame]:
    """What the ledger tells of the specs that ended without success, part by part.

    Args:
        ledger: The ledger, open.
        standings: What has become of each spec.
        columns: What is read of them.
        failing: The last attempts of specs that are pending and have failed before, instead.

    Raises:
        StorageError: If a part is damaged.
    """
    n_bad = standings.counts().total - standings.counts().succeeded - standings.counts().pending
    if not (standings.n_failing() if failing else n_bad):
        return
    seen = np.zeros(0 if failing else standings.n_specs, bool)
    for part, outcomes in ledger.pieces(standings.n_specs):
        bad = standings.that_fail(outcomes) if failing else standings.that_count(outcomes, seen)
        bad = bad.filter(pl.col("state") != State.SUCCEEDED.value)
        if bad.height:
            read: Any = pl.from_arrow(read_part(part, columns))
            yield read[bad["row"]]


def _span(outcomes: pl.DataFrame) -> tuple[datetime | None, datetime | None]:
    ended = pl.col("started_at") + pl.duration(microseconds=pl.col("duration_s").fill_null(0) * 1_000_000)
    return outcomes.select(first=pl.col("started_at").min(), last=ended.max()).row(0)


def _rows(outcomes: pl.DataFrame) -> Flags:
    return outcomes["sort_index"].to_numpy()


def _state_numbers(outcomes: pl.DataFrame) -> Flags:
    states = outcomes["state"]
    if (states == State.SUCCEEDED.value).all():
        return np.full(len(states), _SUCCEEDED, np.uint8)
    return (states.cast(_NAMES).to_physical().to_numpy() + 1).astype(np.uint8)


def _are_distinct(outcomes: pl.DataFrame) -> bool:
    rows = _rows(outcomes)
    return bool((np.diff(rows) > 0).all()) or outcomes["sort_index"].n_unique() == len(rows)
