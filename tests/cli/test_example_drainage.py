"""The drainage example: SWMM's results are plausible, and a few cases run from file to plot."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import scythe_cli

from .conftest import Run
from .examples import ROOT, as_written, import_example, stored_cases, write_cases

for _module in ("swmm.toolkit", "altair"):
    pytest.importorskip(_module, reason="the extra drainage is not installed")
MODEL = ROOT / "examples/drainage/site.inp"


@pytest.fixture
def drainage(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return import_example(monkeypatch, "drainage.simulation")


@pytest.fixture
def storms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "storms"
    import_example(monkeypatch, "drainage.make_cases").write_storms(folder)
    return folder


def run(drainage: ModuleType, storms: Path, **fields: Any) -> Any:
    folder = storms.parent / f"case {len(list(storms.parent.iterdir()))}"
    folder.mkdir()
    defaults = {"model": MODEL, "storm": storms / "storm_010a.csv", "area": 5000, "paved": 80, "tank_volume": 100}
    return drainage.simulate(drainage.Site(**{**defaults, **fields}), tempdir=folder)


def test_water_is_kept_and_throttled(drainage: ModuleType, storms: Path) -> None:
    result = run(drainage, storms, tank_volume=400)

    hydrograph = result.dataframes["hydrograph"]
    assert result.flooded == 0
    assert hydrograph["minute"].to_list() == list(range(1, 90 + 120 + 1))
    assert hydrograph["rain_mm_per_h"].sum() / 60 == pytest.approx(result.rain_depth)
    came, went = (hydrograph[name].sum() * 60 / 1000 for name in ("inflow_l_per_s", "outflow_l_per_s"))
    remaining = hydrograph["level_m"][-1] * 400 / 1.5
    assert came == pytest.approx(went + remaining, rel=0.01)
    assert came == pytest.approx(result.runoff_coefficient * result.rain_depth / 1000 * 5000)
    # an orifice under water: c A sqrt(2 g h), its centre half a diameter above the floor
    expected = 0.65 * 3.14159 * 0.05**2 * (2 * 9.81 * (result.tank_filled / 100 * 1.5 - 0.05)) ** 0.5 * 1000
    assert result.peak_outflow == pytest.approx(expected, rel=0.02)


def test_what_should_matter_does(drainage: ModuleType, storms: Path) -> None:
    green, sealed = (run(drainage, storms, paved=paved) for paved in (20, 100))
    assert green.runoff_coefficient < 0.75 < 0.9 < sealed.runoff_coefficient < 1
    assert run(drainage, storms, tank_volume=20).flooded > sealed.flooded > 0
    narrow, wide = (run(drainage, storms, throttle=throttle) for throttle in (60, 200))
    assert wide.peak_outflow > 3 * narrow.peak_outflow
    assert run(drainage, storms, storm=storms / "storm_100a.csv").peak_inflow > 1.3 * sealed.peak_inflow


def test_rain_follows_the_curve_that_it_is_made_from(monkeypatch: pytest.MonkeyPatch) -> None:
    make = import_example(monkeypatch, "drainage.make_cases")
    rain = make.chicago_storm(10)

    intensity = make.A * 10**make.M / (make.DURATION_MIN + make.B) ** make.N
    assert sum(rain) / 60 == pytest.approx(intensity * make.DURATION_MIN / 60)
    assert rain.index(max(rain)) in (35, 36)


def test_a_model_that_swmm_refuses_says_why(drainage: ModuleType, storms: Path) -> None:
    broken = storms.parent / "broken.inp"
    broken.write_text(MODEL.read_text().replace("throttle tank river", "throttle tank nowhere"))
    with pytest.raises(RuntimeError, match=r"(?s)SWMM: .*ERROR 209: undefined object nowhere"):
        run(drainage, storms, model=broken)

    broken.write_text(MODEL.read_text().replace("$slope", "$steepness"))
    with pytest.raises(KeyError, match="steepness"):
        run(drainage, storms, model=broken)


def test_from_the_file_to_the_plot(scythe: Run, monkeypatch: pytest.MonkeyPatch, storms: Path, tmp_path: Path) -> None:
    cases = as_written(import_example(monkeypatch, "drainage.make_cases").make_cases(200, 1))
    assert stored_cases("drainage") == cases

    (tmp_path / "site.inp").write_bytes(MODEL.read_bytes())
    few = write_cases(tmp_path / "cases.csv", cases[:4])
    (tmp_path / "experiments.toml").write_text((ROOT / "experiments.toml").read_text())
    monkeypatch.chdir(tmp_path)
    ran = scythe("allocate", few, "--experiment", "drainage", "--workers", "1", "--json")
    assert ran.code == 0, ran.err

    result = scythe_cli.load_run("drainage")
    assert result.scalars().height == 4
    assert result.table("hydrograph").collect().height == 4 * 210
    report = next((tmp_path / "runs").glob("drainage/*/*/results/report/*.rpt"))
    assert "EPA STORM WATER MANAGEMENT MODEL" in report.read_text()
    plot = import_example(monkeypatch, "drainage.plot")
    monkeypatch.setattr(sys, "argv", ["plot.py"])
    plot.main()
    assert (tmp_path / "drainage.png").read_bytes().startswith(b"\x89PNG")
    assert plot.bands(result)["return_period_a"].unique().sort().to_list() == [2, 10, 50, 100]
