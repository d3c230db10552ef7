"""Whatever rows take, the slots of a fleet are busy."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scythe_cli.core.records import StateCounts
from scythe_cli.run.ledger import Ledger
from tests.live.fleet import Allocation, LiveProject
from tests.waiting import wait_for


def test_slow_rows_behind_quick_ones_run_side_by_side(live: LiveProject) -> None:
    """What quick rows have shown says nothing of slow ones: a task that takes longer hands back the rest."""
    live.configure("mixed")
    live.start_worker("--slots", "8")
    # two thirds of a file take no time, the others wait for the end of the test
    cases = live.write_cases(120, sleep_s=lambda i: 0.0 if i < 80 else 3000.0)
    allocation = Allocation(live, cases)
    wait_for(lambda: sum(row >= 80 for row in live.calls()) >= 8, 120)
    live.hurry()
    assert allocation.result(120).counts == StateCounts(succeeded=120)
    assert sorted(live.calls()) == list(range(120)), "no row runs twice"


SHAPES: dict[str, tuple[int, int, Callable[[int], float], float]] = {
    # rows, slots, seconds of each, and how busy slots are at least
    "half a second": (2000, 16, lambda i: 0.5, 0.8),
    "five milliseconds": (50_000, 16, lambda i: 0.005, 0.5),
    "sorted": (200, 16, lambda i: 0.001 + 30 * i / 200, 0.8),
    "quick, then slow": (240, 16, lambda i: 0.005 if i < 80 else 2.0, 0.7),
}


@pytest.mark.nightly
@pytest.mark.parametrize("shape", SHAPES)
def test_slots_are_busy(live: LiveProject, shape: str) -> None:
    """Read from the ledger, from the start of the first row to the end of the last."""
    n, slots, seconds, expected = SHAPES[shape]
    live.configure("busy")
    live.start_worker("--slots", str(slots))
    result = Allocation(live, live.write_cases(n, sleep_s=seconds)).result(1200)
    assert result.counts == StateCounts(succeeded=n)
    run = live.open().run(result.experiment_id)
    with Ledger.open(run.storage, run.layout) as parts:
        ledger = parts.outcomes()
    begun, lasted = ledger["started_at"], ledger["duration_s"]
    span_s = ((begun.dt.epoch("us") / 1e6 + lasted).max() or 0) - (begun.dt.epoch("us") / 1e6).min()
    busy = lasted.sum() / slots / span_s
    print(f"{shape}: {busy:.0%} of {slots} slots for {span_s:.1f} s, in which {n} rows took {lasted.sum():.0f} s")
    assert busy >= expected
