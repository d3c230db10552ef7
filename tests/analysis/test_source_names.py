from __future__ import annotations

import csv
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scythe_cli.analysis.results.source_names import source_names
from scythe_cli.analysis.run import Run
from scythe_cli.storage.base import Storage
from scythe_cli.storage.opening import open_storage
from tests.result_runs import Case, finished_run, layout

OSLO, OTHER_OSLO, ROME = (
    f"s3://bucket/solar/v1.0.0/2026-01-01_00-00-00/artifacts/{hash_}/{name}"
    for hash_, name in (("a" * 64, "oslo.epw"), ("b" * 64, "oslo.epw"), ("c" * 64, "rome.epw"))
)
PLAIN = {OSLO: "a" * 64, ROME: "c" * 64}
NAMES = ["oslo.epw", "rome.epw", None, "oslo.epw"]
SUCCEEDED = [*NAMES[:2], NAMES[3]]  # the third spec fails


def run_of(storage: Storage, tmp_path: Path, hashes: dict[str, str] | None = None) -> Run:
    cases = [Case(tilt=i, weather=uri) for i, uri in enumerate([OSLO, ROME, None, OSLO])]
    answers = [{"power": float(i), "months": [1.0, 2.0], **({"state": "failed"} if i == 2 else {})} for i in range(4)]
    answers[0]["picture"] = "p.png"
    return finished_run(storage, tmp_path / "scratch", cases, answers, hashes=PLAIN if hashes is None else hashes)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "runs")


@pytest.fixture
def run(storage: Storage, tmp_path: Path) -> Run:
    return run_of(storage, tmp_path)


def test_tables_do_not_depend_on_where_a_run_is_kept(run: Run) -> None:
    for name in ("scalars", "result_file_refs", "monthly"):
        assert "weather" not in run.table(name).collect_schema()
        assert "weather" not in run.to_pandas(name, ids=True).index.names
        assert "weather" not in run.to_pandas(name).columns
    assert "weather" not in run.scalars().columns


@pytest.mark.parametrize("table", ["scalars", "result_file_refs", "monthly"])
def test_names_of_source_files_stand_beside_any_table(run: Run, table: str) -> None:
    frame = run.table(table, files=True).collect()
    times = 2 if table == "monthly" else 1
    assert frame["weather"].to_list() == [name for name in SUCCEEDED for _ in range(times)]
    assert frame.drop("weather").equals(run.table(table).collect())
    plain = run.to_pandas(table, files=True)
    assert plain.columns[0] == "weather"
    assert plain["weather"].to_list() == frame["weather"].to_list()
    assert plain.drop(columns="weather").equals(run.to_pandas(table))
    pandas = run.to_pandas(table, ids=True, files=True)
    assert pandas.index.names[-1] == "weather"
    assert pandas.index.get_level_values("weather").to_list() == frame["weather"].to_list()
    assert pandas.droplevel("weather").equals(run.to_pandas(table, ids=True))


def test_rows_are_grouped_by_file_in_sql(run: Run) -> None:
    answer = run.query("SELECT weather, count(*) AS n FROM scalars GROUP BY weather ORDER BY n")
    assert answer.rows() == [("rome.epw", 1), ("oslo.epw", 2)]
    assert run.query("SELECT * FROM scalars")["sort_index"].to_list() == [0, 1, 3]
    assert run.query("SELECT sort_index, weather FROM errors").rows() == [(2, None)]
    assert run.query("SELECT count(DISTINCT m.weather) FROM monthly m JOIN scalars USING (sort_index)").item() == 2
    both = run.query("SELECT version, weather FROM scalars", also=[run])
    assert both["weather"].to_list() == SUCCEEDED * 2
    assert run.query("SHOW TABLES")["name"].to_list()[-1] == "specs"


