"""`scythe_cli.map`: any function over any table, as a plain loop would have called it."""

from __future__ import annotations

import inspect
import logging
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pydantic import AwareDatetime

import scythe_cli
from scythe_cli.errors import InvalidInputError, RegistrationError, SamplingFileError, UsageError
from scythe_cli.sampling.reading import read_raw
from scythe_cli.services.allocation.functions import column_types
from scythe_cli.services.mapping import MapOptions, as_file
from tests.commands import run_here


class Site(Enum):
    NORTH = "n"


@dataclass
class Point:
    x: int
    site: str


def area(x: int, site: str = "s") -> str:
    return f"{x}{site}"


def only(x: int) -> int:
    return x


@pytest.mark.parametrize(
    ("cases", "function", "columns"),
    [
        (pd.DataFrame({"x": [1, 2]}), area, {"x": [1, 2]}),
        (pd.DataFrame({"x": [1, 2]}, index=pd.Index([7, 8], name="i")), area, {"i": [7, 8], "x": [1, 2]}),
        (pd.DataFrame({"x": [1, 2]}, index=[7, 8]), area, {"x": [1, 2]}),
        (pd.DataFrame({"x": ["a", None]}, dtype=object), area, {"x": ["a", None]}),
        (pd.DataFrame({"x": pd.array([1, None], dtype="Int64")}), area, {"x": [1, None]}),
        (pd.DataFrame({"x": pd.Categorical(["a", "b"])}), area, {"x": ["a", "b"]}),
        (pl.DataFrame({"x": [1, 2]}), area, {"x": [1, 2]}),
        (pl.LazyFrame({"x": [1, 2]}), area, {"x": [1, 2]}),
        (pa.table({"x": [1, 2]}), area, {"x": [1, 2]}),
        ({"x": np.array([1, 2]), "site": ("a", "b")}, area, {"x": [1, 2], "site": ["a", "b"]}),
        ([{"x": 1}, {"x": 2, "site": Site.NORTH}], area, {"x": [1, 2], "site": [None, "n"]}),
        ([{"x": Path("a") / "b"}], area, {"x": ["a/b"]}),
        ([Point(1, "a")], area, {"x": [1], "site": ["a"]}),
        ([(1, "a"), (2, "b")], area, {"x": [1, 2], "site": ["a", "b"]}),
        (range(3), only, {"x": [0, 1, 2]}),
        (pd.DataFrame({"x": [5, 6]}, index=pd.Index([5, 6], name="x")), area, {"x": [5, 6]}),
        (
            pd.DataFrame({"z": [1]}, index=pd.MultiIndex.from_tuples([(2, 3)], names=["x", None])),
            area,
            {"x": [2], "z": [1]},
        ),
        (pd.DataFrame([[1, 2]]), area, {"0": [1], "1": [2]}),
        (pd.DataFrame({"x": pd.arrays.SparseArray([0.0, 1.0])}), area, {"x": [0.0, 1.0]}),
        (pd.DataFrame({"x": pd.array([1, None], dtype="int64[pyarrow]")}), area, {"x": [1, None]}),
        (pd.DataFrame({"x": [np.arange(2), np.arange(1)]}), area, {"x": [[0, 1], [0]]}),
        (pd.DataFrame({"x": [1, 2], "y": [3, 4]}).to_dict(), area, {"x": [1, 2], "y": [3, 4]}),
        (pd.DataFrame({"x": [1, 2]}).to_dict("series"), area, {"x": [1, 2]}),
        ([row for _, row in pd.DataFrame({"x": [1], "y": [3]}).iterrows()], area, {"x": [1], "y": [3]}),
        (np.array([(1, "a")], dtype=[("x", int), ("site", "U1")]), area, {"x": [1], "site": ["a"]}),
        (pa.record_batch({"x": [1, 2]}), area, {"x": [1, 2]}),
        ([UUID(int=1)], only, {"x": [str(UUID(int=1))]}),
        ((n for n in (4, 5)), only, {"x": [4, 5]}),
        (np.array([1.5, 2.5]), only, {"x": [1.5, 2.5]}),
    ],
)
def test_cases_of_any_kind_are_a_table(cases: Any, function: Any, columns: dict[str, Any]) -> None:
    with as_file(cases, function) as path:
        assert pl.read_parquet(path).to_dict(as_series=False) == columns


def test_nan_stays_what_it_is() -> None:
    with as_file(pd.DataFrame({"x": [1.0, math.nan]}), only) as path:
        column = pl.read_parquet(path)["x"]
    assert not column.null_count()
    assert column.is_nan().to_list() == [False, True]


