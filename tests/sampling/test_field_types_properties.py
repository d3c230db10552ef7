"""What the function gets is what a direct call would have given, for every kind of field and on every way."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.field_types import FIELD_TYPES, FieldType, same, through_csv, through_parquet, through_python
from tests.fuzzing import NIGHTLY, NIGHTLY_CASES, cases

_SAMPLES = 300  # at night; each of so many values that there are ten thousand of each type
_LENGTHS = (NIGHTLY_CASES // _SAMPLES + 1, 40) if NIGHTLY else (1, 4)


@pytest.mark.parametrize("kind", FIELD_TYPES, ids=[kind.name for kind in FIELD_TYPES])
def test_a_direct_call_and_a_run_see_the_same(kind: FieldType) -> None:
    @cases(4, at_night=_SAMPLES)
    @given(st.lists(kind.values, min_size=_LENGTHS[0], max_size=_LENGTHS[1]))
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
