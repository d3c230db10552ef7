"""The bins of a histogram hold every number, whatever its size."""

from __future__ import annotations

import math

import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st

from scythe_cli.analysis.plots.bins import bin_edges, bin_of
from tests.fuzzing import cases

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)


@cases(100)
@given(st.lists(NUMBERS, min_size=1, max_size=20), st.integers(1, 40))
@example([-1.7e308, 0.0, 1.7e308], 7)
@example([1.79e308], 5)
def test_each_number_is_in_a_bin_and_its_bin_is_around_it(numbers: list[float], n_bins: int) -> None:
    edges = bin_edges(min(numbers), max(numbers), n_bins)
    assert len(edges) == n_bins + 1
    assert all(map(math.isfinite, edges))
    assert edges == sorted(edges)
    if edges[-1] - edges[0] < 1e-290:
        return  # too near to each other for bins of their own
    found = pl.DataFrame({"x": numbers}).select(bin_of("x", edges))["x"].to_list()
    room = max(map(abs, edges)) * 1e-9
    for number, place in zip(numbers, found, strict=True):
        assert 0 <= place < n_bins
        assert edges[place] - room <= number <= edges[place + 1] + room
