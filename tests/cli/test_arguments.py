"""What commands make of the words that were written: pure functions, with no run and no process."""

from __future__ import annotations

import pytest

from scythe_cli.cli.arguments import parse_timeout
from scythe_cli.cli.commands.allocate import _check_combination
from scythe_cli.cli.commands.sample import _levels, _names, _pairs
from scythe_cli.errors import UsageError


@pytest.mark.parametrize(("text", "seconds"), [(None, None), ("30m", 1800.0), ("1h 30m", 5400.0), ("2s", 2.0)])
def test_a_timeout_is_a_duration(text: str | None, seconds: float | None) -> None:
    assert parse_timeout(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-1s"])
def test_a_timeout_that_is_no_duration_names_the_option(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--timeout: "):
        parse_timeout(text)


@pytest.mark.parametrize(
    ("plan", "pilot", "reuse", "ignore_code", "message"),
    [
        (False, None, False, False, None),
        (False, None, True, True, None),
        (True, 20, False, False, None),
        (False, None, False, True, "--ignore-code needs --reuse"),
        (False, 20, False, False, "--pilot needs --plan"),
    ],
)
def test_an_option_that_means_nothing_without_another_is_refused(
    plan: bool, pilot: int | None, reuse: bool, ignore_code: bool, message: str | None
) -> None:
    if message is None:
        _check_combination(plan=plan, pilot=pilot, reuse=reuse, ignore_code=ignore_code)
        return
    with pytest.raises(UsageError, match=message):
        _check_combination(plan=plan, pilot=pilot, reuse=reuse, ignore_code=ignore_code)


def test_what_is_said_of_fields_is_read() -> None:
    assert _pairs("--set", ["x=1:2", " y = a=b "]) == {"x": "1:2", "y": "a=b"}
    assert _names(["x, y", "y,,z"]) == ["x", "y", "z"]
    assert _levels(["5", "tilt=3", "7"]) == (7, {"tilt": 3})
    assert _levels([]) == (None, {})


@pytest.mark.parametrize(
    ("texts", "message"),
    [(["x"], "there is no '='"), (["=1"], "there is no '='"), (["x=1", "x=2"], "--set: x is set twice")],
)
def test_a_value_without_a_field_is_refused(texts: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _pairs("--set", texts)


def test_levels_are_numbers() -> None:
    with pytest.raises(UsageError, match="--levels tilt=many: 'many' is not a number"):
        _levels(["tilt=many"])
