"""Whatever is in a sampling file, its cases are right, or it is refused with one of our errors; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scythe_cli.errors import ScytheError
from scythe_cli.services.project import Project, open_project
from tests.fuzzing import cases, check_message, spoiled, writes_only_below
from tests.projects import make_project

CODE = '''
from datetime import date, datetime
from enum import Enum
from typing import Literal
from pydantic import BaseModel, Field
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.registry import ExperimentRegistry


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Roof(BaseModel):
    angle: float = Field(default=30.0, ge=0, le=90)
    layers: list[int] = []


class Building(ExperimentInputSpec):
    area: float = Field(ge=0, le=1000)
    floors: int = 1
    kind: str = "office"
    lit: bool = True
    built: date | None = None
    seen: datetime | None = None
    colour: Colour = Colour.RED
    mode: Literal["fast", "slow"] = "fast"
    roof: Roof = Roof()
    weather: FileReference | None = None
    notes: dict[str, float] = {}


class Demand(ExperimentOutputSpec):
    energy: float


@ExperimentRegistry.Register()
def simulate(spec: Building) -> Demand:
    """Heat a building."""
    return Demand(energy=spec.area)
'''
GOOD = b"""area,floors,kind,lit,built,seen,colour,mode,roof.angle,roof.layers,weather,notes
1.5,2,office,true,2024-02-29,2024-02-29T10:00:00,red,fast,45,"[1, 2]",w.epw,"{""a"": 1.5}"
0,,"a ""quoted"", text
of two lines",no,,,blue,slow,,,,
"""
PIECES = [
    *(b",", b'"', b'""', b"\n", b"\r\n", b"\r", b";", b"\t", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1a", b"\xc3"),
    *(b"nan", b"inf", b"-1", b"1e999", b"NA", b"[", b"{", b"null", b"=cmd|' /C calc'!A0", b"../../etc/passwd", b"'"),
    *(b"file:///etc/passwd", b"s3://", b"http://[::1", b"https://u:p@/x", b"\x1b[2J", b"\xe2\x80\xae", b"sort_index"),
    *(b"roof", b"roof.", b".angle", b"roof.angle.x", b"__class__", b"9" * 400, b"1" * 30 + b".5", b'"' + b"x" * 200),
    b"/dev/zero",
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    from scythe_cli.registry import ExperimentRegistry

    folder = make_project(tmp_path_factory.mktemp("sampling") / "p", code=CODE)
    (folder / "w.epw").write_text("sunny")
    opened = open_project(start=folder)
    opened.experiment()
    yield opened
    ExperimentRegistry.clear()


def try_file(project: Project, name: str) -> None:
    """Check a file; what it is good for is said in a message that is not endless."""
    path = project.root / name
    n_files = len(list(project.root.iterdir()))
    with writes_only_below():
        try:
            report = project.validate(path)
            assert report.n_specs > 0
        except ScytheError as error:
            check_message(error)
    assert len(list(project.root.iterdir())) == n_files


@given(spoiled(GOOD, PIECES) | st.binary(max_size=60))
@example(GOOD)
@example(b"area\n" + b"1" * 100_000)
@example(b"area" + b"," * 5_000 + b"\n1\n")
@cases(40)
def test_any_csv_is_read_or_refused(project: Project, data: bytes) -> None:
    (project.root / "cases.csv").write_bytes(data)
    try_file(project, "cases.csv")


plain_types = st.sampled_from(
    [
        *(pa.null(), pa.bool_(), pa.int8(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.float64()),
        *(pa.string(), pa.large_string(), pa.binary(), pa.binary(3), pa.date32(), pa.date64(), pa.time32("s")),
        *(pa.timestamp("s"), pa.timestamp("ns", "UTC"), pa.timestamp("us", "Europe/Paris"), pa.duration("ms")),
        *(pa.decimal128(38, 10), pa.decimal128(5, 2), pa.decimal256(60, 3)),
    ]
)
types = st.recursive(
    plain_types,
    lambda inner: st.one_of(
        inner.map(pa.list_),
        inner.map(pa.large_list),
        inner.map(lambda type_: pa.list_(type_, 2)),
        inner.map(lambda type_: pa.map_(pa.string(), type_)),
        st.lists(st.tuples(st.sampled_from(["angle", "layers", "", "a b", "x.y"]), inner), max_size=3).map(
            lambda fields: pa.struct(dict(fields))
        ),
    ),
    max_leaves=3,
)
values = st.one_of(
    *(st.none(), st.booleans(), st.integers(-5, 5), st.integers(-(2**63), 2**64), st.floats(), st.floats(0, 10)),
    *(st.text(max_size=4), st.binary(max_size=3), st.dates(), st.datetimes(), st.decimals(-99, 99, places=2)),
    *(st.sampled_from(["red", "fast", "w.epw", "[1]", "{}", "1.5", "../x", "true", "\0", "\x1b[2J"]),),
    st.lists(st.integers(0, 3), min_size=2, max_size=2),
    st.dictionaries(st.sampled_from(["angle", "layers", "", "a b"]), st.integers(0, 3), max_size=2),
)
NAMES = ["area", "floors", "kind", "lit", "built", "seen", "colour", "mode", "roof", "roof.angle", "roof.layers"]
names = st.sampled_from(
    [
        *NAMES,
        "weather",
        "notes",
        "sort_index",
        "experiment_id",
        " area",
        "AREA",
        "",
        "roof.",
        "\0",
        "\x1b[2J",
        "é" * 300,
    ]
)


@st.composite
def columns(draw: st.DrawFn, n_rows: int) -> pa.Array[Any] | pa.ChunkedArray[Any]:
    """A column of some type with values that fit it, or of nulls."""
    type_ = draw(types)
    cells = [draw(values) for _ in range(n_rows)]
    try:
        column: Any = pa.array(cells, type_)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        try:
            column = pa.array(cells)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            column = pa.nulls(n_rows, type_)
    if draw(st.integers(0, 5)) == 0:
        try:
            column = column.dictionary_encode()
        except (pa.ArrowException, ValueError):
            return column
    return column


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    n_rows = draw(st.integers(0, 4))
    chosen = draw(st.lists(names, max_size=5))
    arrays: list[Any] = [draw(columns(n_rows)) for _ in chosen]
    if draw(st.integers(0, 2)):
        # most files have the one column that they must have
        chosen, arrays = [*chosen, "area"], [*arrays, pa.array([1.0] * n_rows)]
    return pa.Table.from_arrays(arrays, names=chosen)


@given(tables(), st.sampled_from(["zstd", "none", "snappy"]), st.integers(1, 5), st.booleans())
@example(pa.table({"area": [1.0], "built": [date(1, 1, 1)]}), "zstd", 1, True)
@example(
    pa.table({"roof": pa.array([{"": None}], pa.struct([("", pa.null())])), "roof.": pa.nulls(1)}), "zstd", 1, True
)
@cases(40)
def test_any_table_of_parquet_is_read_or_refused(
    project: Project, table: pa.Table, compression: str, group_rows: int, keeps_schema: bool
) -> None:
    try:
        pq.write_table(
            table,
            project.root / "cases.parquet",
            compression=compression,
            row_group_size=group_rows,
            store_schema=keeps_schema,
        )
    except (pa.ArrowException, NotImplementedError, OSError):
        return  # Parquet has no such type
    try_file(project, "cases.parquet")


def good_parquet() -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table(
        {
            "area": [1.0, 2.0, None],
            "kind": pa.array(["a", None, "c"]).dictionary_encode(),
            "roof": [{"angle": 1.0, "layers": [1, 2]}, None, {"angle": None, "layers": []}],
            "weather": ["w.epw", None, None],
        }
    )
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


PARQUET = good_parquet()


@given(spoiled(PARQUET, [b"\0", b"\xff", b"PAR1", b"\x15\x04", b"\xff\xff\xff\xff\x0f", b"\x7f" * 8]))
@example(PARQUET)
@example(b"PAR1" + b"\xff" * 8 + b"PAR1")
@example(b"")
@cases(40)
def test_any_bytes_of_parquet_are_read_or_refused(project: Project, data: bytes) -> None:
    (project.root / "cases.pq").write_bytes(data)
    try_file(project, "cases.pq")
