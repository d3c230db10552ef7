from __future__ import annotations

import dataclasses
import enum
import math
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, List, Literal, NamedTuple, NewType, Optional, Union  # noqa: UP035
from uuid import UUID

import pyarrow as pa
import pytest
from pydantic import (
    AnyUrl,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    DirectoryPath,
    Field,
    FilePath,
    HttpUrl,
    NaiveDatetime,
    PlainSerializer,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    create_model,
)
from typing_extensions import TypedDict

from scythe_cli.base import FileReference, OptionalFileReference, S3Url
from scythe_cli.model.columns import Column, columns_of, decoder_of, extra_column, schema_of, unit_of
from scythe_cli.model.kinds import ENCODING_KEY, ColumnError


class Size(enum.Enum):
    S = 1
    L = 2


class Kind(enum.StrEnum):
    A = "a"


class Mixed(enum.Enum):
    N = 1
    T = "1"


class Places(enum.Enum):
    HERE = (0, 0)


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2


class Inner(BaseModel):
    a: int
    b: list[str] | None = None
    extra: dict[str, int] = {}


class Empty(BaseModel):
    pass


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")

    a: int


class Chain(BaseModel):
    next: Chain | None = None
    value: int = 0


class Numbers(RootModel[list[int]]):
    pass


class Whole(float):
    pass


def column(annotation: Any) -> Column:
    model = create_model("Model", __config__=ConfigDict(arbitrary_types_allowed=True), x=(annotation, ...))
    return columns_of(model)["x"]


INNER = pa.struct(
    [
        pa.field("a", pa.int64()),
        pa.field("b", pa.list_(pa.string())),
        pa.field("extra", pa.string(), metadata={ENCODING_KEY: b"json"}),
    ]
)


@pytest.mark.parametrize(
    ("annotation", "type_", "scalar"),
    [
        (bool, pa.bool_(), True),
        (int, pa.int64(), True),
        (float, pa.float64(), True),
        (str, pa.string(), True),
        (bytes, pa.binary(), True),
        (date, pa.date32(), True),
        (time, pa.time64("us"), True),
        (timedelta, pa.duration("us"), True),
        (datetime, pa.timestamp("us"), True),
        (NaiveDatetime, pa.timestamp("us"), True),
        (AwareDatetime, pa.timestamp("us", "UTC"), True),
        (Annotated[datetime, Field(description="x")], pa.timestamp("us"), True),
        (Optional[int], pa.int64(), True),  # noqa: UP045
        (Union[None, Annotated[float, Field(ge=0)]], pa.float64(), True),  # noqa: UP007
        (int | float, pa.float64(), True),
        (int | float | None, pa.float64(), True),
        (Size, pa.int64(), True),
        (Kind | None, pa.string(), True),
        (Access, pa.int64(), True),
        (Literal["a", "b", None], pa.string(), True),
        (Literal[1, 2], pa.int64(), True),
        (Literal[Size.S], pa.int64(), True),
        (Literal["a"] | Literal["b"], pa.string(), True),
        (UUID, pa.string(), True),
        (Decimal, pa.string(), True),
        (AnyUrl, pa.string(), True),
        (HttpUrl, pa.string(), True),
        (S3Url, pa.string(), True),
        (Path, pa.string(), True),
        (FilePath, pa.string(), True),
        (DirectoryPath, pa.string(), True),
        (FileReference, pa.string(), True),
        (OptionalFileReference, pa.string(), True),
        (Inner, INNER, False),
        (Inner | None, INNER, False),
        (Numbers, pa.list_(pa.int64()), False),
        (list[float], pa.list_(pa.float64()), False),
        (list[list[int | None]], pa.list_(pa.list_(pa.int64())), False),
        (set[str], pa.list_(pa.string()), False),
        (frozenset[Size], pa.list_(pa.int64()), False),
        (tuple[int, ...], pa.list_(pa.int64()), False),
        (list[Inner], pa.list_(INNER), False),
        (Annotated[int, {"not": ["hashable"]}], pa.int64(), True),
        (list[Annotated[int, {"not": ["hashable"]}]], pa.list_(pa.int64()), False),
    ],
)
def test_the_type_follows_from_the_annotation(annotation: Any, type_: pa.DataType, scalar: bool) -> None:
    found = column(annotation)
    assert found.type == type_
    assert not found.is_json
    assert found.is_scalar is scalar
    assert found.field == pa.field("x", type_)


