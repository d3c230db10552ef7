"""Durations, rates and sizes as people write them: `10m`, `1h30m`, `4GB`."""

from __future__ import annotations

import math
import re
from datetime import timedelta

__all__ = ["Duration", "format_duration", "format_rate", "format_size", "parse_duration", "parse_size"]


Duration = timedelta | str
"""What `Register` and the configuration take: a `timedelta`, or text such as `90s`, `10m` or `1h30m`."""

_DURATION_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d) ?")
_DURATION = re.compile(f"(?:{_DURATION_PART.pattern})+")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE | re.ASCII)
_SIZE_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_MAX_SIZE_BYTES = 2**62  # an operating system takes no larger limit


def parse_duration(value: Duration | float) -> timedelta:
    """Read a duration.

    Args:
        value: A `timedelta`, a number of seconds, or text made of numbers with the units ms, s, m, h, d.

    Returns:
        The duration, longer than zero.

    Raises:
        ValueError: If the text is not a duration, or the duration must be longer than zero.
    """
    if isinstance(value, timedelta):
        duration = value
    elif isinstance(value, str):
        text = " ".join(value.lower().split())
        if not _DURATION.fullmatch(text):
            raise ValueError(f"{value!r} is not a duration; write it like '90s', '10m' or '1h30m'")
        seconds = sum(float(n) * _DURATION_UNITS_S[unit] for n, unit in _DURATION_PART.findall(text))
        duration = _timedelta(seconds, value)
    elif isinstance(value, float) and math.isnan(value):
        raise ValueError(f"{value!r} is not a duration")
    else:
        duration = _timedelta(value, value)
    if duration <= timedelta(0):
        raise ValueError(f"{value!r} must be longer than zero")
    return duration


def _timedelta(seconds: float, value: object) -> timedelta:
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError(f"{value!r} is too long a duration") from None


def parse_size(value: str | int) -> int:
    """Read a size in bytes: `4GB` is 4·10⁹, `4GiB` is 4·2³⁰, a plain number is bytes.

    Raises:
        ValueError: If the text is not a size, or the size is zero or beyond all machines.
    """
    if isinstance(value, int):
        size_bytes = value
    else:
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            raise ValueError(f"{value!r} is not a size; write it like '500MB' or '4GB'")
        number, prefix, binary = match.groups()
        size = float(number) * (1024 if binary else 1000) ** _SIZE_POWERS[prefix.lower()]
        size_bytes = int(min(size, 2 * _MAX_SIZE_BYTES))
    if size_bytes <= 0:
        raise ValueError(f"{value!r} must be larger than zero")
    if size_bytes > _MAX_SIZE_BYTES:
        raise ValueError(f"{value!r} is more than any machine has")
    return size_bytes


def format_duration(seconds: float) -> str:
    """Write a duration in at most two units: `400 ms`, `2.5 s`, `12 s`, `3m 20s`, `2h 05m`, `3d 04h`."""
    if seconds < 0.0005:
        return "0 s"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


def format_size(size_bytes: int) -> str:
    """Write a size with a decimal unit: `812 B`, `3.4 MB`."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if round(size, 1) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def format_rate(per_s: float) -> str:
    """Specs a second, or a minute or an hour where that says more."""
    for factor, unit in ((1.0, "s"), (60.0, "min"), (3600.0, "h")):
        if per_s * factor >= 1 or unit == "h":
            return f"{per_s * factor:.3g}/{unit}"
    return ""
