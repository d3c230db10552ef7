"""Rows of a population: which are drawn, what is checked, and what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest
from pydantic import BaseModel, Field, model_validator

from scythe_cli.base import ExperimentInputSpec, FileReference
from scythe_cli.doe.joint.population_rows import population_rows, shared_out
from scythe_cli.doe.sample_file import sample_file
from scythe_cli.doe.settings import SampleOptions
from scythe_cli.errors import SamplingFileError, UsageError
from scythe_cli.sampling.problems import BadCellsError
from scythe_cli.sampling.reading import read_design, read_sampling_file


class Wall(BaseModel):
    u: float = Field(ge=0, le=3)
    layers: int = Field(default=2, ge=1, le=4)


class House(ExperimentInputSpec):
    area: float = Field(ge=0, le=1000)
    use: Literal["home", "office"]
    built: int | None = Field(default=None, ge=1800, le=2030)
    depths: list[float] = []
    weather: FileReference | None = None
    wall: Wall = Wall(u=1)
    setpoint: float = Field(ge=15, le=25)
    label: str = "q"


class Odd(House):
    @model_validator(mode="after")
    def check(self) -> Odd:
        if self.area > 900 and self.setpoint > 20:
            raise ValueError("too warm")
        return self


def frame(n: int = 60) -> pl.DataFrame:
    rows = np.arange(n)
    return pl.DataFrame(
        {
            "id": rows,
            "area": rows * 10.0 + 5,
            "use": ["home" if i % 3 else "office" for i in range(n)],
            "region": ["north"] * (n // 2) + ["south"] * (n // 3) + [None] * (n - n // 2 - n // 3),
            "people": rows % 5,
        }
    )


def sampled(folder: Path, out: str = "cases.csv", model: Any = House, **options: Any) -> tuple[Any, pl.DataFrame]:
    design, n, seed = options.pop("design", "lhs"), options.pop("n", None), options.pop("seed", 1)
    ignore = options.pop("ignore_columns", ["id", "region", "people"])
    said = SampleOptions(population=folder / "pop.csv", ignore_columns=ignore, **options)
    result = sample_file(folder / out, "house", model, design, n=n, seed=seed, options=said, overwrite=True)
    inputs: Any = pl.from_arrow(read_sampling_file(folder / out, model).inputs)
    return result, inputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    frame().write_csv(tmp_path / "pop.csv")
    return tmp_path


def test_whole_rows_are_drawn_beside_a_design(folder: Path) -> None:
    result, inputs = sampled(folder, n=20)
    known = {row["area"]: row["use"] for row in frame().to_dicts()}
    assert len(set(inputs["area"])) == 20
    assert all(known[area] == use for area, use in inputs.select("area", "use").iter_rows())
    strata = ((inputs["setpoint"] - 15) / 10 * 20 + 1e-9).cast(int)
    assert sorted(strata) == list(range(20))
    assert result.columns[:2] == ["area", "use"]
    record, notice = read_design(folder / "cases.csv")
    assert notice is None
    assert record is not None
    assert record.population is not None
    assert (record.population.rows, record.population.fields) == (60, ["area", "use"])
    assert not record.population.replaced
    assert [field.name for field in record.fields] == ["built", "wall.u", "wall.layers", "setpoint"]
    assert sampled(folder, n=20)[1].equals(inputs)
    assert sampled(folder, n=9)[1]["area"].equals(inputs["area"][:9])


def test_strata_get_their_share_by_the_largest_remainder(folder: Path) -> None:
    result, inputs = sampled(folder, n=20, by=["region"], ignore_columns=["id", "people"])
    strata = result.design.population.strata
    assert [(s.name, s.rows, s.drawn) for s in strata] == [("north", 30, 10), ("south", 20, 7), ("(empty)", 10, 3)]
    region = dict(frame().select("area", "region").iter_rows())
    counts = pl.Series([region[area] for area in inputs["area"]]).value_counts().rows()
    assert sorted(counts, key=str) == [("north", 10), ("south", 7), (None, 3)]
    result, _ = sampled(folder, by=["use", "region"], per_stratum=7, ignore_columns=["id", "people"])
    strata = result.design.population.strata
    assert [s.drawn for s in strata] == [min(7, s.rows) for s in strata]
    assert "1 stratum has fewer than 7 rows to be drawn, and gives all of them" in result.notices


def test_weights_say_how_likely_rows_are(folder: Path) -> None:
    _, inputs = sampled(folder, n=48, weights="people", ignore_columns=["id", "region"])
    people = dict(frame().select("area", "people").iter_rows())
    assert 0 not in {people[area] for area in inputs["area"]}
    assert len(set(inputs["area"])) == 48  # all that have a weight
    counts = np.zeros(5)
    strata, weights = np.zeros(5, np.int64), np.array([0.0, 1, 2, 3, 4])
    for seed in range(2000):
        counts[population_rows(strata, 1, weights, [1], per_stratum=False, seed=seed).rows] += 1
    assert counts[0] == 0
    assert np.allclose(counts / 2000, weights / 10, atol=0.03)
    drawn = population_rows(strata, 1, weights, [20_000], per_stratum=False, seed=1)
    assert drawn.replaced
    assert np.allclose(np.bincount(drawn.rows, minlength=5) / 20_000, weights / 10, atol=0.015)


def test_more_rows_than_there_are_are_drawn_with_replacement(folder: Path) -> None:
    result, inputs = sampled(folder, n=100, design="random")
    assert inputs.height == 100
    assert result.design.population.replaced
    assert "100 rows are more than the 60 of the population: they are drawn with replacement" in result.notices


def test_conditions_are_for_the_population_or_for_the_design(folder: Path) -> None:
    result, inputs = sampled(folder, n=12, where=["area > 400", "setpoint < 17", "label = 'q'"])
    assert (inputs.height, result.design.where) == (12, ["area > 400", "setpoint < 17", "label = 'q'"])
    assert inputs.select((pl.col("area") > 400).all() & (pl.col("setpoint") < 17).all()).item()
    with pytest.raises(UsageError, match="ties area of the population to setpoint of the design"):
        sampled(folder, n=12, where=["area > setpoint"])
    with pytest.raises(UsageError, match="meets the conditions"):
        sampled(folder, n=12, where=["area > 999"])
    limited = {"where": ["area > setpoint * 20"], "fix": {"setpoint": 20}}
    assert sampled(folder, n=12, **limited)[1]["area"].min() > 400  # type: ignore[operator]


def test_every_form_of_cell_comes_through(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a b.epw").write_text("w")
    given = pl.DataFrame(
        {
            "area": [1, 2],
            "use": ["home", "office"],
            "built": [None, 1990],
            "depths": [[1.0, 2.5], []],
            "weather": ["a b.epw", None],
            "wall": [{"u": 0.5, "layers": 3}, {"u": 1.5, "layers": 1}],
        }
    )
    given.write_parquet(tmp_path / "data" / "pop.pq")
    options = SampleOptions(population=tmp_path / "data" / "pop.pq")
    for out in ("cases.csv", "cases.pq"):
        sample_file(tmp_path / out, "house", House, "sobol", n=2, seed=1, options=options)
        inputs: Any = pl.from_arrow(read_sampling_file(tmp_path / out, House).inputs)
        inputs = inputs.sort("area")
        assert inputs["depths"].to_list() == [[1.0, 2.5], []]
        assert inputs["built"].to_list() == [None, 1990]
        assert [file and Path(file).name for file in inputs["weather"]] == ["a b.epw", None]
        assert inputs["wall"].to_list() == given["wall"].to_list()
    nested = pl.DataFrame({"area": [1.0], "use": ["home"], "wall": [json.dumps({"u": 2.5})]})
    nested.write_csv(tmp_path / "pop.csv")
    _, inputs = sampled(tmp_path, n=1, ignore_columns=[])
    assert inputs["wall"].to_list() == [{"u": 2.5, "layers": 2}]


def test_nothing_but_the_population_may_vary(folder: Path) -> None:
    result, inputs = sampled(folder, n=7, only=[], fix={"setpoint": 20})
    assert (inputs.height, result.design.design, result.design.fields) == (7, "random", [])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("area", "1200"), "line 7, area: 1200: Input should be less than or equal to 1000"),
        (("area", "nan"), "line 7, area: nan: Input should be less than"),
        (("use", "shop"), "line 7, use: shop: Input should be 'home' or 'office'"),
        (("people", "-1"), "line 7, people: -1: A weight is a number, 0 or more"),
        (("people", "NaN"), "line 7, people: NaN: A weight is a number, 0 or more"),
        (("people", "inf"), "line 7, people: inf: A weight is a number, 0 or more"),
        (("people", "many"), "line 7, people: many: A weight is a number, 0 or more"),
        (("people", None), "line 7, people: A weight is a number, 0 or more"),
    ],
)
def test_bad_rows_are_named_wherever_they_are(folder: Path, change: tuple[str, Any], problem: str) -> None:
    column, value = change
    cells = frame()[column].cast(pl.String).to_list()
    cells[5] = value
    frame().with_columns(pl.Series(column, cells)).write_csv(folder / "pop.csv")
    with pytest.raises(BadCellsError) as raised:
        sampled(folder, n=1, weights="people", ignore_columns=["id", "region"])
    assert problem in raised.value.message
    assert raised.value.n_problems == 1
    assert not (folder / "cases.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 5, "ignore_columns": ["id"]}, "unknown column 'region'"),
        ({"n": 5, "by": ["regions"]}, "--by: .*pop.csv has no column 'regions'"),
        ({"n": 5, "weights": "persons"}, "--weights: .*pop.csv has no column 'persons'"),
        ({"n": 5, "per_stratum": 5, "by": ["use"]}, "exclude each other"),
        ({"per_stratum": 5}, "--per-stratum needs strata"),
        ({}, "--from needs a number of rows"),
        ({"n": 5, "set": {"area": "1:2"}}, "area comes from the population"),
        ({"n": 5, "fix": {"use": "home"}}, "use comes from the population"),
        ({"design": "grid", "n": 5}, "--from does not go with grid"),
        ({"design": "saltelli", "n": 5}, "--from does not go with saltelli"),
        ({"n": 5, "weights": "use", "ignore_columns": ["id", "region", "people"]}, "A weight is a number"),
    ],
)
def test_mistakes_are_told(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises((UsageError, SamplingFileError), match=message):
        sampled(folder, **options)


def test_a_population_is_wanted_for_what_is_said_of_one(folder: Path) -> None:
    with pytest.raises(UsageError, match="--by is for a population"):
        sample_file(folder / "x.csv", "house", House, "lhs", n=3, seed=1, options=SampleOptions(by=["use"]))
    frame().with_columns(people=0).write_csv(folder / "pop.csv")
    with pytest.raises(SamplingFileError, match="all weights are 0"):
        sampled(folder, n=3, weights="people", ignore_columns=["id", "region"])


def test_rules_for_whole_rows_are_applied_to_whole_rows(tmp_path: Path) -> None:
    frame(100).with_columns(pl.col("area") + 1).write_csv(tmp_path / "pop.csv")
    with pytest.raises(BadCellsError, match="too warm"):
        sampled(tmp_path, n=90, model=Odd)
    _, inputs = sampled(tmp_path, n=90, model=Odd, where=["setpoint <= 20"])
    assert inputs.height == 90


@pytest.mark.parametrize(
    ("n", "shares", "room", "have", "expected"),
    [
        (10, [3.0, 3, 3], [9, 9, 9], [0, 0, 0], [4, 3, 3]),
        (10, [0.5, 0.3, 0.2], [9, 9, 9], [0, 0, 0], [5, 3, 2]),
        (10, [8.0, 1, 1], [4, 9, 9], [0, 0, 0], [4, 3, 3]),
        (3, [1.0, 0, 1], [1, 0, 9], [0, 0, 0], [1, 0, 2]),
        (4, [1.0, 1, 2], [9, 9, 9], [2, 0, 0], [2, 1, 1]),
        (1, [1.0, 1], [1, 1], [0, 0], [1, 0]),
    ],
)
def test_shared_out(n: int, shares: list[float], room: list[int], have: list[int], expected: list[int]) -> None:
    counts = shared_out(n, np.array(shares), np.array(room), np.array(have))
    assert counts.tolist() == expected
