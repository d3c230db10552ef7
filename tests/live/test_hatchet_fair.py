"""A small run does not wait for a large one."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest

from scythe_cli.core.records import StateCounts
from scythe_cli.run.ledger import Ledger
from scythe_cli.services.project import Project
from tests.live.fleet import Allocation, LiveProject
from tests.waiting import wait_for

_SLOTS = 4


def _starts(project: Project, experiment_id: str) -> pl.Series:
    run = project.run(experiment_id)
    with Ledger.open(run.storage, run.layout) as ledger:
        return ledger.outcomes()["started_at"].sort()


@pytest.mark.parametrize(("n", "per_task"), [(20, "auto"), (20, 1), (150, "auto")])
def test_few_rows_behind_many(live: LiveProject, n: int, per_task: int | str) -> None:
    """Of the large run, hardly more is begun meanwhile than what the slots have at hand."""
    live.configure("fair", max_depth=0, specs_per_task=per_task)
    live.start_worker("--slots", str(_SLOTS))
    project = live.open()
    large = project.submit(live.write_cases(5000, sleep_s=lambda _: 0.2))
    wait_for(lambda: len(live.calls()) > 40, 120)
    submitted = datetime.now().astimezone()
    small = Allocation(live, live.write_cases(n, sleep_s=lambda _: 0.005)).result(120)
    assert small.counts == StateCounts(succeeded=n)
    first = _starts(project, small.experiment_id)[0]
    live.hurry()
    wait_for(lambda: project.status(large.experiment_id).counts.succeeded == 5000, 240)
    begun = _starts(project, large.experiment_id)
    n_between = int(((begun > submitted) & (begun < first)).sum())
    print(f"{n} of {per_task}: first row after {(first - submitted).total_seconds():.1f} s, {n_between} of the others")
    # three seconds in each slot; where both runs are of one priority, what waits at the engine as well
    assert n_between < _SLOTS * 3 / 0.2 * (2 if n <= 100 else 4)
