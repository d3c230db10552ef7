"""`sample --continue`: the next points of the design of a run, added to it."""

from __future__ import annotations

from contextlib import nullcontext as noted
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pyarrow as pa
import pytest
import yaml

from scythe_cli.analysis.sensitivity import sobol_indices
from scythe_cli.core.progress import ProgressCallback
from scythe_cli.engines.base import Execution, Job
from scythe_cli.errors import UsageError
from scythe_cli.executor.limits import StopSignal
from scythe_cli.run.extension import design_parts
from scythe_cli.run.ledger import write_part
from scythe_cli.run.specs_file import SpecFile
from scythe_cli.services.project import Project
from tests.growing import AnsweringEngine, growing_project
from tests.made_runs import outcomes

CODE = """
import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.registry import ExperimentRegistry


class Wall(BaseModel):
    u: float = Field(ge=0.1, le=3)
    weather: FileReference
    layers: int = Field(default=2, ge=1, le=4)


class Case(ExperimentInputSpec):
    x: float = Field(ge=-3, lt=3)
    y: float = Field(gt=0, le=3)
    z: float = Field(ge=0)
    k: int = Field(ge=1, le=9)
    mode: Literal["a", 1, True] = "a"
    on: bool
    day: date = Field(ge=date(2024, 1, 1), lt=date(2025, 1, 1))
    clock: time
    lag: timedelta = Field(ge=timedelta(0), le=timedelta(hours=2))
    price: Decimal = Field(ge=0, le=10, decimal_places=2)
    wall: Wall
    weather: FileReference
    label: str = "q"

    @model_validator(mode="after")
    def check(self):
        if self.x > LIMIT:
            raise ValueError("too far")
        return self


LIMIT = 9


class Answer(ExperimentOutputSpec):
    answer: float


@ExperimentRegistry.Register()
def simulate(input_spec: Case) -> Answer:
    return Answer(answer=input_spec.x)
"""
OPTIONS: dict[str, Any] = {
    "set": {"weather": "weather/*.epw", "wall.weather": ["weather/a.epw", "weather/b.epw"], "z": "1:20"},
    "triangular": {"y": "-1:1:5"},
    "normal": {"k": "4:2"},
    "log": ["z"],
    "fix": {"label": "fixed"},
}


class CountingEngine(AnsweringEngine):
    """Says of each spec something that follows from its inputs."""

    def execute(self, job: Job, *, stop: StopSignal, progress: ProgressCallback | None = None) -> Execution:
        with SpecFile.open(job.storage, job.run) as specs:
            frame: Any = pl.from_arrow(specs.read(0, job.n_specs, columns=["x", "label"]))
        # in one part: a part for each row takes its time
        answers = frame.select(pl.col("x").exp() * (1 + (pl.col("label") == "r")))["x"]
        rows: list[int] = list(range(job.n_specs)) if job.todo is None else job.todo["sort_index"].to_pylist()
        table = outcomes(rows)
        place = table.column_names.index("out:y")
        table = table.set_column(place, table.schema.field(place), pa.chunked_array([answers[rows].to_arrow()]))
        write_part(job.storage, job.run, uuid4().hex, table)
        return Execution()


def project_with(folder: Path, code: str = CODE) -> Project:
    project = growing_project(folder, CountingEngine(), code=code)
    (folder / "weather").mkdir(exist_ok=True)
    for name in "abc":
        (folder / "weather" / f"{name}.epw").write_text(name)
    return project


def specs_of(project: Project) -> pl.DataFrame:
    frame = pl.read_parquet(Path(project.run().uri) / "specs.pq", glob=False)
    wall, last = pl.col("wall").struct, pl.element().last()
    files = [wall.field("weather").alias("of_wall"), pl.col("weather")]
    # where its files are says which run it is
    names = [file.str.split("/").list.eval(last).list.first() for file in files]
    own = ["x", "y", "z", "k", "mode", "on", "day", "clock", "lag", "price", "label"]
    return frame.select(*own, wall.field("u"), wall.field("layers"), *names)


@pytest.mark.parametrize(
    ("design", "ending"), [("sobol", "csv"), ("halton", "pq"), ("random", "csv"), ("saltelli", "pq")]
)
def test_a_run_that_is_continued_has_the_cases_of_one_design(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, design: Any, ending: str
) -> None:
    project = project_with(tmp_path / "my sweep [1]")
    monkeypatch.chdir(project.root)
    project.sample(f"a.{ending}", design=design, n=4, seed=7, **OPTIONS)
    project.allocate(f"a.{ending}")
    for n, file in ((4, "sub/b"), (8, "c")):
        made = project.sample(f"{file}.{ending}", continues="latest", n=n)
        result = project.allocate(f"{file}.{ending}", into="latest")
        assert (result.n_added, result.n_known) == (made.n_specs, 0)
    again = project.allocate(f"c.{ending}", into="latest")
    assert (again.n_added, again.n_known) == (0, made.n_specs)
    grown, parts = specs_of(project), design_parts(project.run().manifest)
    assert [record.before for _, record in parts] == [[], [4], [4, 4]]
    project.sample("w.pq", design=design, n=16, seed=7, **OPTIONS)
    project.allocate("w.pq")
    whole = specs_of(project)
    if design == "saltelli":  # the blocks of each part stand together
        columns = len(grown) // 16
        order = [b * 16 + i for part in ((0, 4), (4, 8), (8, 16)) for b in range(columns) for i in range(*part)]
        whole = whole[order]
    assert grown.equals(whole)


