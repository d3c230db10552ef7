"""Designs: what varies, the rows of each design, and the file with its record."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from pydantic import AwareDatetime, BaseModel, Field, RootModel, model_validator
from scipy.stats import kstest, truncnorm

from scythe_cli.base import ExperimentInputSpec, FileReference
from scythe_cli.doe.domains import Values, leaves_of
from scythe_cli.doe.drawing import Drawn, draw
from scythe_cli.doe.rows import MAX_ROWS
from scythe_cli.doe.sample_file import sample_file
from scythe_cli.doe.scales import Numbers
from scythe_cli.doe.settings import SampleOptions
from scythe_cli.errors import SamplingFileError, UsageError
from scythe_cli.run.design_record import DESIGN_KEY, DesignRecord, sidecar_of
from scythe_cli.sampling.problems import BadCellsError
from scythe_cli.sampling.reading import read_design, read_sampling_file


class Kind(Enum):
    FLAT = "flat"
    SAW = "saw"


class Level(IntEnum):
    LOW = 1
    HIGH = 5


class Wall(BaseModel):
    u: float = Field(ge=0.1, le=3)
    layers: int = Field(default=2, ge=1, le=4)


class Everything(ExperimentInputSpec):
    tilt: float = Field(ge=0, le=90)
    share: float = Field(gt=0, lt=1)
    storeys: int = Field(ge=1, le=12)
    code: int = Field(gt=0, lt=100, multiple_of=5)
    mode: Literal["a", "b", "c"]
    roof: Kind
    level: Level
    heated: bool
    step: float = Field(ge=0, le=1, multiple_of=0.1)
    day: date = Field(ge=date(2024, 1, 1), lt=date(2025, 1, 1))
    start: datetime = Field(ge=datetime(2024, 1, 1), le=datetime(2024, 12, 31))
    moment: AwareDatetime = Field(ge=datetime(2024, 1, 1, tzinfo=UTC), le=datetime(2024, 12, 31, tzinfo=UTC))
    clock: time
    lag: timedelta = Field(ge=timedelta(0), le=timedelta(hours=2))
    price: Decimal = Field(ge=0, le=10, decimal_places=2)
    mixed: Literal["auto", 1, 2.5, True]
    wall: Wall
    maybe: float | None = Field(default=None, ge=-1, le=1)
    either: int | float = Field(ge=0, le=7)


class Plain(ExperimentInputSpec):
    x: float = Field(ge=0, le=10)
    y: float = Field(default=3, ge=-1, le=1)
    k: int = Field(default=2, ge=1, le=3)
    mode: Literal["a", "b"] = "a"


class Xy(ExperimentInputSpec):
    x: float = Field(ge=0, le=10)
    y: float = Field(ge=-1, le=1)


def frame_of(drawn: Drawn) -> pl.DataFrame:
    frame: Any = pl.from_arrow(drawn.table)
    return frame


def drawn(model: type[ExperimentInputSpec], design: Any = "lhs", n: int | None = None, **options: Any) -> Drawn:
    seed = options.pop("seed", 1 if n is not None and design not in ("grid", "oat", "zip") else None)
    return draw(model, design, n=n, seed=seed, options=SampleOptions(**options))


# --- what the model says ------------------------------------------------------------------------------------------


def test_every_bounded_type_gives_a_file_that_is_valid_in_both_formats(tmp_path: Path) -> None:
    for name in ("cases.csv", "cases.pq"):
        result = sample_file(tmp_path / name, "all", Everything, "lhs", n=64, seed=5)

        table = read_sampling_file(tmp_path / name, Everything)
        assert table.inputs.num_rows == result.n_specs == 64
        assert table.defaulted == []
        assert result.notices == []
        frame: Any = pl.from_arrow(table.inputs)
        assert frame["share"].is_between(0, 1, closed="none").all()
        assert set(frame["code"]) == set(range(5, 100, 5))
        assert set(frame["mixed"]) == {'"auto"', "1", "2.5", "true"}
        assert frame["maybe"].null_count() == 0
        assert set(frame["step"]) == {round(i * 0.1, 1) for i in range(11)}
        assert frame["wall"].struct.field("layers").unique().sort().to_list() == [1, 2, 3, 4]


def test_both_formats_hold_the_same_values(tmp_path: Path) -> None:
    tables = []
    for name in ("cases.csv", "cases.pq"):
        sample_file(tmp_path / name, "all", Everything, "sobol", n=32, seed=5)
        tables.append(read_sampling_file(tmp_path / name, Everything).inputs)
    assert tables[0].equals(tables[1])


@pytest.mark.parametrize(
    ("annotation", "info", "low", "high"),
    [
        (float, Field(gt=0, lt=1), 5e-324, math.nextafter(1, 0)),
        (int, Field(gt=0, lt=3), 1, 2),
        (Annotated[float, Field(ge=2)] | None, Field(default=None, le=4), 2.0, 4.0),
        (RootModel[Annotated[int, Field(ge=4, le=4)]], Field(), 4, 4),
        (date, Field(gt=date(2024, 1, 1), lt=date(2024, 1, 4)), date(2024, 1, 2), date(2024, 1, 3)),
        (int, Field(ge=-(2**63), le=2**63 - 1), -(2**63), 2**63 - 1),
        (float, Field(ge=-1e308, le=1e308), -1e308, 1e308),
    ],
)
def test_ends_of_a_range(annotation: Any, info: Any, low: Any, high: Any) -> None:
    model = type("M", (ExperimentInputSpec,), {"__annotations__": {"x": annotation}, "x": info})

    values = frame_of(drawn(model, "random", n=500))["x"]
    assert low <= values.min() <= values.max() <= high
    if len(set(values)) < 10:
        # with so few values, all of them come
        assert (values.min(), values.max()) == (low, high)
    else:
        assert values.max() / 4 - values.min() / 4 > (high / 4 - low / 4) * 0.95


def test_domains() -> None:
    leaves = {leaf.name: leaf for leaf in leaves_of(Everything)}
    assert list(leaves)[-4:] == ["wall.u", "wall.layers", "maybe", "either"]
    assert leaves["roof"].domain == Values((Kind.FLAT, Kind.SAW))
    either = leaves["either"].domain
    assert isinstance(either, Numbers)
    assert (either.scale.kind, either.low, either.high) == ("float", 0, 7)


def test_a_half_bounded_field_says_which_end_is_missing() -> None:
    class Half(ExperimentInputSpec):
        area: float = Field(gt=0)
        depth: float = Field(le=3)
        name: str
        weather: FileReference
        free: float

    with pytest.raises(UsageError) as caught:
        drawn(Half, n=4)
    assert caught.value.message.splitlines() == [
        "5 fields have nothing to draw values from",
        "  area: no upper bound, only > 0.0",
        "  depth: no lower bound, only ≤ 3.0",
        "  name: no bounds",
        "  weather: no bounds",
        "  free: no bounds",
    ]
    assert caught.value.hint is not None
    assert "--set area=0:10" in caught.value.hint
    assert "--fix area=5" in caught.value.hint


def test_an_optional_field_without_bounds_keeps_its_default_and_says_so() -> None:
    class Some(ExperimentInputSpec):
        x: float = Field(ge=0, le=1)
        name: str = "n"
        area: float = 3.0

    made = drawn(Some, n=4)
    assert made.table.column_names == ["x"]
    assert made.record.defaults == ["name", "area"]
    assert made.notices == ["name, area have no bounds: they keep their defaults, and --set lets one vary"]

    made = drawn(Some, n=4, set={"area": (1, 2)}, fix={"name": "k"})
    assert made.notices == []
    assert made.record.fixed == {"name": "k"}
    assert frame_of(made)["name"].to_list() == ["k"] * 4


def test_optional_nested_models() -> None:
    class Shade(BaseModel):
        depth: float = Field(ge=0, le=1)
        kind: str = "plain"

    class House(ExperimentInputSpec):
        x: float = Field(ge=0, le=1)
        shade: Shade | None = None
        wall: Wall = Wall(u=0.5, layers=3)

    made = drawn(House, n=4)
    assert made.table.column_names == ["x", "wall.u", "wall.layers"]
    assert "shade has no bounds" in made.notices[0]

    made = drawn(House, n=4, set={"shade.depth": (0, 0.5)}, only=["wall.u"], fix={"x": 0.5})
    assert made.table.column_names == ["x", "shade.depth", "wall.u", "wall.layers"]
    assert made.record.fixed == {"x": 0.5, "wall.layers": 3}


def test_parts_of_a_default_instance_stay_what_they_are(tmp_path: Path) -> None:
    class Glass(BaseModel):
        name: str
        g: float = Field(ge=0, le=1)
        coated: bool = False

    class Facade(ExperimentInputSpec):
        glass: Glass = Glass(name="triple", g=0.5, coated=True)

    sample_file(tmp_path / "a.csv", "f", Facade, "lhs", n=4, seed=1, options=SampleOptions(only=["glass.g"]))
    rows = read_sampling_file(tmp_path / "a.csv", Facade).inputs.column("glass").to_pylist()
    assert {(row["name"], row["coated"]) for row in rows} == {("triple", True)}


def test_a_required_model_of_defaults_alone_is_in_the_file(tmp_path: Path) -> None:
    class Names(BaseModel):
        first: str = "a"
        second: str = "b"

    class Named(ExperimentInputSpec):
        x: float = Field(ge=0, le=1)
        names: Names

    sample_file(tmp_path / "a.csv", "n", Named, "lhs", n=2, seed=1)
    rows = read_sampling_file(tmp_path / "a.csv", Named).inputs.column("names").to_pylist()
    assert rows == [{"first": "a", "second": "b"}] * 2


def test_a_field_of_one_value_is_fixed_and_takes_no_part_in_the_design() -> None:
    made = drawn(Plain, "saltelli", n=4, set={"mode": "b", "k": "3:3"})
    assert made.record.fixed == {"k": 3, "mode": "b"}
    assert [field.name for field in made.record.fields] == ["x", "y"]
    assert made.table.num_rows == 4 * 4
    assert set(frame_of(made)["mode"]) == {"b"}


# --- random designs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 7, 100])
def test_lhs_has_one_value_in_each_stratum_of_each_field(n: int) -> None:
    frame = frame_of(drawn(Xy, "lhs", n=n))
    for name, low, high in (("x", 0, 10), ("y", -1, 1)):
        strata = np.floor((frame[name].to_numpy() - low) / (high - low) * n).astype(int)
        assert sorted(strata) == list(range(n))


def test_lhs_balances_values_and_whole_numbers() -> None:
    frame = frame_of(drawn(Plain, "lhs", n=60))
    assert frame["mode"].value_counts().get_column("count").to_list() == [30, 30]
    assert frame["k"].value_counts().get_column("count").to_list() == [20, 20, 20]


def test_sobol_is_balanced_at_powers_of_two() -> None:
    made = drawn(Xy, "sobol", n=64)
    frame = frame_of(made)
    assert made.notices == []
    # a (0, m, 2) net: each elementary interval of area 1/64 has one point
    for k in range(7):
        a = np.floor(frame["x"].to_numpy() / 10 * 2**k)
        b = np.floor((frame["y"].to_numpy() + 1) / 2 * 2 ** (6 - k))
        assert len(set(zip(a, b, strict=True))) == 64
    assert made.quality.discrepancy is not None
    assert made.quality.discrepancy_of_random is not None
    assert made.quality.discrepancy < made.quality.discrepancy_of_random / 5


def test_sobol_warns_when_it_is_not_balanced() -> None:
    made = drawn(Xy, "sobol", n=100)
    assert made.notices == [
        "100 is not a power of two, so the Sobol sequence is not balanced; it is with -n 64 or -n 128"
    ]


@pytest.mark.parametrize("design", ["lhs", "sobol", "random", "saltelli"])
def test_a_seed_gives_the_same_rows_again(design: Any) -> None:
    first, again, other = (drawn(Everything, design, n=16, seed=seed) for seed in (3, 3, 4))
    assert first.table.equals(again.table)
    assert not first.table.equals(other.table)
    unseeded = draw(Everything, design, n=16)
    assert unseeded.record.seed is not None
    assert drawn(Everything, design, n=16, seed=unseeded.record.seed).table.equals(unseeded.table)


def test_saltelli_blocks() -> None:
    made = drawn(Plain, "saltelli", n=8)
    frame = frame_of(made)
    names = ["x", "y", "k", "mode"]
    assert made.record.blocks == {"A": 8, "B": 8, **{f"AB:{name}": 8 for name in names}}
    assert frame.height == 8 * 6
    a, b = frame[:8], frame[8:16]
    for i, name in enumerate(names):
        ab = frame[8 * (2 + i) : 8 * (3 + i)]
        assert ab.equals(a.with_columns(b[name]))
    assert not a.equals(b)


def test_discrepancy_of_many_rows_is_that_of_some() -> None:
    made = drawn(Xy, "random", n=5000)
    assert made.quality.discrepancy_rows == 2048
    assert made.quality.discrepancy is not None
    assert made.quality.discrepancy_of_random is not None
    assert 0.2 < made.quality.discrepancy / made.quality.discrepancy_of_random < 5


def test_correlation_names_the_pair() -> None:
    made = drawn(Plain, "zip", set={"x": [1, 2, 3, 4], "y": [-1, -0.5, 0.5, 1], "k": [1, 3, 1, 3]})
    assert made.quality.max_correlation == pytest.approx(1.0)
    assert made.quality.max_correlation_fields == ["x", "y"]


# --- distributions ------------------------------------------------------------------------------------------------


def test_distributions_are_those_that_were_asked_for() -> None:
    n = 4096
    frame = frame_of(drawn(Xy, "lhs", n=n, normal={"x": (2.0, 3.0)}, triangular={"y": "-1:0:1"}))
    assert kstest(frame["x"], truncnorm((0 - 2) / 3, (10 - 2) / 3, 2, 3).cdf).statistic < 2 / n
    below = (frame["y"] < 0).sum()
    assert below == n / 2
    assert (frame["y"].abs() < 0.5).mean() == pytest.approx(0.75, abs=1e-3)

    frame = frame_of(drawn(Xy, "lhs", n=n, set={"x": "0.01:10"}, log=["x"]))
    logs = np.log10(frame["x"].to_numpy())
    assert sorted(np.floor((logs + 2) / 3 * n).clip(0, n - 1)) == list(range(n))


def test_distributions_of_whole_numbers() -> None:
    class Counts(ExperimentInputSpec):
        a: int = Field(ge=1, le=1000)
        b: int = Field(ge=0, le=20)

    frame = frame_of(drawn(Counts, "lhs", n=3000, log=["a"], normal={"b": "10:2"}))
    assert frame["a"].min() == 1
    assert 990 <= frame["a"].max() <= 1000
    assert ((frame["a"] < 10).mean()) == pytest.approx(np.log(10) / np.log(1001), abs=0.01)
    assert frame["b"].mean() == pytest.approx(10, abs=0.05)
    assert frame["b"].std() == pytest.approx(2, abs=0.1)


def test_a_normal_distribution_needs_no_bounds() -> None:
    class Free(ExperimentInputSpec):
        x: float

    frame = frame_of(drawn(Free, "lhs", n=1000, normal={"x": "5:2"}))
    assert frame["x"].mean() == pytest.approx(5, abs=0.01)
    grid = frame_of(drawn(Free, "grid", normal={"x": "5:2"}, levels={"x": 3}))
    assert grid["x"].to_list() == pytest.approx([5 - 2 * 0.6744898, 5, 5 + 2 * 0.6744898], abs=1e-6)


# --- levels -------------------------------------------------------------------------------------------------------


def test_grid_is_every_combination_exactly_once() -> None:
    made = drawn(Plain, "grid", levels={"x": 3}, default_levels=2)
    frame = frame_of(made)
    expected = [
        (x, y, k, mode) for x in (0.0, 5.0, 10.0) for y in (-1.0, 1.0) for k in (1, 2, 3) for mode in ("a", "b")
    ]
    assert frame.rows() == expected
    assert made.record.seed is None
    assert made.record.fields[0].values == [0.0, 5.0, 10.0]
    assert made.quality.max_correlation == pytest.approx(0)


def test_levels_are_numbers_as_people_write_them() -> None:
    class Unit(ExperimentInputSpec):
        x: float = Field(ge=0, le=1)

    frame = frame_of(drawn(Unit, "grid", levels={"x": 11}))
    assert frame["x"].to_list() == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]
    stepped = frame_of(drawn(Unit, "grid", set={"x": "0:0.9:0.3"}))
    assert stepped["x"].to_list() == [0, 0.3, 0.6, 0.9]


def test_levels_keep_away_from_excluded_ends() -> None:
    class Open(ExperimentInputSpec):
        x: float = Field(gt=0, lt=1)
        y: float = Field(ge=0, lt=1)

    frame = frame_of(drawn(Open, "grid", default_levels=4))
    assert frame["x"].unique().sort().to_list() == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert frame["y"].unique().sort().to_list() == pytest.approx([0, 0.25, 0.5, 0.75])


def test_grid_fits_into_a_number_of_rows() -> None:
    made = drawn(Plain, "grid", n=100, set={"mode": ["a", "b"]})
    # 2 modes and 3 whole numbers leave room for 4 × 4
    assert made.table.num_rows == 96
    with pytest.raises(UsageError, match="5 rows are too few for 2 levels of each field, which take 24"):
        drawn(Plain, "grid", n=5)
    with pytest.raises(UsageError, match=r"the grid has 54 rows, more than -n 20"):
        drawn(Plain, "grid", n=20, default_levels=3)


def test_a_grid_that_explodes_is_refused_before_it_is_made() -> None:
    with pytest.raises(UsageError, match=f"100,000,000 rows are more than {MAX_ROWS:,}"):
        drawn(Xy, "grid", default_levels=10_000)


def test_whole_numbers_with_many_values_have_no_levels_of_their_own() -> None:
    class Hours(ExperimentInputSpec):
        hour: int = Field(ge=0, le=8760)

    assert frame_of(drawn(Hours, "grid"))["hour"].to_list() == [0, 2190, 4380, 6570, 8760]
    assert frame_of(drawn(Hours, "grid", levels={"hour": 4}))["hour"].to_list() == [0, 2920, 5840, 8760]
    assert drawn(Hours, "grid", levels={"hour": 8761}).table.num_rows == 8761


def test_one_at_a_time_starts_from_defaults_and_middles() -> None:
    made = drawn(Plain, "oat", default_levels=3, set={"y": (-1, 0.5)})
    frame = frame_of(made)
    # y has a default outside of its range, so its base is the middle
    base = (5.0, -0.25, 2, "a")
    assert frame.rows() == [
        base,
        (0.0, -0.25, 2, "a"),
        (10.0, -0.25, 2, "a"),
        (5.0, -1.0, 2, "a"),
        (5.0, 0.5, 2, "a"),
        (5.0, -0.25, 1, "a"),
        (5.0, -0.25, 3, "a"),
        (5.0, -0.25, 2, "b"),
    ]
    assert made.record.blocks == {"base": 1, "x": 2, "y": 2, "k": 2, "mode": 1}


def test_zip_puts_values_side_by_side() -> None:
    frame = frame_of(drawn(Plain, "zip", set={"x": "1,2,4", "y": (-1, 1), "mode": ["b"]}))
    assert frame.rows() == [(1.0, -1.0, "b"), (2.0, 0.0, "b"), (4.0, 1.0, "b")]
    with pytest.raises(UsageError, match="zip needs as many values for each field, 3: k has 2"):
        drawn(Plain, "zip", set={"x": "1,2,4", "k": "1,2"})
    with pytest.raises(UsageError, match="x: no value was given"):
        drawn(Plain, "zip", set={"k": "1,2"})


# --- what is said of fields ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"set": {"tilt": (0, 1)}}, "there is no field 'tilt'"),
        ({"set": {"x": "0:100"}}, r"--set x: 100.0 is out of the model's bounds: 0.0 ≤ x ≤ 10.0"),
        ({"set": {"x": "5:1"}}, "5.0 is more than 1.0"),
        ({"set": {"x": "1,two"}}, "--set x: two: not a number"),
        ({"set": {"x": "1,11"}}, "--set x: 11: Input should be less than or equal to 10"),
        ({"set": {"x": "1,,2"}}, "a value is empty"),
        ({"set": {"mode": "a,z"}}, "--set mode: z: Input should be 'a' or 'b'"),
        ({"set": {"mode": (1, 2)}}, "only numbers, dates and times have ranges"),
        ({"set": {"x": (1, 2)}, "fix": {"x": 1}}, "--fix gives it one value, and another option lets it vary"),
        ({"set": {"x": [1, 2]}, "log": ["x"]}, "--log needs a range, and --set gives single values"),
        ({"log": ["x"]}, "x: a logarithmic scale needs a lower end above 0, and this one is 0.0"),
        ({"log": ["mode"]}, "mode: --log is for numbers"),
        ({"normal": {"x": "1"}}, "--normal x: 1 is not MEAN:SD"),
        ({"normal": {"x": "1:0"}}, "the standard deviation is 0; it must be more than 0"),
        ({"normal": {"x": "1:2"}, "log": ["x"]}, "--log and --normal cannot be combined"),
        ({"triangular": {"x": "3:2:1"}}, "--triangular x: 3, 2, 1 do not go up"),
        ({"triangular": {"x": "20:30:40"}}, "no value is"),
        ({"levels": {"x": 3}}, "lhs has no levels"),
        ({"levels": {"x": 0}}, "there must be at least 1"),
        ({"only": ["k", "q"]}, "--only: there is no field 'q'"),
        ({"fix": {"x": 1, "y": 0, "k": 1, "mode": "a"}}, "no field of Plain varies"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        drawn(Plain, n=4, **options)


def test_number_of_rows() -> None:
    with pytest.raises(UsageError, match="lhs needs a number of rows"):
        drawn(Plain)
    with pytest.raises(UsageError, match="n is 0; it must be at least 1"):
        drawn(Plain, n=0)
    with pytest.raises(UsageError, match=f"are more than {MAX_ROWS:,}: 8,388,608 base points for 4 fields"):
        drawn(Plain, "saltelli", n=2**23)
    with pytest.raises(UsageError, match="there is no design 'lsh'"):
        drawn(Plain, "lsh", n=3)


def test_ranges_as_text() -> None:
    class Dated(ExperimentInputSpec):
        day: date
        start: datetime
        x: float = Field(ge=0)

    made = drawn(
        Dated,
        "grid",
        default_levels=2,
        set={"day": "2024-01-01:2024-01-31", "start": "2024-01-01T00:00..2024-01-02T12:30", "x": ":5"},
    )
    frame = frame_of(made)
    assert set(frame["day"]) == {date(2024, 1, 1), date(2024, 1, 31)}
    assert set(frame["start"]) == {datetime(2024, 1, 1), datetime(2024, 1, 2, 12, 30)}
    assert set(frame["x"]) == {0, 5}
    assert made.record.fields[0].low == "2024-01-01"
    with pytest.raises(UsageError, match=r"the upper end is missing, and the model has none"):
        drawn(Dated, n=2, set={"x": "1:"})


def test_a_range_that_ends_at_an_excluded_bound_excludes_it() -> None:
    class Open(ExperimentInputSpec):
        k: int = Field(gt=0, lt=10)

    frame = frame_of(drawn(Open, "grid", set={"k": "0:4"}))
    assert frame["k"].to_list() == [1, 2, 3, 4]


def test_lists_are_given_as_json(tmp_path: Path) -> None:
    class Listed(ExperimentInputSpec):
        x: float = Field(ge=0, le=1)
        depths: list[float]

    options = SampleOptions(set={"depths": "[1, 2],[3]"})
    for name in ("a.csv", "a.pq"):
        sample_file(tmp_path / name, "l", Listed, "lhs", n=4, seed=1, options=options)
        cells = read_sampling_file(tmp_path / name, Listed).inputs.column("depths").to_pylist()
        assert sorted(cells) == [[1, 2], [1, 2], [3], [3]]


def test_values_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "xs.txt").write_text("1.5\n\n2.5\n")
    assert frame_of(drawn(Plain, "grid", set={"x": "@xs.txt"}, only=[]))["x"].to_list() == [1.5, 2.5]
    with pytest.raises(UsageError, match=r"cannot read the values of no.txt: No such file"):
        drawn(Plain, "grid", set={"x": "@no.txt"})


class Weathered(ExperimentInputSpec):
    x: float = Field(ge=0, le=1)
    weather: FileReference


def test_files_are_written_as_seen_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "in [1]"
    folder.mkdir()
    for name in ("b.epw", "a.epw", "c.txt"):
        (folder / name).write_text(name)
    options = SampleOptions(set={"weather": "in*/*.epw"})
    sample_file(Path("out/cases.csv"), "w", Weathered, "grid", options=options)

    assert set(pl.read_csv("out/cases.csv")["weather"]) == {"../in [1]/a.epw", "../in [1]/b.epw"}
    read = read_sampling_file(Path("out/cases.csv"), Weathered)
    assert all(Path(path).is_file() for path in read.inputs.column("weather").to_pylist())

    for value, message in (
        ("no.epw", "there is no file no.epw"),
        ("*.nothing", r"no file matches \*.nothing"),
        ("in [1]", "is a folder"),
    ):
        with pytest.raises(UsageError, match=message):
            drawn(Weathered, n=2, set={"weather": value})
    url = drawn(Weathered, n=2, fix={"weather": "s3://bucket/a.epw"})
    assert url.record.fixed == {"weather": "s3://bucket/a.epw"}


def test_empty_text_has_no_form_in_csv(tmp_path: Path) -> None:
    class Texts(ExperimentInputSpec):
        t: Literal["", "a"]

    with pytest.raises(UsageError, match="t: CSV cannot tell an empty text from a missing value"):
        sample_file(tmp_path / "a.csv", "t", Texts, "grid")
    sample_file(tmp_path / "a.pq", "t", Texts, "grid")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.pq"]


# --- rules that bounds do not tell --------------------------------------------------------------------------------


class Ordered(ExperimentInputSpec):
    a: float = Field(ge=0, le=1)
    b: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _in_order(self) -> Ordered:
        if self.a >= self.b:
            raise ValueError("a must be less than b")
        return self


def test_rows_that_the_model_refuses_are_an_error_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(BadCellsError, match=r"cases.csv: \d+ bad cells") as caught:
        sample_file(tmp_path / "cases.csv", "o", Ordered, "lhs", n=40, seed=1)
    assert "a must be less than b" in caught.value.message
    assert "line" not in caught.value.message
    assert "--drop-refused" in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == []


def test_rows_that_the_model_refuses_can_be_left_out(tmp_path: Path) -> None:
    result = sample_file(tmp_path / "cases.pq", "o", Ordered, "lhs", n=40, seed=1, drop_refused=True)
    rows = read_sampling_file(tmp_path / "cases.pq", Ordered).inputs
    assert rows.num_rows == result.n_specs == 40 - result.design.dropped
    assert 0 < result.design.dropped < 40
    assert result.notices == [f"{result.design.dropped} of 40 rows are left out, because the model rejects them"]

    result = sample_file(tmp_path / "blocks.pq", "o", Ordered, "saltelli", n=64, seed=1, drop_refused=True)
    n = result.design.blocks["A"]
    assert result.design.blocks == {"A": n, "B": n, "AB:a": n, "AB:b": n}
    frame = pl.read_parquet(tmp_path / "blocks.pq")
    assert frame.height == 4 * n
    assert frame[2 * n : 3 * n].equals(frame[:n].with_columns(frame[n : 2 * n]["a"]))


# --- the file and its record --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cases.csv", "cases.parquet"])
def test_the_record_stays_with_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    result = sample_file(path, "p", Plain, "lhs", n=8, seed=77, options=SampleOptions(fix={"k": 2}))

    record, notice = read_design(path)
    assert notice is None
    assert isinstance(record, DesignRecord)
    assert (record.design, record.n, record.seed, record.rows, record.experiment) == ("lhs", 8, 77, 8, "p")
    assert [field.name for field in record.fields] == ["x", "y", "mode"]
    assert record.fixed == {"k": 2}
    assert set(record.versions) == {"scythe-experiments", "numpy", "scipy"}
    assert record.model_copy(update={"file_sha256": None}) == result.design
    assert sorted(p.name for p in tmp_path.iterdir()) == [name, *([f"{name}.design.yml"] if ".csv" in name else [])]


def test_a_file_that_was_changed_has_no_design(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    sample_file(path, "p", Plain, "lhs", n=8, seed=77)
    path.write_text(path.read_text().replace(",a\n", ",b\n"))
    assert read_design(path) == (
        None,
        "cases.csv has changed since it was sampled, so cases.csv.design.yml is ignored",
    )
    sidecar_of(path).write_text("design: nothing\n")
    assert read_design(path) == (None, "cases.csv.design.yml is not a record of a design, and is ignored")
    sidecar_of(path).unlink()
    assert read_design(path) == (None, None)

    path = tmp_path / "cases.pq"
    sample_file(path, "p", Plain, "lhs", n=8, seed=77)
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 4), path)
    assert read_design(path) == (None, "cases.pq has changed since it was sampled, so its design is ignored")
    pq.write_table(table.replace_schema_metadata({DESIGN_KEY: b"{"}), path)
    assert read_design(path)[0] is None
    pq.write_table(table.replace_schema_metadata({}), path)
    assert read_design(path) == (None, None)


def test_a_file_that_is_there_is_not_replaced_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text("mine")
    with pytest.raises(UsageError, match="already exists"):
        sample_file(path, "p", Plain, "lhs", n=8)
    assert path.read_text() == "mine"
    sample_file(path, "p", Plain, "lhs", n=8, seed=1, overwrite=True)
    assert pl.read_csv(path).height == 8
    for wrong, message in (("cases.xlsx", "its ending is '.xlsx'"), ("cases", "it has no ending")):
        with pytest.raises(UsageError, match=message):
            sample_file(tmp_path / wrong, "p", Plain, "lhs", n=8)


def test_a_strict_model_is_told_to_use_parquet(tmp_path: Path) -> None:
    class Strict(ExperimentInputSpec, strict=True):
        x: float = Field(ge=0, le=1)

    with pytest.raises(SamplingFileError, match="bad cells") as caught:
        sample_file(tmp_path / "a.csv", "s", Strict, "lhs", n=3, seed=1)
    assert "Parquet" in (caught.value.hint or "")
    sample_file(tmp_path / "a.pq", "s", Strict, "lhs", n=3, seed=1)


class Lists(ExperimentInputSpec):
    depths: list[float]
    mixed: Literal["auto", 1, 2.5, True]
    x: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def check(self) -> Lists:
        if self.x > sum(self.depths):
            raise ValueError("too far")
        return self


@pytest.mark.parametrize("ending", ["csv", "pq"])
def test_rows_with_values_in_json_are_left_out_only_if_the_model_rejects_them(tmp_path: Path, ending: str) -> None:
    options = SampleOptions(set={"depths": "[0.5],[1,2]"})
    file = tmp_path / f"a.{ending}"
    result = sample_file(file, "lists", Lists, "lhs", n=40, seed=1, options=options, drop_refused=True)
    assert 0 < result.design.dropped < 20
    inputs: Any = pl.from_arrow(read_sampling_file(file, Lists).inputs)
    assert set(inputs["mixed"]) == {'"auto"', "1", "2.5", "true"}
    assert (inputs["x"] <= inputs["depths"].list.sum()).all()
