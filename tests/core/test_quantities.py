from __future__ import annotations

from datetime import timedelta

import pytest

from scythe_cli.core.quantities import (
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("1h30m", 5400),
        (" 1H 30 M ", 5400),
        ("1.5h", 5400),
        ("250ms", 0.25),
        ("2d", 172800),
        (3, 3),
        (0.5, 0.5),
        (timedelta(minutes=2), 120),
    ],
)
def test_durations(value: str | float | timedelta, seconds: float) -> None:
    assert parse_duration(value) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value", ["", " ", "10", "m", "-5m", "5 parsecs", "1h30", "1 0s", "1e3s", "٣s", "5m\x00", "inf s", float("nan")]
)
def test_what_is_no_duration(value: str | float) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(value)


@pytest.mark.parametrize("value", ["0s", "0.0000001s", 0, -3, timedelta(0), timedelta(seconds=-1)])
def test_a_duration_is_longer_than_zero(value: str | float | timedelta) -> None:
    with pytest.raises(ValueError, match="must be longer than zero"):
        parse_duration(value)


@pytest.mark.parametrize("value", ["9" * 400 + "h", "999999999999d", float("inf"), 10**400])
def test_a_duration_can_be_kept(value: str | float) -> None:
    with pytest.raises(ValueError, match="is too long a duration"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("500MB", 500_000_000),
        ("4GB", 4 * 10**9),
        ("4GiB", 4 * 2**30),
        ("1.5 kB", 1500),
        ("2k", 2000),
        ("12", 12),
        (" 7b ", 7),
        ("1tb", 10**12),
        (4096, 4096),
    ],
)
def test_sizes(value: str | int, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize("value", ["", "GB", "4 apples", "-4GB", "4PB", "٤GB", "4G\n5", "1e9", "0x10"])
def test_what_is_no_size(value: str) -> None:
    with pytest.raises(ValueError, match="is not a size; write it like '500MB' or '4GB'"):
        parse_size(value)


@pytest.mark.parametrize("value", [0, -1, "0GB", "0.1B"])
def test_a_size_is_larger_than_zero(value: str | int) -> None:
    with pytest.raises(ValueError, match="must be larger than zero"):
        parse_size(value)


@pytest.mark.parametrize("value", ["9" * 400 + "GB", "99999999999TB", 2**63])
def test_a_size_is_one_that_a_machine_can_have(value: str | int) -> None:
    with pytest.raises(ValueError, match="is more than any machine has"):
        parse_size(value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (0, "0 s"),
        (0.4, "400 ms"),
        (0.9996, "1.0 s"),
        (2.54, "2.5 s"),
        (9.97, "10 s"),
        (12.3, "12 s"),
        (59.7, "1m 00s"),
        (200, "3m 20s"),
        (7500, "2h 05m"),
        (273_600, "3d 04h"),
    ],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (812, "812 B"),
        (1000, "1.0 kB"),
        (999_960, "1.0 MB"),
        (3_400_000, "3.4 MB"),
        (5 * 10**9, "5.0 GB"),
        (7 * 10**15, "7000.0 TB"),
    ],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert format_size(size) == text
