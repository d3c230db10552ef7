"""Queries, pictures, differences, exports and reports, through the command line."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import polars as pl
import pytest

from tests.commands import run_here

from .conftest import EXPERIMENT, ODD, Run, RunSeveral, write_squares


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of a project: the second gives another answer for one case, and lacks another case."""
    folder = tmp_path_factory.mktemp(ODD)
    write_squares(folder)
    env = {"SCYTHE_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))}
    (folder / "fewer.csv").write_text("x\n2\n1\n4\n")
    for file, result in (("good.csv", "case.x**2,"), ("fewer.csv", "case.x**2 + (case.x == 2),")):
        (folder / "work.py").write_text(EXPERIMENT.replace("square=case.x**2,", f"square={result}"))
        done = run_here("allocate", file, cwd=folder, env=env)
        assert done.code == 0, done.err
    return folder


@pytest.fixture
def two_runs(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a copy of that project."""
    folder = tmp_path / made.name
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


def test_query(two_runs: Path, scythe: Run) -> None:
    ran = scythe("results", "query", "select x, square from scalars order by x")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == ["x  square", "1       1", "2       5", "4      16"]

    answer = scythe("results", "query", "select sum(square) s from scalars", "squares/v1.0.0", "--json").json
    assert (answer["columns"], answer["rows"]) == ([{"name": "s", "dtype": "Float64"}], [{"s": 14.0}])

    both = scythe("results", "query", "select version, count(*) n from scalars group by 1 order by 1", "--all-versions")
    assert both.out.splitlines()[1:] == ["v1.0.0   3", "v1.1.0   3"]
    also = scythe("results", "query", "select count(*) n from scalars", "--also", "squares/v1.0.0", "--json").json
    assert also["rows"] == [{"n": 6}]

    few = scythe("results", "query", "select * from steps", "--rows", "2")
    assert "note: 6 rows, the first 2" in few.err

    written = scythe("results", "query", "select x from scalars", "-o", "x.csv", "--json")
    assert pl.read_csv(written.json[0]["path"])["x"].to_list() == [2.0, 1.0, 4.0]

    for sql, said in (
        ("selec 1", 'error: SQL: syntax error at or near "selec"\nLINE 1: selec 1\n        ^^^^^\n'),
        ("select sqare from scalars", "hint: Did you mean 'square'?"),
        ("drop table scalars", "error: DROP is not allowed"),
        ("select * from read_csv('x.csv')", "hint: A query sees only the tables of the run."),
    ):
        ran = scythe("results", "query", sql)
        assert ran.code == 2
        assert said in ran.err


def test_diff(two_runs: Path, scythe: Run) -> None:
    ran = scythe("results", "diff", "v1.0.0", "v1.1.0")
    assert ran.code == 1
    assert "matched    2 of 3 cases" in ran.out
    assert re.search(r"^1→0 +square +4 +5 +\+25 % +x=2, mode=fine$", ran.out, re.MULTILINE)
    assert "1 case only in squares/v1.0.0/" in ran.out

    result = scythe("results", "diff", "v1.0.0", "squares/v1.1.0", "--json")
    assert result.code == 1
    assert [(c["column"], c["old"], c["new"]) for c in result.json["cells"]] == [("square", 4.0, 5.0)]
    assert result.json["equal"] is False

    same = scythe("results", "diff", "squares", "latest")
    assert same.code == 0
    assert same.out.endswith("Equal.\n")
    for arguments, said in (
        (["v1.0.0", "v9.0.0"], "v9.0.0"),
        (["v1.0.0", "v1.1.0", "--ignore", "sqare"], "--ignore square`?"),
        (["v1.0.0", "v1.1.0", "--rtol", "-1"], "rtol is -1.0"),
    ):
        ran = scythe("results", "diff", *arguments)
        assert ran.code == 2
        assert said in ran.err


def test_plot(two_runs: Path, scythe: Run) -> None:
    ran = scythe("results", "plot", "-x", "x", "-y", "square")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("square over x\nsquares/v1.1.0/")
    assert "square [m2]" in ran.out
    assert "x [m]" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80

    drawn = scythe("results", "plot", "-x", "square", "-o", "h.png", "--json").json
    assert (drawn["kind"], drawn["path"]) == ("hist", "h.png")
    assert Path("h.png").read_bytes().startswith(b"\x89PNG")
    assert drawn["vega_lite"]["mark"]["type"] == "bar"

    for arguments, said in (
        (["-x", "x", "-y", "square", "-o", "h.png"], "h.png already exists"),
        (["-x", "x", "-y", "square", "-o", "h.gif"], "Use .png, .svg or .html."),
        (["-x", "x", "-y", "sqare"], "Did you mean `scythe results plot -x x -y square`?"),
        (["--kind", "scatter"], "Inputs: x, mode. Outputs: square."),
    ):
        ran = scythe("results", "plot", *arguments)
        assert ran.code == 2
        assert said in ran.err


def test_export_fetch_and_report(two_runs: Path, scythe: Run) -> None:
    ran = scythe("results", "export", "-o", "tidy.csv")
    assert (ran.code, ran.out.split("  ")[0]) == (0, "tidy.csv")
    assert pl.read_csv("tidy.csv").columns == ["sort_index", "x", "mode", "square"]
    assert scythe("results", "export", "-o", "tidy.csv").code == 2
    assert scythe("results", "export", "-o", "steps.pq", "-t", "steps", "--quiet").out == "steps.pq\n"

    assert scythe("results", "fetch", "-d", "out", "--format", "xlsx").out.startswith("out/results.xlsx  (")
    assert "there already)" in scythe("results", "fetch", "-d", "out", "--format", "xlsx").out
    ran = scythe("results", "fetch", "-d", "out", "--files")
    assert (ran.code, "has no output files" in ran.err) == (2, True)

    ran = scythe("report")
    assert ran.out.startswith("report.html  (")
    result = scythe("report", "squares/v1.0.0", "-o", "old.html", "--json").json
    assert result["size_bytes"] == Path("old.html").stat().st_size


def test_piped_output_has_no_colors(two_runs: Path, shells: RunSeveral) -> None:
    for ran in shells(
        ["results", "query", "select * from scalars"],
        ["results", "diff", "v1.0.0", "v1.1.0"],
        ["results", "plot", "-x", "x", "-y", "square", "--color", "mode"],
        env={"TERM": "xterm-256color", "COLUMNS": "80"},
    ):
        assert ran.code in (0, 1)
        assert "\x1b" not in ran.out
