"""Which outcome of a spec counts: its first success, else its last attempt."""

from __future__ import annotations

import polars as pl
import pytest

from scythe_cli.core.records import StateCounts
from scythe_cli.run.outcomes.effective import counts_of, effective_outcomes, failing_outcomes

Outcome = tuple[int, str, int, bool]  # spec, state, attempt, final


def frame(*outcomes: Outcome) -> pl.DataFrame:
    schema = {"sort_index": pl.Int64, "state": pl.String, "attempt": pl.Int32, "final": pl.Boolean}
    return pl.DataFrame(list(outcomes), schema, orient="row").with_row_index("row")


@pytest.mark.parametrize(
    ("outcomes", "counts"),
    [
        # one each, in the order of the specs
        ([(2, "failed", 1, True), (0, "succeeded", 1, True)], [1, 0]),
        # the first success, whatever came after it or before
        ([(0, "succeeded", 2, True), (0, "succeeded", 1, True), (0, "failed", 3, True)], [1]),
        ([(0, "failed", 1, True), (0, "succeeded", 2, True)], [1]),
        # without one, the last attempt
        ([(0, "timeout", 2, True), (0, "failed", 1, True), (0, "crashed", 3, True)], [2]),
        # of the same attempt twice, the one that was written first
        ([(0, "failed", 1, True), (0, "timeout", 1, True)], [0]),
        ([(0, "succeeded", 1, True), (0, "succeeded", 1, True)], [0]),
        # what is tried again does not count
        ([(0, "failed", 1, False)], []),
        ([(0, "failed", 2, False), (0, "failed", 1, True), (0, "failed", 1, True)], [1]),
        ([(1, "failed", 1, True), (1, "failed", 2, True), (0, "succeeded", 1, True)], [2, 1]),
    ],
)
def test_the_outcome_that_counts(outcomes: list[Outcome], counts: list[int]) -> None:
    effective = effective_outcomes(frame(*outcomes))
    assert effective["row"].to_list() == counts
    assert effective.columns == ["row", "sort_index", "state", "attempt", "final"]


def test_specs_that_are_to_be_tried_again_are_told_by_their_last_attempt() -> None:
    outcomes = frame(
        (3, "failed", 2, False),
        (3, "crashed", 1, False),
        (1, "failed", 1, False),
        (1, "timeout", 1, False),
        (2, "failed", 1, False),
        (2, "failed", 2, True),
        (0, "succeeded", 1, True),
    )
    failing = failing_outcomes(outcomes, effective_outcomes(outcomes))
    assert failing["row"].to_list() == [3, 0]
    good = frame((0, "succeeded", 1, True))
    assert failing_outcomes(good, effective_outcomes(good)).height == 0


def test_specs_without_an_outcome_are_pending() -> None:
    effective = effective_outcomes(frame((0, "succeeded", 1, True), (1, "failed", 1, True), (2, "failed", 1, True)))
    assert counts_of(effective, 7) == StateCounts(succeeded=1, failed=2, pending=4)
    assert counts_of(frame(), 2) == StateCounts(pending=2)
