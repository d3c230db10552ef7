"""What is counted while outcomes come in, and what is said of the first that fail."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.core.records import StateCounts
from scythe_cli.core.semver import SemVer
from scythe_cli.engines.base import Job
from scythe_cli.engines.tally import FirstFailures, Tally
from scythe_cli.model.outcome_schema import OUTCOME_SCHEMA
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.outcomes.effective import counts_of, effective_outcomes, failing_outcomes
from scythe_cli.storage.local import LocalStorage

N = 6
LAYOUT = RunLayout("energy", SemVer(major=1), datetime(2026, 1, 1, tzinfo=UTC))
TRACE = 'Traceback (most recent call last):\n  File "{file}", line 7, in f\n    g()\n'


def job(max_failures: int | None = None, n: int = N) -> Job:
    unused: Any = None
    storage = LocalStorage(Path("nowhere"))
    return Job(storage, LAYOUT, unused, None, "root", n, None, StateCounts(pending=n), 1, max_failures)


def outcome(row: int, state: str, *, attempt: int = 1, final: bool = True, file: str = "m.py") -> dict[str, Any]:
    bad = state != "succeeded"
    return {
        "sort_index": row,
        "state": state,
        "attempt": attempt,
        "final": final,
        "error_type": "ValueError" if bad else None,
        "message": f"no sun in row {row}\nreally" if bad else None,
        "traceback": TRACE.format(file=file) if bad else None,
    }


def table(*outcomes: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(outcomes), OUTCOME_SCHEMA)


def test_a_row_counts_as_a_failure_once_and_until_it_succeeds() -> None:
    tally = Tally(job(max_failures=2))
    tally.add(table(outcome(0, "failed", final=False)))
    assert (tally.failures, tally.finished, tally.has_too_many_failures) == (1, 0, False)
    assert (tally.progress().failing, tally.progress().counts) == (1, StateCounts(pending=N))
    tally.add(table(outcome(0, "crashed", attempt=2, final=False)))
    assert tally.failures == 1
    tally.add(table(outcome(0, "succeeded", attempt=3), outcome(1, "failed", final=False)))
    assert (tally.failures, tally.finished, tally.progress().failing) == (1, 1, 1)
    tally.add(table(outcome(1, "failed", attempt=2), outcome(2, "failed", final=False)))
    assert (tally.failures, tally.finished, tally.has_too_many_failures) == (2, 2, True)
    assert tally.why_stopped() == (
        "stopped: 2 of 3 failed in the same way: ValueError no sun in row 0; the rest are pending, "
        "and `scythe retry energy/v1.0.0/2026-01-01_00-00-00` runs them"
    )


@given(
    st.lists(
        st.lists(st.sampled_from(["succeeded", "failed", "timeout", "crashed"]), min_size=1, max_size=3),
        min_size=1,
        max_size=N,
    ),
    st.randoms(use_true_random=False),
    st.booleans(),
)
def test_what_is_counted_is_what_the_ledger_says(lives: list[list[str]], random: Any, limited: bool) -> None:
    attempts = [
        (row, outcome(row, state, attempt=i + 1, final=state == "succeeded" or i == 2))
        for row, states in enumerate(lives)
        for i, state in enumerate(states[: [*states, "succeeded"].index("succeeded") + 1])
    ]
    # rows in any order, the attempts of each in theirs
    order = [row for row, _ in attempts]
    random.shuffle(order)
    waiting = {row: [each for of, each in attempts if of == row] for row in set(order)}
    tally, seen = Tally(job(max_failures=100 if limited else None)), list[dict[str, Any]]()
    for row in order:
        seen.append(waiting[row].pop(0))
        tally.add(table(seen[-1]))
        frame: Any = pl.from_arrow(table(*seen))
        effective = effective_outcomes(frame)
        failing = failing_outcomes(frame, effective)
        moment = tally.progress()
        assert moment.counts == counts_of(effective, N)
        assert moment.failing == failing.height <= moment.counts.pending
        assert tally.failures == moment.counts.unsuccessful + moment.failing
    if limited and tally.failures:
        assert f"stopped: {tally.failures} of " in tally.why_stopped()


def first(*outcomes: dict[str, Any]) -> str | None:
    seen = FirstFailures()
    for each in outcomes:
        seen.look(table(each))
    return seen.notice


FAILED = [outcome(i, "failed", final=i % 2 == 0) for i in range(5)]


def test_the_third_row_that_fails_like_the_first_two_is_told() -> None:
    said = "the first 3 cases all failed in the same way: ValueError no sun in row 2, at m.py:7 in f"
    assert first(*FAILED[:2]) is None
    assert first(*FAILED[:3]) == first(*FAILED) == said
    everything = FirstFailures()
    everything.look(table(*FAILED))
    assert (everything.notice, everything.is_over) == (said, True)


@pytest.mark.parametrize(
    "others",
    {
        "one has succeeded": [outcome(9, "succeeded"), *FAILED],
        "one has failed elsewhere": [FAILED[0], outcome(9, "failed", file="n.py"), *FAILED],
        "one has crashed": [*FAILED[:2], outcome(9, "crashed"), *FAILED],
        "the same row again": [outcome(0, "failed", attempt=i, final=False) for i in range(1, 6)],
    }.items(),
    ids=lambda each: each[0],
)
def test_nothing_is_told_when(others: tuple[str, list[dict[str, Any]]]) -> None:
    assert first(*others[1]) is None
