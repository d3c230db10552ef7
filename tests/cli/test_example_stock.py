"""The example of a building stock: it ends when all buildings can be predicted, and they can."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

import scythe_cli

from .examples import ROOT, import_example

SCRIPT = ROOT / "examples" / "stock" / "study.py"


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return import_example(monkeypatch, "stock.study")


def errors_of(predicted: pl.DataFrame, stock: ModuleType) -> dict[tuple[str, str], float]:
    """How far predictions are off in each zone, in percent of the output's range."""
    truth = pl.DataFrame([stock.simulate(*row) for row in predicted.select(*stock.stock(1).columns).iter_rows()])
    errors: dict[tuple[str, str], float] = {}
    for output in truth.columns:
        span = float(truth[output].max()) - float(truth[output].min())  # type: ignore[arg-type]
        off = ((predicted[output] - truth[output]) / span * 100) ** 2
        for (zone,), part in predicted.with_columns(off=off).group_by("zone"):
            errors[output, str(zone)] = float(part["off"].mean()) ** 0.5  # type: ignore[arg-type]
    return errors


def test_the_example_is_short() -> None:
    assert len(SCRIPT.read_text().splitlines()) < 60


def test_some_buildings_tell_of_all(stock: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    buildings = stock.stock(600)
    run = scythe_cli.study(
        stock.simulate,
        population=buildings,
        strata=["zone"],
        targets={"heating": "rmse <= 6%", "cooling": "rmse <= 6%"},
        log=["area"],
        initial=60,
        batch=20,
        workers=2,
    )
    history = run.study()
    assert history is not None
    assert history.end == "reached"
    predicted = pl.concat([buildings, run.surrogate().predict(buildings)], how="horizontal")
    errors = errors_of(predicted, stock)
    assert len(errors) == 6
    assert max(errors.values()) < 8


@pytest.mark.nightly
def test_the_whole_stock(stock: ModuleType, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, SCRIPT], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "all targets hold" in ran.stdout
    assert max(errors_of(pl.read_parquet(tmp_path / "stock.parquet"), stock).values()) < 3
