"""Sampling files as programs write them: the same cases from each, and what was guessed is said."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from scythe_cli.base import ExperimentInputSpec, FileReference
from scythe_cli.errors import SamplingFileError
from scythe_cli.sampling.problems import BadCellsError
from scythe_cli.sampling.reading import ReadOptions, SamplingTable, read_sampling_file


class Case(ExperimentInputSpec):
    area: float
    name: str = "d"
    count: int = 1


ROWS: list[dict[str, Any]] = [
    {"area": 1.5, "name": "ä", "count": 2},
    {"area": 0.25, "name": "b", "count": 3},
    {"area": -1e-7, "name": "12", "count": 4},
]
TABLE = pa.Table.from_pylist(ROWS)


def text(delimiter: str = ",", decimal: str = ".", before: str = "", after: str = "", units: str = "") -> str:
    lines = [delimiter.join(ROWS[0]), *([units] if units else [])]
    lines += [delimiter.join([str(r["area"]).replace(".", decimal), r["name"], str(r["count"])]) for r in ROWS]
    return before + "\n".join(lines) + "\n" + after


def arrow_stream() -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return sink.getvalue()


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(TABLE, sink)
    return sink.getvalue()


def arrow_file() -> bytes:
    sink = io.BytesIO()
    feather.write_feather(TABLE, sink, compression="zstd")
    return sink.getvalue()


def excel(table: pl.DataFrame | None = None, position: str = "A1") -> bytes:
    sink = io.BytesIO()
    frame: Any = pl.from_arrow(TABLE) if table is None else table
    frame.write_excel(sink, position=position)
    return sink.getvalue()


def json_lines() -> bytes:
    return "".join(json.dumps(row) + "\n\n" for row in ROWS).encode()


FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "csv": ("c.csv", lambda: text().encode()),
    "bom": ("c.csv", lambda: text().encode("utf-8-sig")),
    "txt": ("c.txt", lambda: text().encode()),
    "no ending": ("cases", lambda: text().encode()),
    "tsv": ("c.tsv", lambda: text("\t").encode()),
    "tabs": ("c.csv", lambda: text("\t").encode()),
    "bars": ("c.csv", lambda: text("|").encode()),
    "semicolons": ("c.csv", lambda: text(";").encode()),
    "decimal commas": ("c.csv", lambda: text(";", ",").encode()),
    "sep line": ("c.csv", lambda: text("^", before="sep=^\n").encode()),
    "comments": ("c.csv", lambda: text(before="# made, by hand\n# and again\n", after="# end\n").encode()),
    "rows of nothing": ("c.csv", lambda: text(after=",,\n,,\n").encode()),
    "columns of nothing": ("c.csv", lambda: text().replace("\n", ",,\n").encode()),
    "utf-16": ("c.csv", lambda: text("\t").encode("utf-16")),
    "utf-16 be": ("c.csv", lambda: b"\xfe\xff" + text().encode("utf-16-be")),
    "old mac": ("c.csv", lambda: text().replace("\n", "\r").encode()),
    "gzip": ("c.csv.gz", lambda: gzip.compress(text(";").encode())),
    "zstd": ("c.csv.zst", lambda: pa.compress(text().encode(), "zstd", asbytes=True)),
    "parquet": ("c.pq", parquet),
    "parquet by its content": ("c.csv", parquet),
    "compressed parquet": ("c.bin", lambda: gzip.compress(parquet())),
    "arrow": ("c.arrow", arrow_file),
    "arrow stream": ("c.dat", arrow_stream),
    "excel": ("c.xlsx", excel),
    "excel by its content": ("c.csv", excel),
    "excel, further down": ("c.xlsx", lambda: excel(position="C4")),
    "jsonl": ("c.jsonl", json_lines),
    "jsonl by its content": ("cases", json_lines),
    "json": ("c.json", lambda: json.dumps(ROWS, indent=1).encode()),
}


def written(folder: Path, name: str) -> Path:
    file, content = FILES[name]
    (folder / file).write_bytes(content())
    return folder / file


@pytest.mark.parametrize("name", FILES)
def test_each_gives_the_same_cases(name: str, tmp_path: Path) -> None:
    table = read_sampling_file(written(tmp_path, name), Case)
    assert table.inputs.to_pylist() == ROWS
    quiet = {"csv", "bom", "txt", "no ending", "tsv", "columns of nothing", "old mac", "zstd"}
    assert not table.notices or name not in quiet
    assert len(table.notices) <= 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("decimal commas", "with semicolons between cells, with decimal commas"),
        ("comments", "without 2 comment lines before the header, without 1 comment line"),
        ("rows of nothing", "without 2 rows that hold nothing (line 5, line 6)"),
        ("utf-16", "as UTF-16, with tabs between cells"),
        ("gzip", "with semicolons between cells"),
        ("sep line", ""),
    ],
)
def test_what_was_guessed_is_said_in_one_line(name: str, words: str, tmp_path: Path) -> None:
    path = written(tmp_path, name)
    assert read_sampling_file(path, Case).notices == ([f"{path} was read {words}"] if words else [])


def test_encodings_by_name(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    for encoding in ("cp1252", "latin-1", "utf-16-le", "utf-16", "utf-8"):
        path.write_bytes(text().encode(encoding))
        assert read_sampling_file(path, Case, options=ReadOptions(encoding=encoding)).inputs.to_pylist() == ROWS
    with pytest.raises(SamplingFileError, match="there is no encoding 'utf8000'"):
        read_sampling_file(path, Case, options=ReadOptions(encoding="utf8000"))
    path.write_bytes(text().encode("cp1252"))
    with pytest.raises(SamplingFileError, match="--encoding cp1252"):
        read_sampling_file(path, Case)
    with pytest.raises(SamplingFileError, match=r"not ascii|not UTF-8"):
        read_sampling_file(path, Case, options=ReadOptions(encoding="ascii"))


def test_a_row_of_units(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text(text(units="m2,,-") + "x,y,1\n")
    with pytest.raises(BadCellsError) as caught:
        read_sampling_file(path, Case, options=ReadOptions(units_row=True))
    assert str(caught.value.problems[0]).startswith("line 6, area: x")
    path.write_text(text(units="m2,,-"))
    with pytest.raises(SamplingFileError, match="row of units: --units-row"):
        read_sampling_file(path, Case)
    table = read_sampling_file(path, Case, options=ReadOptions(units_row=True))
    assert table.inputs.to_pylist() == ROWS
    assert table.notices == [f"{path} was read without a row of units, line 2: m2, -"]
    sheet = pl.DataFrame({"area": [None, 1.5], "name": ["text", "ä"]}).with_columns(pl.lit(2).alias("count"))
    (tmp_path / "c.xlsx").write_bytes(excel(sheet))
    table = read_sampling_file(tmp_path / "c.xlsx", Case, options=ReadOptions(units_row=True))
    assert table.inputs.to_pylist() == [ROWS[0]]
    assert table.row_label(0) == "row 3"


def test_columns_that_only_count_rows(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    for header in ("", "Unnamed: 0"):
        for first in (0, 1):
            path.write_text(f"{header},area\n{first},1.5\n{first + 1},2.5\n")
            table = read_sampling_file(path, Case)
            assert table.inputs["area"].to_pylist() == [1.5, 2.5]
            assert "it only counts rows" in table.notices[0]
    path.write_text(",area\n7,1.5\n9,2.5\n")
    with pytest.raises(SamplingFileError, match="column 1 has no name"):
        read_sampling_file(path, Case)


def test_short_lines_hide_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text('area,name\n1\nx,"a\nb"\n2,b\ny,b,c\nz,d\n')
    with pytest.raises(BadCellsError) as caught:
        read_sampling_file(path, Case)
    assert [str(problem).removesuffix(": not a number") for problem in caught.value.problems] == [
        "line 2: 1 cell, the header has 2",
        "line 3, area: x",
        "line 6: 3 cells, the header has 2",
        "line 7, area: z",
    ]
    assert "2 bad cells, 2 lines have not as many cells as the header" in str(caught.value)
    path.write_text("aera,name\n1\n")
    with pytest.raises(SamplingFileError, match=r"(?s)unknown column 'aera'.*line 2: 1 cell"):
        read_sampling_file(path, Case)


def test_a_dot_among_decimal_commas_may_be_thousands(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("area;name\n1,5;a\n1.234;b\n2.5;c\n")
    with pytest.raises(BadCellsError) as caught:
        read_sampling_file(path, Case)
    assert [problem.row for problem in caught.value.problems] == [1]


def test_a_hive_folder(tmp_path: Path) -> None:
    for count, rows in ((2, ROWS[:1]), (3, ROWS[1:2])):
        (tmp_path / f"count={count}").mkdir()
        table = pa.Table.from_pylist(rows).drop_columns(["count"])
        pq.write_table(table, tmp_path / f"count={count}" / "part-0.parquet")
    table = read_sampling_file(tmp_path, Case)
    assert table.inputs.to_pylist() == ROWS[:2]
    assert table.row_label(1) == "count=3/part-0.parquet, row 0"


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class WithFile(ExperimentInputSpec):
        weather: FileReference

    monkeypatch.chdir(tmp_path)

    class Stdin:
        buffer = io.BytesIO(b"weather\nw/a.csv\nhttps://example.com/w.csv\n")

    monkeypatch.setattr(sys, "stdin", Stdin)
    table = read_sampling_file("-", WithFile)
    assert table.inputs["weather"].to_pylist() == [str(tmp_path / "w" / "a.csv"), "https://example.com/w.csv"]
    assert table.source == "standard input"
    Stdin.buffer = io.BytesIO(b"wether\n1\n")
    with pytest.raises(SamplingFileError, match=r"^standard input: the columns do not match the fields of WithFile"):
        read_sampling_file("-", WithFile)


def test_a_url_keeps_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    class WithFile(ExperimentInputSpec):
        weather: FileReference

    def read(url: str, content: bytes) -> SamplingTable:
        monkeypatch.setattr("scythe_cli.sampling.files.places.download", lambda _, target: target.write_bytes(content))
        return read_sampling_file(url, WithFile)

    url = "https://user:secret@example.com/d/cases.csv?token=secret"
    assert read(url, b"weather\nhttps://x.org/a\n").source == "https://example.com/d/cases.csv?…"
    for content in (b"weather\na.csv\n", b"other\n1\n"):
        with pytest.raises(SamplingFileError) as caught:
            read(url, content)
        assert "secret" not in str(caught.value)
    table = read("s3://bucket/d/cases.csv", b"weather\nw/a.csv\n")
    assert table.inputs["weather"].to_pylist() == ["s3://bucket/d/w/a.csv"]
    assert not table.is_local


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"SQLite format 3\0" + b"\0" * 99, "an SQLite database"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"PK\x03\x04" + b"\0" * 60, "a ZIP archive"),
        (b"%PDF-1.7\n", "a PDF document"),
    ],
)
def test_what_is_no_table_is_named(content: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_bytes(content)
    with pytest.raises(SamplingFileError, match=f"this is {what}"):
        read_sampling_file(tmp_path / "c.csv", Case)


def test_json_keeps_what_it_says(tmp_path: Path) -> None:
    class Nested(ExperimentInputSpec):
        tags: list[str] = []
        options: dict[str, float] = {}
        anything: Any = None

    path = tmp_path / "c.jsonl"
    path.write_text('{"options": {"a": 1}, "anything": "1"}\n\n{"options": {"b": 2}, "tags": ["x"], "anything": 1}\n')
    table = read_sampling_file(path, Nested)
    assert [json.loads(v) for v in table.inputs["options"].to_pylist()] == [{"a": 1}, {"b": 2}]
    assert table.inputs["anything"].to_pylist() == ['"1"', "1"]
    assert table.row_label(1) == "line 3"
    path.write_text('{"tags": ["x"]}\n{"tags": \n[1]\n')
    with pytest.raises(SamplingFileError, match=r"2 lines are no JSON object\n  line 2: .*\n  line 3: "):
        read_sampling_file(path, Nested)


def test_errors_in_cells_of_a_sheet_are_no_empty_cells(tmp_path: Path) -> None:
    import xlsxwriter

    path = tmp_path / "c.xlsx"
    book = xlsxwriter.Workbook(str(path))
    sheet = book.add_worksheet()
    sheet.write_row(0, 0, ["area", "count"])
    sheet.write_row(1, 0, [1, 2])
    sheet.write_formula(2, 1, "=1/0", None, "#DIV/0!")
    sheet.write(2, 0, 1)
    book.close()
    with pytest.raises(SamplingFileError, match="the formula of B3 ends in an error"):
        read_sampling_file(path, Case)


def test_columns_to_ignore(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("area,note 1,note 2,other\n1.5,a,b,c\n")
    table = read_sampling_file(path, Case, options=ReadOptions(ignore_columns=["note*", "other"]))
    assert table.notices == ["ignored columns: note 1, note 2, other"]
    with pytest.raises(SamplingFileError, match="there is no column 'nte' to ignore"):
        read_sampling_file(path, Case, options=ReadOptions(ignore_columns=["nte", "note*", "other"]))


def test_a_letter_of_two_characters(tmp_path: Path) -> None:
    from pydantic import create_model

    model = create_model("M", __base__=ExperimentInputSpec, größe=(float, ...))  # pyright: ignore[reportCallIssue]
    (tmp_path / "c.csv").write_text("gro\u0308ße\n1\n")
    assert read_sampling_file(tmp_path / "c.csv", model).inputs["größe"].to_pylist() == [1.0]
