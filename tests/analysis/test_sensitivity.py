"""Sobol indices against a function whose indices are known, and what single fields do."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import sobol_indices as scipy_indices
from scipy.stats import uniform

from scythe_cli.analysis.run import Run
from scythe_cli.analysis.sensitivity import field_effects, sobol_indices
from scythe_cli.analysis.sobol import sobol_from_blocks
from scythe_cli.errors import NotFoundError, UsageError
from scythe_cli.services.project import open_project
from tests.projects import make_project

ISHIGAMI = """
import math
from pydantic import Field
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry


class Point(ExperimentInputSpec):
    a: float = Field(ge=-math.pi, le=math.pi)
    b: float = Field(ge=-math.pi, le=math.pi)
    c: float = Field(ge=-math.pi, le=math.pi)


class Value(ExperimentOutputSpec):
    y: float
    flat: float = 1.0
    some: float
    name: str = "n"


@ExperimentRegistry.Register(retries=0)
def simulate(p: Point) -> Value:
    y = math.sin(p.a) + 7 * math.sin(p.b) ** 2 + 0.1 * p.c**4 * math.sin(p.a)
    if p.a > 3:
        raise ValueError("too far")
    return Value(y=y, some=math.nan if p.b > 2.5 else p.a + 2 * p.b)
"""

# Ishigami and Homma 1990, with a = 7 and b = 0.1; derived in Saltelli et al., Global Sensitivity Analysis, section 4.5
FIRST = (0.3139, 0.4424, 0.0)
TOTAL = (0.5576, 0.4424, 0.2437)


def ishigami(x: np.ndarray) -> np.ndarray:
    return np.sin(x[0]) + 7 * np.sin(x[1]) ** 2 + 0.1 * x[2] ** 4 * np.sin(x[0])


def blocks(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from scythe_cli.doe.points import draw_points

    points = (draw_points("saltelli", n, 3, seed) * 2 - 1) * math.pi
    values = ishigami(points.T).reshape(5, n)
    return values[0], values[1], values[2:]


def test_indices_of_a_known_function() -> None:
    estimates = sobol_from_blocks(*blocks(8192, 1))
    assert estimates.first == pytest.approx(FIRST, abs=0.015)
    assert estimates.total == pytest.approx(TOTAL, abs=0.01)
    for value, (low, high) in (
        (FIRST, estimates.first_interval),
        (TOTAL, estimates.total_interval),
    ):
        assert (low <= np.array(value) + 0.02).all()
        assert (high >= np.array(value) - 0.02).all()
        assert (high - low < 0.1).all()


def test_indices_are_those_of_scipy() -> None:
    f_a, f_b, f_ab = blocks(256, 2)
    values = {"f_A": f_a[None], "f_B": f_b[None], "f_AB": f_ab[:, None, :]}
    theirs = scipy_indices(func=values, n=256, dists=[uniform()] * 3)
    ours = sobol_from_blocks(f_a, f_b, f_ab)
    assert ours.first == pytest.approx(theirs.first_order.ravel(), rel=1e-9)
    assert ours.total == pytest.approx(theirs.total_order.ravel(), rel=1e-9)


def test_intervals_shrink_with_more_points_and_hold_for_many() -> None:
    few, many = sobol_from_blocks(*blocks(64, 3)), sobol_from_blocks(*blocks(16384, 3))
    widths = [np.diff(e.total_interval, axis=0).max() for e in (few, many)]
    # 256 times as many points: intervals a sixteenth as wide, about
    assert 6 < widths[0] / widths[1] < 40


def test_values_that_do_not_vary_have_no_indices() -> None:
    estimates = sobol_from_blocks(np.full(8, 0.1), np.full(8, 0.1), np.full((2, 8), 0.1))
    assert np.isnan(estimates.first).all()
    with pytest.raises(ValueError, match="blocks of shapes"):
        sobol_from_blocks([1.0, 2.0], [1.0], [[1.0, 2.0]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_project(tmp_path / "p", code=ISHIGAMI)


def run_of(folder: Path, design: str, **options: object) -> Run:
    project = open_project(start=folder)
    file = folder / f"{design}.pq"
    project.sample(file, design=design, overwrite=True, **options)  # type: ignore[arg-type]
    project.allocate(file)
    return project.run("latest")


@pytest.mark.processes
def test_indices_of_a_run(folder: Path) -> None:
    run = run_of(folder, "saltelli", n=128, seed=4)
    result = sobol_indices(run)

    assert result.n_base == 128
    assert 60 < result.n_used < 128
    assert result.notices == [f"{128 - result.n_used} of 128 base points have a row without a finite output"]
    assert [(i.output, i.input) for i in result.indices] == [
        (output, field) for output in ("y", "flat", "some") for field in "abc"
    ]
    by_key = {(i.output, i.input): i for i in result.indices}
    flat = by_key["flat", "a"]
    assert (flat.first, flat.total, flat.total_low) == (None, None, None)
    assert by_key["y", "a"].total == pytest.approx(TOTAL[0], abs=0.25)
    # linear and without interactions: first and total order are the same, and c has no part in it
    some = [by_key["some", field] for field in "abc"]
    assert some[2].total == pytest.approx(0, abs=1e-9)
    assert some[1].first > some[0].first > 0.05  # type: ignore[operator]
    assert some[0].first_low <= some[0].first <= some[0].first_high  # type: ignore[operator]

    only = sobol_indices(run, ["y"], n_resamples=10)
    assert [i.first for i in only.indices] == [by_key["y", f].first for f in "abc"]
    with pytest.raises(NotFoundError, match="no column 'name'"):
        sobol_indices(run, ["name"])
    with pytest.raises(UsageError, match="needs a run with the design oat, but it is saltelli"):
        field_effects(run)


@pytest.mark.processes
def test_effects_of_single_fields(folder: Path) -> None:
    run = run_of(folder, "oat", set={"a": [-3, 0, 2], "b": (0, 2), "c": (0, 1)}, levels={"b": 3, "c": 2})
    result = field_effects(run, ["some"])

    # no defaults, so the base is the first of the values, or the middle of the range
    assert [(e.input, e.base, e.low, e.low_at, e.high, e.high_at) for e in result.effects] == [
        ("a", -1.0, -1.0, -3.0, 4.0, 2.0),
        ("b", -1.0, -3.0, 0.0, 1.0, 2.0),
        ("c", -1.0, -1.0, 0.5, -1.0, 0.5),
    ]
    with pytest.raises(UsageError, match="needs a run with the design saltelli, but it is oat"):
        sobol_indices(run)


@pytest.mark.processes
def test_rows_of_another_order_are_refused(folder: Path) -> None:
    project = open_project(start=folder)
    project.sample(folder / "s.pq", design="saltelli", n=4, seed=1)
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "s.pq")
    pq.write_table(table.sort_by("a"), folder / "sorted.pq")
    project.allocate(folder / "sorted.pq")
    with pytest.raises(UsageError, match="its rows are not the rows of its design any more"):
        sobol_indices(project.run("latest"))

    pl.DataFrame({"a": [1.0], "b": [1.0], "c": [1.0]}).write_parquet(folder / "own.pq")
    project.allocate(folder / "own.pq")
    with pytest.raises(UsageError, match="its sampling file was not made by `scythe sample`"):
        sobol_indices(project.run("latest"))
