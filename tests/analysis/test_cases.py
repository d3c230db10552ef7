from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.analysis.cases.frame import Cases, read_cases
from scythe_cli.analysis.cases.influence import influences
from scythe_cli.analysis.cases.overlay import overlay_cases
from scythe_cli.analysis.cases.selecting import Filters, Selection, parse_filters
from scythe_cli.analysis.cases.views import CaseViews, plain_cell
from scythe_cli.analysis.results.tables import FieldText
from scythe_cli.analysis.run import Run
from scythe_cli.errors import NotFoundError, UsageError
from scythe_cli.run.final.gather import gather
from scythe_cli.storage.local import LocalStorage
from tests.fuzzing import cases
from tests.made_runs import LAYOUT, make_run, outcomes, write_part


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Ten cases: eight succeeded, one failed, one is pending."""
    storage = LocalStorage(tmp_path / "runs")
    make_run(storage, tmp_path / "scratch", 10)
    write_part(storage, LAYOUT, "a", outcomes(range(8), feature=True))
    write_part(storage, LAYOUT, "b", outcomes([8], "failed"))
    return Run(storage, LAYOUT)


def _views(**columns: list[Any]) -> CaseViews:
    n = len(next(iter(columns.values())))
    frame = pl.DataFrame({":case": range(n), **columns})
    return CaseViews(Selection(Cases(frame, {":case": "case", **dict.fromkeys(columns, "input")}, {})))


def test_cases_are_the_same_before_and_after_the_tables_are_made(run: Run) -> None:
    before = read_cases(run)
    gather(run.storage, run.layout)
    after = read_cases(run)
    assert before.frame.select(sorted(before.frame.columns)).equals(after.frame.select(sorted(after.frame.columns)))
    assert before.roles == after.roles
    assert before.frame[":state"].to_list() == ["succeeded"] * 8 + ["failed", "pending"]
    assert before.frame["y"].to_list() == [float(i**2) for i in range(8)] + [None, None]
    assert before.roles["x"] == "input"
    assert before.roles["half"] == "feature"
    assert before.frame[":error"].to_list() == [None] * 8 + ["KeyError", None]


def test_the_outcome_that_counts_is_shown(run: Run) -> None:
    write_part(run.storage, run.layout, "c", outcomes([8], attempt=2))
    cases = read_cases(run)
    assert cases.frame.row(8, named=True)[":state"] == "succeeded"
    assert cases.frame.row(8, named=True)["y"] == 64.0


def test_columns_tell_how_they_can_be_drawn(run: Run) -> None:
    kinds = {name: column.kind for name, column in read_cases(run).columns.items()}
    assert kinds["x"] == "number"
    assert kinds["steps"] == "other"
    assert kinds[":started"] == "time"
    assert kinds[":state"] == "category"


@pytest.mark.parametrize(
    ("where", "chosen"),
    [
        ("", [0, 1, 2, 3]),
        ('{"f":{"x":[1,2]}}', [1]),
        ('{"f":{"x":[null,1]}}', [0, 1]),
        ('{"f":{"x":[2,null]}}', []),
        ('{"f":{"site":["=","Oslo"]}}', [0, 2]),
        ('{"f":{"site":["=",null]}}', [3]),
        ('{"f":{"x":[0,1],"site":["=","Rome"]}}', [1]),
        ('{"q":"OSL"}', [0, 2]),
        ('{"q":"3"}', [3]),
        ('{"f":{"site":[0,1.5]}}', [0, 1, 2]),
    ],
)
def test_filters_choose(where: str, chosen: list[int]) -> None:
    views = _views(x=[0.0, 1.0, math.nan, None], site=["Oslo", "Rome", "Oslo", None])
    told = views.rows(parse_filters(where), columns=[":case"], sort=":case")
    assert [row[0] for row in told["rows"]] == chosen
    assert views.count(parse_filters(where)) == len(chosen)


@pytest.mark.parametrize("where", ["[", "3", '{"f":3}', '{"f":{"x":[1]}}', '{"f":{"x":["a","b"]}}', '{"f":{"x":3}}'])
def test_filters_of_wrong_shape_are_refused(where: str) -> None:
    with pytest.raises(UsageError):
        parse_filters(where)


def test_a_filter_of_no_column_is_refused() -> None:
    with pytest.raises(NotFoundError):
        _views(x=[1.0]).count(Filters(ranges={"y": (0, 1)}))


def test_histograms_count_all_and_the_chosen_ones_by_group() -> None:
    views = _views(x=[float(i) for i in range(100)], site=["a", "b"] * 50)
    told = views.histogram("x", Filters(ranges={"x": (0.0, 9.0)}), "site")
    assert sum(told["all"]) == 100
    assert sum(told["chosen"]) == 10
    assert [sum(each) for each in told["grouped"]] == [5, 5, 0]
    assert np.allclose(np.array(told["grouped"]).sum(axis=0), told["chosen"])
    assert views.histogram("site", Filters())["chosen"] == [50, 50]


@given(
    rows=st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abc"), st.sampled_from("uv")), min_size=1, max_size=30),
    asked=st.lists(st.tuples(st.integers(0, 9), st.sampled_from([None, "group", "other"])), min_size=1, max_size=6),
)
def test_what_a_page_was_told_before_changes_no_count(
    rows: list[tuple[int, str, str]], asked: list[tuple[int, str | None]]
) -> None:
    x, group, other = map(list, zip(*rows, strict=True))
    views = _views(x=x, group=group, other=other)
    for least, color in asked:
        chosen = [(n, {"group": g, "other": o}) for n, g, o in rows if n >= least]
        told = views.histogram("x", Filters(ranges={"x": (float(least), None)}), color)
        assert sum(told["chosen"]) == len(chosen)
        if color is None:
            assert "grouped" not in told
            continue
        assert [sum(bins) for bins in zip(*told["grouped"], strict=True)] == told["chosen"]
        by_group = {label: sum(row) for label, row in zip(told["groups"], told["grouped"], strict=False)}
        assert by_group == {label: sum(row[color] == label for _, row in chosen) for label in told["groups"]}


def test_numbers_that_no_histogram_can_hold_are_left_out_or_refused() -> None:
    assert sum(_views(x=[1.0, math.inf, math.nan, None]).histogram("x", Filters())["all"]) == 1
    assert sum(_views(x=[None, math.nan]).histogram("x", Filters())["all"]) == 0
    views = _views(x=[-1.7e308, 1.7e308], y=[1, 2])
    with pytest.raises(UsageError, match="neither numbers nor categories"):
        views.histogram("x", Filters())
    assert (views.selection.cases.column("x").kind, views.selection.cases.column("y").kind) == ("other", "number")


@pytest.mark.parametrize("number", [1.79e308, -1.79e308, 0.0, 5e-324])
def test_a_number_that_is_always_the_same_has_a_histogram(number: float) -> None:
    told = _views(x=[number] * 3).histogram("x", Filters())
    assert sum(told["all"]) == 3
    assert all(map(math.isfinite, told["edges"]))


def test_rare_categories_share_a_bar() -> None:
    told = _views(site=[f"s{i % 60}" for i in range(120)]).histogram("site", Filters())
    assert told["labels"][-1] == "(other)"
    assert sum(told["all"]) == 120
    assert len(told["all"]) == 24


def test_samples_stay_where_they_are_when_filters_are_added() -> None:
    views = _views(x=[float(i) for i in range(1000)])
    wide = set(views.points(["x"], Filters(ranges={"x": (0, 800)}), None, 50, 0)["cases"])
    narrow = set(views.points(["x"], Filters(ranges={"x": (0, 400)}), None, 50, 0)["cases"])
    assert {case for case in wide if case <= 400} <= narrow
    assert len(narrow) == 50


def test_points_have_colors() -> None:
    views = _views(x=[1.0, math.inf], site=["a", None])
    told = views.points(["x", "site"], Filters(), "site", 10, 10)
    assert told["color"].tolist() == [0, 1]
    assert told["values"]["x"].tolist() == [1.0, math.inf]


@pytest.mark.parametrize(("sort", "descending", "order"), [("x", False, [1, 0, 2, 3]), ("x", True, [0, 1, 2, 3])])
def test_missing_values_are_sorted_last(sort: str, descending: bool, order: list[int]) -> None:
    views = _views(x=[2.0, 1.0, math.nan, None])
    told = views.rows(Filters(), columns=[":case"], sort=sort, descending=descending)
    assert [row[0] for row in told["rows"]][:2] == order[:2]


def test_pages_of_the_table() -> None:
    views = _views(x=[float(i) for i in range(100)])
    told = views.rows(Filters(), columns=[":case", "x"], sort="x", descending=True, offset=10, limit=3)
    assert told["n"] == 100
    assert told["rows"] == [(89, 89.0), (88, 88.0), (87, 87.0)]


def test_cells_are_plain_and_short() -> None:
    cells = [2**60, math.nan, b"abc", "a\u202eb\x00", "x" * 5000, [1, 2], {"a": 1}, None, True]
    shown = [plain_cell(cell) for cell in cells]
    assert shown[:4] == [str(2**60), "nan", "3 bytes", "a\\x202eb\\x00"]
    assert len(shown[4]) == 401
    json.dumps(shown, allow_nan=False)


def _cases(units: dict[str, str] | None = None, **columns: list[Any]) -> Cases:
    frame = pl.DataFrame({":case": range(len(next(iter(columns.values())))), **columns})
    texts = {name: FieldText(unit, None, is_input=True) for name, unit in (units or {}).items()}
    return Cases(frame, {":case": "case", **dict.fromkeys(columns, "input")}, texts)


def test_runs_laid_over_each_other_have_the_columns_in_common() -> None:
    a = _cases(units={"p": "kW"}, x=[1, 2], p=[1.0, 2.0], site=["a", "b"], kind=[1, 2], only=[1, 2])
    b = _cases(units={"p": "W"}, x=[0.5], p=[1000.0], site=[True], kind=["one"])
    overlay = overlay_cases({"new": a, "old": b})
    assert overlay.cases.frame.to_dict(as_series=False) == {
        ":run": ["new", "new", "old"],
        ":case": [0, 1, 0],
        "x": [1.0, 2.0, 0.5],
        "site": ["a", "b", "true"],
    }
    assert overlay.left_out == {
        "p": "its units differ: kW, W",
        "kind": "its types differ: number, text",
        "only": "old does not have it",
    }


def test_a_column_that_is_an_input_in_one_run_alone_is_left_out() -> None:
    a, b = _cases(x=[1]), _cases(x=[2])
    b.roles["x"] = "output"
    assert overlay_cases({"a": a, "b": b}).left_out == {"x": "it is input in one run, output in another"}


@cases(15)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=8))
def test_no_case_is_lost_when_runs_are_laid_over_each_other(sizes: list[int]) -> None:
    runs = {f"run {i}": _cases(x=list(range(n))) for i, n in enumerate(sizes)}
    overlay = overlay_cases(runs)
    views = CaseViews(Selection(overlay.cases))
    told = views.histogram("x", Filters(), ":run")
    of_run = dict(zip(told["groups"], map(sum, told["grouped"]), strict=False))
    assert of_run == dict(zip(runs, sizes, strict=True))
    points = views.points(["x"], Filters(), None, 100, 0)
    assert sorted(zip(points["runs"], points["cases"], strict=True)) == [
        (i, k) for i, n in enumerate(sizes) for k in range(n)
    ]


@pytest.mark.parametrize("n", [1, 9])
def test_too_few_or_too_many_runs_are_refused(n: int) -> None:
    with pytest.raises(UsageError, match="from 2 to 8 runs"):
        overlay_cases({str(i): _cases(x=[1]) for i in range(n)})


@pytest.mark.parametrize("numbers", [[1e300, 5e300, 1e301], [0.0, 5e-324, 1e-323], [1e200, 2e200, 3e200]])
def test_very_large_and_very_small_numbers_are_drawn_where_they_are(numbers: list[float]) -> None:
    views = _views(x=numbers)
    assert views.points(["x"], Filters(), None, 10, 0)["values"]["x"].tolist() == numbers
    told = views.histogram("x", Filters())
    assert sum(told["all"]) == 3
    assert told["all"][0] >= 1
    assert told["all"][-1] >= 1


def test_memory_is_a_column_where_it_was_measured(run: Run) -> None:
    assert ":memory" not in read_cases(run).frame.columns
    measured = outcomes([9]).append_column("memory_bytes", pa.array([250_000_000], pa.int64()))
    write_part(run.storage, run.layout, "c", measured)
    # another program's column of that name is none
    write_part(run.storage, run.layout, "d", outcomes([8], attempt=2).append_column("memory_bytes", pa.array(["x"])))
    cases = read_cases(run)
    assert cases.frame[":memory"].to_list() == [None] * 9 + [250.0]
    assert (cases.columns[":memory"].unit, cases.columns[":memory"].role) == ("MB", "case")


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.none(), min_size=1, max_size=30))
@cases(60)
def test_each_number_above_zero_is_in_a_bin_of_a_logarithmic_histogram(values: list[float | None]) -> None:
    told = _views(x=values).histogram("x", Filters(), log=True)
    positive = [value for value in values if value is not None and math.isfinite(value) and value > 0]
    assert told["log"] is bool(positive)
    if positive:
        edges = told["edges"]
        assert sum(told["all"]) == len(positive)
        assert all(map(math.isfinite, edges))
        assert edges == sorted(edges)
        assert edges[0] <= min(positive) * (1 + 1e-9)
        assert edges[-1] >= max(positive) * (1 - 1e-9)


def test_influences_are_those_of_the_chosen_cases() -> None:
    n = 200
    x = list(map(float, range(n)))
    frame = pl.DataFrame(
        {
            ":case": range(n),
            "x": x,
            "kind": ["a" if i < n // 2 else "b" for i in range(n)],
            "same": [1.0] * n,
            "steps": [[i] for i in range(n)],
            "falling": [-value if i % 50 else None for i, value in enumerate(x)],
            "step": [float(i < n // 2) for i in range(n)],
            "still": [2.0] * n,
        }
    )
    roles: dict[str, Any] = {":case": "case", **dict.fromkeys(("x", "kind", "same", "steps"), "input")}
    roles |= dict.fromkeys(("falling", "step", "still"), "output")
    selection = Selection(Cases(frame, roles, {}))
    told = influences(selection, Filters())
    assert (told["n"], told["used"], told["outputs"]) == (n, n, ["falling", "step"])
    values = {row["input"]: dict(zip(told["outputs"], row["values"], strict=True)) for row in told["inputs"]}
    assert values.keys() == {"x", "kind"}
    assert values["x"]["falling"] == pytest.approx(-1)
    assert values["kind"]["step"] == pytest.approx(1)
    assert influences(selection, parse_filters('{"f":{"kind":["=","a"]}}'))["outputs"] == ["falling"]
    assert influences(selection, parse_filters('{"f":{"x":[1,2]}}'))["inputs"][0]["values"] == [None]
    assert influences(selection, parse_filters('{"f":{"x":[9,2]}}'))["inputs"] == []
