"""The problems and the values of the columnar checks are those of pydantic, row by row."""

from __future__ import annotations

import contextlib
import csv
import enum
import io
import math
import socket
import string
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal, Optional, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, field_validator

from scythe_cli.base import ExperimentInputSpec, input_columns
from scythe_cli.errors import SamplingFileError
from scythe_cli.executor.protocol import Connection
from scythe_cli.model.columns import schema_of
from scythe_cli.model.kinds import ColumnError
from scythe_cli.sampling import file_validator, sharing
from scythe_cli.sampling.helper import serve
from scythe_cli.sampling.problems import BadCellsError
from scythe_cli.sampling.reading import Helpers, read_sampling_file
from tests.fuzzing import cases

Draw = Callable[[st.SearchStrategy[Any]], Any]

many = cases(30, at_night=1000)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


nasty = [
    *("", " ", "0", "-0", "+1", "1", "1.0", "1.5", " 1.5 ", "1_000", "1e400", "-1e400", "1e-400", "inf", "-inf", "nan"),
    *("NaN", "NA", "null", "None", "٣", "0x10", "True", "true", "yes", "no", "1e5", "1E5", "1e+2", "007", "00.5", ".5"),
    *(
        "5.",
        "--1",
        "1,5",
        "1e",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
    ),
    *("99999999999999999999999999", "0.1", "0.30000000000000004", "1" * 30 + ".5", "2024-02-29", "2023-02-29"),
    *("2024-01-01T00:00:00", "2024-01-01T00:00:00Z", "1700000000", "red", "blue", "RED", "low", "a\nb", 'q"uote'),
    *("2.0", "2", "1\t", "é", "\u2003 1", "１", "t", "f", "off", "-1", "90", "90.0", "90.00000000000001", "𝟙", "\x7f"),
]
number_text = st.one_of(
    st.integers(-4, 4).map(str),
    st.sampled_from(["2.5", "-2.5", "2.4999999999999996", "2.5000000000000004", "1e0", "25e-1", "3.0", "-0", " 2 "]),
)
word = st.sampled_from(["a", "ab", "abc", "abcd", " ab ", "ééé", "abcdef", "NA", "1"])
fitting: dict[Any, st.SearchStrategy[str]] = {
    int: st.integers(-4, 4).map(str),
    float: number_text,
    str: word,
    bool: st.sampled_from(["true", "0", "yes", "F"]),
    date: st.sampled_from(["2024-02-29", "1999-12-31"]),
    datetime: st.sampled_from(["2024-02-29T10:00", "1999-12-31", "2024-01-01 00:00:00.5"]),
    Colour: st.sampled_from(["red", "blue"]),
    Level: st.sampled_from(["1", "2"]),
    Literal["red", "blue"]: st.sampled_from(["red", "blue"]),
    Literal[1, 2]: st.sampled_from(["1", "2", "1.0"]),
    int | float: number_text,
    int | str: st.one_of(word, number_text),
}
"""Texts that a field of this type mostly takes, and that lie at its bounds."""

cell_text = st.one_of(
    st.sampled_from(nasty),
    st.integers(-(10**20), 10**20).map(str),
    st.integers(-100, 100).map(str),
    st.floats().map(repr),
    st.floats(-100, 100).map(str),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.dates().map(str),
    st.datetimes().map(lambda d: d.isoformat()),
    st.text("0123456789+-.eE_ ", max_size=8),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6),
)


@st.composite
def number_fields(draw: Any, base: type) -> tuple[Any, Any]:
    limit: Any = st.integers(-4, 4)
    if base is float:
        limit = st.one_of(limit, st.sampled_from([-2.5, 2.5]), st.floats(-100, 100))
    bounds = {name: draw(limit) for name in draw(st.sets(st.sampled_from(["ge", "gt", "le", "lt"]), max_size=2))}
    if draw(st.integers(0, 9)) == 0:
        bounds["multiple_of"] = 3
    if draw(st.integers(0, 5)) == 0:
        bounds["strict"] = True
    if base is float and draw(st.booleans()):
        bounds["allow_inf_nan"] = False
    inside = draw(st.booleans())
    annotation: Any = Annotated[base, Field(**bounds)] if inside else base
    return annotation, {} if inside else bounds


def text_fields() -> st.SearchStrategy[tuple[Any, Any]]:
    lengths = st.fixed_dictionaries({}, optional={"min_length": st.integers(0, 3), "max_length": st.integers(0, 5)})
    return st.tuples(st.just(str), st.one_of(lengths, st.just({"pattern": "^[a-zA-Z]*$"})))