@pytest.mark.parametrize(
    ("annotation", "scalar"),
    [
        (Any, False),
        (dict[str, int], False),
        (dict, False),
        (list, False),
        (List, False),  # noqa: UP006
        (tuple, False),
        (tuple[int, str], False),
        (list[dict[str, int]], False),
        (int | str, True),
        (bool | int, True),
        (Literal["auto"] | float, True),
        (Literal["a", 1], True),
        (Mixed, True),
        (Places, False),
        (Inner | Empty, False),
        (int | list[int], False),
        (Empty, False),
        (Loose, False),
        (None, False),
    ],
)
def test_all_else_is_json(annotation: Any, scalar: bool) -> None:
    found = column(annotation)
    assert found.type == pa.string()
    assert found.is_json
    assert found.is_scalar is scalar
    assert (found.field.metadata or {})[ENCODING_KEY] == b"json"


@pytest.mark.parametrize(
    ("annotation", "is_file"),
    [
        (FileReference, True),
        (OptionalFileReference, True),
        (Path, True),
        (Path | None, True),
        (HttpUrl, True),
        (DirectoryPath, False),
        (str, False),
        (list[Path], False),
    ],
)
def test_which_fields_are_files(annotation: Any, is_file: bool) -> None:
    assert column(annotation).is_file is is_file


def test_a_recursive_model_is_json_where_it_repeats() -> None:
    found = columns_of(Chain)["next"]
    assert found.is_json
    value = Chain(next=Chain(value=2), value=1)
    (cell,) = found.array([value]).to_pylist()
    assert found.decode is not None
    assert Chain.model_validate(found.decode(cell)) == value
    assert pa.types.is_struct(column(Chain).type)


@pytest.mark.parametrize(
    "annotation",
    [
        SecretStr,
        SecretStr | None,
        SecretBytes,
        Secret[int],
        list[SecretStr],
        dict[str, SecretStr],
        tuple[int, Annotated[SecretStr, Field(min_length=1)]],
        int | dict[str, list[Secret[str]]],
        create_model("Nested", token=(SecretStr, ...)),
        create_model("Nested", __config__=ConfigDict(extra="allow"), token=(SecretStr | None, None)),
        TypedDict("Typed", {"token": SecretStr}),
        NamedTuple("Named", [("token", SecretStr)]),
        dataclasses.make_dataclass("Data", [("token", SecretStr)]),
        NewType("Token", SecretStr),
        RootModel[SecretStr],
    ],
    ids=str,
)
def test_secrets_are_refused_wherever_they_hide(annotation: Any) -> None:
    with pytest.raises(ColumnError, match=r"Model\.x: a secret cannot be a field, .* read it from the environment"):
        column(annotation)


def test_types_that_pydantic_does_not_know_are_refused() -> None:
    class Engine:
        pass

    with pytest.raises(
        ColumnError, match=r"^Model\.x: a cell cannot hold a value of type Engine, and pydantic cannot write"
    ):
        column(Engine)

    class Shape(enum.Enum):
        ROUND = Engine()

    with pytest.raises(ColumnError, match="the values of Shape cannot be written as JSON"):
        column(Shape)


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (int, 2**70, "x: 1180591620717411303424 does not fit a column of type int64"),
        (int, "7", "x: '7' does not fit a column of type int64"),
        (int | float, 2**53 + 1, "x: 9007199254740993 does not fit a column of type double"),
        (str, "\ud800", r"x: '\\ud800' does not fit a column of type string"),
        (str, 3, "x: 3 does not fit a column of type string"),
        (timedelta, timedelta.max, "does not fit a column of type duration"),
        (list[int], [1, 2**70], r"x: \[1, 1180591620717411303424\] does not fit a column of type list"),
        (list[int], 3, "x: 3 does not fit a column of type list"),
        (Inner, 3, "x: 3 does not fit a column of type struct"),
        (dict[str, Any], {"a": object()}, r"x: \{'a': <object object at .*\} cannot be written as JSON"),
        (tuple[bytes, int], (b"\xff", 1), r"x: \(b'\\xff', 1\) cannot be written as JSON"),
        (
            datetime,
            datetime(2024, 1, 1, tzinfo=UTC),
            r"x: datetime.* a time with a zone needs .* pydantic\.AwareDatetime",
        ),
        (list[datetime], [datetime(2024, 1, 1, tzinfo=UTC)], r"a time with a zone needs .* pydantic\.AwareDatetime"),
        (time, time(1, tzinfo=UTC), "x: datetime.* a time of day cannot have a zone"),
        (str, "long " * 100 + "\ud800", r"\.\.\. does not fit"),
    ],
)
def test_values_that_do_not_fit_are_named(annotation: Any, value: Any, message: str) -> None:
    with pytest.raises(ColumnError, match=message):
        column(annotation).array([None, value])


