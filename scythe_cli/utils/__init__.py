"""Small helpers, under the names that they have in scythe-engine."""

from __future__ import annotations

from math import ceil

__all__ = ["log_interval"]


def log_interval(total: int, *, max_logs: int = 20, min_interval: int = 5) -> int:
    """How many steps of a long loop lie between two lines of its log.

    Args:
        total: How many steps there are.
        max_logs: How many lines there are at most; of so many steps or fewer, each gets one.
        min_interval: How many steps lie between two of them at least.
    """
    return 1 if total <= max_logs else max(min_interval, ceil(total / max_logs))
