"""A model's values survive the way through Arrow and Parquet, whatever the model."""

from __future__ import annotations

import collections
import dataclasses
import enum
import io
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, NewType
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import (
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    Json,
    NaiveDatetime,
    RootModel,
    TypeAdapter,
    computed_field,
    create_model,
)
from typing_extensions import TypeAliasType, TypedDict

from scythe_cli.base import ExperimentInputSpec
from scythe_cli.model.columns import columns_of, schema_of
from scythe_cli.model.spec_rows import (
    build_specs,
    specs_schema,
    table_from_specs,
    with_meta,
)
from tests.fuzzing import cases


class Number(enum.Enum):
    ONE = 1
    TWO = 2


class Text(enum.StrEnum):
    A = "a"
    ODD = "ö \n\"'"


class Mixed(enum.Enum):
    NUMBER = 1
    TEXT = "1"
    HALF = 0.5


class Places(enum.Enum):
    ORIGIN = (0, 0)
    FAR = (1, 2)


class Point(BaseModel):
    x: float
    y: int | None = None


class Wall(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    corners: list[Point]
    kind: Number = Number.ONE
    at: AwareDatetime | None = None
    u_value: float = Field(alias="U", ge=0)

    @computed_field
    @property
    def area(self) -> float:
        return 1.0


class Tree(BaseModel):
    model_config = ConfigDict(extra="forbid")

    value: Decimal
    branches: list[Tree] = []

    @computed_field
    @property
    def size(self) -> int:
        return 1 + len(self.branches)


class Levels(RootModel[list[Point]]):
    pass


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    a: int


@dataclasses.dataclass
class Coil:
    power: float
    stages: tuple[int, ...] = ()


class Row(TypedDict):
    a: int
    b: list[str]


class Pair(NamedTuple):
    left: int
    right: str


Metres = NewType("Metres", float)
Lengths = TypeAliasType("Lengths", list[Metres])

text = st.text(st.characters(codec="utf-8"), max_size=8)
ints = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False)
dates = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1))
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=9))])
decimals = st.decimals(allow_nan=False, allow_infinity=False)
points = st.builds(Point, x=floats, y=st.none() | ints)
walls = st.builds(
    lambda **data: Wall.model_validate(data),
    corners=st.lists(points, max_size=2),
    kind=st.sampled_from(Number),
    at=st.none() | st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=zones),
    U=st.floats(0, allow_infinity=False),
)
trees = st.recursive(
    st.builds(Tree, value=decimals),
    lambda inner: st.builds(Tree, value=decimals, branches=st.lists(inner, max_size=2)),
    max_leaves=4,
)

LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (bool, st.booleans()),
    (int, ints),
    (float, floats),
    (str, text),
    (bytes, text.map(str.encode)),  # JSON, where a field becomes JSON, holds no others
    (date, st.dates()),
    (time, st.times()),
    (timedelta, st.timedeltas(-timedelta(days=10**6), timedelta(days=10**6))),
    (datetime, dates),
    (NaiveDatetime, dates),
    (AwareDatetime, st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=zones)),
    (Decimal, decimals),
    (UUID, st.uuids()),
    (PurePosixPath, st.just(PurePosixPath("a/ö b"))),
    (Number, st.sampled_from(Number)),
    (Text, st.sampled_from(Text)),
    (Mixed, st.sampled_from(Mixed)),
    (Literal["a", "b"], st.sampled_from(["a", "b"])),
    (Literal[1, 2], st.sampled_from([1, 2])),
    (Literal["1", 1], st.sampled_from(["1", 1])),
    (Annotated[int, Field(ge=0, le=9)], st.integers(0, 9)),
    (Annotated[str, Field(max_length=8)], text),
    (Metres, floats),
    (Lengths, st.lists(floats, max_size=2)),
    (HttpUrl, st.just(HttpUrl("https://example.org/a%20b?c=1"))),
    (Base64Bytes, st.binary(min_size=1, max_size=4).map(lambda raw: raw)),
    (Point, points),
    (Wall, walls),
    (Tree, trees),
    (Levels, st.builds(Levels, st.lists(points, max_size=2))),
    (Open, st.builds(Open, a=ints, b=text | st.none())),
    (Coil, st.builds(Coil, power=st.floats(allow_nan=False, allow_infinity=False), stages=st.tuples(ints))),
    (Row, st.fixed_dictionaries({"a": ints, "b": st.lists(text, max_size=2)})),
    (Pair, st.builds(Pair, ints, text)),
    (int | str, ints | text),
    (bool | str, st.booleans() | text),
    (Literal["auto"] | int, st.just("auto") | ints),
    (Point | Wall, points | walls),
    (Any, st.recursive(st.none() | st.booleans() | ints | text, lambda x: st.lists(x, max_size=2), max_leaves=3)),
]
if hasattr(__import__("typing"), "TypeAliasType"):
    namespace: dict[str, Any] = {}
    exec("type Numbers = list[int]\ntype Nested = list[Nested] | int", namespace)
    LEAVES += [
        (namespace["Numbers"], st.lists(ints, max_size=2)),
        (namespace["Nested"], st.recursive(ints, lambda x: st.lists(x, max_size=2), max_leaves=3)),
    ]

_HASHABLE = LEAVES[:4] + LEAVES[5:10] + LEAVES[11:20]


