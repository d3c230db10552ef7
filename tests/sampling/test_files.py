"""Reading and checking sampling files: each format, and the words of each error."""

from __future__ import annotations

import enum
import itertools
import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from scythe_cli.base import ExperimentInputSpec, FileReference, OptionalFileReference, input_columns
from scythe_cli.errors import SamplingFileError, SpecsError
from scythe_cli.model.columns import schema_of
from scythe_cli.model.spec_rows import table_from_specs
from scythe_cli.sampling.field_values import check_round_trip
from scythe_cli.sampling.problems import BadCellsError, CellProblem
from scythe_cli.sampling.reading import SamplingTable, read_sampling_file


class Panel(ExperimentInputSpec):
    angle: float = Field(ge=0, le=90, description="tilt [deg]")
    rows: int = Field(default=1, ge=1)
    name: str = "none"


class Site(BaseModel):
    lat: float = Field(ge=-90, le=90)
    lon: float = 0.0


class Plant(BaseModel):
    site: Site
    tag: str = "new"


class Park(ExperimentInputSpec):
    plant: Plant
    spare: Site | None = None
    loads: list[int] = []


class Case:
    """Writes files and reads them in an empty folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        monkeypatch.chdir(folder)

    def csv(self, content: str | bytes, model: type[ExperimentInputSpec] = Panel) -> SamplingTable:
        data = content if isinstance(content, bytes) else content.encode()
        Path("cases.csv").write_bytes(data)
        return read_sampling_file(Path("cases.csv"), model)

    def csv_error(self, content: str | bytes, model: type[ExperimentInputSpec] = Panel) -> str:
        with pytest.raises(SamplingFileError) as caught:
            self.csv(content, model)
        return str(caught.value)

    def csv_problems(self, content: str, model: type[ExperimentInputSpec] = Panel) -> list[str]:
        with pytest.raises(BadCellsError) as caught:
            self.csv(content, model)
        return [str(problem) for problem in caught.value.problems]

    def parquet(self, table: pa.Table, model: type[ExperimentInputSpec] = Panel) -> SamplingTable:
        pq.write_table(table, "cases.parquet")
        return read_sampling_file(Path("cases.parquet"), model)

    def parquet_problems(self, table: pa.Table, model: type[ExperimentInputSpec] = Panel) -> list[str]:
        with pytest.raises(BadCellsError) as caught:
            self.parquet(table, model)
        return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    folder = tmp_path / "ein Ordner, ünd mehr"
    folder.mkdir()
    return Case(folder, monkeypatch)


# ------------------------------------------------------------------ what is read


def test_a_row_for_each_case_with_the_schema_of_the_model(case: Case) -> None:
    table = case.csv("rows,angle\n2,10\n,45.5\n")
    assert table.path == Path("cases.csv")
    assert table.inputs.schema.equals(schema_of(input_columns(Panel)), check_metadata=True)
    assert table.inputs.to_pylist() == [
        {"angle": 10.0, "rows": 2, "name": "none"},
        {"angle": 45.5, "rows": 1, "name": "none"},
    ]
    assert table.defaulted == ["name"]
    assert table.ignored == []


def test_only_an_empty_cell_is_missing(case: Case) -> None:
    table = case.csv('angle,name\n1,NA\n2,null\n3,nan\n4,\n5,""\n6, \n')
    assert table.inputs["name"].to_pylist() == ["NA", "null", "nan", "none", "none", " "]


def test_reserved_columns_are_left_out_and_listed(case: Case) -> None:
    table = case.csv(
        "sort_index,angle,experiment_id,storage_settings,workflow_run_id,root_workflow_run_id\n7,1,x,y,,\n"
    )
    assert table.ignored == [
        "sort_index",
        "experiment_id",
        "storage_settings",
        "workflow_run_id",
        "root_workflow_run_id",
    ]
    assert table.inputs.column_names == ["angle", "rows", "name"]


def test_a_model_without_fields_still_counts_its_cases(case: Case) -> None:
    class Nothing(ExperimentInputSpec):
        pass

    assert case.csv("sort_index\n9\n9\n", Nothing).inputs.to_pydict() == {"sort_index": [0, 1]}


def test_bom_spaces_around_names_and_any_case_of_the_suffix(case: Case) -> None:
    assert case.csv(b"\xef\xbb\xbf angle , rows\n1,2\n").inputs["rows"].to_pylist() == [2]
    Path("cases.CSV").write_text("angle\n3\n")
    assert read_sampling_file(Path("cases.CSV"), Panel).inputs["angle"].to_pylist() == [3.0]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_physical_lines(case: Case, end: str) -> None:
    table = case.csv(f'angle,name{end}1,a{end}{end}2,"b{end}c"{end}3,d{end}{end}')
    assert [table.row_label(row) for row in range(3)] == ["line 2", "line 4", "line 6"]
    assert table.inputs["name"].to_pylist() == ["a", f"b{end}c", "d"]


def test_every_kind_of_field(case: Case) -> None:
    class Colour(enum.Enum):
        RED = "red"

    class Kinds(ExperimentInputSpec):
        flag: bool
        day: date
        at: datetime
        moment: AwareDatetime
        clock: time
        span: timedelta
        price: Decimal
        key: UUID
        colour: Colour
        floors: Literal[1, 2, 3]
        either: int | str
        mixed: Literal[1, "auto"]
        numbers: list[float]
        unique: set[int]
        table: dict[str, int]

    header = "flag,day,at,moment,clock,span,price,key,colour,floors,either,mixed,numbers,unique,table"
    row = (
        "yes,2024-02-29,2024-02-29T10:00,2024-02-29T10:00+02:00,10:00,PT5M,1.50,"
        'c0ffee00-0000-4000-8000-000000000000,red,2,5,1,"[1, 2.5]","[2, 1, 2]","{""a"": 1}"'
    )
    (cells,) = case.csv(f"{header}\n{row}\n", Kinds).inputs.to_pylist()
    assert cells.pop("moment").isoformat() == "2024-02-29T08:00:00+00:00"
    assert cells == {
        "flag": True,
        "day": date(2024, 2, 29),
        "at": datetime(2024, 2, 29, 10),
        "clock": time(10),
        "span": timedelta(minutes=5),
        "price": "1.50",
        "key": "c0ffee00-0000-4000-8000-000000000000",
        "colour": "red",
        "floors": 2,
        "either": '"5"',
        "mixed": "1",
        "numbers": [1.0, 2.5],
        "unique": [1, 2],
        "table": '{"a": 1}',
    }


def test_nested_models_as_dotted_columns(case: Case) -> None:
    table = case.csv('plant.site.lat,plant.tag,spare.lat,loads\n1,,,"[1,2]"\n2,old,3,\n', Park)
    assert table.inputs.to_pylist() == [
        {"plant": {"site": {"lat": 1.0, "lon": 0.0}, "tag": "new"}, "spare": None, "loads": [1, 2]},
        {"plant": {"site": {"lat": 2.0, "lon": 0.0}, "tag": "old"}, "spare": {"lat": 3.0, "lon": 0.0}, "loads": []},
    ]


def test_nested_models_as_json(case: Case) -> None:
    table = case.csv('plant,spare\n"{""site"": {""lat"": 1}}",\n', Park)
    assert table.inputs["plant"].to_pylist() == [{"site": {"lat": 1.0, "lon": 0.0}, "tag": "new"}]
    table = case.csv('plant.site,plant.tag\n"{""lat"": 1}",x\n', Park)
    assert table.inputs["plant"].to_pylist() == [{"site": {"lat": 1.0, "lon": 0.0}, "tag": "x"}]


def test_a_required_field_that_takes_none_takes_an_empty_cell(case: Case) -> None:
    class Maybe(ExperimentInputSpec):
        a: float | None
        site: Site | None
        b: int

    table = case.csv("a,b,site.lat\n,1,\n2,2,3\n", Maybe)
    assert table.inputs["a"].to_pylist() == [None, 2.0]
    assert table.inputs["site"].to_pylist() == [None, {"lat": 3.0, "lon": 0.0}]


def test_a_nested_model_of_defaults_only(case: Case) -> None:
    class Extras(BaseModel):
        a: int = 1
        b: int = 2

    class Model(ExperimentInputSpec):
        extras: Extras
        x: int

    assert case.csv("x,extras.a\n1,\n", Model).inputs["extras"].to_pylist() == [{"a": 1, "b": 2}]


def test_aliases_name_columns_too(case: Case) -> None:
    class Aliased(ExperimentInputSpec):
        angle: float = Field(alias="Tilt angle", ge=0)
        rows: int = Field(validation_alias="n.rows")
        _secret: int = PrivateAttr(default=1)

    table = case.csv("Tilt angle,n.rows\n1,2\n", Aliased)
    assert table.inputs.to_pylist() == [{"angle": 1.0, "rows": 2}]
    assert case.csv("angle,rows\n1,2\n", Aliased).inputs.to_pylist() == [{"angle": 1.0, "rows": 2}]
    assert case.csv_problems("Tilt angle,rows\n-1,2\n", Aliased) == [
        "line 2, Tilt angle: -1: Input should be greater than or equal to 0"
    ]


def test_relative_files_start_at_the_folder_of_the_sampling_file(case: Case) -> None:
    class Files(ExperimentInputSpec):
        weather: FileReference
        extra: OptionalFileReference = None

    folder = case.folder / "data"
    folder.mkdir()
    (folder / "cases.csv").write_text("weather,extra\na/../w.epw,\n/abs/w.epw,s3://b/k.epw\nhttps://h/w,../x\n")
    table = read_sampling_file(Path("data/cases.csv"), Files)
    assert table.inputs["weather"].to_pylist() == [str(folder / "w.epw"), "/abs/w.epw", "https://h/w"]
    assert table.inputs["extra"].to_pylist() == [None, "s3://b/k.epw", str(case.folder / "x")]


def test_each_missing_cell_gets_a_default_of_its_own(case: Case) -> None:
    counter = itertools.count()

    class Counted(ExperimentInputSpec):
        a: int
        seed: int = Field(default_factory=lambda: next(counter))

    seeds = case.csv("a,seed\n1,\n1,7\n1,\n1,\n", Counted).inputs["seed"].to_pylist()
    assert seeds[1] == 7
    assert len({*seeds}) == 4
    seeds = case.csv("a\n1\n1\n", Counted).inputs["seed"].to_pylist()
    assert len({*seeds}) == 2


# ----------------------------------------------------------------------- parquet


def test_parquet_types(case: Case) -> None:
    class Typed(ExperimentInputSpec):
        name: str
        at: datetime
        day: date
        levels: list[int] = []
        site: Site
        floors: Literal[1, 2] = 1
        table: dict[str, int] = {}
        count: int = 5

    table = pa.table(
        {
            "name": pa.array(["a", "b"]).dictionary_encode(),
            "at": pa.array([datetime(2024, 1, 1), datetime(2024, 1, 2)], pa.timestamp("ns")),
            "day": pa.array([date(2024, 1, 1)] * 2, pa.date64()),
            "levels": pa.array([[1, 2], None], pa.large_list(pa.int8())),
            "site": pa.array([{"lat": 1.0, "lon": None}, {"lat": 2.0, "lon": 3.0}]),
            "floors": [2.0, None],
            "table": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
            "count": pa.nulls(2),
            "__index_level_0__": [5, 6],
            "sort_index": [1, 2],
        }
    )
    read = case.parquet(table, Typed)
    assert read.inputs.schema.equals(schema_of(input_columns(Typed)), check_metadata=True)
    assert read.inputs.to_pylist() == [
        {
            "name": "a",
            "at": datetime(2024, 1, 1),
            "day": date(2024, 1, 1),
            "levels": [1, 2],
            "site": {"lat": 1.0, "lon": 0.0},
            "floors": 2,
            "table": '{"a": 1}',
            "count": 5,
        },
        {
            "name": "b",
            "at": datetime(2024, 1, 2),
            "day": date(2024, 1, 1),
            "levels": [],
            "site": {"lat": 2.0, "lon": 3.0},
            "floors": 1,
            "table": "{}",
            "count": 5,
        },
    ]
    assert read.ignored == ["sort_index"]
    assert read.row_label(1) == "row 1"


def test_parquet_structs_nulls_and_dotted_columns(case: Case) -> None:
    site = pa.array([{"lat": 3.0}, None], pa.struct({"lat": pa.float64()}))
    read = case.parquet(pa.table({"plant.site.lat": [1.0, 2.0], "spare": site}), Park)
    assert read.inputs["spare"].to_pylist() == [{"lat": 3.0, "lon": 0.0}, None]
    plant = pa.array([{"site": {"lat": 1.0}}, {"site": {"lat": 100.0}}, None])
    assert case.parquet_problems(pa.table({"plant": plant}), Park) == [
        "row 1, plant.site.lat: 100.0: Input should be less than or equal to 90",
        "row 2, plant.site.lat: the cell is empty and the field has no default",
    ]


def test_parquet_bad_cells(case: Case) -> None:
    assert case.parquet_problems(pa.table({"angle": [1.0, 95.0, None], "rows": [1.0, 1.5, 2.0]})) == [
        "row 1, angle: 95.0: Input should be less than or equal to 90",
        "row 1, rows: 1.5: not a whole number",
        "row 2, angle: the cell is empty and the field has no default",
    ]


def test_parquet_dates_that_python_does_not_have(case: Case) -> None:
    class Dated(ExperimentInputSpec):
        day: date

    assert case.parquet_problems(pa.table({"day": pa.array([10**7], pa.date32())}), Dated) == [
        "row 0, day: 29349-01-26: out of range: dates in Python are in the years 1 to 9999"
    ]


NANOSECOND, LATE = 1_700_000_000_000_000_001, 10**18
NS, US = pa.timestamp("ns"), pa.timestamp("us")
NESTED: list[tuple[Any, Any]] = [
    (lambda of: pa.list_(of), lambda v: [v]),
    (lambda of: pa.large_list(of), lambda v: [v, None]),
    (lambda of: pa.list_(of, 2), lambda v: [v, v]),
    (lambda of: pa.struct([("n", pa.int8()), ("at", of)]), lambda v: {"n": 1, "at": v}),
    (lambda of: pa.map_(pa.string(), of), lambda v: [("x", v)]),
    (lambda of: pa.list_(pa.struct([("at", pa.list_(of))])), lambda v: [None, {"at": [v]}]),
]


class Anything(ExperimentInputSpec):
    x: Any = None


def test_parquet_nanoseconds_are_cut_at_every_depth_and_said(case: Case) -> None:
    for inner in (NS, pa.timestamp("ns", "Asia/Tokyo"), pa.time64("ns"), pa.duration("ns")):
        finer, whole = (1, 1000) if inner == pa.time64("ns") else (NANOSECOND, NANOSECOND - 1)
        for type_, value in [(lambda of: of, lambda v: v), *NESTED]:
            read = [case.parquet(pa.table({"x": pa.array([value(v)], type_(inner))}), Anything) for v in (finer, whole)]
            told = [[notice for notice in each.notices if "nanoseconds" in notice] for each in read]
            assert told == [
                ["cases.parquet was read without the nanoseconds of x: Python's times end at microseconds"],
                [],
            ]
            assert read[0].inputs.num_rows == 1


def test_parquet_nanoseconds_in_a_list_of_categories(case: Case) -> None:
    categories = pa.ListArray.from_arrays([0, 1], pa.array([NANOSECOND], NS).dictionary_encode())
    assert "without the nanoseconds of x" in case.parquet(pa.table({"x": categories}), Anything).notices[0]


def test_parquet_times_that_python_does_not_have_are_shown_at_every_depth(case: Case) -> None:
    late = "row 0, x: 1000000000000000000 us after 1970: out of range: dates in Python are in the years 1 to 9999"
    for type_, value in [(lambda of: of, lambda v: v), *NESTED]:
        assert case.parquet_problems(pa.table({"x": pa.array([value(LATE)], type_(US))}), Anything) == [late]
    nowhere = pa.array([[1]], pa.list_(pa.timestamp("us", "Foo/Bar")))
    assert case.parquet_problems(pa.table({"x": nowhere}), Anything) == [
        "row 0, x: 1 us after 1970: its time zone 'Foo/Bar' is unknown: convert the column to UTC"
    ]


def test_parquet_text_that_is_not_utf8(case: Case) -> None:
    text = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")])
    for cells in (text, pa.ListArray.from_arrays([0, 1], text)):
        (problem,) = case.parquet_problems(pa.table({"x": cells}), Anything)
        assert problem == r"row 0, x: b'\xff\xfe': not valid UTF-8"


def test_parquet_struct_with_an_unknown_part(case: Case) -> None:
    with pytest.raises(SamplingFileError, match=r"unknown column 'plant.site.lta'; did you mean 'plant.site.lat'\?"):
        case.parquet(pa.table({"plant": [{"site": {"lta": 1.0}}]}), Park)


def test_empty_chunks_and_gaps(case: Case) -> None:
    pq.write_table(pa.table({"angle": [1.0, 2.0, 3.0], "rows": [1, None, None]}), "cases.pq", row_group_size=1)
    table = read_sampling_file(Path("cases.pq"), Panel)
    assert table.inputs["rows"].to_pylist() == [1, 1, 1]


# --------------------------------------------------------------- files that are none


def test_no_such_file_and_a_folder_without_tables(case: Case) -> None:
    with pytest.raises(SamplingFileError, match=r"^nope\.csv: there is no such file\n"):
        read_sampling_file(Path("nope.csv"), Panel)
    Path("folder.csv").mkdir()
    with pytest.raises(SamplingFileError, match=r"^folder\.csv: a folder without Parquet files$"):
        read_sampling_file(Path("folder.csv"), Panel)


def test_unreadable_file(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("cases.csv").write_text("angle\n1\n")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SamplingFileError, match="no permission to read it"):
        read_sampling_file(Path("cases.csv"), Panel)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"angle\n1\n", b"PAR1" + b"\0" * 40 + b"PAR1"])
def test_damaged_parquet(case: Case, content: bytes) -> None:
    Path("cases.parquet").write_bytes(content)
    with pytest.raises(SamplingFileError, match=r"^cases\.parquet: not a valid Parquet file: ") as caught:
        read_sampling_file(Path("cases.parquet"), Panel)
    assert len(str(caught.value)) < 300


def test_parquet_without_cases(case: Case) -> None:
    with pytest.raises(SamplingFileError, match="it has no cases"):
        case.parquet(pa.table({"angle": pa.array([], pa.float64())}))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "cases.csv: the file is empty"),
        ("\n\n", "cases.csv: the file is empty"),
        ("angle", "cases.csv: it has no cases"),
        ("angle,rows\n\n\n", "cases.csv: it has no cases"),
        ("angle,angle\n1,2\n", "cases.csv: more than one column is named 'angle'"),
        ("angle, angle\n1,2\n", "cases.csv: more than one column is named 'angle'"),
        ("angle,,rows,\n1,2,3,4\n", "cases.csv: column 2, 4 has no name"),
        (
            b"angle,name\n1,a\n2,caf\xe9\n",
            "cases.csv: line 3, byte 6: 0xE9 is not UTF-8 text\nName the encoding",
        ),
        (b"angle,\xe9\n1,2\n", "cases.csv: line 1, byte 7: 0xE9 is not UTF-8 text"),
        (b"angle,name\n1,a\0\n", "cases.csv: line 2, byte 4: a NUL byte"),
        ('angle,name\n1,a\n2,"b\n3,c\n', 'line 3: a double quote is opened and never closed: 2,"b'),
        ('angle,name\n1,"a', 'line 2: a double quote is opened and never closed: 1,"a'),
        ('name,angle\n"b,1\nc,2\n', 'line 2: a double quote is opened and never closed: "b,1'),
    ],
)
def test_files_that_are_no_table(case: Case, content: str | bytes, words: str) -> None:
    assert words in case.csv_error(content)


def test_ragged_lines(case: Case) -> None:
    content = 'angle,rows,name\n1,2,3\n\n1,2,3,4\n1,2,"a\nb"\n1\n'
    assert case.csv_error(content) == (
        "cases.csv: 2 lines have not as many cells as the header\n"
        "  line 4: 4 cells, the header has 3\n"
        "  line 7: 1 cell, the header has 3\n"
        'A cell that holds a comma must stand in double quotes: "a, b".'
    )
    many = case.csv_error("angle,rows\n" + "1\n" * 30)
    assert "30 lines" in many
    assert many.count("the header has 2") == 20
    assert "  and 10 more\n" in many


# ----------------------------------------------------------------------- columns


def test_unknown_columns_are_named_at_once_with_the_nearest_field(case: Case) -> None:
    assert case.csv_error("angle,rosw\n1,2\n") == (
        "cases.csv: unknown column 'rosw'; did you mean 'rows'?\nThe fields of Panel are angle, rows, name."
    )
    assert case.csv_error("Angle,zzz,sort_inedx\n1,2,3\n") == (
        "cases.csv: the columns do not match the fields of Panel\n"
        "  unknown column 'Angle'; did you mean 'angle'?\n"
        "  unknown column 'zzz'\n"
        "  unknown column 'sort_inedx'\n"
        "  missing column 'angle': the field has no default\n"
        "The fields of Panel are angle, rows, name."
    )


def test_all_missing_columns_are_named(case: Case) -> None:
    class Two(ExperimentInputSpec):
        a: int
        b: int
        c: int = 1

    words = case.csv_error("c\n1\n", Two)
    assert "missing column 'a': the field has no default\n  missing column 'b'" in words
    assert "missing column 'plant.site.lat'" in case.csv_error("plant.tag,plant.site.lon\nx,1\n", Park)


def test_dots_where_there_is_no_nested_model(case: Case) -> None:
    assert "unknown column 'angle.x'" in case.csv_error("angle.x,angle\n1,2\n")


def test_two_columns_for_one_field(case: Case) -> None:
    words = case.csv_error("plant,plant.tag\n{},x\n", Park)
    assert "columns 'plant' and 'plant.tag' are for the same field" in words
    words = case.csv_error("plant.tag,plant\nx,{}\n", Park)
    assert "columns 'plant.tag' and 'plant' are for the same field" in words


# --------------------------------------------------------------------- bad cells


def test_all_bad_cells_are_reported_at_once(case: Case) -> None:
    content = "angle,rows\n1,2\n95.0,0\n\nabc,1.5\n,x\n"
    assert case.csv_error(content) == (
        "cases.csv: 6 bad cells\n"
        "  line 3, angle: 95.0: Input should be less than or equal to 90\n"
        "  line 3, rows: 0: Input should be greater than or equal to 1\n"
        "  line 5, angle: abc: not a number\n"
        "  line 5, rows: 1.5: not a whole number\n"
        "  line 6, angle: the cell is empty and the field has no default\n"
        "  line 6, rows: x: not a whole number"
    )
    assert case.csv_error("angle\n-1\n").startswith("cases.csv: 1 bad cell\n")


def test_problems_are_data_too(case: Case) -> None:
    with pytest.raises(BadCellsError) as caught:
        case.csv("angle\n" + "1\n" * 16 + "95.0\n" * 32)
    assert caught.value.n_problems == 32
    assert len(caught.value.problems) == 20
    assert caught.value.problems[0] == CellProblem(
        "line 18", 16, "angle", "95.0", "Input should be less than or equal to 90"
    )
    lines = str(caught.value).splitlines()
    assert lines[0] == "cases.csv: 32 bad cells"
    assert lines[1] == "  line 18, angle: 95.0: Input should be less than or equal to 90"
    assert len(lines) == 22
    assert lines[-1] == "  and 12 more"


def test_cells_are_cut_and_escaped(case: Case) -> None:
    (problem,) = case.csv_problems('angle\n"a\x07\n' + "é" * 100 + '"\n')
    assert problem.startswith("line 2, angle: a\\x07\\n" + "é" * 10)
    assert "...: not a number" in problem
    assert len(problem) < 150


def test_bad_json_and_bad_parts_of_json(case: Case) -> None:
    content = 'plant.site.lat,loads,spare\n1,[,"{""lat"": 91}"\n2,"[1, ""x""]",{}\n'
    assert case.csv_problems(content, Park) == [
        "line 2, spare.lat: 91: Input should be less than or equal to 90",
        "line 2, loads: [: not JSON: Expecting value at character 2",
        "line 3, spare.lat: Field required",
        "line 3, loads[1]: x: not a whole number",
    ]
    deep = "[" * 100_000
    assert case.csv_problems(f"plant.site.lat,loads\n1,{deep}\n", Park)[0].endswith(
        ("nested too deeply", "at character 100001")
    )


def test_bad_dotted_cells(case: Case) -> None:
    class Tagged(BaseModel):
        lat: float = Field(le=90)
        tags: list[int] = []

    class Model(ExperimentInputSpec):
        site: Tagged

    class Checked(Model):
        @model_validator(mode="after")
        def _nothing(self) -> Checked:
            return self

    want = [
        "line 2, site.tags: [: not JSON: Expecting value at character 2",
        "line 2, site.lat: 99: Input should be less than or equal to 90",
        "line 3, site.lat: the cell is empty and the field has no default",
    ]
    for model in (Model, Checked):
        assert case.csv_problems("sort_index,site.lat,site.tags\n0,99,[\n1,,\n", model) == want


def test_values_that_a_column_cannot_hold(case: Case) -> None:
    class Wide(ExperimentInputSpec):
        n: int
        at: datetime

    class Checked(Wide):
        @field_validator("n")
        @classmethod
        def _same(cls, value: int) -> int:
            return value

    content = "n,at\n9223372036854775808,2024-01-01T00:00Z\n1,2024-01-01\n"
    want = [
        "line 2, n: 9223372036854775808: Whole numbers go from -2^63 to 2^63 - 1",
        "line 2, at: 2024-01-01T00:00Z: a time with a zone needs a field of type pydantic.AwareDatetime",
    ]
    assert case.csv_problems(content, Wide) == want
    assert case.csv_problems(content, Checked) == want


def test_each_member_of_a_union_says_why(case: Case) -> None:
    class Either(ExperimentInputSpec):
        x: int | bool

    (problem,) = case.csv_problems("x\nmaybe\n", Either)
    assert problem == ("line 2, x: maybe: not a whole number; not true or false")


def test_strict_models_say_what_to_do(case: Case) -> None:
    class Strict(ExperimentInputSpec):
        model_config = ConfigDict(strict=True)
        x: float

    words = case.csv_error("x\n1\n", Strict)
    assert "line 2, x: 1: not a number" in words
    assert words.endswith("Strict is strict, so that it takes no text for numbers: use Parquet, or strict=False.")
    assert case.parquet(pa.table({"x": [1.5]}), Strict).inputs["x"].to_pylist() == [1.5]


# ---------------------------------------------------------------- whole rows, validators


class Checked(ExperimentInputSpec):
    low: float
    high: float = 5.0

    @model_validator(mode="after")
    def _ordered(self) -> Checked:
        if self.low > self.high:
            raise ValueError("low is above high")
        if self.low == -1:
            raise KeyError("boom")
        return self


def test_validators_of_whole_rows(case: Case) -> None:
    assert case.csv("low,high\n1,2\n3,\n", Checked).inputs.to_pylist() == [
        {"low": 1.0, "high": 2.0},
        {"low": 3.0, "high": 5.0},
    ]
    assert case.csv_problems("low,high\n1,2\n6,\nx,1\n-1,\n,2\n", Checked) == [
        "line 3: Value error, low is above high",
        "line 4, low: x: not a number",
        "line 5: KeyError: 'boom'",
        "line 6, low: the cell is empty and the field has no default",
    ]


def _above(value: float, info: ValidationInfo) -> float:
    if value <= info.data["a"]:
        raise ValueError("must be above a")
    return value


def test_a_validator_in_an_annotation_sees_the_other_fields(case: Case) -> None:
    class Two(ExperimentInputSpec):
        a: float
        b: Annotated[float, AfterValidator(_above)]

    assert case.csv_problems("a,b\n1,2\n2,2\n3,2\n", Two) == [
        "line 3, b: 2: Value error, must be above a",
        "line 4, b: 2: Value error, must be above a",
    ]


def test_model_post_init_of_the_user_runs(case: Case) -> None:
    class Post(ExperimentInputSpec):
        a: float
        b: float = 0.0

        def model_post_init(self, context: Any) -> None:
            super().model_post_init(context)
            self.b = self.a + 1

    assert case.csv("a\n1\n2\n", Post).inputs["b"].to_pylist() == [2.0, 3.0]


def test_a_default_that_depends_on_other_fields(case: Case) -> None:
    class Derived(ExperimentInputSpec):
        a: float
        b: float = Field(default_factory=lambda data: data["a"] * 2)

    assert case.csv("a\n1\n2\n", Derived).inputs["b"].to_pylist() == [2.0, 4.0]


def test_transformed_values_are_what_is_kept(case: Case) -> None:
    class Upper(ExperimentInputSpec):
        model_config = ConfigDict(str_strip_whitespace=True)
        name: str
        code: Annotated[str, AfterValidator(str.upper)] = "x"

    class Stripped(ExperimentInputSpec):
        model_config = ConfigDict(str_strip_whitespace=True)
        name: str

    assert case.csv("name,code\n a ,b\n", Upper).inputs.to_pylist() == [{"name": "a", "code": "B"}]
    assert case.csv("name\n a \n", Stripped).inputs.to_pylist() == [{"name": "a"}]


# ---------------------------------------------------------------------- round trips


class Radians(ExperimentInputSpec):
    angle: float

    @field_validator("angle")
    @classmethod
    def _to_radians(cls, value: float) -> float:
        return value / 2


def test_a_validator_that_changes_a_value_twice(case: Case) -> None:
    assert case.csv_error("angle\n0\n8\n", Radians) == (
        "cases.csv: line 3: read again, field 'angle' changes from 4.0 to 2.0\n"
        "Each case is validated again in the process that runs it: make the field's validator and type accept their "
        "own result and return it unchanged."
    )


def test_a_default_that_the_field_refuses(case: Case) -> None:
    class Sloppy(ExperimentInputSpec):
        a: float = Field(default=-1, ge=0)
        b: int = 0

    words = "the model rejects its own value -1.0 of field 'a': Input should be greater than or equal to 0"
    assert words in case.csv_error("b\n1\n", Sloppy)
    # also far behind the first rows
    late = case.csv_error("b,a\n" + "1,1\n" * 1000 + "1,\n", Sloppy)
    assert "line 1002: read again, " in late
    assert words in late


def test_a_default_that_is_validated(case: Case) -> None:
    class Eager(ExperimentInputSpec):
        a: float = Field(default=-1, ge=0, validate_default=True)
        b: int = 0

    assert "the default -1 of field 'a': Input should be greater" in case.csv_error("b\n1\n", Eager)


def test_round_trip_of_specs_from_python() -> None:
    check_round_trip(Panel, table_from_specs([Panel(angle=1.0), Panel(angle=2.0)], Panel))
    check_round_trip(Panel, table_from_specs([], Panel))
    with pytest.raises(SpecsError, match=r"^spec 1: read again, field 'angle' changes from 4\.0 to 2\.0\n"):
        check_round_trip(Radians, table_from_specs([Radians(angle=0), Radians(angle=8)], Radians))


def test_nan_survives(case: Case) -> None:
    class Loose(ExperimentInputSpec):
        x: float
        y: dict[str, Any] = {}

    cells = case.csv('x,y\nnan,"{""a"": null}"\n', Loose).inputs.to_pylist()
    assert str(cells[0]["x"]) == "nan"
    assert json.loads(cells[0]["y"]) == {"a": None}


def test_a_named_range_index_of_pandas_is_a_column(tmp_path: Path) -> None:
    class Numbered(ExperimentInputSpec):
        a: float
        case: int = 0

    path = tmp_path / "c.pq"
    pd.DataFrame({"a": [1.0, 2.0]}, index=pd.RangeIndex(5, 7, name="case")).to_parquet(path)
    assert read_sampling_file(path, Numbered).inputs.column("case").to_pylist() == [5, 6]
    pd.DataFrame({"a": [1.0, 2.0]}).to_parquet(path)
    assert read_sampling_file(path, Numbered).inputs.column("case").to_pylist() == [0, 0]
