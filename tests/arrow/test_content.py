"""The number of what a row says: the recipe, and that nothing but the values counts."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from scythe_cli.arrow.content import row_contents
from scythe_cli.arrow.seeds import CONTENT, MAX_SEED, REPETITION, RowSeeds, repetitions, row_seed

ARTIFACTS = "study/v1.0.0/2026-01-01_00-00-00/artifacts/"


def contents(**columns: Any) -> list[int]:
    return row_contents(pa.table(columns), artifacts=ARTIFACTS).tolist()


DAY = datetime.date(2026, 1, 31)
RECIPE = {
    "nothing": ({"x": pa.array([None], pa.float64())}, 0),
    "integer": ({"x": [3]}, 372010353128644857),
    "float": ({"x": [0.1]}, 1849988788364602906),
    "bool": ({"x": [True]}, 5689348796462870910),
    "text": ({"name": ["Zürich, ein langer Name"]}, 2278877325499243349),
    "long text": ({"name": ["ab" * 200]}, 11368262051725112660),
    "bytes": ({"raw": [b"\x00\xff"]}, 9777132874643951146),
    "day": ({"day": [DAY]}, 10979138847431285616),
    "list": ({"xs": [[1.0, 2.0, None]]}, 10363944990343035054),
    "struct": ({"wind": [{"speed": 3.0, "from": "west"}]}, 2327216832116590172),
    "decimal": ({"price": [Decimal("1.50")]}, 17864746354502177518),
    "two columns": ({"x": [0.1], "n": [3]}, 2549575947414778292),
}


@pytest.mark.parametrize(("columns", "number"), RECIPE.values(), ids=RECIPE)
def test_the_recipe_stays_what_it_is(columns: dict[str, Any], number: int) -> None:
    """Seeds of stored runs follow from it."""
    assert contents(**columns) == [number]


SAME = {
    "width of integers": ({"n": pa.array([3], pa.int8())}, {"n": pa.array([3], pa.uint64())}),
    "width of floats": ({"x": pa.array([0.5], pa.float32())}, {"x": [0.5]}),
    "zeros": ({"x": [0.0]}, {"x": [-0.0]}),
    "NaN": (
        {"x": [float("nan")]},
        {"x": pa.array(np.array([0x7FF8000000000001], np.uint64).view(np.float64))},
    ),
    "kinds of text": ({"s": pa.array(["a"], pa.large_string())}, {"s": pa.array(["a"]).dictionary_encode()}),
    "missing and null": ({"x": [1.0]}, {"x": [1.0], "y": pa.array([None], pa.string())}),
    "order of keys": ({"s": ['{"a": 1, "b": [2]}']}, {"s": ['{"b": [2], "a": 1}']}),
    "place of a file": (
        {"f": [f"s3://here/{ARTIFACTS}0123456789abcdef/a.epw"]},
        {"f": [f"/there/runs/{ARTIFACTS}0123456789abcdef/b.epw"]},
    ),
    "kinds of lists": (
        {"xs": pa.array([[1]], pa.large_list(pa.int64()))},
        {"xs": pa.array([[1]], pa.list_(pa.int8()))},
    ),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_equal_values_are_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert contents(**one) == contents(**other)


def test_other_values_are_others() -> None:
    tables: list[dict[str, Any]] = [
        {"x": [1]},
        {"x": [1.0]},
        {"x": [True]},
        {"y": [1]},
        {"x": ["1"]},
        {
            "x": [
                b"1",
            ][:1]
        },
        {"x": ["1\0"]},
        {"x": [""]},
        {"x": pa.array([None], pa.string())},
        {"x": [[]], "z": [1]},
        {"z": [1]},
        {"x": [[1, 2]]},
        {"x": [[2, 1]]},
        {
            "x": [
                [1],
            ][:1]
        },
        {"x": [{"a": 1}]},
        {"x": pa.array([{"a": None}], pa.struct([("a", pa.int64())]))},
        {"x": pa.array([None], pa.list_(pa.int64())), "q": [1]},
        {"x": ["a" * 8]},
        {"x": ["a" * 9]},
        {"x": ["a" * 256]},
        {"x": ["a" * 257]},
    ]
    # text and its bytes are the same
    assert len({contents(**columns)[0] for columns in tables}) == len(tables) - 1


def test_no_rows() -> None:
    assert contents(x=pa.array([], pa.float64()), s=pa.array([], pa.string())) == []


def test_rows_that_say_the_same_are_counted_in_their_order() -> None:
    rows = pa.table({"x": [5, 6, 5, 5, 6], "sort_index": range(5)})
    counted = repetitions(rows, leave_out=["sort_index"], artifacts=ARTIFACTS)
    assert counted is not None
    assert counted.to_pylist() == [0, 0, 1, 2, 1]
    assert repetitions(rows, leave_out=[], artifacts=ARTIFACTS) is None


def test_the_seed_of_a_row() -> None:
    assert row_seed(0, 0, 0) == 897873707377029590
    seeds = {row_seed(run, content, n) for run in (0, 1, MAX_SEED) for content in (0, 2**64 - 1) for n in (0, 1)}
    assert len(seeds) == 12
    assert all(0 <= seed <= MAX_SEED for seed in seeds)


def test_seeds_of_some_rows_are_those_of_all() -> None:
    rows = pa.table({"sort_index": range(6), "x": [1.0, 2.0, 1.0, 3.0, 1.0, 2.0], "id": list("abcdef")})
    counted = repetitions(rows, leave_out=["sort_index", "id"], artifacts=ARTIFACTS)
    assert counted is not None
    rows = rows.append_column(REPETITION, counted)

    def seeds_of(some: pa.Table) -> RowSeeds:
        return RowSeeds(some, 7, leave_out=["sort_index", "id"], artifacts=ARTIFACTS)

    whole = [seeds_of(rows).of(i) for i in range(6)]
    assert len(set(whole)) == 6
    assert [seeds_of(rows.slice(i, 1)).of(i) for i in range(6)] == whole
    shuffled = rows.take(pa.array([3, 5, 0]))
    assert [seeds_of(shuffled).of(i) for i in (0, 3, 5)] == [whole[0], whole[3], whole[5]]
    kept = row_contents(rows, leave_out=["sort_index", "id", REPETITION])
    texts = pa.array([f"{content:016x}" for content in kept.tolist()])
    without = rows.drop_columns(["x"]).append_column(CONTENT, texts)
    assert [seeds_of(without).of(i) for i in range(6)] == whole
    with pytest.raises(LookupError):
        seeds_of(rows.slice(0, 1)).of(5)
