"""Plain functions as experiments: parameters are inputs, and what is returned becomes columns and tables."""

from __future__ import annotations

import functools
import inspect
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError, computed_field

import scythe_cli
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, input_columns
from scythe_cli.errors import RegistrationError
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.functions.plain import (
    PlainInput,
    experiment_of,
    function_name,
    output_of,
    plain_experiment,
)
from scythe_cli.model.spec_rows import build_specs, table_from_specs, with_meta
from scythe_cli.registry import ExperimentRegistry


@dataclass
class Point:
    x: float
    y: float


class Pair(NamedTuple):
    first: int
    second: str


class Model(BaseModel):
    power: float = 1.5

    @computed_field
    @property
    def double(self) -> float:
        return 2 * self.power


class Typed(ExperimentOutputSpec):
    z: float


class Site(Enum):
    NORTH = "n"


FRAME = pd.DataFrame({"h": [1, 2], "v": [0.5, 1.5]})


@pytest.mark.parametrize(
    ("returned", "values", "frames"),
    [
        (1.5, {"value": 1.5}, []),
        (None, {"value": None}, []),
        ([1, 2], {"value": [1, 2]}, []),
        ({"a": 1, 2: "x"}, {"a": 1, "2": "x"}, []),
        (OrderedDict(a=1), {"a": 1}, []),
        (Point(1, 2), {"x": 1, "y": 2}, []),
        (Pair(1, "b"), {"first": 1, "second": "b"}, []),
        (Model(), {"power": 1.5, "double": 3.0}, []),
        (Typed(z=1, dataframes={"t": FRAME}), {"z": 1}, ["t"]),
        (pd.Series({"mean": 1.0, "max": 2.0}), {"mean": 1.0, "max": 2.0}, []),
        (pd.Series([1.0, 2.0]), {}, ["result"]),
        (FRAME, {}, ["result"]),
        (pl.from_pandas(FRAME), {}, ["result"]),
        (pl.from_pandas(FRAME).lazy(), {}, ["result"]),
        (pa.table({"h": [1]}), {}, ["result"]),
        (np.zeros((2, 3)), {}, ["result"]),
        ({"total": 3, "hourly": FRAME}, {"total": 3}, ["hourly"]),
        ((1, "b"), {"value_0": 1, "value_1": "b"}, []),
        ((Point(1, 2), FRAME, 5), {"x": 1, "y": 2, "value_2": 5}, ["result_1"]),
        (({"a": 1}, {"a": 2}), {"a": 1, "a_1": 2}, []),
        ({"dataframes": 1, "copy": 2, "a b": 4}, {"dataframes": 1, "copy": 2, "a b": 4}, []),
    ],
)
def test_what_is_returned_becomes_columns_and_tables(returned: Any, values: dict[str, Any], frames: list[str]) -> None:
    output = output_of(returned)
    assert output.model_extra == values
    assert list(output.dataframes) == frames


@given(st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=3) | st.none(), max_size=5))
def test_no_name_of_a_value_is_lost(values: dict[str, Any]) -> None:
    assert output_of(values).model_extra == values
    twice = output_of((values, values)).model_extra or {}
    assert sorted(map(repr, twice.values())) == sorted(map(repr, [*values.values()] * 2))


Count = Annotated[int, Field(ge=1)]


def simulate(tilt: float, site: Site, mode: Literal["fast", "slow"] = "fast", *, n: Count = 2) -> float:
    """Yield of a panel.

    More words.
    """
    return tilt * n if site is Site.NORTH and mode == "fast" else 0.0


def test_annotations_are_the_input_model() -> None:
    experiment = plain_experiment(simulate)
    model = experiment.input_validator_type

    assert experiment.name == "simulate"
    assert experiment.description == "Yield of a panel."
    assert [column.name for column in input_columns(model)] == ["tilt", "site", "mode", "n"]
    assert experiment(model(tilt="2.5", site="n")).model_extra == {"value": 5.0}
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        model(tilt=1, site="n", n=0)
    assert experiment(2.0, Site.NORTH) == 4.0, "it can be called as the function that it is"


def test_parameters_without_annotation_take_the_type_of_their_column() -> None:
    def f(a, b=3, c="?", **rest):  # type: ignore[no-untyped-def]
        return {"a": a, "b": b, "c": c, **rest}

    experiment = plain_experiment(f, columns={"a": float, "b": int | None, "more": str})
    model = experiment.input_validator_type
    assert [column.name for column in input_columns(model)] == ["a", "b", "c", "more"]
    assert experiment(model(a=1, more="m")).model_extra == {"a": 1.0, "b": 3, "c": "?", "more": "m"}


class Scale:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, x: float) -> float:
        return x * self.factor


async def later(x: float) -> float:
    return x + 1


@pytest.mark.parametrize(
    ("function", "cells", "value"),
    [
        (lambda x: x * 2, {"x": 2.0}, 4.0),
        (functools.partial(simulate, 3.0, n=4), {"site": "n"}, 12.0),
        (Scale(3), {"x": 2.0}, 6.0),
        (Scale(4).__call__, {"x": 2.0}, 8.0),
        (later, {"x": 2.0}, 3.0),
        (math.sqrt, {"x": 9.0}, 3.0),
        (np.sin, {"x": 0.0}, 0.0),
    ],
)
def test_any_callable_is_an_experiment(function: Callable[..., Any], cells: dict[str, Any], value: float) -> None:
    experiment = plain_experiment(function, columns={"x": float})
    output = experiment(experiment.input_validator_type(**cells))
    assert output.model_extra == {"value": value}
    assert "<" not in experiment.name


