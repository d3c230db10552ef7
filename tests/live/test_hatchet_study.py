"""Studies whose rounds a fleet runs: the same cases as on one machine, also where what leads it is killed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from examples.stock.study import stock
from tests.live.fleet import LiveProject
from tests.projects import scythe
from tests.servers import versitygw
from tests.waiting import wait_for

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "stock" / "study.py"

MODULE = """
from scythe_cli import Input, Output, experiment

import stock_example


NAMES = ("zone", "area", "storeys", "u_value", "glazing")


class Building(Input):
    zone: str
    area: float
    storeys: int
    u_value: float
    glazing: float


class Energy(Output):
    heating: float
    cooling: float


@experiment
def simulate(building: Building) -> Energy:
    return Energy(**stock_example.simulate(**{name: getattr(building, name) for name in NAMES}))
"""
"""The simulator of the example, as an experiment that workers serve."""

STUDY = """
[studies.stock]
experiment = "energy"
population = "stock.parquet"
strata = ["zone"]
targets = { heating = "rmse <= 2%", cooling = ["rmse <= 2%", "r2 >= 0.98"] }
log = ["area"]
initial = 40
batch = 20
max_cases = 200
"""


def _stock(live: LiveProject, storage: str = "runs") -> None:
    """The example's stock and simulator, with the settings of the example."""
    shutil.copy(EXAMPLE, live.root / "stock_example.py")
    live.write_module(lambda _: MODULE)
    stock().write_parquet(live.root / "stock.parquet")
    live.configure(storage=storage, specs_per_task=5)
    with (live.root / "experiments.toml").open("a") as file:
        file.write(STUDY)


def _study(live: LiveProject, *options: str) -> dict[str, Any]:
    done = scythe("study", "stock", "--json", *options, cwd=live.root)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _rows(uri: str, name: str) -> list[dict[str, Any]]:
    frame = pl.read_parquet(f"{uri}/{name}", glob=False).sort("sort_index")
    names = [column for column in frame.columns if column not in ("experiment_id", "workflow_run_id")]
    return frame.select(name for name in names if "workflow_run_id" not in name).to_dicts()


def _n_cases(live: LiveProject) -> int:
    """How many cases the newest run has."""
    found = scythe("status", "energy", "--json", cwd=live.root)
    return sum(json.loads(found.stdout)["counts"].values()) if found.returncode in (0, 1) and found.stdout else 0


def test_a_fleet_runs_the_study_that_one_machine_runs(live: LiveProject) -> None:
    _stock(live)
    live.start_worker("--slots", "2")
    live.start_worker("--slots", "2")

    fleet = _study(live)
    local = _study(live, "--engine", "local", "--new")

    assert (fleet["engine"], fleet["end"]) == ("hatchet", "reached")
    assert len(fleet["rounds"]) > 1
    assert fleet["rounds"] == local["rounds"]
    for name in ("specs.pq", "final/scalars.pq"):
        assert _rows(fleet["uri"], name) == _rows(local["uri"], name)


def test_a_study_goes_on_with_what_a_killed_one_has_left(live: LiveProject) -> None:
    _stock(live)
    live.start_worker("--slots", "2")
    ends: list[int] = []
    for n_cases in (40, 80):
        with (live.root / f"killed-{n_cases}.log").open("wb") as out:
            command = [sys.executable, "-m", "scythe_cli.cli", "study", "stock"]
            process = subprocess.Popen(command, cwd=live.root, stdout=out, stderr=out)
        wait_for(lambda n=n_cases, p=process: _n_cases(live) >= n or p.poll() is not None, 120)
        process.kill()
        ends.append(process.wait())

    resumed = _study(live)
    whole = _study(live, "--engine", "local", "--new")

    assert ends == [-signal.SIGKILL] * 2
    assert resumed["experiment_id"] != whole["experiment_id"]
    assert resumed["rounds"] == whole["rounds"]
    assert _rows(resumed["uri"], "final/scalars.pq") == _rows(whole["uri"], "final/scalars.pq")


def test_a_fleet_runs_a_study_that_is_kept_in_an_object_store(
    live: LiveProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stock(live)
    local = _study(live, "--engine", "local")
    with versitygw(tmp_path / "s3") as server:
        server.use(monkeypatch)
        _stock(live, f"s3://{server.new_bucket('studies')}/runs")
        live.start_worker("--slots", "2")

        fleet = _study(live)
        here = _study(live, "--engine", "local", "--new")

        run = live.open().run(fleet["experiment_id"])
        assert run.surrogate().predict(stock().head(3)).height == 3
        assert run.scalars().height == fleet["rounds"][-1]["cases"]
    assert fleet["end"] == "reached"
    assert fleet["rounds"] == local["rounds"] == here["rounds"]
