"""What the function gets is what a direct call would have given, for every kind of field and on every way."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.field_types import FIELD_TYPES, FieldType, same, through_csv, through_parquet, through_python
from tests.fuzzing import NIGHTLY, NIGHTLY_CASES, cases

_OPEN = ("dict, list", "Any")  # values of any size: Hypothesis seldom draws many of them at once


def _samples(kind: FieldType) -> tuple[int, int, int]:
    """How many lists are drawn at night, and how long they are, so that there are ten thousand values of each type."""
    n = 2500 if kind.name in _OPEN else 300
    if not NIGHTLY:
        return n, 1, 4
    shortest = math.ceil(NIGHTLY_CASES / n)
    return n, shortest, shortest + 6


@pytest.mark.parametrize("kind", FIELD_TYPES, ids=[kind.name for kind in FIELD_TYPES])
def test_a_direct_call_and_a_run_see_the_same(kind: FieldType) -> None:
    n, shortest, longest = _samples(kind)

    @cases(4, at_night=n)
    @given(st.lists(kind.values, min_size=shortest, max_size=longest))
    def check(values: list[object]) -> None:
        with tempfile.TemporaryDirectory() as name:
            ways = {
                "csv": through_csv(kind, values, Path(name)),
                "parquet": through_parquet(kind, values, Path(name)),
                "python": through_python(kind, values),
            }
        for way, seen in ways.items():
            if kind.equal:
                assert all(map(same, seen, values)), (way, seen, values)
            else:
                assert seen == values, way

    check()
