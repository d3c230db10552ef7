"""What differs between two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.analysis.results.diff_tables import Tolerance, changed_cells
from scythe_cli.analysis.run import Run
from scythe_cli.core.states import State
from scythe_cli.errors import NotFoundError, UsageError
from scythe_cli.storage.base import Storage
from scythe_cli.storage.opening import open_storage
from tests.fuzzing import cases
from tests.result_runs import Case, Wall, finished_run, layout

NAN = float("nan")
CASES = [Case(tilt=i, wall=Wall(u_value=i / 7), steps=[i]) for i in range(8)]


def answers(**changes: Any) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [
        {"power": 10.0 * i, "note": f"n{i}", "n": i, "months": [float(i), 2.0 * i]} for i in range(8)
    ]
    made[7]["power"] = NAN
    for row, change in changes.items():
        made[int(row[1:])].update(change)
    return made


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "runs")


def two(
    storage: Storage, tmp_path: Path, new: list[dict[str, Any]], cases: list[Case] | None = None, **more: Any
) -> tuple[Run, Run]:
    old_run = finished_run(storage, tmp_path / "a", CASES, answers(), layout("v1.0.0"))
    return old_run, finished_run(storage, tmp_path / "b", cases or CASES, new, layout("v1.1.0", 5), **more)


def test_a_run_equals_its_repetition_in_another_order(storage: Storage, tmp_path: Path) -> None:
    a, b = two(storage, tmp_path, answers()[::-1], CASES[::-1])
    result = a.diff(b)
    assert result.equal
    assert (result.n_matched, result.n_cells, result.cells) == (8, 0, [])
    assert result.tables == ["scalars", "result_file_refs", "monthly"]
    assert result.joined_on == ["tilt", "site", "wall", "steps", "weather"]


def test_exactly_the_changed_cells_are_found(storage: Storage, tmp_path: Path) -> None:
    changed = answers(r2={"power": 21.0}, r5={"note": None}, r6={"months": [6.0, 12.5]})
    a, b = two(storage, tmp_path, changed[::-1], CASES[::-1])
    result = a.diff(b)
    assert not result.equal
    cells = [(c.table, c.row_a, c.row_b, c.levels, c.column, c.old, c.new) for c in result.cells]
    assert cells == [
        ("scalars", 2, 5, {}, "power", 20.0, 21.0),
        ("scalars", 5, 2, {}, "note", "n5", None),
        ("monthly", 6, 1, {"month": 2}, "energy", 12.0, 12.5),
    ]
    assert result.cells[0].relative == pytest.approx(0.05)
    assert result.cells[0].spec["tilt"] == 2.0
    assert (result.n_cells, result.n_changed_specs) == (3, 3)
    assert [(c.table, c.column, c.n_changed, c.n_compared) for c in result.columns] == [
        ("scalars", "power", 1, 8),
        ("scalars", "note", 1, 8),
        ("monthly", "energy", 1, 16),
    ]


@pytest.mark.parametrize(
    ("rtol", "atol", "equal"), [(0, 0, False), (0.049, 0, False), (0.051, 0, True), (0, 0.9, False), (0, 1.0, True)]
)
def test_tolerances(storage: Storage, tmp_path: Path, rtol: float, atol: float, equal: bool) -> None:
    a, b = two(storage, tmp_path, answers(r2={"power": 21.0}))
    assert a.diff(b, rtol=rtol, atol=atol).equal is equal


@pytest.mark.parametrize(
    ("old", "new", "equal"),
    [
        (NAN, NAN, True),
        (NAN, None, False),
        (NAN, 1.0, False),
        (None, None, True),
        (None, 0.0, False),
        (float("inf"), float("inf"), True),
        (float("inf"), float("-inf"), False),
        (float("inf"), 1.0, False),
        (0.0, -0.0, True),
        (0.0, 1e-300, False),
    ],
)
def test_numbers_that_are_none(
    storage: Storage, tmp_path: Path, old: float | None, new: float | None, equal: bool
) -> None:
    runs = [
        finished_run(storage, tmp_path / v, [Case(tilt=1)], [{"power": value}], layout(v))
        for v, value in (("v1.0.0", old), ("v1.1.0", new))
    ]
    assert [runs[0].diff(runs[1], rtol=rtol).equal for rtol in (0.0, 0.1)] == [equal, equal]


def test_specs_of_one_run_only_and_states(storage: Storage, tmp_path: Path) -> None:
    cases = [*CASES[1:], Case(tilt=99)]
    new = [*answers(r3={"state": "failed"})[1:], {"power": 1.0}]
    a, b = two(storage, tmp_path, new, cases)
    result = a.diff(b)
    assert (result.n_matched, result.n_only_a, result.n_only_b) == (7, 1, 1)
    assert (result.only_a[0].row, result.only_a[0].spec["tilt"]) == (0, 0.0)
    assert (result.only_b[0].row, result.only_b[0].spec["tilt"]) == (7, 99.0)
    (state,) = result.state_changes
    assert (state.row_a, state.row_b, state.old, state.new) == (3, 2, State.SUCCEEDED, State.FAILED)
    assert state.spec["tilt"] == 3.0
    assert result.n_cells == 0
    assert not result.equal


def test_equal_specs_are_matched_in_their_order(storage: Storage, tmp_path: Path) -> None:
    runs = [
        finished_run(storage, tmp_path / v, [Case(tilt=1)] * n, [{"power": p} for p in powers], layout(v))
        for v, n, powers in (("v1.0.0", 3, [1.0, 2.0, 3.0]), ("v1.1.0", 2, [1.0, 5.0]))
    ]
    result = runs[0].diff(runs[1])
    assert [(c.row_a, c.old, c.new) for c in result.cells] == [(1, 2.0, 5.0)]
    assert (result.n_matched, result.n_only_a, [s.row for s in result.only_a]) == (2, 1, [2])


def test_files_count_by_their_content(storage: Storage, tmp_path: Path) -> None:
    runs: list[Run] = []
    for version, digests in (("v1.0.0", ("aa", "bb")), ("v1.1.0", ("bb", "aa")), ("v1.2.0", ("aa", "cc"))):
        uris = [f"s3://bucket/{version}/{name}.epw" for name in ("x", "y")]
        cases = [Case(tilt=1, weather=uri) for uri in uris]
        powers = {"aa": 1.0, "bb": 2.0, "cc": 3.0}
        runs.append(
            finished_run(
                storage,
                tmp_path / version,
                cases,
                [{"power": powers[d]} for d in digests],
                layout(version),
                hashes=dict(zip(uris, digests, strict=True)),
            )
        )
    assert runs[0].diff(runs[1]).equal
    result = runs[0].diff(runs[2])
    assert (result.n_matched, result.n_only_a, result.n_only_b, result.n_cells) == (1, 1, 1, 0)


def test_rows_columns_and_tables_of_one_run_only(storage: Storage, tmp_path: Path) -> None:
    new = answers(r1={"months": [1.0]})
    a, b = two(storage, tmp_path, new)
    result = a.diff(b)
    assert (result.n_rows_only_a, result.n_rows_only_b, result.n_cells) == (1, 0, 0)
    assert not result.equal
    for answer in new:
        del answer["months"]
    c = finished_run(storage, tmp_path / "c", CASES, new, layout("v1.2.0", 6))
    result = a.diff(c)
    assert result.tables_only_a == ["monthly"]
    assert not result.equal
    assert a.diff(c, tables=["scalars"]).equal


def test_columns_can_be_passed_over_and_cells_limited(storage: Storage, tmp_path: Path) -> None:
    a, b = two(storage, tmp_path, answers(**{f"r{i}": {"n": -1} for i in range(8)}))
    result = a.diff(b, limit=3)
    assert (result.n_cells, len(result.cells)) == (8, 3)
    assert a.diff(b, ignore=["n"]).equal
    for ignored, table, message in ((["nn"], None, "no table has a column 'nn'"), ([], ["x"], "neither run has")):
        with pytest.raises(NotFoundError, match=message):
            a.diff(b, ignore=ignored, tables=table)
    for tolerance in (-1.0, NAN, float("inf")):
        with pytest.raises(UsageError, match="rtol is"):
            a.diff(b, rtol=tolerance)


def test_output_files_differ_where_only_one_run_has_one(storage: Storage, tmp_path: Path) -> None:
    a, b = two(storage, tmp_path, answers(r1={"picture": "/somewhere/x.png"}))
    (cell,) = a.diff(b).cells
    assert (cell.table, cell.column, cell.old, cell.new) == ("result_file_refs", "picture", None, "a file")


ROWS = st.lists(st.tuples(st.integers(0, 3), st.one_of(st.none(), st.floats(width=32))), min_size=1, max_size=8)


@cases(4, at_night=200)
@given(old=ROWS, new=ROWS)
def test_counts_agree_with_a_plain_comparison(
    tmp_path_factory: pytest.TempPathFactory, old: list[Any], new: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("diff")
    storage = open_storage(folder / "runs")
    runs = [
        finished_run(storage, folder / v, [Case(tilt=t) for t, _ in rows], [{"power": p} for _, p in rows], layout(v))
        for v, rows in (("v1.0.0", old), ("v1.1.0", new))
    ]
    cells = matched = 0
    for tilt in range(4):
        a, b = ([p for t, p in rows if t == tilt] for rows in (old, new))
        pairs = list(zip(a, b, strict=False))
        matched += len(pairs)
        cells += sum(not (x == y or (x is not None and y is not None and x != x and y != y)) for x, y in pairs)
    result = runs[0].diff(runs[1])
    assert (result.n_matched, result.n_cells) == (matched, cells)
    assert (result.n_only_a, result.n_only_b) == (len(old) - matched, len(new) - matched)
    assert result.equal is (not cells and len(old) == len(new) == matched)


@pytest.mark.parametrize(
    ("old", "new", "tolerance", "as_file", "expected"),
    [
        ([1.0, NAN, None, float("inf")], [1.0, NAN, None, float("inf")], Tolerance(0, 0), False, []),
        ([1.0, NAN, None, 2.0], [1.5, 1.0, 0.0, -float("inf")], Tolerance(0.5, 0), False, [1, 2, 3]),
        ([2**62], [2**62 + 1], Tolerance(0, 0), False, [0]),
        ([2**62], [2**62 + 1], Tolerance(1e-9, 0), False, []),
        ([1, 2], [1.0, 2.5], Tolerance(0, 0), False, [1]),
        ([10.0, 10.0], [10.9, 11.1], Tolerance(0.05, 0.5), False, [1]),
        (["1", "a"], [1, 2], Tolerance(0, 0), False, [1]),
        ([None, None], ["", None], Tolerance(0, 0), False, [0]),
        ([[1, 2], [3]], [[1, 2], [4]], Tolerance(1, 1), False, [1]),
        (["s3://a/1", None, "x"], ["s3://b/2", "y", None], Tolerance(0, 0), True, [1, 2]),
    ],
)
def test_cells_that_differ(
    old: list[Any], new: list[Any], tolerance: Tolerance, as_file: bool, expected: list[int]
) -> None:
    pair = pl.DataFrame({"row": range(len(old)), "old": old, "new": new}, strict=False)
    changed = changed_cells(pair, tolerance, as_file=as_file)
    assert changed["row"].to_list() == expected
    assert changed.schema[":abs"] == changed.schema[":rel"] == pl.Float64
