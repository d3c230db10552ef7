from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.core.quantities import (
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)
from tests.fuzzing import cases

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def _outcome(parse: Callable[[Any], Any], value: object) -> tuple[Any, str | None]:
    try:
        return parse(value), None
    except ValueError as error:
        return None, str(error)


@given(st.lists(st.tuples(st.integers(0, 500), st.sampled_from(list(_UNITS))), min_size=1, max_size=4), st.booleans())
@cases(40, at_night=500)
def test_a_duration_is_the_sum_of_its_parts(parts: list[tuple[int, str]], spaced: bool) -> None:
    text = (" " if spaced else "").join(f"{n}{unit}" for n, unit in parts)
    seconds = sum(n * _UNITS[unit] for n, unit in parts)
    if seconds:
        assert parse_duration(text) == parse_duration(text.upper()) == timedelta(seconds=seconds)
    else:
        with pytest.raises(ValueError, match="must be longer than zero"):
            parse_duration(text)


@given(st.text(max_size=10) | st.floats() | st.integers() | st.timedeltas())
@cases(40, at_night=750)
def test_a_duration_is_refused_or_longer_than_zero(value: str | float | timedelta) -> None:
    duration, message = _outcome(parse_duration, value)
    assert duration is None or duration > timedelta(0)
    assert message is None or repr(value) in message


@given(st.text(max_size=10) | st.integers() | st.from_regex(r"\d{1,400}(\.\d+)? ?[KMGT]?i?B?", fullmatch=True))
@cases(40, at_night=750)
def test_a_size_is_refused_or_fits_a_machine(value: str | int) -> None:
    size, message = _outcome(parse_size, value)
    assert size is None or 0 < size <= 2**62
    assert message is None or repr(value) in message


@given(st.integers(1, 10**6), st.sampled_from(["", "k", "M", "G", "T"]), st.booleans())
@cases(30, at_night=500)
def test_sizes_are_exact(number: int, prefix: str, binary: bool) -> None:
    power = " kMGT".index(prefix or " ")
    text = f"{number}{prefix}{'i' if binary else ''}B"
    assert parse_size(text) == number * (1024 if binary else 1000) ** power


@given(st.floats(0, 1e9))
@cases(50, at_night=500)
def test_a_shown_duration_is_near(seconds: float) -> None:
    text = format_duration(seconds)
    numbers = [float(n) for n in re.findall(r"[\d.]+", text)]
    units = re.findall(r"[a-z]+", text)
    scale = {**_UNITS, "ms": 0.001}
    shown = sum(n * scale[unit] for n, unit in zip(numbers, units, strict=True))
    assert abs(shown - seconds) <= max(0.0005, 0.051, scale[units[-1]] if seconds >= 9.95 else 0)
    assert all(
        n < limit
        for n, unit in zip(numbers, units, strict=True)
        if (limit := {"ms": 1000, "s": 60, "m": 60, "h": 24}.get(unit))
    )


@given(st.integers(0, 10**15))
@cases(50, at_night=500)
def test_a_shown_size_is_near_and_short(size: int) -> None:
    number, unit = format_size(size).split()
    shown = float(number) * 1000 ** ["B", "kB", "MB", "GB", "TB"].index(unit)
    assert abs(shown - size) <= max(0.5, 0.051 * 1000 ** ["B", "kB", "MB", "GB", "TB"].index(unit))
    assert float(number) < 1000 or unit == "TB"