def test_a_latin_hypercube_is_continued_to_a_multiple(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = project_with(tmp_path)
    monkeypatch.chdir(tmp_path)
    project.sample("a.csv", n=5, seed=7, only=["x"], fix={"wall.weather": "weather/c.epw", **_fixed()})
    project.allocate("a.csv")
    with pytest.raises(UsageError, match="multiple of 5"):
        project.sample("b.csv", continues="latest", n=7)
    project.sample("b.csv", continues="latest", n=10)
    project.allocate("b.csv", into="latest")
    xs = pl.read_parquet(Path(project.run().uri) / "specs.pq", glob=False)["x"].sort().to_list()
    assert [int((x + 3) / 6 * 15) for x in xs] == list(range(15))


@pytest.mark.parametrize(("design", "ending"), [("sobol", "csv"), ("lhs", "pq")])
def test_conditions_are_those_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, design: Any, ending: str
) -> None:
    project = project_with(tmp_path)
    monkeypatch.chdir(tmp_path)
    conditions = ["x < y AND label = 'fixed'", '"wall.u" > 1 AND price > 2']
    project.sample(f"a.{ending}", design=design, n=6, seed=7, where=conditions, **OPTIONS)
    project.allocate(f"a.{ending}")
    made = project.sample(f"b.{ending}", continues="latest", n=7)
    assert made.design.where == conditions
    assert project.allocate(f"b.{ending}", into="latest").n_added == 7
    grown = specs_of(project)
    assert grown.filter((pl.col("x") < pl.col("y")) & (pl.col("u") > 1)).height == 13
    if design == "sobol":
        project.sample(f"w.{ending}", design=design, n=13, seed=7, where=conditions, **OPTIONS)
        project.allocate(f"w.{ending}")
        assert grown.equals(specs_of(project))
    with pytest.raises(UsageError, match="do not go with --continue"):
        project.sample("c.pq", continues="latest", n=7, where=["x < 1"])


@pytest.mark.parametrize("per_stratum", [False, True])
def test_rows_of_a_population_are_drawn_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, per_stratum: bool
) -> None:
    project = project_with(tmp_path)
    monkeypatch.chdir(tmp_path)
    rows = pl.int_range(40, eager=True)
    people = pl.DataFrame(
        {
            "z": rows + 0.5,
            "wall.u": 1 + rows / 40,
            "wall.weather": ["../weather/a.epw"] * 40,
            "region": ["n"] * 30 + ["s"] * 10,
            "people": rows % 4,
        }
    )
    (tmp_path / "data").mkdir()
    people.write_csv("data/people.csv")
    fix = {"weather": "weather/b.epw", "on": True, "day": "2024-01-02", "clock": "12:00", "lag": "PT1H", "price": "1.5"}
    of_all: dict[str, Any] = {"by": ["region"], "weights": "people", "population": "data/people.csv"}
    size: dict[str, Any] = {"per_stratum": 4} if per_stratum else {"n": 10}
    project.sample("a.csv", design="sobol", seed=7, fix=fix, **of_all, **size)
    project.allocate("a.csv")
    with pytest.raises(UsageError, match=r"rows of the population are left|all rows") if not per_stratum else noted():
        project.sample("b.csv", continues="latest", n=40, overwrite=True)
    made = project.sample("sub/b.csv", continues="latest", n=3 if per_stratum else 12)
    assert made.design.population is not None
    assert not made.design.population.replaced
    assert project.allocate("sub/b.csv", into="latest").n_added == made.n_specs == (6 if per_stratum else 12)
    grown = specs_of(project)
    assert grown["z"].n_unique() == grown.height == (14 if per_stratum else 22)
    assert grown["x"].n_unique() == grown.height  # the points of the design go on as well
    south = int((grown["z"] > 30).sum())
    assert south == (7 if per_stratum else round(22 * 15 / 60))
    people.with_columns(pl.col("z") + 1).write_csv("data/people.csv")
    with pytest.raises(UsageError, match=r"people.csv has changed"):
        project.sample("c.csv", continues="latest", n=3)
    Path("data/people.csv").unlink()
    with pytest.raises(UsageError, match="is not here"):
        project.sample("c.csv", continues="latest", n=3)


def _fixed() -> dict[str, Any]:
    return {"weather": "weather/a.epw", "y": 1, "z": 1, "k": 1, "on": True, "day": "2024-01-02", "clock": "12:00",
            "lag": "PT1H", "price": "1.5", "wall.u": 1}  # fmt: skip


