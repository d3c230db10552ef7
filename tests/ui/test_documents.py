"""Answers of the page's server are JSON, whatever is in them."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.ui.documents import document
from tests.fuzzing import cases


def _told(value: Any) -> Any:
    def refused(name: str) -> Any:
        raise ValueError(f"{name} is no JSON")

    return json.loads(bytes(document(value).body), parse_constant=refused)


TEXTS = st.text(st.characters(codec=None, exclude_categories=()))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def _seen(value: Any) -> Any:
    """What JSON has of it: halves of surrogate pairs are no text."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_seen(name): _seen(each) for name, each in value.items()}
    return [_seen(each) for each in value] if isinstance(value, list) else value


@cases(60)
@given(VALUES)
def test_a_page_reads_what_was_answered(value: Any) -> None:
    assert _told(value) == _seen(value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_have_the_digits_of_their_type_and_none_is_null(dtype: Any) -> None:
    numbers = np.array([0.1, math.nan, -math.inf, 1e-30], dtype)
    assert document({"x": numbers}).body == b'{"x":[0.1,null,null,1e-30]}'
    assert _told({"x": numbers[::2]}) == {"x": [pytest.approx(0.1), None]}
    assert _told([math.nan]) == [None]


def test_whole_numbers_too_large_for_json_and_other_values_are_told_as_text() -> None:
    told = {"big": 2**70, "day": date(2026, 1, 2), "at": datetime(2026, 1, 2, tzinfo=UTC), "took": timedelta(hours=1)}
    assert _told(told) == {"big": str(2**70), "day": "2026-01-02", "at": "2026-01-02T00:00:00+00:00", "took": 3600}
