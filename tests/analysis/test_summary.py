"""A table in brief: exact where it is small, near where it is large."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from scythe_cli.analysis.records import TableColumn
from scythe_cli.analysis.results import summary
from scythe_cli.analysis.results.tables import reading
from scythe_cli.analysis.run import Run
from scythe_cli.errors import StorageError
from scythe_cli.storage.opening import open_storage
from tests.result_runs import Case, Wall, finished_run


def column(run: Run, name: str, table: str = "scalars") -> TableColumn:
    return next(c for c in run.show(table).columns if c.name == name)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    cases = [Case(tilt=i) for i in range(5)]
    powers = [1.0, 2.0, float("nan"), float("inf"), None]
    answers = [{"power": power, "n": i} for i, power in enumerate(powers)]
    return finished_run(open_storage(tmp_path / "runs"), tmp_path / "s", cases, answers)


def test_small_tables_are_exact(run: Run) -> None:
    power = column(run, "power")
    assert (power.min, power.mean, power.max) == (1.0, 1.5, 2.0)
    assert (power.n_null, power.n_unique, power.estimated) == (1, 5, [])
    assert (power.unit, power.description) == ("kWh", "Power of the system [kWh]")
    assert column(run, "tilt").unit == "deg"
    n = column(run, "n")
    assert (n.min, n.mean, n.max, n.n_unique) == (0, 2.0, 4, 5)


def large(run: Run, n: int = 40_000) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "sort_index": np.arange(n),
            "same": ["one"] * n,
            "x": rng.random(n),
            "k": rng.integers(0, 30, n),
            "odd": [None if i % 4 else float(i) for i in range(n)],
            "wild": [float("inf") if i == 7 else float("nan") if i == 9 else i / n for i in range(n)],
            "day": pl.datetime_range(
                datetime(2026, 1, 1), datetime(2026, 1, 2), closed="left", interval="1d", eager=True
            )
            .repeat_by(n)
            .explode(),
            "list": [[i] for i in range(n)],
            "struct": [{"sort_index": 1, "x": "a"}] * n,
        }
    )
    path = Path(run.table_path("scalars"))
    frame.write_parquet(path, row_group_size=1000)
    return frame


def test_large_tables_are_estimated(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "_EXACT_ROWS", 1000)
    monkeypatch.setattr(summary, "_READ_CELLS", 60_000)
    monkeypatch.setattr(summary, "_DISTINCT_ROWS", 4_000)
    frame = large(run)
    columns = {c.name: c for c in run.show("scalars").columns}

    index = columns["sort_index"]
    assert (index.min, index.max, index.n_null) == (0, 39_999, 0)
    assert index.mean == pytest.approx(19_999.5)  # row groups are chosen symmetrically
    assert index.n_unique == 40_000
    assert index.estimated == ["mean", "n_unique"]
    assert (columns["same"].n_unique, columns["same"].estimated) == (1, [])
    assert columns["x"].mean == pytest.approx(0.5, abs=0.05)
    assert (columns["x"].min, columns["x"].max) == (frame["x"].min(), frame["x"].max())
    assert columns["k"].n_unique == 30
    assert columns["odd"].n_null == 30_000
    assert columns["odd"].n_unique == pytest.approx(10_000, rel=0.2)
    assert columns["list"].n_unique is None
    # infinity and NaN are no extremes, and the rest of the column is looked at for those
    assert columns["wild"].max < 1.0
    assert math.isfinite(columns["wild"].min)


def test_estimates_follow_from_the_whole_table_where_all_is_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = large(run)
    exact = {c.name: c for c in run.show("scalars").columns}
    monkeypatch.setattr(summary, "_EXACT_ROWS", 1000)
    near = {c.name: c for c in run.show("scalars").columns}
    for name in ("sort_index", "x", "k", "odd", "wild", "day"):
        assert near[name].mean == pytest.approx(exact[name].mean, nan_ok=True)
        assert (near[name].min, near[name].max) == (exact[name].min, exact[name].max), name
        assert near[name].n_null == exact[name].n_null
        assert "mean" not in near[name].estimated
    assert exact["x"].n_unique == frame["x"].n_unique()


@pytest.mark.parametrize("n", [1, 2, 3, 10, 11])
@pytest.mark.parametrize("wanted", [0, 1, 2, 3, 7, 50])
def test_row_groups_are_spread_symmetrically(n: int, wanted: int) -> None:
    chosen = summary._spread(n, wanted)
    assert chosen == sorted(set(chosen))
    assert all(0 <= position < n for position in chosen)
    assert 1 <= len(chosen) <= max(wanted, 1)
    if wanted > 1:
        assert [n - 1 - position for position in reversed(chosen)] == chosen


def test_nested_inputs_and_their_texts(tmp_path: Path) -> None:
    run = finished_run(
        open_storage(tmp_path / "runs"), tmp_path / "s", [Case(tilt=1, wall=Wall(u_value=2))], [{"months": [1.0]}]
    )
    assert column(run, "month", "monthly").n_unique == 1
    from scythe_cli.analysis.results.tables import field_texts

    texts = field_texts(run)
    assert texts["wall.u_value"].unit == "W/m2K"
    assert texts["power"].is_input is False


@pytest.mark.parametrize("error", [pl.exceptions.PanicException("offset"), pl.exceptions.ComputeError("offset")])
def test_a_table_that_polars_cannot_read_is_named(tmp_path: Path, error: BaseException) -> None:
    storage = open_storage(tmp_path / "runs")
    with pytest.raises(StorageError, match=r"runs/final/a\.pq cannot be read: offset"), reading(storage, "final/a.pq"):
        raise error