def test_every_reading_command_shows_the_names(run: Run, storage: Storage, tmp_path: Path) -> None:
    assert run.tidy().collect()["weather"].to_list() == SUCCEEDED
    assert run.tidy("monthly").collect()["weather"].to_list() == [name for name in SUCCEEDED for _ in range(2)]
    shown = run.show()
    assert [row["weather"] for row in shown.head] == SUCCEEDED
    column = next(column for column in shown.columns if column.name == "weather")
    assert (column.n_unique, column.n_null, column.is_index) == (2, 0, False)
    run.fetch(tmp_path / "csv", format="csv")
    with (tmp_path / "csv" / "scalars.csv").open() as file:
        assert [row["weather"] for row in csv.DictReader(file)] == SUCCEEDED
    assert run.plot("weather", "power", kind="scatter").spec["data"]
    cases = [Case(tilt=0, weather=ROME)]
    other = finished_run(storage, tmp_path / "2", cases, [{"power": 1.0}], layout("v2.0.0"), hashes=PLAIN)
    assert [spec.spec["weather"] for spec in run.diff(other).only_a] == NAMES


def test_errors_show_the_names_in_place_of_references(storage: Storage, tmp_path: Path) -> None:
    cases = [Case(tilt=1, weather=ROME), Case(tilt=2, weather=OSLO)]
    run = finished_run(storage, tmp_path / "scratch", cases, [{"state": "failed"}] * 2, hashes=PLAIN)
    assert run.table("errors").collect()["weather"].to_list() == [ROME, OSLO]
    assert run.table("errors", files=True).collect()["weather"].to_list() == ["rome.epw", "oslo.epw"]
    assert [row["weather"] for row in run.show("errors").head] == ["rome.epw", "oslo.epw"]


def test_files_of_one_name_are_told_apart(storage: Storage, tmp_path: Path) -> None:
    cases = [Case(tilt=i, weather=uri) for i, uri in enumerate([OSLO, OTHER_OSLO, ROME])]
    hashes = {**PLAIN, OTHER_OSLO: "b" * 64}
    run = finished_run(storage, tmp_path / "scratch", cases, [{}] * 3, hashes=hashes)
    assert run.scalars(files=True)["weather"].to_list() == ["oslo.epw (aaaaaaaa)", "oslo.epw (bbbbbbbb)", "rome.epw"]


def test_files_that_stayed_where_they_are_have_the_last_part_of_the_address(storage: Storage, tmp_path: Path) -> None:
    cases = [Case(tilt=1, weather="https://example.org/w/rome.epw?key=secret")]
    run = finished_run(storage, tmp_path / "scratch", cases, [{}])
    assert run.scalars(files=True)["weather"].to_list() == ["rome.epw"]


def test_a_column_of_the_same_name_stays(run: Run, storage: Storage) -> None:
    path = Path(run.table_path("monthly"))
    frame = pl.read_parquet(path).with_columns(weather=pl.lit("sunny"))
    frame.write_parquet(path)
    named = run.table("monthly", files=True).collect()
    assert set(named["weather"]) == {"sunny"}
    assert set(named["input_weather"]) == {"oslo.epw", "rome.epw"}


def test_an_output_of_the_name_of_a_file_input_stays(run: Run, tmp_path: Path) -> None:
    path = Path(run.table_path("scalars"))
    table = pq.read_table(path)
    for name in ("weather", "input_weather"):
        table = table.append_column(name, pa.array([f"{name} {row}" for row in range(3)]))
    pq.write_table(table, path)
    expected = {
        "weather": [f"weather {row}" for row in range(3)],
        "input_weather": [f"input_weather {row}" for row in range(3)],
        "input_input_weather": SUCCEEDED,
    }
    named = run.scalars(files=True)
    pandas = run.to_pandas(files=True).reset_index()
    exported = tmp_path / "tidy.parquet"
    run.export(exported)
    queried = run.query("select * from scalars order by sort_index").to_dict(as_series=False)
    for name, cells in expected.items():
        assert named[name].to_list() == pandas[name].to_list() == cells
        assert pl.read_parquet(exported)[name].to_list() == cells
        assert queried[name] == cells


def test_old_runs_have_none(run: Run, tmp_path: Path) -> None:
    run.storage.delete(run.layout.specs)
    assert source_names(run).columns == {}
    assert run.scalars(files=True).equals(run.scalars())