def test_indices_of_a_continued_design_are_those_of_one_design(tmp_path: Path) -> None:
    project = growing_project(tmp_path, CountingEngine())
    options: dict[str, Any] = {"set": {"x": (0, 1), "label": ["q", "r"]}}
    project.sample(tmp_path / "a.csv", design="saltelli", n=8, seed=1, **options)
    project.allocate(tmp_path / "a.csv")
    (tmp_path / "other.csv").write_text("x\n7\n8\n")
    project.allocate(tmp_path / "other.csv", into="latest")
    project.sample(tmp_path / "b.csv", continues="latest", n=8)
    project.allocate(tmp_path / "b.csv", into="latest")
    grown = sobol_indices(project.run(), ["y"])
    assert grown.n_base == grown.n_used == 16
    assert grown.notices == ["of the 64 rows of the design, without the 2 added later"]
    project.sample(tmp_path / "w.csv", design="saltelli", n=16, seed=1, **options)
    project.allocate(tmp_path / "w.csv")
    assert sobol_indices(project.run(), ["y"]).indices == grown.indices


def test_equal_points_of_fields_with_few_values_are_cases_of_their_own(tmp_path: Path) -> None:
    project = growing_project(tmp_path, AnsweringEngine())
    project.sample(tmp_path / "a.csv", design="sobol", n=8, seed=1, set={"x": [1.0, 2.0]})
    project.allocate(tmp_path / "a.csv")
    project.sample(tmp_path / "b.csv", continues="latest", n=8)
    assert project.allocate(tmp_path / "b.csv", into="latest", limit=3).n_known == 8
    project.sample(tmp_path / "c.csv", design="sobol", n=8, seed=1, set={"x": [1.0, 2.0]})
    project.allocate(tmp_path / "c.csv")
    result = project.allocate(tmp_path / "b.csv", into="latest")
    assert (result.n_added, result.n_known, result.n_specs) == (8, 0, 16)


def test_rows_that_the_model_rejects_are_left_out_of_each_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = project_with(tmp_path, CODE.replace("LIMIT = 9", "LIMIT = 1"))
    monkeypatch.chdir(tmp_path)
    project.sample("a.csv", design="sobol", n=16, seed=7, drop_refused=True, **OPTIONS)
    project.allocate("a.csv")
    made = project.sample("b.csv", continues="latest", n=16)
    assert (made.design.rows, made.design.dropped) != (16, 0)
    project.allocate("b.csv", into="latest")
    grown = specs_of(project)
    project.sample("w.csv", design="sobol", n=32, seed=7, drop_refused=True, **OPTIONS)
    project.allocate("w.csv")
    assert grown.equals(specs_of(project))


@pytest.mark.parametrize(("design", "hint"), [("grid", "finer"), ("oat", "more levels"), ("zip", "further values")])
def test_designs_without_a_next_point_are_refused(tmp_path: Path, design: Any, hint: str) -> None:
    project = growing_project(tmp_path, AnsweringEngine())
    project.sample(tmp_path / "a.csv", design=design, set={"x": [1.0, 2.0]})
    project.allocate(tmp_path / "a.csv")
    with pytest.raises(UsageError, match="there is no next point") as raised:
        project.sample(tmp_path / "b.csv", continues="latest", n=2)
    assert hint in (raised.value.hint or "")
    assert not (tmp_path / "b.csv").exists()


def test_what_cannot_be_continued_is_refused(tmp_path: Path) -> None:
    project = growing_project(tmp_path, AnsweringEngine())
    project.sample(tmp_path / "a.csv", n=4, seed=1, set={"x": (0, 1)})
    project.allocate(tmp_path / "a.csv", limit=2)
    refused = {
        "not those of a whole file": {"n": 4},
        "--seed does not go with --continue": {"n": 4, "seed": 3},
        "--design does not go with": {"n": 4, "design": "sobol"},
        "--set, --fix and the other options of fields do not go": {"n": 4, "set": {"x": (0, 2)}},
        "is a run of 'energy', not of 'other'": {"n": 4, "experiment": "other"},
    }
    for message, options in refused.items():
        with pytest.raises(UsageError, match=message):
            project.sample(tmp_path / "b.csv", continues="latest", **options)
    project.allocate(tmp_path / "a.csv")
    with pytest.raises(UsageError, match="needs the number of points"):
        project.sample(tmp_path / "b.csv", continues="latest")


@pytest.mark.parametrize("change", ["seed", "model", "field"])
def test_points_that_would_be_others_are_refused(tmp_path: Path, change: str) -> None:
    project = growing_project(tmp_path, AnsweringEngine())
    project.sample(tmp_path / "a.csv", design="sobol", n=4, seed=1, set={"x": (0, 1), "label": ["q", "r"]})
    project.allocate(tmp_path / "a.csv")
    manifest = Path(project.run().uri) / "manifest.yml"
    content = yaml.safe_load(manifest.read_bytes())
    if change == "seed":
        content["design"]["seed"] = 2
    elif change == "model":
        content["design"]["fields"][0]["high"] = 2
    else:
        content["design"]["fields"][1]["name"] = "gone"
    manifest.write_text(yaml.safe_dump(content))
    with pytest.raises(UsageError, match="cannot be drawn again") as raised:
        project.sample(tmp_path / "b.csv", continues="latest", n=4)
    assert "scipy" in (raised.value.hint or "")
