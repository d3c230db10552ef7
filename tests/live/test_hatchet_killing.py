"""Whatever is killed, and whenever: a run ends, and each of its rows has one outcome."""

from __future__ import annotations

import os
import random
import time

import pytest

from scythe_cli.core.records import StateCounts
from scythe_cli.run.ledger import Ledger
from scythe_cli.run.outcomes.effective import effective_outcomes
from tests.live.fleet import Allocation
from tests.live.lab import Lab
from tests.waiting import wait_for

_ROUNDS = 30
_ALL_BACK_S = 120.0
_SEED = os.environ.get("SCYTHE_SEED")
"""That of a round which is to be repeated."""


def run_with_faults(lab: Lab, seed: int, n_faults: int, names: list[str] | None = None) -> None:
    """Run some rows, during which things fail; and see that the run ends soon after all are back."""
    draw = random.Random(seed)
    before = len(lab.live.calls())
    allocation = Allocation(lab.live, lab.live.write_cases(90, sleep_s=lambda i: 0.02 if i % 3 else 0.4))
    told: list[str] = []
    for number in range(n_faults):
        wanted = before + 10 + number * 60 // n_faults
        wait_for(lambda wanted=wanted: len(lab.live.calls()) >= wanted or not allocation.is_alive(), 150)
        time.sleep(draw.random())
        faults = lab.faults()
        name = names[number] if names else draw.choice(sorted(faults))
        begin, end = faults[name]
        begin()
        lasts_s = draw.choice([0.5, 3.0, 8.0])
        time.sleep(lasts_s)
        end()
        told.append(f"{name} for {lasts_s} s")
    back_s = time.monotonic()
    print(f"seed {seed}: {'; '.join(told)}", flush=True)
    wait_for(lambda: _is_over(lab, allocation), _ALL_BACK_S)
    result = allocation.result(1)
    print(f"seed {seed}: over {time.monotonic() - back_s:.0f} s after all were back", flush=True)
    assert result.counts == StateCounts(succeeded=90), f"seed {seed}"
    run = lab.live.open().run(result.experiment_id)
    with Ledger.open(run.storage, run.layout, thorough=True) as ledger:
        assert not ledger.damaged
        assert effective_outcomes(ledger.outcomes(90))["sort_index"].sort().to_list() == list(range(90))


def _is_over(lab: Lab, allocation: Allocation) -> bool:
    lab.supervise_engine()
    return not allocation.is_alive()


def test_storage_and_worker_fail(lab: Lab) -> None:
    run_with_faults(lab, 1, 2, ["answers of the storage are lost", "the worker is killed"])


@pytest.mark.nightly
@pytest.mark.parametrize("number", range(_ROUNDS))
def test_anything_fails_at_any_time(lab: Lab, number: int) -> None:
    """The seed of each round is printed, and SCYTHE_SEED repeats it as the first one."""
    run_with_faults(lab, int(_SEED) if _SEED and not number else random.SystemRandom().randrange(10**6), 3)
