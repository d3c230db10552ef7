"""Runs on a fleet whose storage fails now and then: they are complete, and equal to those of the local engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from scythe_cli.core.records import StateCounts
from tests import servers
from tests.hatchet_servers import hatchet_servers, missing_servers
from tests.live.fleet import LiveProject

from .comparing import strangers
from .conftest import rounds, told_seed
from .proxy import fault_proxy

ROUNDS = rounds(20)
N_SPECS = 200

pytestmark = [
    pytest.mark.live,
    pytest.mark.nightly,
    # the SDK uses what its own dependencies have deprecated
    pytest.mark.filterwarnings("ignore::DeprecationWarning:hatchet_sdk.*"),
]

MODULE = '''
from pathlib import Path
import polars as pl
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.registry import ExperimentRegistry

class Case(ExperimentInputSpec):
    x: float
    weather: FileReference

class Result(ExperimentOutputSpec):
    y: float
    report: FileReference | None = None

@ExperimentRegistry.Register(retries=0, execution_timeout="2m")
def simulate(spec: Case, tempdir: Path) -> Result:
    """Computes next to nothing, from a file and to a file."""
    sky = Path(spec.weather).read_text()
    if spec.x % 50 == 7:
        raise ValueError(f"cannot simulate {spec.x:.0f}")
    report = None
    if spec.x % 10 == 3:
        report = tempdir / "report.txt"
        report.write_text(f"{sky} {spec.x:.0f}")
    steps = pl.DataFrame({"step": [0, 1], "e": [spec.x, spec.x / 3]})
    return Result(y=spec.x**2 + len(sky), report=report, dataframes={"steps": steps})
'''


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveProject]:
    """A project, and an engine for it."""
    reason = missing_servers()
    if reason:
        pytest.skip(reason)
    with hatchet_servers() as running:
        for name, value in running.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("scythe_cli.engines.hatchet.connection._clients", {})
        root = tmp_path / "project"
        root.mkdir()
        (root / "live_module.py").write_text(MODULE)
        (root / "w.epw").write_text("sunny")
        (root / "cases.csv").write_text("x,weather\n" + "".join(f"{i},w.epw\n" for i in range(N_SPECS)))
        project = LiveProject(root)
        yield project
        for worker in project.workers:
            worker.kill()


def tables(run: Path) -> dict[str, pl.DataFrame]:
    """The final tables, without what differs between two runs, and with the content of output files."""
    frames = {path.stem: pl.read_parquet(path, glob=False) for path in sorted((run / "final").glob("*.pq"))}
    files = {path.name: path.read_text() for path in (run / "results" / "report").iterdir()}
    frames["result_file_refs"] = frames["result_file_refs"].with_columns(
        pl.col("report").map_elements(lambda uri: files[Path(uri).name], pl.String)
    )
    own = ["experiment_id", "workflow_run_id", "root_workflow_run_id", "duration_s", "traceback", "weather"]
    return {name: frame.drop(own, strict=False) for name, frame in frames.items()}


def test_runs_of_a_fleet_are_complete_on_a_storage_that_fails_now_and_then(
    fleet: LiveProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = told_seed()
    cases = fleet.root / "cases.csv"
    bad = len(range(7, N_SPECS, 50))
    counts = StateCounts(succeeded=N_SPECS - bad, failed=bad)
    fleet.configure()
    local = fleet.open("local").allocate(cases)
    assert local.counts == counts
    expected = tables(fleet.root / "runs" / local.experiment_id)
    assert len(expected) == 4

    with servers.versitygw(tmp_path / "s3") as server, fault_proxy(server.endpoint_url, share=0.05, seed=seed) as proxy:
        server.new_bucket("faulty")
        server.use(monkeypatch, at=proxy.endpoint_url)
        fleet.configure(storage="s3://faulty/runs", factor=3, max_depth=1, specs_per_task=4)
        for _ in range(2):
            fleet.start_worker("--slots", "2")
        for _ in range(ROUNDS):
            result = fleet.open().allocate(cases)

            assert result.counts == counts, result.notices
            run = tmp_path / "s3" / "buckets" / "faulty" / "runs" / result.experiment_id
            found = tables(run)
            assert sorted(found) == sorted(expected)
            for name, table in expected.items():
                assert_frame_equal(found[name], table)
            assert strangers(run, engine="hatchet") == []
            print(f"{result.experiment_id}: {result.duration_s:.1f} s, {json.dumps(dict(proxy.seen))}", flush=True)
        assert sum(n for fault, n in proxy.seen.items() if fault) > 0