plain = [bool, date, datetime, Colour, Level, Literal["red", "blue"], Literal[1, 2], int | float, int | str]


@st.composite
def models(draw: Any) -> tuple[type[ExperimentInputSpec], dict[str, Any]]:
    """A model, and the bare type of each of its fields."""
    fields: dict[str, Any] = {}
    bases: dict[str, Any] = {}
    for name in string.ascii_lowercase[: draw(st.integers(1, 3))]:
        base = bases[name] = draw(st.sampled_from([int, float, str, int, float, str, *plain]))
        annotation, arguments = base, {}
        if base in (int, float):
            annotation, arguments = draw(number_fields(base))
        elif base is str:
            annotation, arguments = draw(text_fields())
        if draw(st.booleans()):
            annotation = Optional[annotation]  # noqa: UP045 - the old spelling is another path
            arguments = {**arguments, "default": None}
        fields[name] = (annotation, Field(**arguments))
    config = draw(
        st.sampled_from(
            [
                {},
                {},
                {"str_strip_whitespace": True},
                {"strict": True},
                {"use_enum_values": True},
                {"str_max_length": 3},
                {"allow_inf_nan": False},
                {"coerce_numbers_to_str": True},
                {"str_to_upper": True},
            ]
        )
    )
    # what is inherited is `extra="allow"`, which a config of one's own is added to
    base_model = type("Base", (ExperimentInputSpec,), {"model_config": ConfigDict(**config), "__module__": __name__})
    return create_model("Model", __base__=base_model, **fields), bases


def certain(annotation: Any, value: Any) -> Any:
    """The number that text stands for, where a field takes only certain numbers."""
    numbers = {"1": 1, "2": 2, "1.0": 1.0, "2.0": 2.0}
    if not (Literal[1, 2] in (annotation, *getattr(annotation, "__args__", ())) or _has(annotation, Level)):
        return value
    return numbers.get(value.strip(), value) if isinstance(value, str) else value


def _has(annotation: Any, member: Any) -> bool:
    return annotation is member or member in getattr(annotation, "__args__", ())


def present(model: type[ExperimentInputSpec], row: dict[str, Any]) -> dict[str, Any]:
    """What pydantic is to validate for the cells of a row."""
    return {name: certain(model.model_fields[name].annotation, v) for name, v in row.items() if v is not None}


