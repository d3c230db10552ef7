"""Rows that a short time limit, a crash or chance must not change, on a fleet."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from scythe_cli.core.records import StateCounts
from tests.live.fleet import LiveProject
from tests.servers import versitygw
from tests.stochastic import N_ROWS, QUEUE, numbers_of, write_rows

_QUICK = """
import os
from pathlib import Path
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.registry import ExperimentRegistry

class Case(ExperimentInputSpec):
    x: int
    weather: FileReference

class Result(ExperimentOutputSpec):
    y: float

@ExperimentRegistry.Register(retries=0, execution_timeout="3s")
def simulate(spec: Case) -> Result:
    import pandas as pd

    if spec.x % 24 == 5:
        raise ValueError(f"bad case {spec.x % 2}")
    if spec.x == 100:
        os.abort()
    days = len(Path(spec.weather).read_text())
    return Result(y=spec.x * days, dataframes={"hours": pd.DataFrame({"hour": [0, 1], "heat": [spec.x, days]})})
"""


def test_a_short_limit_is_that_of_the_rows_alone(
    live: LiveProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loading pandas and the S3 client in eight processes takes longer than the limit, and is nobody's time."""
    with versitygw(tmp_path / "s3") as server:
        server.use(monkeypatch)
        server.new_bucket("runs")
        live.configure(storage="s3://runs/live")
        live.write_module(lambda _: _QUICK)
        (live.root / "mild.epw").write_text("mild")
        cases = live.root / "cases.csv"
        cases.write_text("\n".join(["x,weather", *(f"{n},mild.epw" for n in range(240)), ""]))
        for _ in range(2):
            live.start_worker("--slots", "4")
        began_s = time.monotonic()
        result = live.open().allocate(cases)
        took_s = time.monotonic() - began_s
        with capsys.disabled():
            print(f"\n240 rows with a limit of 3 s took {took_s:.1f} s")
        assert result.counts == StateCounts(succeeded=229, failed=10, crashed=1)
        assert live.open().run().table("hours").collect().height == 2 * 229


def test_a_stochastic_model_draws_what_it_draws_locally(live: LiveProject) -> None:
    live.configure()
    live.write_module(lambda _: QUEUE)
    rows = write_rows(live.root)
    for _ in range(2):
        live.start_worker("--slots", "2")
    fleet, local = live.open(), live.open("local")
    assert fleet.allocate(rows).counts == StateCounts(succeeded=N_ROWS)
    expected = numbers_of(fleet)
    assert local.allocate(rows, workers=2).counts == StateCounts(succeeded=N_ROWS)
    assert all(one.equals(other) for one, other in zip(numbers_of(local), expected, strict=True))
