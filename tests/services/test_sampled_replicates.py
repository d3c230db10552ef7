"""Replicates in sampling files, and sensitivity of runs that have replicates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from scythe_cli.analysis.sensitivity import field_effects, sobol_indices
from scythe_cli.analysis.sobol import sobol_from_blocks
from scythe_cli.errors import UsageError
from scythe_cli.sampling.problems import BadCellsError
from scythe_cli.services.project import Project
from tests.growing import CODE, growing_project, write_csv

from .test_replicates import NoisyEngine

VARIED: dict[str, Any] = {"set": {"x": (0, 1), "label": ["q", "r"]}, "seed": 3}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return growing_project(tmp_path / "my sweep [1]", NoisyEngine())


def scalars(project: Project) -> pl.DataFrame:
    return project.run().scalars().drop("experiment_id", "workflow_run_id", "root_workflow_run_id")


@pytest.mark.parametrize("ending", ["csv", "pq"])
def test_a_file_with_replicates_is_the_run_that_allocate_makes(project: Project, ending: str) -> None:
    # with so few values, points of the design are equal
    few: dict[str, Any] = {"design": "random", "n": 9, "seed": 3, "set": {"x": [1, 2], "label": ["q", "r"]}}
    plain, file = project.root / f"a.{ending}", project.root / f"b.{ending}"
    project.sample(plain, **few)
    made = project.sample(file, **few, replicates=3)
    assert (made.n_specs, made.design.rows, made.design.cases, made.design.replicates) == (27, 27, 9, 3)
    project.allocate(plain, replicates=3)
    manifest, by_option = project.run().manifest, scalars(project)
    project.allocate(file)
    assert project.run().manifest.specs_sha256 == manifest.specs_sha256  # type: ignore[union-attr]
    assert scalars(project).equals(by_option)
    assert by_option["replicate"].max() > 2  # type: ignore[operator]
    again = project.allocate(file, into="latest")
    assert (again.n_added, again.n_known) == (0, 27)
    part = project.allocate(file, limit=9)
    assert part.n_specs == 9


def test_both_are_refused_unless_they_say_the_same(project: Project) -> None:
    file = project.root / "a.csv"
    project.sample(file, n=4, seed=1, set={"x": (0, 1)}, replicates=3)
    assert project.allocate(file, replicates=3).n_specs == 12
    for options in ({"replicates": 2}, {"replicates": 6}, {"until": "half_width(y) < 1"}):
        with pytest.raises(UsageError, match=r"a.csv has 3 replicates of each case already"):
            project.allocate(file, **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="the file has replicates"):
        project.allocate(file, dedupe=True)


def test_the_column_has_to_say_what_tables_will_say(project: Project) -> None:
    rows = [(1, 0), (2, 0), (1, 1), (2, 2), (1, None)]
    pl.DataFrame(rows, ["x", "replicate"], orient="row").write_csv(project.root / "a.csv")
    with pytest.raises(BadCellsError) as raised:
        project.allocate(project.root / "a.csv")
    assert raised.value.message.splitlines()[1:] == [
        "  line 5, replicate: 2: This row is replicate 1 of its case",
        "  line 6, replicate: This row is replicate 2 of its case",
    ]


def test_a_field_of_that_name_is_a_field(tmp_path: Path) -> None:
    code = CODE.replace("    x: float\n", "    x: float\n    replicate: int = 7\n", 1)
    project = growing_project(tmp_path, NoisyEngine(), code=code)
    with pytest.raises(UsageError, match="has a field replicate"):
        project.sample(tmp_path / "a.csv", n=3, set={"x": (0, 1), "replicate": [1]}, replicates=2)
    (tmp_path / "b.csv").write_text("x,replicate\n1,5\n1,5\n")
    assert project.allocate(tmp_path / "b.csv").n_specs == 2


def test_a_continued_design_has_as_many_replicates(project: Project) -> None:
    root = project.root
    project.sample(root / "a.csv", design="sobol", n=4, seed=1, set={"x": (0, 1)}, replicates=3)
    project.allocate(root / "a.csv")
    made = project.sample(root / "b.csv", continues="latest", n=4)
    assert (made.n_specs, made.design.replicates) == (12, 3)
    assert project.allocate(root / "b.csv", into="latest").n_added == 12
    project.sample(root / "c.csv", continues="latest", n=8)
    project.allocate(root / "c.csv", into="latest")
    counts = project.run().scalars()["replicate"].value_counts().sort("replicate").rows()
    assert counts == [(0, 16), (1, 16), (2, 16)]


def test_indices_are_those_of_the_means_however_replicates_came(project: Project) -> None:
    root, runs = project.root, []
    project.sample(root / "a.csv", design="saltelli", n=8, **VARIED)
    project.sample(root / "b.csv", design="saltelli", n=8, replicates=4, **VARIED)
    project.allocate(root / "b.csv")
    runs.append(project.run())
    project.allocate(root / "a.csv", replicates=4)
    runs.append(project.run())
    project.allocate(root / "a.csv", replicates=2)
    project.allocate(root / "a.csv", replicates=4, into="latest")
    runs.append(project.run())
    project.sample(root / "c.csv", design="saltelli", n=4, replicates=4, **VARIED)
    project.allocate(root / "c.csv")
    project.sample(root / "d.csv", continues="latest", n=4)
    project.allocate(root / "d.csv", into="latest")
    runs.append(project.run())
    ys = runs[0].scalars().sort("sort_index")["y"].to_numpy().reshape(4, 4, 8).mean(axis=0)
    expected = sobol_from_blocks(ys[0], ys[1], ys[2:])
    for run in runs[:2]:
        told = sobol_indices(run, ["y"])
        assert told.notices == ["the means of 4 replicates of each case"]
        assert [index.first for index in told.indices] == pytest.approx(expected.first)
        assert (told.n_base, told.n_used) == (8, 8)
    for run in runs[2:]:
        assert sobol_indices(run, ["y"]).notices == ["the means of 4 replicates of each case"]
    # without equal points, the same rows are of the same cases
    plain: dict[str, Any] = {"set": {"x": (0, 1)}, "seed": 3, "fix": {"label": "q"}}
    project.sample(root / "e.csv", design="saltelli", n=8, **plain)
    project.allocate(root / "e.csv", replicates=3)
    whole = sobol_indices(project.run(), ["y"])
    project.allocate(root / "e.csv", replicates=2)
    project.allocate(root / "e.csv", replicates=3, into="latest")
    assert sobol_indices(project.run(), ["y"]).indices == whole.indices


def test_cases_with_other_numbers_of_replicates_are_refused(project: Project) -> None:
    root = project.root
    project.sample(root / "a.csv", design="saltelli", n=4, set={"x": (0, 1)}, seed=1)
    project.allocate(root / "a.csv", replicates=2)
    first = pl.read_csv(root / "a.csv", glob=False).head(1)
    write_csv(root / "one.csv", first["x"].to_list())
    project.allocate(root / "one.csv", replicates=3, into="latest")
    with pytest.raises(UsageError, match="its cases have from 2 to 3 replicates") as raised:
        sobol_indices(project.run(), ["y"])
    assert "--replicates 3 --into" in (raised.value.hint or "")


def test_points_of_which_a_replicate_failed_are_left_out(project: Project) -> None:
    root = project.root
    project.sample(root / "a.csv", design="saltelli", n=16, set={"x": (-0.2, 1)}, seed=1, replicates=2)
    project.allocate(root / "a.csv")
    told = sobol_indices(project.run(), ["y"])
    assert 0 < told.n_used < told.n_base == 16
    assert told.notices[0] == "the means of 2 replicates of each case"
    assert "have a row without a finite output" in told.notices[1]


def test_effects_of_single_fields_are_those_of_means(project: Project) -> None:
    project.sample(project.root / "a.csv", design="oat", set={"x": (0, 1)}, levels={"x": 3}, replicates=5)
    project.allocate(project.root / "a.csv")
    told = field_effects(project.run(), ["y"])
    assert told.notices == ["the means of 5 replicates of each case"]
    ys = project.run().scalars().sort("sort_index")["y"].to_numpy().reshape(5, 3).mean(axis=0)
    (effect,) = told.effects
    assert (effect.base, effect.low, effect.high) == pytest.approx((ys[0], np.min(ys), np.max(ys)))