@pytest.mark.parametrize(
    ("cases", "match"),
    [
        (3, "cases are a int"),
        ([], "there are no cases"),
        (pd.DataFrame({"x": []}), "there are no cases"),
        (pd.DataFrame(index=range(3)), "the cases have no columns"),
        (pd.DataFrame([[1, 2]], columns=["", "x"]), "has no name"),
        (pd.DataFrame([[1, 2]], columns=[None, "x"]), "has no name"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), "two columns of the cases are called 1"),
        (pd.DataFrame({"x": [1]}, index=pd.Index([5], name="x")), "one is a level of the index"),
        (pd.DataFrame({"x": pd.period_range("2024-01", periods=2, freq="M")}), r"x is of type period\[M\]"),
        (pd.DataFrame({"x": pd.interval_range(0, 2)}), "x is of type interval"),
        (pd.DataFrame({"x": [1j]}), "x is of type complex128"),
        (pd.DataFrame({"x": pd.to_datetime([1], unit="ns")}), "nanoseconds"),
        ([pd.Timestamp("2024-01-01 00:00:00.000000001")], "area has 2|nanoseconds"),
        ({"x": [pd.Timestamp("2024-01-01 00:00:00.000000001")]}, "nanoseconds"),
        ({"x": [[pd.Timestamp("2024-01-01 00:00:00.000000001")]]}, "column x of the cases has times with nanoseconds"),
        ([{"x": {"a": pd.Timedelta(1)}}], "column x of the cases has times with nanoseconds"),
        ([{"x": np.datetime64(1, "ns")}, {"x": None}], "column x of the cases has times with nanoseconds"),
        ([{"x": np.array([1], "timedelta64[ns]")}], "column x of the cases has times with nanoseconds"),
        (pa.table({"x": pa.array([{"a": [1]}], pa.struct([("a", pa.list_(pa.time64("ns")))]))}), "column x .* nanosec"),
        ({"x": [1, 2], "site": "a"}, "the column site of the cases is a str, not a list"),
        ({"x": 5}, "the column x of the cases is a int, not a list"),
        ({"x": {1, 2}}, "the column x of the cases is a set, not a list"),
        ([{"x": 1}, 2], "some cases are dicts"),
        ([1, 2], "area has 2 parameters"),
        ([{"x": 1}, {"x": "a"}], "cannot be made a table"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), "two columns of the cases are called x"),
    ],
)
def test_cases_that_are_no_table_are_told(cases: Any, match: str) -> None:
    with pytest.raises(InvalidInputError, match=match), as_file(cases, area):
        pass


def test_types_of_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("i,f,b,t,z,e\n1,1.5,true,x,007x,\n2,2,false,y,1,\n")
    assert column_types(read_raw(tmp_path / "a.csv")) == {
        "i": int,
        "f": float,
        "b": bool,
        "t": str,
        "z": str,
        "e": str | None,
    }
    table = pa.table({"t": ["1", "2"], "l": [[1], [2]], "n": [None, 1.5], "s": [{"a": 1}, {"a": 2}]})
    with as_file(table) as path:
        types = column_types(read_raw(path))
    assert types == {"t": str, "l": list[int], "n": float | None, "s": dict[str, Any]}
    with as_file({"z": pd.date_range("2024-01-01", periods=2, tz="Europe/Berlin"), "b": [b"a", b"b"]}) as path:
        assert column_types(read_raw(path)) == {"z": AwareDatetime, "b": bytes}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder without a project, that is the working directory."""
    folder = tmp_path_factory.mktemp("no project")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        yield folder


@pytest.fixture(autouse=True)
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)


@pytest.mark.processes
def test_a_closure_gives_what_a_loop_gives_and_a_bad_case_costs_itself(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    offset = 0.25
    frame = pd.DataFrame({"x": np.linspace(0, 1, 40), "kind": ["a", "b"] * 20})
    frame.loc[5, "x"] = math.nan

    def yield_of(x, kind):  # type: ignore[no-untyped-def]
        if x == 1:
            raise ValueError("no sun")
        hourly = pd.DataFrame({"hour": [0, 1], "kwh": [x, offset]})
        return {"kwh": x + offset if kind == "a" else x, "label": kind * 2}, hourly

    with caplog.at_level(logging.WARNING, "scythe_cli"):
        run = scythe_cli.map(yield_of, frame, workers=2)

    scalars = run.scalars()
    expected = [yield_of(x, kind)[0] for x, kind in frame.itertuples(index=False) if x != 1]
    np.testing.assert_array_equal(scalars["kwh"].to_numpy(), [each["kwh"] for each in expected])
    assert scalars["label"].to_list() == [each["label"] for each in expected]
    assert run.errors().errors[0].message == "no sun"
    assert run.table("result_1").collect().height == 2 * 39
    assert "1 of 40 cases did not succeed" in caplog.text
    assert run.layout.experiment == "yield_of"
    assert (home / "runs" / "yield_of").is_dir()
    assert run.manifest is not None
    assert "no sun" in (run.manifest.function_source or "")


async def later(x: int) -> dict[str, Any]:
    Path("out.txt").write_text(str(x))
    return {"double": 2 * x, "file": Path("out.txt")}


@pytest.mark.processes
def test_a_coroutine_function_and_its_files(home: Path) -> None:
    run = scythe_cli.map(later, [3, 4], name="later-on", seed=1, execution_timeout="1m", retries=0)
    assert run.scalars()["double"].to_list() == [6, 8]
    files = run.table("result_file_refs").collect()["file"].to_list()
    assert [Path(file).read_text() for file in files] == ["3", "4"]
    assert run.layout.experiment == "later-on"


@pytest.mark.processes
def test_functions_that_no_other_process_can_import(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a module that exists in this process alone, and of one that is written in C."""
    module = ModuleType("made_here")
    body = "return {'double': factor * x, 'parts': [x], 'process': os.getpid()}"
    exec(f"import os\ndef double(x):\n    {body}\nfactor = 2\n", vars(module))
    monkeypatch.setitem(sys.modules, "made_here", module)
    scalars = scythe_cli.map(module.double, range(60), workers=1).scalars()
    assert scalars["double"].to_list() == [2 * x for x in range(60)]
    # that Arrow loads pandas for a list makes no row slow, which would have a process of its own then
    assert scalars["process"].n_unique() == 1
    assert scythe_cli.map(math.sqrt, [1.0, 4.0], workers=1).scalars()["value"].to_list() == [1.0, 2.0]


