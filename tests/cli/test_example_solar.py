"""The solar example: it is physically plausible, and its sampling file is valid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .conftest import Run
from .examples import ROOT, as_written, import_example, stored_cases

pytest.importorskip("pvlib", reason="the extra solar is not installed")
pytestmark = pytest.mark.filterwarnings(
    "default:::pvlib", "default:DatetimeIndex.dayofyear", "default:DatetimeIndex.week"
)


@pytest.fixture(scope="module")
def solar() -> Iterator[ModuleType]:
    """One for all tests: it reads the weather of each place once, which takes seconds."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield import_example(monkeypatch, "solar.simulation")


@pytest.fixture(scope="module")
def weather(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weather")
    with pytest.MonkeyPatch.context() as monkeypatch:
        import_example(monkeypatch, "solar.make_cases").copy_weather(folder)
    return folder


GREENSBORO, MIAMI, SAND_POINT = "723170TYA.CSV", "12839.tm2", "703165TY.csv"


def run(solar: ModuleType, folder: Path, tmp_path: Path, **fields: Any) -> Any:
    defaults = {"site": "somewhere", "weather": folder / GREENSBORO, "tilt": 30, "azimuth": 180}
    return solar.simulate(solar.SolarSystem(**{**defaults, **fields}), tempdir=tmp_path)


@pytest.mark.parametrize(
    ("file", "lowest", "highest"), [(GREENSBORO, 1300, 1500), (MIAMI, 1350, 1600), (SAND_POINT, 700, 950)]
)
def test_yields_are_those_of_the_place(
    solar: ModuleType, weather: Path, tmp_path: Path, file: str, lowest: float, highest: float
) -> None:
    result = run(solar, weather, tmp_path, weather=weather / file)

    assert lowest < result.annual_yield < highest
    assert 0.7 < result.performance_ratio < 0.86
    assert result.capacity_factor == pytest.approx(result.annual_yield / 8760)


@pytest.mark.parametrize("file", [GREENSBORO, MIAMI, SAND_POINT])
def test_the_sun_stands_where_the_weather_says(solar: ModuleType, weather: Path, tmp_path: Path, file: str) -> None:
    # time stamps half an hour off would tilt this balance by several percent
    year = solar.read_weather(weather / file)
    cosine = (year.sun["apparent_elevation"] * math.pi / 180).map(math.sin).clip(lower=0)
    balance = (year.data["dni"] * cosine + year.data["dhi"]).sum() / year.data["ghi"].sum()

    assert balance == pytest.approx(1.0, abs=0.006)
    flat = run(solar, weather, tmp_path, weather=weather / file, tilt=0)
    assert flat.plane_irradiation == pytest.approx(year.data["ghi"].sum() / 1000, rel=0.01)


def test_what_should_matter_does(solar: ModuleType, weather: Path, tmp_path: Path) -> None:
    south, north = (run(solar, weather, tmp_path, azimuth=azimuth) for azimuth in (180, 0))
    assert south.annual_yield > 1.4 * north.annual_yield

    fair, tight = (run(solar, weather, tmp_path, dc_ac_ratio=ratio) for ratio in (1.0, 1.6))
    assert fair.clipping_loss == 0
    assert 1 < tight.clipping_loss < 5

    warm, cool = (run(solar, weather, tmp_path, module=module) for module in ("standard", "thin-film"))
    assert warm.temperature_loss > cool.temperature_loss > 0
    assert run(solar, weather, tmp_path, weather=weather / SAND_POINT).temperature_loss < 0


def test_months_and_hours_add_up_to_the_year(solar: ModuleType, weather: Path, tmp_path: Path) -> None:
    import pandas as pd

    result = run(solar, weather, tmp_path, keep_hourly=True)

    monthly = result.dataframes["monthly"]
    assert monthly["month"].to_list() == list(range(1, 13))
    assert monthly["energy_kwh"].sum() == pytest.approx(result.annual_yield)
    hourly = pd.read_parquet(result.hourly)
    assert len(hourly) == 8760
    assert hourly["ac"].sum() / 1000 == pytest.approx(result.annual_yield)


def test_the_sampling_file_is_what_the_script_makes_and_valid(
    scythe: Run, monkeypatch: pytest.MonkeyPatch, weather: Path, tmp_path: Path
) -> None:
    make_cases = import_example(monkeypatch, "solar.make_cases").make_cases
    assert stored_cases("solar") == as_written(make_cases(300, 1))

    (tmp_path / "weather").symlink_to(weather)
    (tmp_path / "cases.csv").write_bytes((ROOT / "examples/solar/cases.csv").read_bytes())
    ran = scythe(
        "validate", tmp_path / "cases.csv", "--experiment", "solar", "--config", ROOT / "experiments.toml", "--json"
    )
    assert ran.code == 0, ran.err
    assert (ran.json["n_specs"], ran.json["input_files"]) == (300, 3)
