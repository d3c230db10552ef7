"""A fleet runs only what is new, and gives outcomes to rows that are the same."""

from __future__ import annotations

import json

import polars as pl

from tests.live.fleet import LiveProject
from tests.projects import scythe


def test_a_fleet_runs_what_is_new_and_once(live: LiveProject) -> None:
    live.configure(specs_per_task=5)
    live.start_worker("--slots", "2")
    live.write_cases(40)
    assert scythe("allocate", "cases.csv", "--wait", "--json", cwd=live.root).returncode == 0
    (live.root / "calls.txt").unlink()

    live.write_cases(50)
    with (live.root / "cases.csv").open("a") as file:
        file.write("100,1,same\n100,1,same\n100,1,same\n")
    done = scythe("allocate", "cases.csv", "--wait", "--reuse", "--dedupe", "--json", cwd=live.root)

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["n_reused"], result["n_duplicates"], result["counts"]["succeeded"]) == (40, 2, 53)
    assert sorted(live.calls()) == [*range(40, 51)]
    scalars = pl.read_parquet(f"{result['uri']}/final/scalars.pq", glob=False)
    assert scalars["y"].to_list()[-3:] == [201.0] * 3

    (live.root / "calls.txt").unlink()
    # without --dedupe, rows that say the same are repetitions, and draw numbers of their own
    again = scythe("allocate", "cases.csv", "--no-wait", "--reuse", "--dedupe", "--json", cwd=live.root)
    assert again.returncode == 0, again.stderr
    assert live.calls() == []
    tables = pl.read_parquet(f"{json.loads(again.stdout)['uri']}/final/scalars.pq", glob=False)
    assert tables.height == 53

    # a run in place of the file: its outputs are the inputs of the next
    chained = scythe("allocate", "latest", "--map", "x=y", "--limit", "5", "--wait", "--json", cwd=live.root)
    assert chained.returncode == 0, chained.stderr
    scalars = pl.read_parquet(f"{json.loads(chained.stdout)['uri']}/final/scalars.pq", glob=False)
    assert scalars["x"].to_list() == tables["y"].to_list()[:5]