@pytest.mark.parametrize(
    ("annotation", "value", "cell"),
    [
        (Size, Size.L, 2),
        (Size, 2, 2),
        (Access, Access.READ | Access.WRITE, 3),
        (Mixed, Mixed.T, '"1"'),
        (Mixed, Mixed.N, "1"),
        (Places, Places.HERE, "[0, 0]"),
        (Literal[Size.S, Size.L], Size.S, 1),
        (Literal[Size.S, "a"], Size.S, "1"),
        (Literal[b"x"], b"x", '"x"'),
        (set[str], {"b", "a", "c"}, ["a", "b", "c"]),
        (Numbers, Numbers([1, 2]), [1, 2]),
        (Decimal, Decimal("1.50"), "1.50"),
        (Path, Path("a/b"), "a/b"),
        (dict[str, int], {"b": 1, "a": 2}, '{"b": 1, "a": 2}'),
        (int | str, "1", '"1"'),
        (AwareDatetime, datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)),
        (Whole, Whole(1.5), 1.5),
        (Annotated[int, PlainSerializer(lambda v: f"<{v}>")], 1, '"<1>"'),
    ],
)
def test_cells(annotation: Any, value: Any, cell: Any) -> None:
    assert column(Any if annotation is Whole else annotation).array([value]).to_pylist() == [cell] or (
        column(Any).array([value]).to_pylist() == [str(cell)]
    )


@pytest.mark.parametrize(
    ("annotation", "cell", "value"),
    [
        (Size, 2, Size.L),
        (Size, 9, 9),
        (Mixed, '"1"', Mixed.T),
        (Mixed, '"new"', "new"),
        (Places, "[0, 0]", Places.HERE),
        (Literal[Size.S], 1, Size.S),
        (Literal[b"x"], '"x"', b"x"),
        (list[Size], [1, None], [Size.S, None]),
        (Inner, {"a": 1, "b": None, "extra": '{"k": 1}'}, {"a": 1, "b": None, "extra": {"k": 1}}),
    ],
)
def test_cells_are_decoded(annotation: Any, cell: Any, value: Any) -> None:
    decode = column(annotation).decode
    assert decode is not None
    assert decode(cell) == value


def test_numbers_that_json_has_no_word_for_survive() -> None:
    found = column(dict[str, float])
    (cell,) = found.array([{"a": math.nan, "b": -math.inf}]).to_pylist()
    assert found.decode is not None
    back = found.decode(cell)
    assert math.isnan(back["a"])
    assert back["b"] == -math.inf


def test_types_that_are_defined_after_the_model_are_found() -> None:
    late = sys.modules[__name__]
    Early = create_model("Early", __module__=__name__, later=("LaterModel", ...))
    with pytest.raises(ColumnError, match="Early: the type 'LaterModel' is not defined"):
        columns_of(Early)
    late.LaterModel = create_model("LaterModel", a=(int, ...))  # type: ignore[attr-defined]
    try:
        assert columns_of(Early)["later"].type == pa.struct([("a", pa.int64())])
    finally:
        del late.LaterModel  # type: ignore[attr-defined]


def test_columns_are_compiled_once_and_in_the_order_of_the_fields() -> None:
    assert columns_of(Inner) is columns_of(Inner)
    assert list(columns_of(Inner)) == ["a", "b", "extra"]
    assert schema_of([]) == pa.schema([])
    assert schema_of(list(columns_of(Inner).values())).names == ["a", "b", "extra"]


def test_columns_without_a_field_are_json() -> None:
    found = extra_column("any name, _even 'this'")
    assert found.name == "any name, _even 'this'"
    assert found.array([1, "1", None, [{}]]).to_pylist() == ["1", '"1"', None, "[{}]"]
    decode: Callable[[Any], Any] | None = decoder_of(found.field)
    assert decode is not None
    assert decode("[{}]") == [{}]
    assert decoder_of(pa.field("x", pa.string())) is None


@pytest.mark.parametrize(
    ("description", "unit"),
    [
        ("Tilt [deg]", "deg"),
        ("U-value of the wall [W/m2K].", "W/m2K"),
        ("Heat [kWh] \n", "kWh"),
        ("[A] and [B]", "B"),
        ("In [deg] from north", None),
        ("Nothing []", None),
        ("", None),
        (None, None),
        ("[" + "x" * 41 + "]", None),
        ("nested [[x]]", None),
    ],
)
def test_units(description: str | None, unit: str | None) -> None:
    assert unit_of(description) == unit


@pytest.mark.skipif(sys.version_info < (3, 12), reason="`type` statements came with Python 3.12")
def test_type_statements() -> None:
    namespace: dict[str, Any] = {"Inner": Inner, "SecretStr": SecretStr}
    exec(
        "type Numbers = list[int]\ntype Maybe = Numbers | None\ntype Tree = list[Tree] | int\ntype Key = SecretStr",
        namespace,
    )
    assert column(namespace["Numbers"]).type == pa.list_(pa.int64())
    assert column(namespace["Maybe"]).type == pa.list_(pa.int64())
    assert column(namespace["Tree"]).is_json
    secret = namespace["Key"]
    with pytest.raises(ColumnError, match="a secret cannot be a field"):
        column(dict[str, secret])  # type: ignore[valid-type]