def _extend(inner: st.SearchStrategy[tuple[Any, st.SearchStrategy[Any]]]) -> st.SearchStrategy[Any]:
    keys = st.sampled_from([(str, text), (int, ints), (Text, st.sampled_from(Text)), (date, st.dates())])
    hashable = st.sampled_from(_HASHABLE)
    return st.one_of(
        inner.map(lambda f: (f[0] | None if f[0] is not Any else Any, st.none() | f[1])),
        inner.map(lambda f: (list[f[0]], st.lists(f[1], max_size=3))),
        inner.map(lambda f: (tuple[f[0], ...], st.lists(f[1], max_size=3).map(tuple))),
        st.tuples(inner, inner).map(lambda f: (tuple[f[0][0], f[1][0]], st.tuples(f[0][1], f[1][1]))),
        hashable.map(lambda f: (set[f[0]], st.sets(f[1], max_size=3))),
        hashable.map(lambda f: (frozenset[f[0]], st.frozensets(f[1], max_size=3))),
        st.tuples(keys, inner).map(lambda f: (dict[f[0][0], f[1][0]], st.dictionaries(f[0][1], f[1][1], max_size=3))),
        inner.map(_nested),
    )


def _nested(field: tuple[Any, st.SearchStrategy[Any]]) -> tuple[Any, st.SearchStrategy[Any]]:
    model = create_model("Nested", value=field[0], other=(int, 3))
    return model, field[1].map(lambda value: model.model_construct(value=value, other=4))


fields = st.recursive(st.sampled_from(LEAVES), _extend, max_leaves=3)


def same(a: Any, b: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if isinstance(a, BaseModel):
        return type(a) is type(b) and same(vars(a), vars(b)) and same(a.model_extra or {}, b.model_extra or {})
    if type(a) is not type(b):
        return isinstance(a, datetime) and a == b
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Decimal):
        return str(a) == str(b)
    return a == b


@given(st.data())
@cases(30, at_night=500)
def test_values_of_any_model_survive_parquet(data: st.DataObject) -> None:
    shape = data.draw(st.lists(fields, min_size=1, max_size=2))
    names = [f"f{i}" for i in range(len(shape))]
    model = create_model(
        "Spec", __base__=ExperimentInputSpec, **dict(zip(names, ((f[0], ...) for f in shape), strict=True))
    )
    specs: list[ExperimentInputSpec] = []
    for _ in range(data.draw(st.integers(0, 3))):
        values = {name: data.draw(field[1]) for name, field in zip(names, shape, strict=True)}
        specs.append(model.model_construct(**values))
    inputs = table_from_specs(specs, model)
    table = with_meta(inputs, "e/v1.0.0/2024-01-01_00-00-00", None)
    assert table.schema.equals(specs_schema(model), check_metadata=True), "the schema follows from the model alone"
    sink = io.BytesIO()
    pq.write_table(table, sink)
    again = build_specs(pq.read_table(sink), model)
    for spec, read in zip(specs, again, strict=True):
        for name in names:
            assert same(getattr(spec, name), getattr(read, name)), (name, getattr(spec, name), getattr(read, name))


@given(st.lists(st.integers(-(2**53), 2**53) | st.just(2**54 + 4) | floats, max_size=3))
@example([2**53 + 2, -(2**60), 0.5])
@cases(20, at_night=500)
def test_integers_and_floats_in_one_field_stay_equal(values: list[float]) -> None:
    class Spec(ExperimentInputSpec):
        x: int | float
        y: list[int | float]

    specs = [Spec(x=value, y=values) for value in values]
    read = build_specs(table_from_specs(specs, Spec), Spec)
    assert [(s.x, s.y) for s in specs] == [(s.x, s.y) for s in read]  # type: ignore[attr-defined]


@given(st.data())
@cases(30, at_night=500)
def test_the_schema_does_not_depend_on_the_values(data: st.DataObject) -> None:
    annotation, values = data.draw(fields)
    model = create_model("Model", value=(annotation, ...))
    column = columns_of(model)["value"]
    drawn = data.draw(st.lists(st.none() | values, max_size=3))
    array = column.array(drawn)
    assert array.type == column.type
    assert pa.schema([column.field]) == schema_of([column])
    assert array.null_count >= sum(value is None for value in drawn if not column.is_json)


@given(st.lists(st.tuples(st.sampled_from(Places), st.binary(max_size=5)), max_size=3))
@cases(20, at_night=500)
def test_what_json_cannot_hold_survives_as_a_column(values: list[tuple[Places, bytes]]) -> None:
    class Spec(ExperimentInputSpec):
        place: Places
        literal: Literal[Number.ONE, "x"] | None = Number.ONE
        some: set[Literal[Number.TWO]] = {Number.TWO}
        raw: bytes
        many: list[bytes] = []

    specs = [Spec(place=place, raw=raw, many=[raw, b"\xff"]) for place, raw in values]
    assert build_specs(table_from_specs(specs, Spec), Spec) == specs


@pytest.mark.parametrize("cells", [[], ["[1, 2]"]])
def test_json_of_a_field_is_read_again(cells: list[str]) -> None:
    class Spec(ExperimentInputSpec):
        x: Json[list[int]]

    specs = [Spec(x=cell) for cell in cells]  # type: ignore[arg-type]
    assert [s.x for s in build_specs(table_from_specs(specs, Spec), Spec)] == [[1, 2]] * len(cells)  # type: ignore[attr-defined]


def test_the_order_of_a_dict_is_kept() -> None:
    class Spec(ExperimentInputSpec):
        layers: dict[str, float]
        ordered: collections.OrderedDict[str, int]

    spec = Spec(layers={"outer": 1, "inner": 2}, ordered=collections.OrderedDict(b=1, a=2))
    (read,) = build_specs(table_from_specs([spec], Spec), Spec)
    assert list(read.layers) == ["outer", "inner"]  # type: ignore[attr-defined]
    assert list(read.ordered) == ["b", "a"]  # type: ignore[attr-defined]
    assert TypeAdapter(dict[str, float]).validate_python(read.layers) == spec.layers  # type: ignore[attr-defined]
