"""Conditions: which rows a design keeps, and which mistakes are told before anything is drawn."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any, Literal

import polars as pl
import pytest
from pydantic import BaseModel, Field

from scythe_cli.base import ExperimentInputSpec
from scythe_cli.doe.domains import leaves_of
from scythe_cli.doe.drawing import Drawn, draw, draw_settings
from scythe_cli.doe.settings import SampleOptions, read_settings
from scythe_cli.errors import UsageError


class Wall(BaseModel):
    u: float = Field(ge=0, le=1)
    layers: int = Field(default=2, ge=1, le=4)


class House(ExperimentInputSpec):
    a: float = Field(ge=0, le=1)
    b: float = Field(default=0.25, ge=0, le=1)
    k: int = Field(ge=1, le=9)
    price: Decimal = Field(ge=0, le=100, decimal_places=1)
    day: date = Field(ge=date(2024, 1, 1), lt=date(2025, 1, 1))
    mode: Literal["low", "high"]
    wall: Wall
    label: str = "q"
    maybe: float | None = None
    many: list[float] = [1.0]


def frame_of(drawn: Drawn) -> pl.DataFrame:
    frame: Any = pl.from_arrow(drawn.table)
    return frame


def drawn(design: Any, n: int | None, *where: str, **options: Any) -> Drawn:
    leaves = leaves_of(House)
    said = SampleOptions(where=where, **options)
    settings = read_settings(said, leaves, from_folder=None, to_folder=None)  # type: ignore[arg-type]
    return draw_settings(House, leaves, settings, design, n=n, seed=1, options=said, experiment=None)


@pytest.mark.parametrize(
    ("where", "held"),
    [
        ("a < b", pl.col("a") < pl.col("b")),
        ('"wall.u" > a AND "wall.layers" = 2', (pl.col("wall.u") > pl.col("a")) & (pl.col("wall.layers") == 2)),
        ("price > 9.5", pl.col("price").cast(pl.Float64) > 9.5),
        ("day >= DATE '2024-07-01'", pl.col("day") >= date(2024, 7, 1)),
        ("mode = 'low' OR k IN (1, 2)", (pl.col("mode") == "low") | pl.col("k").is_in([1, 2])),
        ("label = 'q' AND a > 0.5", pl.col("a") > 0.5),
        ("true", pl.lit(value=True)),
        ("maybe IS NULL AND a > 0.5", pl.col("a") > 0.5),
    ],
)
@pytest.mark.parametrize("design", ["sobol", "lhs"])
def test_points_are_drawn_until_as_many_hold(design: str, where: str, held: pl.Expr) -> None:
    made = drawn(design, 40, where)
    frame = frame_of(made)
    assert (frame.height, made.record.rows, made.record.where) == (40, 40, [where])
    assert frame.select(held.all()).item()
    assert made.record.tried is not None
    assert made.record.tried >= 40
    assert made.quality.discrepancy is None
    assert any("points meet --where" in notice for notice in made.notices)


@pytest.mark.parametrize(("design", "options"), [("grid", {"default_levels": 3}), ("oat", {}), ("zip", {})])
def test_rows_of_fixed_designs_are_left_out(design: Any, options: Any) -> None:
    only: dict[str, Any] = {"only": ["a", "k"], "fix": {"price": 1, "day": "2024-02-03", "mode": "low", "wall.u": 1}}
    if design == "zip":
        only = {"set": {"a": [0.1, 0.9, 0.2], "k": [1, 2, 3]}, "fix": only["fix"]}
    whole = drawn(design, None, **options, **only)
    made = drawn(design, None, "a < 0.5", **options, **only)
    assert frame_of(made).equals(frame_of(whole).filter(pl.col("a") < 0.5))
    assert (made.record.tried, made.record.rows) == (whole.record.rows, made.table.num_rows)
    assert sum(made.record.blocks.values()) in (0, made.record.rows)
    assert "do not meet --where" in " ".join(made.notices)
    assert ("the base, around which" in " ".join(made.notices)) == (design == "oat")
    with pytest.raises(UsageError, match=r"none of the .* rows"):
        drawn(design, None, "a < 0", **options, **only)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("a <", "--where a <: unable to parse"),
        ("", "unable to parse"),
        ("a < 1; b < 1", "invalid expression"),
        ("a < c", "there is no field 'c'"),
        ('a < "low"', "there is no field 'low'"),
        ("wall.u < 1", "wall is a nested model"),
        ("a * 2", "it is no condition, its values are Float64"),
        ("mode > 3", "cannot compare string"),
        ("day > '2024-02-01'", "cannot compare 'date"),
        ("a > avg(a)", "looks at several rows"),
        ("rank() OVER (ORDER BY a) > 1", "looks at several rows"),
        ("row_number() > 3", "looks at several rows"),
        ("first(a) > 0", "looks at several rows"),
        ("a > (SELECT 1)", "looks at several rows"),
        ("COLUMNS('a') > 1", "several columns"),
        ("many = 1", "many is not a number, text, date or time"),
        ("a > 2", "of 10,240 points, none meets --where: fewer than 1 in 1,000"),
        ("a < 0.0001", r"meets? --where \(0.0\d%\): fewer than 1 in 1,000"),
    ],
)
def test_mistakes_are_told(where: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        drawn("random" if "0.0001" in where else "sobol", 10240, where)
    assert "\n" not in raised.value.message


def test_a_hint_says_how_nested_fields_are_named() -> None:
    with pytest.raises(UsageError) as raised:
        drawn("lhs", 3, "wall.u < 1")
    assert raised.value.hint == 'Name a part of it, in double quotes: "wall.u", "wall.layers".'


def test_saltelli_is_refused_with_the_reason() -> None:
    with pytest.raises(UsageError, match="would make Sobol indices wrong"):
        draw(House, "saltelli", n=8, seed=1, options=SampleOptions(where=["a < b"]))
