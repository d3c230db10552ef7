"""Every kind of field that pydantic has, with values; and what becomes of them on each way to a function and back."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import json
import math
import pathlib
import re
import uuid
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from pydantic import (
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    HttpUrl,
    Json,
    NaiveDatetime,
    PastDate,
    PositiveInt,
    RootModel,
    StrictBool,
    TypeAdapter,
    create_model,
)
from typing_extensions import TypedDict

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.model.columns import columns_of
from scythe_cli.model.spec_rows import spec_factory, table_from_specs
from scythe_cli.sampling.reading import read_sampling_file


class Roof(enum.Enum):
    FLAT = "flat"
    STEEP = "steep"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Wall(BaseModel):
    u_value: float
    layers: list[str] = []


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    bark: float


class Names(RootModel[list[str]]):
    pass


class Point(NamedTuple):
    x: float
    y: float


@dataclasses.dataclass
class Place:
    lat: float
    name: str = "a"


class Options(TypedDict):
    a: int
    b: float


@dataclass(frozen=True)
class FieldType:
    """A kind of field.

    Attributes:
        name: How it is written.
        annotation: The type.
        example: A value.
        values: Any value.
        equal: Whether a value arrives in its own type; else as an equal one of another form.
    """

    name: str
    annotation: Any
    example: Any
    values: st.SearchStrategy[Any]
    equal: bool = True


_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
_INT = st.integers(-(2**63), 2**63 - 1)
_FLOAT = st.floats(allow_nan=False)
_TIME = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))
_UTC = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.just(dt.UTC))
_JSON = st.recursive(
    st.none() | st.booleans() | _INT | _TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(_TEXT, inner),
    max_leaves=4,
)

FIELD_TYPES = [
    FieldType("bool", bool, True, st.booleans()),
    FieldType("int", int, 7, _INT),
    FieldType("float", float, 1.5, st.floats()),
    FieldType("str", str, "text", _TEXT),
    FieldType("bytes", bytes, b"ab", st.text("abc ", min_size=1).map(str.encode)),
    FieldType("Decimal", decimal.Decimal, decimal.Decimal("1.10"), st.decimals(allow_nan=False, allow_infinity=False)),
    FieldType("Fraction", fractions.Fraction, fractions.Fraction(1, 3), st.fractions()),
    FieldType("complex", complex, 1 + 2j, st.complex_numbers(allow_nan=False, allow_infinity=False)),
    FieldType("date", dt.date, dt.date(2026, 1, 31), st.dates()),
    FieldType("datetime, NaiveDatetime", NaiveDatetime, dt.datetime(2026, 1, 31, 12), _TIME),
    FieldType("AwareDatetime", AwareDatetime, dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC), _UTC),
    FieldType("time", dt.time, dt.time(12, 30), st.times()),
    FieldType(
        "timedelta", dt.timedelta, dt.timedelta(minutes=5), st.timedeltas(dt.timedelta(-9999), dt.timedelta(9999))
    ),
    FieldType("PastDate", PastDate, dt.date(2020, 1, 1), st.dates(max_value=dt.date(2020, 1, 1))),
    FieldType("PositiveInt, conint", PositiveInt, 3, st.integers(1, 2**63 - 1)),
    FieldType("StrictBool", Annotated[StrictBool, Field()], True, st.booleans()),
    FieldType("constrained str", Annotated[str, Field(max_length=9)], "abc", _TEXT),
    FieldType("ByteSize", ByteSize, ByteSize(1000), st.integers(0, 2**40).map(ByteSize)),
    FieldType("Enum of text", Roof, Roof.FLAT, st.sampled_from(Roof)),
    FieldType("IntEnum", Level, Level.HIGH, st.sampled_from(Level)),
    FieldType("Literal of one kind", Literal["a", "b"], "a", st.sampled_from(["a", "b"])),
    FieldType("Literal of several kinds", Literal["auto", 1, None], 1, st.sampled_from(["auto", 1])),
    FieldType("X | None", int | None, 5, _INT),
    FieldType("int | float", int | float, 2, st.integers(-(2**53), 2**53) | st.floats(allow_nan=False), equal=False),
    FieldType("int | str", int | str, "a7", st.from_regex(r"[a-z]{1,5}", fullmatch=True)),
    FieldType("UUID", uuid.UUID, uuid.UUID(int=1), st.uuids()),
    FieldType(
        "IPv4Address, IPv6Network, …", ipaddress.IPv4Address, ipaddress.IPv4Address("127.0.0.1"), st.ip_addresses(v=4)
    ),
    FieldType("ZoneInfo", zoneinfo.ZoneInfo, zoneinfo.ZoneInfo("Europe/Zurich"), st.just(zoneinfo.ZoneInfo("UTC"))),
    FieldType("re.Pattern", re.Pattern[str], re.compile("a+"), st.sampled_from([re.compile("a+"), re.compile("[b]")])),
    FieldType(
        "PurePosixPath", pathlib.PurePosixPath, pathlib.PurePosixPath("a/b"), st.just(pathlib.PurePosixPath("c"))
    ),
    FieldType("HttpUrl", HttpUrl, HttpUrl("https://a.org/b"), st.just(HttpUrl("https://a.org/"))),
    FieldType("list[int]", list[int], [1, 2], st.lists(_INT)),
    FieldType("tuple[int, str]", tuple[int, str], (1, "a"), st.tuples(_INT, _TEXT)),
    FieldType("tuple[float, ...]", tuple[float, ...], (1.0, 2.0), st.lists(_FLOAT).map(tuple)),
    FieldType("set[str]", set[str], {"a"}, st.sets(_TEXT)),
    FieldType("frozenset[int]", frozenset[int], frozenset({1}), st.frozensets(_INT)),
    FieldType("dict[str, float]", dict[str, float], {"a": 1.5}, st.dictionaries(_TEXT, _FLOAT)),
    FieldType("dict[str, list[int]]", dict[str, list[int]], {"a": [1]}, st.dictionaries(_TEXT, st.lists(_INT))),
    FieldType("list[date]", list[dt.date], [dt.date(2026, 1, 31)], st.lists(st.dates())),
    FieldType("dict[str, date]", dict[str, dt.date], {"a": dt.date(2026, 1, 31)}, st.dictionaries(_TEXT, st.dates())),
    FieldType("nested model", Wall, Wall(u_value=0.5), st.builds(Wall, u_value=_FLOAT, layers=st.lists(_TEXT))),
    FieldType("list of models", list[Wall], [Wall(u_value=0.5)], st.lists(st.builds(Wall, u_value=_FLOAT))),
    FieldType(
        "union by a discriminator",
        Annotated[Cat | Dog, Field(discriminator="kind")],
        Cat(kind="cat"),
        st.builds(Cat, kind=st.just("cat"), lives=_INT) | st.builds(Dog, kind=st.just("dog"), bark=_FLOAT),
    ),
    FieldType("RootModel", Names, Names(["a"]), st.lists(_TEXT).map(Names)),
    FieldType("dataclass", Place, Place(1.0), st.builds(Place, lat=_FLOAT, name=_TEXT)),
    FieldType("TypedDict", Options, {"a": 1, "b": 2.0}, st.fixed_dictionaries({"a": _INT, "b": _FLOAT})),
    FieldType("NamedTuple", Point, Point(1.0, 2.0), st.builds(Point, _FLOAT, _FLOAT)),
    FieldType("Json[list[int]]", Json[list[int]], [1, 2], st.lists(_INT)),
    FieldType("Base64Bytes", Base64Bytes, b"ab", st.binary(min_size=1, max_size=5)),
    FieldType("dict, list", dict, {"a": [1]}, st.dictionaries(_TEXT, _JSON)),
    FieldType("Any", Any, {"a": 1}, st.lists(_JSON)),
]


def model_of(kind: FieldType) -> type[ExperimentInputSpec]:
    """An input model with one such field."""
    return create_model("Case", __base__=ExperimentInputSpec, x=(kind.annotation, ...), k=(int, 0))


def text_of(kind: FieldType, value: Any) -> str:
    """A value as it is written in CSV: its JSON form, a text without its quotes."""
    try:
        adapter = TypeAdapter[Any](kind.annotation, config=ConfigDict(ser_json_inf_nan="constants"))
    except Exception:  # noqa: BLE001 - a class with a configuration of its own
        adapter = TypeAdapter[Any](kind.annotation)
    plain = adapter.dump_python(value, mode="json", round_trip=True)
    return plain if isinstance(plain, str) else json.dumps(plain)


def through_csv(kind: FieldType, values: Sequence[Any], folder: Path) -> list[Any]:
    """What the function gets of values in a CSV file."""
    path = folder / "cases.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["k", "x"])
        writer.writerows([0, text_of(kind, value)] for value in values)
    return _seen(path, model_of(kind))


def through_parquet(kind: FieldType, values: Sequence[Any], folder: Path) -> list[Any]:
    """What the function gets of values in a Parquet file."""
    path = folder / "cases.pq"
    column = columns_of(model_of(kind))["x"]
    pq.write_table(pa.Table.from_arrays([column.array(values)], schema=pa.schema([column.field])), path)
    return _seen(path, model_of(kind))


def through_python(kind: FieldType, values: Sequence[Any]) -> list[Any]:
    """What the function gets of specs that were made in Python."""
    model = model_of(kind)
    specs = [model.model_construct(x=value) for value in values]
    table = table_from_specs(specs, model)
    return _specs(table, model)


def _seen(path: Path, model: type[ExperimentInputSpec]) -> list[Any]:
    return _specs(read_sampling_file(path, model).inputs, model)


def _specs(table: pa.Table, model: type[ExperimentInputSpec]) -> list[Any]:
    batch = table.combine_chunks().to_batches()[0]
    return [getattr(spec, "x", spec) for spec in spec_factory(model, batch.schema)(batch)]


def output_column(kind: FieldType) -> pa.Array[Any]:
    """The cell of a scalar output with the example."""
    model = create_model("Out", __base__=ExperimentOutputSpec, x=(kind.annotation, ...))
    return columns_of(model)["x"].array([kind.example])


def same(first: Any, second: Any) -> bool:
    """Whether two values are equal, and of one type; nan is nan."""
    if type(first) is not type(second):
        return False
    if isinstance(first, float) and math.isnan(first):
        return math.isnan(second)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    return first == second
