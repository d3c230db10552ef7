"""What a group of rows is reduced to depends on the values of its rows alone, to the last bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.errors import UsageError
from scythe_cli.services.chains.grouping import grouped
from scythe_cli.services.chains.offer import Offer, OfferedColumn
from scythe_cli.services.chains.rules import ChainRules, read_aggregate, read_map
from tests.fuzzing import cases

HOWS = ("mean", "sum", "std", "var", "min", "max", "median", "count", "q05", "q95")


class _Run:
    experiment_id = "a/v1.0.0/2026-01-01_00-00-00"


def reduced(values: list[float | None], keys: list[int], how: str) -> dict[int, Any]:
    """By key, what is made of its values."""
    columns = (
        OfferedColumn("key", "input", pa.chunked_array([pa.array(keys, pa.int64())])),
        OfferedColumn("value", "output", pa.chunked_array([pa.array(values, pa.float64())])),
    )
    n = len(keys)
    rows = np.arange(n, dtype=np.int64)
    run: Any = _Run()
    offer = Offer(run.experiment_id, columns, n, pa.array([[i] for i in range(n)], pa.list_(pa.int64())), str)
    made = grouped(run, offer, rows, ["key"], [read_aggregate(f"value:{how}")])
    assert sorted(row for own in made.rows.to_pylist() for row in own) == list(range(n))
    found = made.find("key", "").cells.to_pylist(), made.find(f"value:{how}", "").cells.to_pylist()
    return dict(zip(*found, strict=True))


VALUES = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False, width=32), st.floats(-1e9, 1e9))


@cases(40)
@given(st.lists(st.tuples(st.integers(0, 3), VALUES), min_size=1, max_size=40), st.sampled_from(HOWS), st.randoms())
def test_neither_order_nor_other_groups_count(rows: list[tuple[int, float | None]], how: str, random: Any) -> None:
    keys, values = [key for key, _ in rows], [value for _, value in rows]
    whole = reduced(values, keys, how)
    for key in set(keys):
        own = [value for k, value in rows if k == key]
        alone = reduced(own, [key] * len(own), how)[key]
        random.shuffle(own)
        shuffled = reduced(own, [key] * len(own), how)[key]
        for other in (alone, shuffled):
            assert (
                (whole[key] is None and other is None) or repr(whole[key]) == repr(other) or _zeros(whole[key], other)
            )


def _zeros(a: Any, b: Any) -> bool:
    return a == 0 and b == 0  # the order tells which of the two zeros is the least


@cases(25)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30))
def test_as_numpy_has_it(values: list[float]) -> None:
    known = {"mean": np.mean, "sum": np.sum, "min": np.min, "max": np.max, "median": np.median}
    for how, of in known.items():
        assert reduced(list(values), [0] * len(values), how)[0] == pytest.approx(float(of(values)), rel=1e-9, abs=1e-6)
    assert reduced(list(values), [0] * len(values), "std")[0] == pytest.approx(
        np.std(values, ddof=1), rel=1e-6, abs=1e-6
    )


def test_what_cannot_be_summed_up() -> None:
    assert reduced([None, None], [0, 0], "mean") == {0: None}
    assert reduced([1.0], [0], "std") == {0: None}
    assert math.isnan(reduced([math.inf, -math.inf], [0, 0], "sum")[0])


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["a=b"], {"a": "b"}),
        (["a=b, c = d.e", "f=output.g:mean"], {"a": "b", "c": "d.e", "f": "output.g:mean"}),
        (["a=b", "a=b"], {"a": "b"}),
    ],
)
def test_what_map_says(texts: list[str], found: dict[str, str]) -> None:
    assert read_map(texts) == found


@pytest.mark.parametrize("text", ["a", "=b", "a=", "a=b,a=c"])
def test_what_map_does_not_say(text: str) -> None:
    with pytest.raises(UsageError, match="--map"):
        read_map([text])


def test_rules_without_groups_reduce_nothing() -> None:
    assert ChainRules({"a": "b"}).aggregates() == []
    assert ChainRules({}).option() is None
    assert ChainRules({}, agg=["a:sum"]).option() == "--agg"