@pytest.mark.processes
def test_a_function_of_a_module_runs_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "panels.py").write_text("def tilted(tilt: float, site='Oslo'):\n    return tilt * len(site)\n")
    (tmp_path / "cases.csv").write_text("tilt\n1\n2.5\n")
    (tmp_path / "bad.csv").write_text("tilt,sit\n1,Rome\n")
    monkeypatch.chdir(tmp_path)

    checked = run_here("validate", "cases.csv", "--function", "panels:tilted")
    assert (checked.code, "2 cases for tilted" in checked.out) == (0, True)
    typo = run_here("validate", "bad.csv", "--function", "panels:tilted")
    assert (typo.code, "did you mean 'site'" in typo.err) == (3, True)
    ran = run_here("allocate", "cases.csv", "--function", "panels:tilted", "--experiment", "yearly")
    assert ran.code == 0, ran.err
    run = scythe_cli.load_run("yearly")
    assert run.scalars()["value"].to_list() == [4.0, 10.0]
    assert run.manifest is not None
    assert run.manifest.entrypoint == "panels:tilted"

    # what looks at rows again is told the function too
    assert run_here("verify", "yearly", "-n", "1", "--function", "panels:tilted").code == 0
    again = run_here("rerun", "yearly", "--row", "1", "--function", "panels:tilted")
    assert (again.code, "10" in again.out) == (0, True), again.err
    refused = run_here("retry", "yearly")
    assert (refused.code, "--function panels:tilted" in refused.err) == (2, True), refused.err


@pytest.mark.processes
def test_what_failed_runs_again_with_the_function(home: Path) -> None:
    limit = [1]

    def kwh(x):  # type: ignore[no-untyped-def]
        if x > limit[0]:
            raise ValueError("too steep")
        return x / 2

    run = scythe_cli.map(kwh, [1, 2, 3], workers=1)
    assert run.scalars()["value"].to_list() == [0.5]
    limit[0] = 3
    result = scythe_cli.open_project().retry(run.experiment_id, function=kwh)
    assert result.ok
    assert run.scalars()["value"].to_list() == [0.5, 1.0, 1.5]


@pytest.mark.processes
def test_outcomes_are_taken_over_from_the_same_function_and_from_no_other(home: Path) -> None:
    calls = home / "calls.txt"

    def times(factor: int) -> Any:
        def f(x: int) -> int:
            with calls.open("a") as file:
                file.write(".")
            return x * factor

        return f

    def run(factor: int) -> tuple[list[int], int]:
        before = calls.stat().st_size if calls.exists() else 0
        values = scythe_cli.map(times(factor), [1, 2, 3], name="times", workers=1, reuse=True).scalars()["value"]
        return values.to_list(), calls.stat().st_size - before

    assert [run(2), run(2), run(3), run(2)] == [([2, 4, 6], 3), ([2, 4, 6], 0), ([3, 6, 9], 3), ([2, 4, 6], 0)]


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"function": lambda sort_index: 1, "cases": {"sort_index": [1]}}, RegistrationError, "scythe uses itself"),
        ({"function": only, "cases": {"y": [1]}}, SamplingFileError, "the cases: "),
        ({"function": only, "cases": {"x": ["a"]}}, SamplingFileError, "row 0, x: a"),
        ({"function": only, "cases": [1], "execution_timeout": "soon"}, UsageError, "soon"),
        ({"function": only, "cases": [1], "workers": 0}, UsageError, "workers is 0"),
        ({"function": only, "cases": [1], "engine": "hatchet"}, UsageError, "elsewhere, where only is not"),
        ({"function": only, "cases": [1], "engine": "cloud"}, UsageError, "cloud"),
    ],
)
def test_mistakes_are_told_before_anything_runs(
    home: Path, arguments: dict[str, Any], error: type[Exception], match: str
) -> None:
    before = sorted(home.rglob("*"))
    with pytest.raises(error, match=match):
        scythe_cli.map(**arguments)
    assert sorted(home.rglob("*")) == before


def test_options_are_the_same_at_the_top_and_in_a_project() -> None:
    named = {*inspect.signature(scythe_cli.map).parameters} - {"function", "cases", "storage", "engine"}
    assert named == {*MapOptions.__annotations__} - {"stop"}
