"""Clocks that are wrong, to be put in the place of a module's `datetime`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any


def shifted(by: timedelta) -> type[datetime]:
    """A `datetime` whose `now` is so much later."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + by

    return Shifted
