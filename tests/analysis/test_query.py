"""SQL over the tables of a run: what it answers, and that it reaches nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from scythe_cli.analysis.results.query import query_file, query_head
from scythe_cli.analysis.run import Run
from scythe_cli.errors import ScytheError, UsageError
from scythe_cli.storage.opening import open_storage
from tests.projects import tree
from tests.result_runs import Case, finished_run, layout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    tmp_path = tmp_path_factory.mktemp("query")
    storage = open_storage(tmp_path / "a [b] 'c' *?" / "runs")
    cases = [Case(tilt=i, site="Oslo" if i % 2 else "Rome", steps=[i]) for i in range(6)]
    answers = [{"power": i * 1.5, "n": i, "months": [i, i + 1.0]} for i in range(5)] + [{"state": "failed"}]
    return finished_run(storage, tmp_path / "scratch", cases, answers)


def test_the_answer_is_what_polars_gives(run: Run) -> None:
    answer = run.query("select site, sum(power) power, count(*) n from scalars group by site order by site")

    expected = run.scalars().group_by("site").agg(pl.col("power").sum(), n=pl.len().cast(pl.Int64)).sort("site")
    assert answer.equals(expected)


def test_every_table_and_the_specs_can_be_joined(run: Run) -> None:
    sql = """
        select p.sort_index, p.steps[1] step, sum(energy) energy, any_value(message) message
        from specs p left join monthly m using (sort_index) left join errors e using (sort_index)
        group by all order by p.sort_index
    """
    answer = run.query(sql)
    assert answer["step"].to_list() == [0, 1, 2, 3, 4, 5]
    assert answer["energy"].to_list() == [1.0, 3.0, 5.0, 7.0, 9.0, None]
    assert answer["message"].to_list() == [None] * 5 + ["bad 5"]


def test_several_runs_have_a_version(run: Run, tmp_path: Path) -> None:
    later = finished_run(run.storage, tmp_path / "s2", [Case(tilt=1)], [{"power": 7.0}], layout("v1.1.0", second=5))
    answer = run.query("select version, run, sum(power) p from scalars group by all order by version", also=[later])
    assert answer.rows() == [("v1.0.0", "2026-01-01_00-00-00", 15.0), ("v1.1.0", "2026-01-01_00-00-05", 7.0)]
    # a table that only one of them has is there as well
    assert run.query("select distinct version from monthly", also=[later]).rows() == [("v1.0.0",)]


def test_types_that_a_frame_has_not(run: Run) -> None:
    sql = "select sum(n) s, 1.25 d, interval 2 day i, a.n, b.n from scalars a join scalars b using (n) group by all"
    answer = run.query(f"{sql} order by a.n limit 1")
    assert answer.schema == {"s": pl.Int64, "d": pl.Float64, "i": pl.String, "n": pl.Int64, "n_1": pl.Int64}


def test_the_head_counts_all_rows_and_keeps_some(run: Run) -> None:
    result = query_head([run], "select tilt from scalars order by tilt", 2)
    assert (result.n_rows, result.rows) == (5, [{"tilt": 0.0}, {"tilt": 1.0}])
    assert [(c.name, c.dtype) for c in result.columns] == [("tilt", "Float64")]
    assert query_head([run], "select tilt from scalars", None).n_rows == 5
    empty = query_head([run], "select tilt from scalars where tilt > 99", 2)
    assert (empty.n_rows, empty.rows, len(empty.columns)) == (0, [], 1)


@pytest.mark.parametrize("sql", ["show tables", "describe scalars", "summarize scalars", "explain select 1"])
def test_the_tables_describe_themselves(run: Run, sql: str) -> None:
    assert run.query(sql).height > 0


def test_pivot(run: Run) -> None:
    answer = run.query("pivot scalars on site using sum(power)")
    assert {"Oslo", "Rome"} <= set(answer.columns)


@pytest.mark.parametrize("ending", [".pq", ".parquet", ".csv"])
def test_the_answer_as_a_file(run: Run, tmp_path: Path, ending: str) -> None:
    target = tmp_path / f"answer{ending}"
    written = query_file([run], "select tilt, note, '=1+1' f from scalars order by tilt", target)
    frame = pl.read_csv(target) if ending == ".csv" else pl.read_parquet(target)
    assert frame["tilt"].to_list() == [0, 1, 2, 3, 4]
    assert frame["f"][0] == ("'=1+1" if ending == ".csv" else "=1+1")
    assert written.size_bytes == target.stat().st_size
    with pytest.raises(UsageError, match="already exists"):
        query_file([run], "select 1", target)


@pytest.mark.parametrize(
    ("sql", "message", "hint"),
    [
        ("selec 1", 'SQL: syntax error at or near "selec"\nLINE 1: selec 1\n        ^^^^^', None),
        ("select tlit from scalars", "SQL: there is no column 'tlit'\nLINE 1: select tlit", "Did you mean 'tilt'?"),
        ("select * from scalers", "SQL: there is no table 'scalers'\nLINE 1", "Did you mean 'scalars'?"),
        ("select * from zzz", "SQL: there is no table 'zzz'", "There are: errors, monthly, result_file_refs, scalars"),
        ("select frobnicate(1)", "SQL: Scalar Function with name frobnicate does not exist!", None),
        ("", "a query is one SELECT; this is nothing", None),
        ("select 1; select 2", "a query is one SELECT; this is 2 statements", None),
        ("select cast('x' as int) from scalars", "SQL: Could not convert string 'x'", None),
    ],
)
def test_mistakes_are_told_in_short(run: Run, sql: str, message: str, hint: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        run.query(sql)
    assert caught.value.message.startswith(message)
    assert len(caught.value.message.splitlines()) <= 3
    if hint:
        assert (caught.value.hint or "").startswith(hint)


# --- nothing else of the machine ----------------------------------------------------------------------------------

READS = [
    "select * from read_csv('{secret}')",
    "select * from read_text('{secret}')",
    "select * from read_blob('{secret}')",
    "select * from read_json('{secret}')",
    "select * from '{secret}'",
    "select * from read_parquet('{table}')",
    "select * from '{table}'",
    "select * from parquet_metadata('{table}')",
    "select * from parquet_schema('{table}')",
    "select * from sniff_csv('{secret}')",
    "select * from glob('{folder}/*')",
    "select * from read_csv('http://127.0.0.1:9/x.csv')",
    "select * from read_parquet('s3://bucket/x.parquet')",
    "select * from read_csv('/proc/self/environ')",
    "select * from query('select * from read_csv(''{secret}'')')",
    "select (select content from read_text('{secret}'))",
    "select getenv('SCYTHE_CANARY')",
    "select * from frame",
    "select * from pandas_scan()",
    "select * from arrow_scan(1, 2, 3)",
]
CHANGES = [
    "copy scalars to '{folder}/out.csv'",
    "copy (select 1 as a) to '{table}' (format parquet, use_tmp_file false)",
    "with x as (copy (select 1 as a) to '{table}' (format parquet, use_tmp_file false)) select 1",
    "with x as (copy (select 1 as a) to '{folder}/out.csv' (use_tmp_file false)) select 1",
    "select * from query('copy (select 1) to ''{folder}/out.csv''')",
    "copy scalars from '{secret}'",
    "export database '{folder}/all'",
    "import database '{folder}'",
    "attach '{folder}/other.db'",
    "attach ':memory:' as other",
    "use memory",
    "install httpfs",
    "install '{folder}/x.duckdb_extension'",
    "load httpfs",
    "load '{folder}/x.duckdb_extension'",
    "set threads = 64",
    "set enable_external_access = true",
    "set allowed_directories = ['{folder}']",
    "reset lock_configuration",
    "set temp_directory = '{folder}'",
    "pragma enable_profiling",
    "set variable x = 1",
    "create table t as select 1",
    "create function f(x) as x",
    "create secret s (type s3, key_id 'a')",
    "create persistent secret s (type s3, key_id 'a')",
    "insert into scalars select * from scalars",
    "with x as (insert into scalars select * from scalars) select 1",
    "update scalars set power = 0",
    "delete from scalars",
    "drop view scalars",
    "alter view scalars rename to t",
    "comment on view scalars is 'x'",
    "prepare p as select 1",
    "begin transaction",
    "checkpoint",
    "vacuum",
    "call enable_logging()",
]


@pytest.mark.parametrize("sql", [*READS, *CHANGES])
def test_a_query_reaches_nothing_else(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    monkeypatch.setenv("SCYTHE_CANARY", "a-canary")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "secret.csv").write_text("a,b\na-canary,2\n")
    frame = pl.DataFrame({"a": ["a-canary"]})
    before = tree(tmp_path), tree(Path(run.storage.location))
    table = run.table_path("scalars").replace("'", "''")
    with pytest.raises(ScytheError) as caught:
        run.query(sql.format(folder=folder, secret=folder / "secret.csv", table=table))
    assert "a-canary" not in str(caught.value)
    assert (tree(tmp_path), tree(Path(run.storage.location))) == before
    assert frame.height == 1


def test_settings_tell_nothing_of_the_machine(run: Run) -> None:
    told = run.query("select string_agg(value, ' ') from duckdb_settings()").item()
    for name in ("HOME", "USER", "PATH"):
        value = os.environ.get(name)
        assert not value or len(value) < 5 or value not in told


@pytest.mark.parametrize("function", ["duckdb_secrets()", "which_secret('s3://bucket/x', 's3')", "duckdb_logs()"])
def test_there_are_no_secrets_and_no_logs(run: Run, function: str) -> None:
    assert run.query(f"select * from {function}").height == 0


def test_memory_is_bounded(run: Run) -> None:
    limit = run.query("select current_setting('memory_limit')").item()
    assert limit.endswith(("GiB", "MiB"))
    assert float(limit.split()[0]) * (1024 if limit.endswith("GiB") else 1) <= 8 * 1024
