"""What has become of each spec, read part by part, is what a frame of the whole ledger tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.core.states import State
from scythe_cli.run.ledger import Ledger
from scythe_cli.run.outcomes import standings as standings_module
from scythe_cli.run.outcomes.effective import counts_of, effective_outcomes, failing_outcomes
from scythe_cli.run.outcomes.standings import Standings, bad_outcomes, standings_of
from scythe_cli.storage.opening import open_storage
from tests.made_runs import LAYOUT, make_run, outcomes, write_part

N = 6
START = datetime(2026, 1, 1, tzinfo=UTC)
STATES = ["succeeded", "failed", "timeout", "crashed", "cancelled"]
SCHEMA = {
    "sort_index": pl.Int64,
    "state": pl.String,
    "attempt": pl.Int32,
    "final": pl.Boolean,
    "started_at": pl.Datetime("us", "UTC"),
    "duration_s": pl.Float64,
    "part": pl.UInt32,
    "row": pl.UInt32,
}
TOLD = ["sort_index", "state", "attempt", "part", "row"]

final_rows = st.tuples(st.integers(0, N - 1), st.sampled_from(STATES), st.sampled_from([0, 1, 2, 300]), st.just(True))
tried_rows = st.tuples(st.integers(0, N - 1), st.sampled_from(STATES[1:4]), st.integers(1, 3), st.just(False))
times = st.tuples(st.sampled_from([None, 0, 1, 5]), st.sampled_from([None, 0.0, 1.5, 7.0]))
ledgers = st.lists(st.lists(st.tuples(final_rows | tried_rows, times), max_size=8), max_size=4)


@dataclass
class MadeLedger:
    """A ledger whose parts are lists of rows."""

    parts: list[Any]

    def pieces(self, n_specs: int) -> Iterator[tuple[None, pl.DataFrame]]:
        for position, part in enumerate(self.parts):
            rows = [
                (*row, None if begun is None else START + timedelta(seconds=begun), took_s, position, number)
                for number, (row, (begun, took_s)) in enumerate(part)
            ]
            yield None, pl.DataFrame(rows, SCHEMA, orient="row")

    def outcomes(self) -> pl.DataFrame:
        return pl.concat([pl.DataFrame(schema=SCHEMA), *(frame for _, frame in self.pieces(N))])


@given(ledgers)
def test_the_same_outcomes_count_as_in_a_frame_of_all(parts: list[Any]) -> None:
    made = MadeLedger(parts)
    ledger = cast("Ledger", made)
    effective = effective_outcomes(made.outcomes())
    failing = failing_outcomes(made.outcomes(), effective)

    standings = standings_of(ledger, N)

    assert standings.counts() == counts_of(effective, N)
    assert standings.n_failing() == failing.height
    bad = effective.filter(pl.col("state") != "succeeded")
    assert [row for row in range(N) if standings.are_bad([row])[0]] == sorted(
        {*bad["sort_index"], *failing["sort_index"]}
    )
    seen = np.zeros(N, bool)
    counted = pl.concat([effective.clear(), *(standings.that_count(each, seen) for _, each in made.pieces(N))])
    assert counted.sort("sort_index").select(TOLD).equals(effective.select(TOLD))
    failed = pl.concat([failing.clear(), *(standings.that_fail(each) for _, each in made.pieces(N))])
    failed = failed.unique("sort_index", keep="last", maintain_order=True).sort("sort_index")
    assert failed.select(TOLD).equals(failing.select(TOLD))
    ended = pl.col("started_at") + pl.duration(microseconds=pl.col("duration_s").fill_null(0) * 1_000_000)
    assert (standings.first, standings.last) == effective.select(pl.col("started_at").min(), end=ended.max()).row(0)
    ran = effective.filter(pl.col("started_at").is_not_null() & (pl.col("state") != "cancelled"))
    assert standings.n_ran() == ran.height


@given(ledgers, st.sets(st.sampled_from(State)))
def test_what_is_run_again_goes_on_from_the_highest_attempt(parts: list[Any], states: set[State]) -> None:
    made = MadeLedger(parts)
    outcomes = made.outcomes()
    state_of = dict(effective_outcomes(outcomes).select("sort_index", "state").iter_rows())
    last = dict(outcomes.group_by("sort_index").agg(pl.col("attempt").max()).iter_rows())

    todo = standings_of(cast("Ledger", made), N).todo(states)

    rows = [row for row in range(N) if state_of.get(row, "pending") in states]
    assert todo.to_pydict() == {"sort_index": rows, "attempt": [last.get(row, 0) + 1 for row in rows]}


def test_specs_that_were_added_are_pending() -> None:
    standings = Standings(1)
    standings.grow(3)
    standings.grow(2)
    assert standings.counts().pending == 3
    assert standings.are_bad([0, 2]) == [False, False]
    standings.grow(4)
    assert standings.counts().pending == 4
    assert standings.are_bad([]) == []


@pytest.mark.parametrize("known", [4, 6])
def test_what_went_wrong_is_read_of_the_outcomes_that_count(tmp_path: Path, known: int) -> None:
    """Of specs that a reader knows of; of each the last attempt, and of no spec that has succeeded."""
    storage = open_storage(tmp_path)
    make_run(storage, tmp_path / "scratch", 6)
    write_part(storage, LAYOUT, "a", outcomes([0, 1, 2, 3], "failed", final=False))
    write_part(storage, LAYOUT, "b", outcomes([0, 1], "crashed", attempt=2))
    write_part(storage, LAYOUT, "c", outcomes([1, 5], attempt=3))
    write_part(storage, LAYOUT, "d", outcomes([0, 4], "timeout", attempt=3))
    write_part(storage, LAYOUT, "e", outcomes([2], "timeout", attempt=2, final=False))
    columns = ["sort_index", "state", "attempt", "message"]
    with Ledger.open(storage, LAYOUT) as ledger:
        standings = standings_of(ledger, known)
        bad = [frame.rows() for frame in bad_outcomes(ledger, standings, columns)]
        failing = [frame.rows() for frame in bad_outcomes(ledger, standings, columns, failing=True)]
    assert bad == [[(row, "timeout", 3, f"bad {row}") for row in (0, 4) if row < known]]
    assert failing == [
        [(3, "failed", 1, "bad 3")],
        [(2, "timeout", 2, "bad 2")],
    ]


def test_nothing_is_read_where_nothing_went_wrong(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    for name, states, n_bad, n_failing in (
        ("good", {"a": ("succeeded", True)}, None, None),
        ("bad", {"a": ("failed", True)}, 2, None),
        ("failing", {"a": ("failed", False)}, None, 2),
    ):
        run = replace(LAYOUT, experiment=name)
        for part, (state, final) in states.items():
            write_part(storage, run, part, outcomes([0, 1], state, final=final))
        with Ledger.open(storage, run) as ledger:
            standings = standings_of(ledger, 4)
            for failing, n in ((False, n_bad), (True, n_failing)):
                source = cast("Ledger", Unread()) if n is None else ledger
                found = list(bad_outcomes(source, standings, ["sort_index"], failing=failing))
                assert sum(frame.height for frame in found) == (n or 0)


class Unread:
    """A ledger that nobody is to read."""

    def pieces(self, n_specs: int) -> Iterator[Any]:
        pytest.fail("there is nothing to be read")


def test_specs_are_counted_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standings_module, "_AT_ONCE", 2)
    made = MadeLedger([[((row, "failed", 254 + row, True), (None, None)) for row in (0, 1, 4)]])
    standings = standings_of(cast("Ledger", made), N)
    assert (standings.counts().failed, standings.counts().pending) == (3, 3)
    todo = standings.todo({State.FAILED, State.PENDING})
    assert todo.to_pydict() == {"sort_index": [0, 1, 2, 3, 4, 5], "attempt": [255, 256, 1, 1, 259, 1]}