def expected(model: type[ExperimentInputSpec], rows: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
    """What pydantic says of each row: the values as cells, or None."""
    results: list[dict[str, Any] | None] = []
    for row in rows:
        try:
            spec = model.__pydantic_validator__.validate_python(row, by_alias=True, by_name=True)
            table = [column.array([getattr(spec, column.name)])[0].as_py() for column in input_columns(model)]
        except (ValidationError, ColumnError):
            results.append(None)
        else:
            results.append(dict(zip(model_names(model), table, strict=True)))
    return results


def model_names(model: type[ExperimentInputSpec]) -> list[str]:
    return [column.name for column in input_columns(model)]


def check(path: Path, model: type[ExperimentInputSpec], rows: list[dict[str, Any]]) -> None:
    want = expected(model, rows)
    bad = {row for row, value in enumerate(want) if value is None}
    if bad:
        with pytest.raises(BadCellsError) as caught:
            read_sampling_file(path, model)
        assert {problem.row for problem in caught.value.problems} == bad
        return
    try:
        table = read_sampling_file(path, model)
    except SamplingFileError as error:
        # text can be too long in capitals: ß becomes SS
        if model.model_config.get("str_to_upper") and "read again" in str(error):
            return
        raise
    assert table.inputs.schema.equals(schema_of(input_columns(model)), check_metadata=True)
    assert repr(table.inputs.to_pylist()) == repr(want)


def write_csv(path: Path, names: list[str], rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(names)
    writer.writerows([row[name] for name in names] for row in rows)
    path.write_text(text.getvalue(), encoding="utf-8", newline="")


@many
@given(st.data())
def test_csv_as_pydantic_row_by_row(data: st.DataObject) -> None:
    model, bases = data.draw(models())
    names = model_names(model)
    rare = [] if data.draw(st.booleans()) else [cell_text]
    row = st.fixed_dictionaries({name: st.one_of(fitting[bases[name]], *rare) for name in names})
    rows = data.draw(st.lists(row, min_size=1, max_size=5))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cases.csv"
        write_csv(path, names, rows)
        check(path, model, [present(model, {name: text or None for name, text in r.items()}) for r in rows])


# ---------------------------------------------------------------- nested models, their parts as dotted columns


@st.composite
def nested_models(draw: Any) -> tuple[type[ExperimentInputSpec], dict[str, Any]]:
    """A model that holds another one, and the bare type of each dotted column."""
    inner, bases = draw(models())
    fields: dict[str, Any] = {}
    for name, info in inner.model_fields.items():
        if name in bases:
            default = draw(st.sampled_from(["as it is", "as it is", "a factory"]))
            kept = {"default": info.default} if default == "as it is" else {"default_factory": lambda: None}
            arguments = {} if info.is_required() else kept
            fields[name] = (Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation, ...)
            if arguments:
                fields[name] = (fields[name][0], Field(**arguments))
    config = ConfigDict(
        **{k: v for k, v in inner.model_config.items() if k not in ("extra", "arbitrary_types_allowed")}
    )
    if draw(st.integers(0, 9)) == 0:
        deeper = create_model("Deeper", __config__=config, **fields)
        fields = {"d": (deeper, ...), "e": (float, 1.5)}
        bases = {**{f"d.{name}": base for name, base in bases.items()}, "e": float}
    part = create_model("Part", __config__=config, **fields)
    kind = draw(st.sampled_from(["required", "required", "optional", "none or model"]))
    field = {"required": (part, ...), "optional": (part | None, None), "none or model": (part | None, ...)}[kind]
    model = create_model("Whole", __base__=ExperimentInputSpec, part=field, n=(int, 7))
    return model, {f"part.{name}": base for name, base in bases.items()}


def joined(model: type[BaseModel], row: dict[str, str | None], prefix: str = "") -> dict[str, Any]:
    """What pydantic is to validate for cells with dotted names."""
    values: dict[str, Any] = {}
    empty: list[str] = []
    for name, info in model.model_fields.items():
        dotted = f"{prefix}{name}"
        inner = next((m for m in _members(info.annotation) if isinstance(m, type) and issubclass(m, BaseModel)), None)
        needs_model = info.is_required() and type(None) not in _members(info.annotation)
        if inner is not None and any(column.startswith(f"{dotted}.") for column in row):
            value = joined(inner, row, f"{dotted}.")
            if needs_model or any(part is not None for part in value.values()):
                values[name] = value
            else:
                empty.append(name)
        elif row.get(dotted) is not None:
            values[name] = certain(info.annotation, row[dotted])
        elif dotted in row:
            empty.append(name)
    # nothing is said of a model whose parts are all empty
    for name in empty if values or not prefix else []:
        info = model.model_fields[name]
        if info.is_required() and type(None) in _members(info.annotation):
            values[name] = None
    return values


def result_of(path: Path, model: type[ExperimentInputSpec], helpers: Helpers | None = None) -> tuple[str, Any]:
    """All that is said of a file, or what is made of it."""
    try:
        table = read_sampling_file(path, model, helpers=helpers)
    except SamplingFileError as error:
        return str(error), getattr(error, "problems", None)
    return repr(table.inputs.to_pylist()), table.inputs.schema


@many
@given(st.data())
def test_nested_models_as_pydantic_row_by_row(data: st.DataObject) -> None:
    model, bases = data.draw(nested_models())
    names = [name for name in bases if data.draw(st.integers(0, 5)) or _is_needed(model, name)] or list(bases)
    rare = [] if data.draw(st.booleans()) else [cell_text]
    empty = [st.just("")] if data.draw(st.booleans()) else []
    row = st.fixed_dictionaries({name: st.one_of(fitting[bases[name]], *rare, *empty) for name in names})
    # a row that holds nothing is no case
    row = row.filter(lambda cells: len(names) < 2 or any(cells.values()))
    rows = data.draw(st.lists(row, min_size=1, max_size=5))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cases.csv"
        write_csv(path, names, rows)
        cells = [{name: _as_in_parquet(bases[name], text) or None for name, text in r.items()} for r in rows]
        check(path, model, [joined(model, r) for r in cells])
        with pytest.MonkeyPatch.context() as patch:
            fast = result_of(path, model)
            patch.setattr(file_validator, "accept_nested", lambda *_: None)
            assert result_of(path, model) == fast


def _as_in_parquet(base: Any, text: str) -> str:
    """What a cell says: for a bool, numbers are taken with a point too, as they are from other files."""
    return {"0.0": "0", "1.0": "1"}.get(text, text) if base is bool else text


def _is_needed(model: type[BaseModel], dotted: str) -> bool:
    """Whether a file needs this column where it has other parts of the same nested model."""
    head, _, tail = dotted.partition(".")
    info = model.model_fields[head]
    inner = next((m for m in _members(info.annotation) if isinstance(m, type) and issubclass(m, BaseModel)), None)
    return "." in tail or (_is_needed(inner, tail) if inner is not None and tail else info.is_required())


# ------------------------------------------------------------------ rows that several processes validate


def a_validator(draw: Draw, names: list[str]) -> Any:
    """A validator that the columns cannot know about."""
    refused = draw(st.sampled_from(["a", 1, 2.5, "red", None]))
    error = draw(st.sampled_from([ValueError, AssertionError, KeyError, ZeroDivisionError]))
    mode = draw(st.sampled_from(["before", "after"]))

    def refuse(value: Any) -> Any:
        if value == refused:
            raise error(f"not {value!r}")
        return value

    return field_validator(*names, mode=mode)(refuse)


class _Thread:
    """Validates as the process does that it stands for, without its start."""

    def __init__(self, model: type[ExperimentInputSpec], facts: dict[str, Any]) -> None:
        self.pieces: deque[sharing.Piece] = deque()
        self.is_ready = False
        ours, theirs = socket.socketpair()
        self.channel = sharing.Channel(ours)
        experiment: Any = SimpleNamespace(input_validator_type=model)
        self._thread = threading.Thread(target=self._serve, args=(theirs, facts, experiment))
        self._thread.start()

    send = sharing._Helper.send

    @staticmethod
    def _serve(theirs: socket.socket, facts: dict[str, Any], experiment: Any) -> None:
        with theirs, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            serve(Connection(theirs), facts, experiment)

    def close(self) -> None:
        self.channel.close()
        self._thread.join()


@contextlib.contextmanager
def one_row_a_piece(model: type[ExperimentInputSpec]) -> Generator[Helpers]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing, "_FIRST_ROWS", 1)
        patch.setattr(sharing, "_MAX_ROWS", 1)
        patch.setattr(sharing, "target_of", lambda *_, **__: model)
        patch.setattr(sharing, "_Helper", _Thread)
        yield Helpers(experiment=cast("Any", None), root=None, n=2, worth_s=0)


@cases(10, at_night=500)
@given(st.data())
def test_rows_that_are_shared_are_validated_alike(data: st.DataObject) -> None:
    model, bases = data.draw(st.one_of(models(), nested_models()))
    top = list(dict.fromkeys(name.partition(".")[0] for name in bases))
    if data.draw(st.integers(0, 3)):
        model = create_model("Validated", __base__=model, __validators__={"refuse": a_validator(data.draw, top)})
    else:
        model = create_model("Listed", __base__=model, numbers=(list[int], [1]))
        bases = {**bases, "numbers": list}
    texts = {**fitting, list: st.sampled_from(["[1, 2]", "[]", "[1.5]", "[", "7", '["3"]'])}
    rare = [] if data.draw(st.booleans()) else [st.sampled_from(nasty)]
    row = st.fixed_dictionaries({name: st.one_of(texts[base], *rare) for name, base in bases.items()})
    rows = data.draw(st.lists(row, min_size=2, max_size=30))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cases.csv"
        write_csv(path, list(bases), rows)
        alone = result_of(path, model)
        with one_row_a_piece(model) as helpers:
            assert result_of(path, model, helpers) == alone


Typed = tuple[pa.DataType, st.SearchStrategy[Any]]

small_integers: list[Typed] = [
    (pa.int64(), st.integers(-4, 4)),
    (pa.int32(), st.integers(-4, 4)),
    (pa.uint64(), st.integers(0, 4)),
    (pa.float64(), st.integers(-4, 4).map(float)),
]
small_numbers: list[Typed] = [
    *small_integers,
    (pa.float64(), st.sampled_from([2.5, -2.5, -0.0, 2.4999999999999996, 3.0])),
    (pa.float32(), st.sampled_from([2.5, -2.5, 0.1])),
]
words: list[Typed] = [(pa.string(), word), (pa.large_string(), word), (pa.dictionary(pa.int8(), pa.string()), word)]
colours: list[Typed] = [(type_, st.sampled_from(["red", "blue"])) for type_, _ in words]
levels: list[Typed] = [(type_, st.sampled_from([1, 2])) for type_ in (pa.int64(), pa.int8(), pa.float64())]
fitting_cells: dict[Any, list[Typed]] = {
    int: small_integers,
    float: small_numbers,
    str: words,
    bool: [(pa.bool_(), st.booleans()), (pa.int8(), st.sampled_from([0, 1]))],
    date: [(pa.date32(), st.dates())],
    datetime: [(pa.timestamp("us"), st.datetimes()), (pa.date32(), st.dates())],
    Colour: colours,
    Level: levels,
    Literal["red", "blue"]: colours,
    Literal[1, 2]: levels,
    int | float: small_numbers,
    int | str: [*words, *small_integers],
}
any_cells: list[Typed] = [
    *(typed for fitting_of_one in fitting_cells.values() for typed in fitting_of_one),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float64(), st.floats()),
    (pa.float64(), st.sampled_from([2.0**53, 2.0**53 + 2, -(2.0**60), 2.0**63])),
    (pa.float32(), st.floats(width=32)),
    (pa.string(), cell_text),
    (pa.timestamp("ms", tz="UTC"), st.datetimes().map(lambda d: d.replace(microsecond=0))),
    (pa.decimal128(20, 3), st.decimals(-1000, 1000, places=3)),
    (pa.null(), st.none()),
]


