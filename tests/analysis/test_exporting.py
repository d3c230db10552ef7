"""One tidy frame of a run, as a frame and as a file."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import polars as pl
import pytest

from scythe_cli.analysis.results.exporting import write_frame
from scythe_cli.analysis.results.spreadsheets import write_csv, write_workbook
from scythe_cli.analysis.results.tidy import tidy_frame
from scythe_cli.analysis.run import Run
from scythe_cli.errors import NotFoundError, UsageError
from scythe_cli.storage.opening import open_storage
from tests.result_runs import Case, Wall, finished_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    cases = [Case(tilt=i, wall=Wall(u_value=i / 10), steps=[i, i + 1]) for i in range(4)]
    answers: list[dict[str, Any]] = [{"power": i * 1.5, "note": "=x", "months": [i, 2.0 * i]} for i in range(3)]
    return finished_run(open_storage(tmp_path / "runs"), tmp_path / "s", cases, [*answers, {"state": "failed"}])


def test_inputs_and_outputs_stand_side_by_side(run: Run) -> None:
    tidy = tidy_frame(run)
    assert tidy.inputs == ["tilt", "site", "wall.u_value", "steps", "weather"]
    assert tidy.outputs == ["power", "note", "n"]
    frame = tidy.frame.collect()
    assert frame.columns == ["sort_index", *tidy.inputs, *tidy.outputs]
    assert frame["sort_index"].to_list() == [0, 1, 2]
    assert frame["wall.u_value"].to_list() == [0.0, 0.1, 0.2]
    assert frame["steps"].to_list() == [[0, 1], [1, 2], [2, 3]]
    assert run.tidy().collect().equals(frame)


def test_rows_of_a_table_have_inputs_and_outputs_of_their_spec(run: Run) -> None:
    tidy = tidy_frame(run, "monthly", ids=True)
    assert (tidy.levels, tidy.values) == (["month", "sort_subindex"], ["energy"])
    frame = tidy.frame.collect()
    assert frame.columns[:4] == ["experiment_id", "sort_index", "workflow_run_id", "root_workflow_run_id"]
    assert frame.select("sort_index", "month", "energy", "power").rows()[2:4] == [(1, 1, 1.0, 1.5), (1, 2, 2.0, 1.5)]


@pytest.mark.parametrize("ending", ["pq", "csv", "xlsx"])
def test_export(run: Run, tmp_path: Path, ending: str) -> None:
    target = tmp_path / f"tidy.{ending}"
    written = run.export(target)
    assert (written.path, written.size_bytes) == (str(target), target.stat().st_size)
    if ending == "pq":
        assert pl.read_parquet(target).equals(run.tidy().collect())
    if ending == "csv":
        frame = pl.read_csv(target)
        assert frame["steps"].to_list() == ["[0, 1]", "[1, 2]", "[2, 3]"]
        assert frame["note"].to_list() == ["'=x"] * 3
    with pytest.raises(UsageError, match="already exists"):
        run.export(target)
    run.export(target, "monthly", overwrite=True)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_mistakes(run: Run, tmp_path: Path) -> None:
    for path, message in (("x.txt", "ending"), ("no/x.csv", "there is no folder"), ("runs/solar", "ending")):
        with pytest.raises(UsageError, match=message):
            run.export(tmp_path / path)
    with pytest.raises(NotFoundError, match="has no table 'montly'") as caught:
        run.export(tmp_path / "x.csv", "montly")
    assert caught.value.hint == "Did you mean 'monthly'?"
    with pytest.raises(UsageError, match="is not a table of the experiment's own"):
        run.export(tmp_path / "x.csv", "errors")
    assert not (tmp_path / "x.csv").exists()


EVERYTHING = pl.DataFrame(
    {
        "b": [True, None],
        "i": [1, 2**60],
        "f": [1.5, float("nan")],
        "t": ["\tx", "-1e5"],
        "when": [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), None],
        "day": [date(2026, 1, 2), None],
        "hour": [time(3, 4), None],
        "span": [timedelta(seconds=90), None],
        "raw": [b"\x00\xff", None],
        "nested": [{"a": [1]}, None],
        "-name": ["y", "z"],
    },
    schema_overrides={"when": pl.Datetime("us", "UTC")},
)


def test_every_kind_of_cell_in_csv(tmp_path: Path) -> None:
    write_csv(EVERYTHING.lazy(), tmp_path / "x.csv")
    frame = pl.read_csv(tmp_path / "x.csv", infer_schema=False)
    assert frame.row(0) == (
        *("true", "1", "1.5", "'\tx", "2026-01-02T03:04:05.000000+0000", "2026-01-02", "03:04:00.000000000", "90.0"),
        *("AP8=", '{"a":[1]}', "y"),
    )
    assert frame.columns[-1] == "'-name"
    assert frame["t"][1] == "-1e5"


def test_every_kind_of_cell_in_a_workbook(tmp_path: Path) -> None:
    write_workbook({"a/b[c]": EVERYTHING.lazy(), "A_B_c_": EVERYTHING.lazy()}, tmp_path / "x.xlsx")
    with ZipFile(tmp_path / "x.xlsx") as book:
        listed = book.read("xl/workbook.xml").decode()
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
    assert 'name="a_b_c_"' in listed
    assert 'name="A_B_c_~2"' in listed  # Excel does not tell upper from lower case
    assert str(2**60) in sheet  # as text: a number of a sheet has 15 digits
    assert "#NUM!" in sheet
    assert "<f>#NUM!</f>" not in sheet.replace("<f>#NUM!</f><v>#NUM!</v>", "")


def test_long_text_is_cut_and_told(tmp_path: Path) -> None:
    written = write_frame(pl.LazyFrame({"t": ["x" * 40_000, "y"]}), tmp_path / "x.xlsx", name="scalars")
    assert written.notices == ["scalars: text of 1 cell was cut to 32,767 characters"]
