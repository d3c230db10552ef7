"""What cases of a study answer, by itself: each process that runs cases imports it, and nothing else of the tests."""

from __future__ import annotations

import math


def answer(a: float, b: float, n: int, site: str) -> tuple[float, float]:
    """Two outputs; some cases fail."""
    if a > 2.6 and b < 0:
        raise ValueError("melted")
    return (2.0 if site == "Rome" else 1.0) * math.sin(a) + b * b + 0.1 * n, a * b