@many
@given(st.data())
def test_parquet_as_pydantic_row_by_row(data: st.DataObject) -> None:
    model, bases = data.draw(models())
    names = model_names(model)
    rare = data.draw(st.booleans())
    n_rows = data.draw(st.integers(1, 6))
    arrays: dict[str, Any] = {}
    for name in names:
        type_, cells = data.draw(st.sampled_from(any_cells if rare else fitting_cells[bases[name]]))
        if rare or not model.model_fields[name].is_required():
            cells = st.one_of(cells, cells, st.none())
        values = data.draw(st.lists(cells, min_size=n_rows, max_size=n_rows))
        arrays[name] = pa.array(values, type_)
    table = pa.table(arrays)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cases.parquet"
        pq.write_table(table, path, row_group_size=2)
        rows = table.to_pylist()
        whole_numbers(model, rows)
        for row in rows:
            # a number is text where only text will do, as it is in CSV
            row.update({name: str(row[name]) for name in names if bases[name] is str and row[name] is not None})
        check(path, model, [present(model, row) for row in rows])


def whole_numbers(model: type[ExperimentInputSpec], rows: list[dict[str, Any]]) -> None:
    """An empty string in a typed column is text, and a column of numbers with gaps holds floats."""
    for row in rows:
        for name, value in row.items():
            annotation = model.model_fields[name].annotation
            if isinstance(value, float) and (_has(annotation, Level) or Literal[1, 2] in _members(annotation)):
                row[name] = int(value) if math.isfinite(value) and value.is_integer() else value


