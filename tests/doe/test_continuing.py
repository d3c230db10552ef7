"""Points of designs that are continued."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scythe_cli.doe.points import base_points, blocks, draw_points
from scythe_cli.errors import UsageError

SEEDS = st.integers(0, 2**32)


@pytest.mark.parametrize("design", ["sobol", "halton", "random", "saltelli"])
@settings(max_examples=20)
@given(parts=st.lists(st.integers(1, 60), min_size=1, max_size=4), d=st.integers(1, 5), seed=SEEDS)
def test_the_points_of_all_parts_are_those_of_one_design(design: str, parts: list[int], d: int, seed: int) -> None:
    whole = draw_points(design, sum(parts), d, seed)
    points = base_points(design, parts, d, seed)
    assert np.array_equal(blocks(points) if design == "saltelli" else points, whole)
    for i in range(1, len(parts)):
        assert np.array_equal(base_points(design, parts[:i], d, seed), points[: sum(parts[:i])])


@settings(max_examples=50)
@given(n=st.integers(1, 40), factors=st.lists(st.integers(2, 4), max_size=3), d=st.integers(1, 4), seed=SEEDS)
def test_a_latin_hypercube_is_nested_in_the_longer_ones(n: int, factors: list[int], d: int, seed: int) -> None:
    parts = [n]
    for factor in factors:
        parts.append(sum(parts) * (factor - 1))
    points = base_points("lhs", parts, d, seed)
    assert ((points >= 0) & (points < 1)).all()
    assert np.array_equal(points[:n], draw_points("lhs", n, d, seed))
    for i in range(1, len(parts) + 1):
        total = sum(parts[:i])
        assert np.array_equal(base_points("lhs", parts[:i], d, seed), points[:total])
        # each of as many strata has one point, but for what rounding does at their ends
        strata = np.sort(points[:total] * total, axis=0) - np.arange(total)[:, None]
        assert strata.min() > -1e-9
        assert strata.max() < 1 + 1e-9


def test_a_latin_hypercube_that_is_no_multiple_is_refused_with_what_fits() -> None:
    with pytest.raises(UsageError, match=r"10 points of a Latin hypercube and 15 more are none") as raised:
        base_points("lhs", [10, 15], 2, 1)
    assert raised.value.hint == "Add 10 or 20: -n 10."
    with pytest.raises(UsageError, match="multiple of 10") as raised:
        base_points("lhs", [10, 3], 2, 1)
    assert raised.value.hint == "Add 10: -n 10."
