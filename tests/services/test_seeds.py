"""The random numbers of a run: the same however its rows are run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from scythe_cli.arrow.seeds import REPETITION
from scythe_cli.errors import UsageError
from scythe_cli.run.manifest import load_yaml
from scythe_cli.services.allocation.options import AllocateOptions
from scythe_cli.services.project import Project, open_project
from scythe_cli.services.runs.history import rerun_spec

pytestmark = pytest.mark.processes

MODULE = """
import os
import random
from pathlib import Path
from random import gauss

import numpy as np

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.registry import ExperimentRegistry

AT_START = random.random()

class Case(ExperimentInputSpec):
    x: float
    name: str = "a"
    weather: FileReference

class Draws(ExperimentOutputSpec):
    seed: str
    own: float
    standard: float
    pair: float
    array: float
    start: float
    text: int

@ExperimentRegistry.Register()
def simulate(case: Case) -> Draws:
    tried = Path(os.environ["TRIED"]) / f"{case.sort_index}"
    first = not tried.exists()
    tried.touch()
    values = Draws(
        seed=str(case.seed), own=case.rng().normal(), standard=random.random(), pair=gauss(0, 1),
        array=np.random.standard_normal(5).sum(), start=AT_START, text=hash("text"),
    )
    if first and case.sort_index % 4 == 1:
        os._exit(3) if case.sort_index % 8 == 1 else random.choice([1])
        raise ValueError("not yet")
    return values
"""

COLUMNS = ["seed", "own", "standard", "pair", "array", "start", "text"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("odd [draws]")
    (folder / "drawing.py").write_text(MODULE)
    (folder / "experiments.toml").write_text('[experiments.draws]\nentrypoint = "drawing:simulate"\n')
    (folder / "mild.epw").write_text("mild")
    (folder / "same.epw").write_text("mild")
    rows = [f"{n % 12 / 8},{'ab'[n % 2]},mild.epw" for n in range(30)]
    (folder / "cases.csv").write_text("\n".join(["x,name,weather", *rows, ""]))
    path = list(sys.path)
    yield open_project(start=folder)
    sys.path[:] = path
    sys.modules.pop("drawing", None)


def draws(project: Project, file: Path, tried: Path, **options: Any) -> pl.DataFrame:
    tried.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIED", str(tried))
        result = project.allocate(file, **options)
        while result.counts.total > result.counts.succeeded:
            result = project.retry(result.experiment_id, workers=options.get("workers"))
    return project.run(result.experiment_id).scalars().sort("sort_index")


@pytest.fixture(scope="module")
def expected(project: Project, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """With one worker, in the order of the file."""
    return draws(project, project.root / "cases.csv", tmp_path_factory.mktemp("tried") / "one", workers=1)


def test_rows_differ_and_equal_rows_are_repetitions(expected: pl.DataFrame) -> None:
    for name in ("seed", "own", "standard", "pair", "array"):
        assert expected[name].n_unique() == 30
    assert expected["start"].n_unique() == 1
    assert expected["text"].n_unique() == 1


def test_any_number_of_workers_and_any_order_gives_the_same(
    project: Project, expected: pl.DataFrame, tmp_path: Path
) -> None:
    """The rows are in another order, of a Parquet file, with the columns the other way round and a file elsewhere."""
    frame = pl.read_csv(project.root / "cases.csv", glob=False).select("weather", "name", "x").with_row_index("at")
    mirrored = frame.sort("x", "name", "at", descending=[True, True, False]).with_columns(
        weather=pl.lit(str(project.root / "same.epw"))
    )
    mirrored.drop("at").write_parquet(tmp_path / "cases.pq")

    other = draws(project, tmp_path / "cases.pq", tmp_path / "tried", workers=3)

    assert other.select(COLUMNS).sort("seed").equals(expected.select(COLUMNS).sort("seed"))
    assert other["seed"].to_list() == expected["seed"].gather(mirrored["at"]).to_list()


def test_a_row_alone_gives_the_same(project: Project, expected: pl.DataFrame, tmp_path: Path) -> None:
    run = project.run(expected["experiment_id"][0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIED", str(tmp_path))
        for row in (0, 12, 29):
            (tmp_path / str(row)).touch()
            again: Any = rerun_spec(run, project.experiment_of(run), row)
            for name in ("seed", "own", "standard", "pair", "array"):
                assert getattr(again, name) == expected[name][row]


def test_another_seed_gives_others_and_is_noted(project: Project, expected: pl.DataFrame, tmp_path: Path) -> None:
    other = draws(project, project.root / "cases.csv", tmp_path / "tried", workers=2, seed=5)
    assert not set(other["seed"]) & set(expected["seed"])
    run = project.run(other["experiment_id"][0])
    assert run.manifest is not None
    assert run.manifest.seed == 5


def test_repetitions_are_stored_where_there_are_some(project: Project, expected: pl.DataFrame, tmp_path: Path) -> None:
    run = project.run(expected["experiment_id"][0])
    specs = pq.read_table(run.storage.local_path(run.layout.specs))
    assert specs.column(REPETITION).to_pylist() == [n // 12 for n in range(30)]
    assert REPETITION not in expected.columns
    (project.root / "few.csv").write_text("x,name,weather\n1,a,mild.epw\n2,a,mild.epw\n")
    few = draws(project, project.root / "few.csv", tmp_path / "tried", workers=1)
    run = project.run(few["experiment_id"][0])
    assert REPETITION not in pq.read_schema(run.storage.local_path(run.layout.specs)).names


def test_a_run_without_a_seed_in_its_manifest_has_seed_0(
    project: Project, expected: pl.DataFrame, tmp_path: Path
) -> None:
    run = project.run(expected["experiment_id"][0])
    text = run.storage.read_bytes(run.layout.manifest)
    assert load_yaml(text, "manifest")["seed"] == 0
    run.storage.write_bytes(run.layout.manifest, text.replace(b"\nseed: 0\n", b"\n"))
    again = project.run(run.experiment_id)
    assert again.manifest is not None
    assert again.manifest.seed is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIED", str(tmp_path))
        (tmp_path / "3").touch()
        row: Any = rerun_spec(again, project.experiment_of(again), 3)
    assert row.seed == expected["seed"][3]


def test_seeds_that_are_none() -> None:
    assert AllocateOptions(seed=2**63 - 1).with_seed().seed == 2**63 - 1
    drawn = {AllocateOptions(seed="new").with_seed().seed for _ in range(20)}
    assert len(drawn) == 20
    for seed in (-1, 2**63):
        with pytest.raises(UsageError, match=f"seed is {seed}; it must be from 0 to"):
            AllocateOptions(seed=seed)
