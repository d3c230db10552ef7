"""Correlated fields, and values with probabilities."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import polars as pl
import pytest
from pydantic import Field

from scythe_cli.base import ExperimentInputSpec
from scythe_cli.doe.drawing import Drawn, draw
from scythe_cli.doe.settings import SampleOptions
from scythe_cli.errors import UsageError

_SHARES = {"low": 0.7, "mid": 0.2, "high": 0.1}


class House(ExperimentInputSpec):
    a: float = Field(ge=0, le=1)
    b: float = Field(ge=-5, le=1)
    c: float = Field(default=1, ge=1, le=100)
    k: int = Field(default=1, ge=1, le=9)
    mode: Literal["low", "mid", "high"] = "low"
    weekday: Literal[1, 2, 3, 4, 5, 6, 7] = 1


def frame_of(drawn: Drawn) -> pl.DataFrame:
    frame: Any = pl.from_arrow(drawn.table)
    return frame


def drawn(design: Any = "lhs", n: int | None = 200, **options: Any) -> Drawn:
    return draw(House, design, n=n, seed=1 if n else None, options=SampleOptions(**options))


def spearman(frame: pl.DataFrame, one: str, other: str) -> float:
    return float(frame.select(pl.corr(one, other, method="spearman")).item())


@pytest.mark.parametrize("design", ["lhs", "random", "sobol", "halton"])
def test_fields_have_the_rank_correlations_and_their_own_values(design: str) -> None:
    said: dict[str, Any] = {"normal": {"b": (-2, 1)}, "log": ["c"]}
    made = drawn(design, correlation={("a", "b"): 0.8, "b, c": "-0.4"}, **said)
    frame, plain = frame_of(made), frame_of(drawn(design, **said))
    for name in frame.columns:
        assert frame[name].sort().equals(plain[name].sort())
    assert abs(spearman(frame, "a", "b") - 0.8) < 0.05
    assert abs(spearman(frame, "b", "c") + 0.4) < 0.05
    assert abs(spearman(frame, "a", "c")) < 0.05
    assert made.record.correlation == {"a,b": 0.8, "b,c": -0.4}
    assert made.quality.rank_correlation == pytest.approx(
        {"a,b": spearman(frame, "a", "b"), "b,c": spearman(frame, "b", "c")}, abs=1e-5
    )
    assert not any("rank correlation" in notice for notice in made.notices)


def test_values_that_go_up_can_be_correlated_and_few_values_are_told() -> None:
    made = drawn(set={"k": [1, 5, 9], "mode": ["low"]}, correlation={"a,k": 0.9}, n=60)
    assert 0.75 < spearman(frame_of(made), "a", "k") < 0.95
    made = drawn(set={"k": [1, 9]}, correlation={"a,k": 0.95}, n=60)
    assert any("it takes more rows, or more values" in notice for notice in made.notices)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"a,x": 0.5}, "x is not a field that the design varies"),
        ({"a": 0.5}, "--correlation a=0.5: it is of two fields"),
        ({"a,a": 0.5}, "it is of two fields"),
        ({"a,b,c": 0.5}, "it is of two fields"),
        ({"a,b": 1}, "1 is not between -1 and 1"),
        ({"a,b": "nan"}, "nan is not between"),
        ({"a,b": "high"}, "high is not between"),
        ({"a,b": 0.5, "b,a": 0.5}, "given twice"),
        ({"a,mode": 0.5}, "the values of mode have no order"),
        ({"a,b": 0.9, "b,c": 0.9, "a,c": -0.9}, "cannot hold together"),
    ],
)
def test_mistakes_are_told(said: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        drawn(correlation=said)


def test_what_does_not_go_together_is_refused() -> None:
    for design in ("grid", "oat", "saltelli"):
        with pytest.raises(UsageError, match=f"--correlation does not go with {design}"):
            drawn(design, 512, correlation={"a,b": 0.5})
    with pytest.raises(UsageError, match="does not go with --where"):
        drawn(correlation={"a,b": 0.5}, where=["a < b"])
    with pytest.raises(UsageError, match="2 rows are too few"):
        drawn(n=2, correlation={"a,b": 0.5})


def test_a_factor_is_told_with_which_correlations_can_hold() -> None:
    pairs = {"a,b": 0.9, "b,c": 0.9, "a,c": -0.9}
    with pytest.raises(UsageError) as raised:
        drawn(correlation=pairs)
    factor = float((raised.value.hint or "").split("times ")[1].split(",")[0])
    frame = frame_of(drawn(correlation={pair: factor * value for pair, value in pairs.items()}))
    assert abs(spearman(frame, "a", "c") + 0.9 * factor) < 0.05


@pytest.mark.parametrize("said", ["low:70%,mid:20%, high : 10.0 %", {"low": 0.7, "mid": 0.2, "high": 0.1}])
@pytest.mark.parametrize("design", ["lhs", "sobol", "random"])
def test_values_come_as_often_as_is_said(design: str, said: Any) -> None:
    made = drawn(design, 1000, set={"mode": said})
    counts = dict(frame_of(made)["mode"].value_counts().iter_rows())
    slack = 40 if design == "random" else 2
    assert all(abs(counts[mode] - 1000 * share) <= slack for mode, share in _SHARES.items())
    field = next(field for field in made.record.fields if field.name == "mode")
    assert field.values == ["low", "mid", "high"]
    assert field.probabilities == pytest.approx([0.7, 0.2, 0.1])


def test_numbers_have_probabilities_too() -> None:
    frame = frame_of(drawn("lhs", 100, set={"k": "1:50%,9:50%", "weekday": {1: 0.25, 7: 0.75}}))
    assert dict(frame["k"].value_counts().iter_rows()) == {1: 50, 9: 50}
    assert dict(frame["weekday"].value_counts().iter_rows()) == {1: 25, 7: 75}


def test_a_grid_takes_each_value_once() -> None:
    made = drawn("grid", None, only=["mode"], fix={"a": 0, "b": 0}, set={"mode": "low:70%,mid:30%"})
    assert frame_of(made)["mode"].to_list() == ["low", "mid"]
    assert made.notices == ["mode: grid takes each value, whatever its probability"]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("low:70%,mid:20%", "the probabilities make 90 %"),
        ("low:70%,mid:31%", "the probabilities make 101 %"),
        ("low:70%,mid", "mid has no probability"),
        ("low:100%,mid:0%", "more than 0"),
        ("low:70%,med:30%", "med: Input should be"),
        ({"low": 0.5, "mid": float("nan")}, "more than 0"),
        ({"low": 70, "mid": 30}, "make 10000 %"),
    ],
)
def test_probabilities_that_cannot_be_are_told(said: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        drawn(set={"mode": said})


def test_probabilities_and_correlations_are_those_of_a_continued_design() -> None:
    from scythe_cli.doe.points import base_points

    made = drawn("lhs", 40, correlation={"a,b": 0.5}, set={"mode": "low:50%,high:50%"}, only=["a", "b", "mode"])
    points = base_points("lhs", [40], 3, 1)
    assert np.allclose(np.sort(frame_of(made)["a"].to_numpy()), np.sort(points[:, 0]))