def _members(annotation: Any) -> tuple[Any, ...]:
    return (annotation, *getattr(annotation, "__args__", ()))


@many
@given(st.data())
def test_lines_are_counted_right(data: st.DataObject) -> None:
    class Case(ExperimentInputSpec):
        a: str
        b: int

    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    blank = st.integers(0, 2).map(lambda n: end * n)
    text = data.draw(blank) + "a,b" + end
    lines: list[int] = []
    for position in range(data.draw(st.integers(1, 8))):
        text += data.draw(blank)
        lines.append(1 + text.count(end))
        cell = data.draw(st.sampled_from(["x", '"x"', f'"x{end}y"', f'"{end}{end}"', 'x"y', '"a""b"', '"p"q"']))
        text += f"{cell},{position}{end}"
    text = text.removesuffix(end) if data.draw(st.booleans()) else text + data.draw(blank)
    bom = data.draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cases.csv"
        path.write_bytes(bom + text.encode())
        table = read_sampling_file(path, Case)
    assert table.inputs["b"].to_pylist() == list(range(len(lines)))
    assert [table.row_label(row) for row in range(len(lines))] == [f"line {line}" for line in lines]


class Anything(ExperimentInputSpec):
    a: str = ""
    b: float = 0.0
    c: list[int] = []


@many
@given(st.one_of(st.binary(max_size=60), st.text('ab,"\n\r1;é', max_size=40).map(lambda t: ("a,b\n" + t).encode())))
def test_no_bytes_raise_anything_else(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".csv", ".parquet"):
            path = Path(folder) / f"cases{suffix}"
            path.write_bytes(content)
            with contextlib.suppress(SamplingFileError):
                read_sampling_file(path, Anything)


@many
@given(st.integers(0, 400), st.integers(0, 255))
def test_damaged_parquet_raises_nothing_else(at: int, byte: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cases.pq"
        pq.write_table(pa.table({"a": ["x", "y"], "b": [1.0, 2.0], "c": [[1], [2, 3]]}), path)
        content = bytearray(path.read_bytes())
        content[at % len(content)] = byte
        path.write_bytes(bytes(content))
        with contextlib.suppress(SamplingFileError):
            read_sampling_file(path, Anything)
