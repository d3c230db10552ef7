from __future__ import annotations

import enum
import math
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types as at
import pytest
from pydantic import BaseModel, DirectoryPath, Field, create_model

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference, OptionalFileReference
from scythe_cli.model.describe import FieldRecord, describe_experiment, describe_fields
from scythe_cli.registry import ExperimentOptions, experiment_from_function


class Kind(enum.Enum):
    A = "a"
    N = 1


class Wall(BaseModel):
    u_value: float = Field(ge=0.1, le=6, description="U-value [W/m2K]")
    layers: list[str] = []


class Chain(BaseModel):
    next: Chain | None = None
    value: int = 0


class Input(ExperimentInputSpec):
    """Not shown."""

    tilt: float = Field(ge=0, lt=90, description="Tilt of the panel [deg]")
    weather: FileReference
    wall: Wall
    roof: Wall | None = None


class Output(ExperimentOutputSpec):
    heat: float = Field(description="[kWh]")
    plot: OptionalFileReference = None


def simulate(input_spec: Input) -> Output:
    """Simulate one case."""
    return Output(heat=1)


def field(annotation: Any, default: Any = ...) -> FieldRecord:
    (record,) = describe_fields(create_model("Model", x=(annotation, default)))
    return record


def test_an_experiment_with_its_fields() -> None:
    options = ExperimentOptions(retries=2, execution_timeout=timedelta(minutes=3), memory_limit_bytes=4)
    record = describe_experiment("energy", "building:simulate", experiment_from_function(simulate, options=options))
    assert (record.name, record.entrypoint, record.description) == ("energy", "building:simulate", "Simulate one case.")
    assert (record.kind, record.problem) == ("function", None)
    assert (record.retries, record.execution_timeout_s, record.memory_limit_bytes) == (2, 180.0, 4)
    assert [f.name for f in record.inputs] == [
        "tilt",
        "weather",
        "wall.u_value",
        "wall.layers",
        "roof.u_value",
        "roof.layers",
    ]
    assert [f.name for f in record.outputs] == ["heat", "plot"]
    assert record.inputs[0] == FieldRecord(
        name="tilt", type="float", description="Tilt of the panel [deg]", bounds="0 ≤ x < 90", unit="deg", required=True
    )
    assert record.model_dump_json()


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "int"),
        (str, "text"),
        (bool, "true/false"),
        (date, "date"),
        (float | None, "float or empty"),
        (int | str, "int or text"),
        (Annotated[float, at.Ge(0)] | None, "float or empty"),
        (FileReference, "file"),
        (OptionalFileReference, "file or empty"),
        (Path, "file"),
        (DirectoryPath, "folder"),
        (Literal["a", 1], "'a' | 1"),
        (Literal[Kind.A], "'a'"),
        (Kind, "'a' | 1"),
        (Kind | None, "'a' | 1 or empty"),
        (list[float], "list of float"),
        (dict[str, int], "dict of text, int"),
        (tuple[int, ...], "tuple of int"),
        (list[list[Kind]], "list of list of 'a' | 1"),
        (list[Wall], "list of Wall"),
        (Wall | Chain, "Wall or Chain"),
        (Any, "Any"),
        (list, "list"),
    ],
)
def test_types_for_people(annotation: Any, text: str) -> None:
    assert field(annotation).type == text


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (float, None),
        (Annotated[float, Field(ge=0, le=1)], "0 ≤ x ≤ 1"),
        (Annotated[float, Field(gt=0, lt=1)], "0 < x < 1"),
        (Annotated[int, Field(ge=0)], "≥ 0"),
        (Annotated[int, Field(gt=-1)], "> -1"),
        (Annotated[int, Field(le=5)], "≤ 5"),
        (Annotated[int, Field(lt=5)], "< 5"),
        (Annotated[int, at.Interval(ge=1, lt=4)], "1 ≤ x < 4"),
        (Annotated[int, Field(ge=0, multiple_of=5)], "≥ 0, a multiple of 5"),
        (Annotated[str, Field(min_length=1, max_length=3)], "length 1 to 3"),
        (Annotated[str, Field(min_length=1)], "length at least 1"),
        (Annotated[list[int], Field(max_length=3)], "length at most 3"),
        (Annotated[str, Field(pattern="^a+$")], "matches ^a+$"),
        (Annotated[float, Field(ge=0)] | None, "≥ 0"),
        (Annotated[float, at.Le(3)] | None, "≤ 3"),
    ],
)
def test_bounds_for_people(annotation: Any, text: str | None) -> None:
    assert field(annotation).bounds == text


@pytest.mark.parametrize(
    ("default", "required", "shown"),
    [
        (..., True, None),
        (3, False, 3),
        (None, False, None),
        (Kind.A, False, "a"),
        (Path("a/b"), False, "a/b"),
        (timedelta(hours=1), False, "PT1H"),
        (Wall(u_value=1), False, {"u_value": 1.0, "layers": []}),
        (Field(default_factory=list), False, "computed"),
    ],
)
def test_defaults(default: Any, required: bool, shown: Any) -> None:
    record = field(Any, default)
    assert (record.required, record.default) == (required, shown)


def test_a_default_that_json_has_no_word_for() -> None:
    assert math.isnan(field(float, math.nan).default)


def test_a_recursive_model_is_cut() -> None:
    names = [f.name for f in describe_fields(create_model("Model", chain=(Chain, ...)))]
    assert names[-1] == "chain.value"
    assert max(name.count(".") for name in names) <= 6
