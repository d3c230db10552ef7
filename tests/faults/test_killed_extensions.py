"""`allocate --into`, killed with SIGKILL at a random moment: given again, the run is that of one undisturbed command.

`test_growing_runs` kills it at each storage operation, in process and quickly.
"""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import polars as pl
import pytest

from scythe_cli.services.project import open_project

from .comparing import assert_same_tables, final_tables, strangers
from .conftest import Inside, told_seed
from .test_killed_runs import kill_after

ROUNDS = 20
GROW = ["allocate", "b.csv", "--into", "latest"]


def write_cases(file: Path, first: int, stop: int) -> None:
    xs = [float(x) for x in range(first, stop)]
    pl.DataFrame({"x": xs, "pause_s": [0.001] * len(xs)}).write_csv(file)


@pytest.mark.nightly
def test_killed_at_random_moments_it_ends_as_if_undisturbed(recorded: Path, inside: Inside, tmp_path: Path) -> None:
    seed = told_seed()
    dice = random.Random(seed)
    write_cases(recorded / "a.csv", 0, 120)
    write_cases(recorded / "b.csv", 60, 320)
    assert inside(recorded, "allocate", "a.csv").code in (0, 1)
    runs, before = recorded / "runs", tmp_path / "before"
    shutil.copytree(runs, before)
    started = time.monotonic()
    assert kill_after(GROW, recorded, 300) in (0, 1)
    takes_s = time.monotonic() - started
    expected = final_tables(Path(open_project(start=recorded).run().uri))
    killed, sizes = 0, set[int | None]()
    while killed < ROUNDS:
        shutil.rmtree(runs)
        shutil.copytree(before, runs)
        if kill_after(GROW, recorded, dice.uniform(0.1, 0.95) * takes_s) is not None:
            continue  # it was done before: another moment is tried
        killed += 1
        status = open_project(start=recorded).run().status()
        assert status.damaged_parts == []
        assert status.n_specs in (120, 320)
        assert status.counts is not None
        assert status.counts.total == status.n_specs
        sizes.add(status.n_specs)
        print(f"killed {killed} times; the run has {status.n_specs} cases, {status.counts.succeeded} done")
        assert kill_after(GROW, recorded, 300) in (0, 1), (recorded / "stderr").read_text()
        run = open_project(start=recorded).run()
        assert_same_tables(Path(run.uri), expected)
        assert strangers(Path(run.uri)) == []
        assert [each.rows for each in (run.manifest.extensions if run.manifest else None) or []] == [200]
    assert sizes == {120, 320}