NAMES = sorted(name for name in dir(PlainInput) if not name.startswith("_") and name != "model_config")


@pytest.mark.parametrize(
    "names", [[name] for name in [*NAMES, "seed", "self", "cls", "args", "spec", "model_x"]] + [NAMES]
)
def test_a_parameter_may_have_any_name(names: list[str]) -> None:
    """It is what it is, and what a spec has under that name is there all the same."""

    def f(**values: float) -> float:
        return sum(values.values())

    experiment = plain_experiment(f, columns=dict.fromkeys(names, float))
    model = experiment.input_validator_type
    columns = pa.table({name: [1.5, 2.5] for name in names})
    specs = build_specs(with_meta(columns, "e", "r"), model)
    assert [experiment(spec).model_extra for spec in specs] == [{"value": n * len(names)} for n in (1.5, 2.5)]
    assert table_from_specs(specs, model).equals(columns)
    one = specs[0]
    one.log("a line")
    assert one.model_dump()[names[0]] == one.index_values()[names[0]] == 1.5
    assert one.model_copy(update={names[0]: 4.0}).__dict__[names[0]] == 4.0
    assert isinstance(one._row_seed(), int)
    assert (one.computed_features, one.result_stem) == ({}, "00000000")
    assert {*names} <= {*model.model_json_schema()["properties"]}


def test_a_path_is_a_file(tmp_path: Path) -> None:
    def f(weather: Path, more: Path | None = None) -> int:
        return len(Path(weather).read_text())

    columns = {column.name: column for column in input_columns(plain_experiment(f).input_validator_type)}
    assert columns["weather"].is_file
    assert columns["more"].is_file
    assert columns["more"].is_nullable


def one_by_one(x: float) -> Iterator[float]:
    yield x


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda sort_index: 1, "'sort_index' has a name that scythe uses itself"),
        (lambda model_config: 1, "'model_config' has a name that scythe uses itself"),
        (lambda _x: 1, "'_x' has a name that scythe uses itself"),
        (math.hypot, "cannot tell the parameters of hypot"),
        (3, "is a int, not a function"),
        (one_by_one, "it yields its results one by one"),
        (functools.partial(one_by_one), "it yields its results one by one"),
    ],
)
def test_what_cannot_be_an_experiment_is_told(function: Any, match: str) -> None:
    with pytest.raises(RegistrationError, match=match) as error:
        plain_experiment(function, columns={"sort_index": int, "model_config": int, "_x": int})
    assert error.value.hint or "not a function" in match


def test_functions_of_a_spec_stay_what_they_are() -> None:
    class Case(ExperimentInputSpec):
        x: float

    def f(spec: Case) -> Typed:
        return Typed(z=spec.x)

    # as annotations of a module would be
    f.__annotations__ = {"spec": Case, "return": Typed}
    assert experiment_of(f).input_validator_type is Case
    assert experiment_of(experiment_of(f), name="other").name == "other"


def test_short_names_and_the_decorator() -> None:
    assert scythe_cli.Input is ExperimentInputSpec
    assert scythe_cli.Output is ExperimentOutputSpec

    @scythe_cli.experiment
    def yield_of(tilt: float, site: str = "Oslo") -> dict[str, float]:
        """Sunshine."""
        return {"kwh": tilt * len(site)}

    @scythe_cli.experiment(name="other", execution_timeout="10m", description="Another.")
    def cost_of(tilt: float) -> float:
        return tilt

    assert isinstance(yield_of, RegisteredExperiment)
    assert yield_of(2.0) == {"kwh": 8.0}
    assert ExperimentRegistry.get_runnable("yield_of") is yield_of
    assert cost_of.options.execution_timeout.total_seconds() == 600
    assert (cost_of.name, cost_of.description) == ("other", "Another.")
    with pytest.raises(RegistrationError, match="there is no option 'retires'"):
        scythe_cli.experiment(retires=1)(lambda x: x)
    assert inspect.getdoc(yield_of.fn) == "Sunshine."


def test_two_functions_of_one_name_share_a_project() -> None:
    def make(module: str) -> RegisteredExperiment[Any, Any]:
        def simulate(x: float) -> float:
            return x

        simulate.__module__ = module
        code = simulate.__code__.replace(co_filename=f"/project/{module}.py")
        simulate.__code__ = code
        return scythe_cli.experiment(simulate)

    assert [make("a").name, make("b").name, make("a").name] == ["simulate", "b.simulate", "simulate"]


@pytest.mark.parametrize(
    ("function", "name"), [(lambda x: x, "lambda"), (simulate, "simulate"), (Scale(1), "Scale"), (math.sqrt, "sqrt")]
)
def test_a_function_has_a_name_that_can_be_a_folder(function: Callable[..., Any], name: str) -> None:
    assert function_name(function) == name
