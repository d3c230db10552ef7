"""What an outcome can say: anything else is damage, and counts for nobody."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from scythe_cli.core.states import State
from scythe_cli.run.outcomes.domain import impossible_row, outcomes_of_first, possible_times

GOOD: dict[str, Any] = {"sort_index": 0, "state": "failed", "attempt": 1, "final": True}
TYPES = {"sort_index": pl.Int64, "state": pl.String, "attempt": pl.Int64, "final": pl.Boolean}


def frame(*changes: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([GOOD | change for change in changes], schema=TYPES)


@pytest.mark.parametrize(
    ("change", "is_possible"),
    [
        ({"sort_index": 0}, True),
        ({"sort_index": 4}, True),
        ({"sort_index": 5}, False),
        ({"sort_index": -1}, False),
        ({"sort_index": None}, False),
        *(({"state": state.value}, state is not State.PENDING) for state in State),
        ({"state": "done"}, False),
        ({"state": None}, False),
        ({"attempt": 0}, True),
        ({"attempt": -1}, False),
        ({"attempt": 1_000_000}, True),
        ({"attempt": 1_000_001}, False),
        ({"attempt": None}, False),
        ({"final": False}, True),
        ({"final": None}, False),
    ],
)
def test_what_no_spec_can_have_is_found(change: dict[str, Any], is_possible: bool) -> None:
    outcomes = frame({}, {"sort_index": 1}, change, {})
    assert impossible_row(outcomes, 5) == (None if is_possible else 2)
    states = pl.Enum([state.value for state in State])
    if change.get("state") != "done":
        enumerated = outcomes.with_columns(pl.col("state").cast(states))
        assert impossible_row(enumerated, 5) == impossible_row(outcomes, 5)


def test_rows_have_no_end_where_the_number_of_specs_is_not_known() -> None:
    assert impossible_row(frame({"sort_index": 10**12})) is None
    assert impossible_row(frame({}, {"sort_index": -1})) == 1
    assert impossible_row(frame()) is None


@pytest.mark.parametrize(
    ("rows", "n_specs", "now", "known"),
    [
        ([0, 1], 2, None, [0, 1]),
        ([0, 7], None, None, [0, 7]),
        ([0, -1], None, 9, None),
        # a run that has grown since: what is known of counts, whoever has the rest
        ([0, 5, 1], 2, 6, [0, 1]),
        ([2], 2, 3, []),
        # no run grows that far, or none has grown
        ([0, 5], 2, 5, None),
        ([0, 5], 2, None, None),
        ([0, 2], 2, 2, None),
        ([0, -1], 2, 6, None),
    ],
)
def test_outcomes_of_specs_that_a_reader_knows_of(
    rows: list[int], n_specs: int | None, now: int | None, known: list[int] | None
) -> None:
    found = outcomes_of_first(frame(*({"sort_index": row} for row in rows)), n_specs, lambda: now)
    assert (None if found is None else found["sort_index"].to_list()) == known


def test_times_that_cannot_be_are_none() -> None:
    first, last = datetime(1970, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)
    day = last - datetime(2998, 12, 31, tzinfo=UTC)
    outcomes = pl.DataFrame(
        {
            "duration_s": [0.0, 1e10, -0.1, 1.1e10, float("inf"), None],
            "started_at": [first, last, first - day, last + day, None, first + day],
            "attempt": [1, 2, 3, 4, 5, 6],
        }
    )
    possible = possible_times(outcomes)
    assert possible.columns == outcomes.columns
    assert possible["duration_s"].to_list() == [0.0, 1e10, None, None, None, None]
    assert possible["started_at"].to_list() == [first, last, None, None, None, first + day]
    assert possible["attempt"].to_list() == [1, 2, 3, 4, 5, 6]
