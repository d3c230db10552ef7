"""Models as people write them: what a file says reaches each field as its type takes it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import ipaddress
import zoneinfo
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    PastDate,
    create_model,
    field_validator,
    model_validator,
)
from typing_extensions import TypedDict

from scythe_cli.base import ExperimentInputSpec
from scythe_cli.errors import SamplingFileError
from scythe_cli.model.spec_rows import spec_factory
from scythe_cli.sampling.problems import BadCellsError
from scythe_cli.sampling.reading import ReadOptions, read_sampling_file


def seen(path: Path, model: type[ExperimentInputSpec], **options: Any) -> list[Any]:
    """What the function gets for each row."""
    table = read_sampling_file(path, model, options=ReadOptions(**options))
    batch = table.inputs.combine_chunks().to_batches()[0]
    return spec_factory(model, batch.schema)(batch)


def of_csv(folder: Path, model: type[ExperimentInputSpec], text: str) -> list[Any]:
    (folder / "c.csv").write_text(text, encoding="utf-8")
    return seen(folder / "c.csv", model)


def of_parquet(folder: Path, model: type[ExperimentInputSpec], **columns: Any) -> list[Any]:
    pq.write_table(pa.table(columns), folder / "c.pq")
    return seen(folder / "c.pq", model)


def one_field(annotation: Any, default: Any = ...) -> type[ExperimentInputSpec]:
    return create_model("One", __base__=ExperimentInputSpec, x=(annotation, default))


def row_by_row(model: type[ExperimentInputSpec]) -> type[ExperimentInputSpec]:
    """The same model with a validator of its own, so that its rows are validated as a whole."""

    class Checked(model):  # pyright: ignore[reportUntypedBaseClass]
        @model_validator(mode="after")
        def _nothing(self) -> Any:
            return self

    return Checked


def _split(value: Any) -> Any:
    return value.split(";") if isinstance(value, str) else value


class _Tagged(ExperimentInputSpec):
    x: list[str]

    @field_validator("x", mode="before")
    @classmethod
    def _text_too(cls, value: Any) -> Any:
        return _split(value)


TEXTS: list[tuple[Any, str, Any]] = [
    (Annotated[list[str], BeforeValidator(_split)], "a;b", ["a", "b"]),
    (Annotated[list[str], BeforeValidator(_split)], "12", ["12"]),
    (Annotated[list[str], BeforeValidator(_split)], '"[""a"", ""b;c""]"', ["a", "b;c"]),
    (ipaddress.IPv4Address, "127.0.0.1", ipaddress.IPv4Address("127.0.0.1")),
    (ipaddress.IPv6Network, "::/8", ipaddress.IPv6Network("::/8")),
    (PastDate, "2020-01-01", dt.date(2020, 1, 1)),
    (zoneinfo.ZoneInfo, "Europe/Zurich", zoneinfo.ZoneInfo("Europe/Zurich")),
    (Fraction, "1/3", Fraction(1, 3)),
    (complex, "1+2j", 1 + 2j),
    (Json[list[int]], '"[1,2]"', [1, 2]),
    (Any, "abc", "abc"),
    (Any, "1", 1),
    (Any, '"{""a"": 1}"', {"a": 1}),
    (list[str] | str, "a;b", "a;b"),
    (bool, "1.0", True),
    (bool, "0.0", False),
    (dt.timedelta, "300", dt.timedelta(minutes=5)),
    (dt.timedelta, "0.5", dt.timedelta(seconds=0.5)),
    (Literal["auto", None], '""', None),
    (Literal["auto", None], "auto", "auto"),
    (Any, '""', None),
]


@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize(("annotation", "text", "value"), TEXTS)
def test_text_that_the_type_reads_by_itself(
    annotation: Any, text: str, value: Any, by_row: bool, tmp_path: Path
) -> None:
    model = one_field(annotation)
    (spec,) = of_csv(tmp_path, row_by_row(model) if by_row else model, f"x\n{text}\n")
    assert spec.x == value
    assert type(spec.x) is type(value)


def test_text_for_a_validator_of_the_model(tmp_path: Path) -> None:
    assert [spec.x for spec in of_csv(tmp_path, _Tagged, 'x\na;b\n"[""c""]"\n')] == [["a", "b"], ["c"]]


def test_what_neither_way_takes_is_refused_as_before(tmp_path: Path) -> None:
    for annotation, text, words in (
        (list[int], "1;2", "not JSON: Extra data at character 2"),
        (ipaddress.IPv4Address, "abc", "Input is not a valid IPv4 address"),
        (dict[str, int], "[1]", "Input should be a valid dictionary"),
    ):
        with pytest.raises(BadCellsError, match=words):
            of_csv(tmp_path, one_field(annotation), f"x\n{text}\n")


def test_text_in_typed_columns_is_text_first(tmp_path: Path) -> None:
    assert of_parquet(tmp_path, one_field(Any), x=["1"])[0].x == "1"
    assert of_parquet(tmp_path, one_field(list[int]), x=["[1]"])[0].x == [1]


def test_numbers_for_text(tmp_path: Path) -> None:
    assert of_parquet(tmp_path, one_field(str), x=[123])[0].x == "123"
    assert of_parquet(tmp_path, one_field(str), x=[dt.date(2020, 1, 2)])[0].x == "2020-01-02"
    assert of_parquet(tmp_path, one_field(Literal["1", "2"]), x=[1])[0].x == "1"


class Choices(ExperimentInputSpec):
    area: float = Field(validation_alias=AliasChoices("Area [m2]", AliasPath("floor", "area"), "A"))


class Swapped(ExperimentInputSpec):
    a: float = Field(alias="b", le=10)
    b: float = Field(alias="a", le=10)


class Inner(BaseModel):
    a: float = Field(alias="b")
    b: float = Field(alias="a")


class HasInner(ExperimentInputSpec):
    inner: Inner
    more: list[Inner] = []


@pytest.mark.parametrize("by_row", [False, True])
def test_other_names(by_row: bool, tmp_path: Path) -> None:
    def kind(model: type[ExperimentInputSpec]) -> type[ExperimentInputSpec]:
        return row_by_row(model) if by_row else model

    for name in ("Area [m2]", "floor.area", "A", "area"):
        assert of_csv(tmp_path, kind(Choices), f"{name}\n2\n")[0].area == 2
        with pytest.raises(BadCellsError) as caught:
            of_csv(tmp_path, kind(Choices), f"{name}\nx\n")
        assert str(caught.value.problems[0]).startswith(f"line 2, {name}: x: not a number")
    assert of_parquet(tmp_path, kind(Choices), floor=[{"area": 3.0}])[0].area == 3
    spec = of_csv(tmp_path, kind(Swapped), "a,b\n1,2\n")[0]
    assert (spec.a, spec.b) == (2, 1)
    with pytest.raises(BadCellsError, match="line 2, a: 11"):
        of_csv(tmp_path, kind(Swapped), "a,b\n11,2\n")
    spec = of_csv(tmp_path, kind(HasInner), 'inner.a,inner.b,more\n1,2,"[{""a"": 3, ""b"": 4}]"\n')[0]
    assert (spec.inner.a, spec.inner.b, spec.more[0].a, spec.more[0].b) == (2, 1, 4, 3)


class Event(BaseModel):
    t: float
    w: float = 1.0
    note: str | None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["dog"]
    bark: float


@dataclasses.dataclass
class Point:
    x: float
    y: float = 2.0


class Options(TypedDict):
    a: int
    b: NotRequired[int]


def test_nulls_that_stand_for_missing_parts(tmp_path: Path) -> None:
    events = of_parquet(
        tmp_path, one_field(list[Event]), x=[[{"t": 1.0, "w": None, "note": None}, {"t": 2.0, "w": 3.0, "note": "a"}]]
    )[0].x
    assert [event.model_dump() for event in events] == [
        {"t": 1.0, "w": 1.0, "note": None},
        {"t": 2.0, "w": 3.0, "note": "a"},
    ]
    either = Annotated[Cat | Dog, Field(discriminator="kind")]
    pets = [{"kind": "cat", "lives": None, "bark": None}, {"kind": "dog", "lives": None, "bark": 2.0}]
    assert [spec.x for spec in of_parquet(tmp_path, one_field(either), x=pets)] == [
        Cat(kind="cat"),
        Dog(kind="dog", bark=2.0),
    ]
    assert of_parquet(tmp_path, one_field(list[either]), x=[pets])[0].x[1] == Dog(kind="dog", bark=2.0)
    maps = [{"a": 1.0}, {"b": 2.0}]
    assert [spec.x for spec in of_parquet(tmp_path, one_field(dict[str, float]), x=maps)] == maps
    assert of_parquet(tmp_path, one_field(Point), x=[{"x": 1.0, "y": None}])[0].x == Point(1.0)
    assert [spec.x for spec in of_parquet(tmp_path, one_field(Options), x=[{"a": 1, "b": None}, {"a": 1, "b": 2}])] == [
        {"a": 1},
        {"a": 1, "b": 2},
    ]
    nested = dict[str, list[Event]]
    assert of_parquet(tmp_path, one_field(nested), x=[{"k": [{"t": 1.0, "w": None, "note": None}]}])[0].x["k"][0].w == 1
    with pytest.raises(BadCellsError, match=r"row 0, x\[0\]\.t: "):
        of_parquet(tmp_path, one_field(list[Event]), x=[[{"t": None, "w": 1.0, "note": "a"}]])


def test_columns_beyond_the_fields(tmp_path: Path) -> None:
    class Plain(ExperimentInputSpec):
        a: int

    class Forbids(Plain):
        model_config = ConfigDict(extra="forbid")

    class Ignores(Plain):
        model_config = ConfigDict(extra="ignore")

    class Allows(Plain):
        model_config = ConfigDict(extra="allow")

    text = "a,other,b.c\n1,x,2\n2,,3\n"
    for model in (Plain, Forbids):
        with pytest.raises(SamplingFileError, match="unknown column 'other'"):
            of_csv(tmp_path, model, text)
    (tmp_path / "c.csv").write_text(text)
    table = read_sampling_file(tmp_path / "c.csv", Ignores)
    assert table.inputs.column_names == ["a"]
    assert table.notices == ["ignored columns: other, b.c"]
    for model in (Allows, row_by_row(Allows)):
        first, second = of_csv(tmp_path, model, text)
        assert first.model_extra == {"other": "x", "b.c": 2}
        assert second.model_extra == {"b.c": 3}
        assert of_parquet(tmp_path, model, a=[1], other=["5"])[0].other == "5"


def test_what_arrives_in_another_form_is_said(tmp_path: Path) -> None:
    class Inner(BaseModel):
        at: AwareDatetime

    class Model(ExperimentInputSpec):
        n: int | float = 0.5
        at: AwareDatetime = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
        inner: Inner | None = None
        more: list[int | float] = []
        anything: Any = None

    def notices(model: type[ExperimentInputSpec], text: str) -> list[str]:
        (tmp_path / "c.csv").write_text(text)
        return read_sampling_file(tmp_path / "c.csv", model).notices

    for model in (Model, row_by_row(Model)):
        assert notices(model, "n,at,anything\n1.5,2020-01-01T00:00:00Z,1\n") == []
        assert notices(model, 'n,at,inner.at,more\n1,2020-01-01T00:00:00+01:00,2020-01-01T00:00+02:00,"[1]"\n') == [
            "n: whole numbers arrive as floats: 1 as 1.0",
            "at: times arrive in UTC: the same moments, without their offsets",
            "inner: times arrive in UTC: the same moments, without their offsets",
            "more: whole numbers arrive as floats: 1 as 1.0",
        ]
        pq.write_table(pa.table({"anything": [dt.date(2020, 1, 1)]}), tmp_path / "c.pq")
        assert read_sampling_file(tmp_path / "c.pq", model).notices == [
            "anything: values that JSON has no form for, such as dates, arrive as text"
        ]
