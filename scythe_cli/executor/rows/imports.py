"""How long a row imports modules: its function imports them when it is called, and later rows find them loaded.

That is loading, which has a limit of its own, and not the time of the row.
"""

from __future__ import annotations

import builtins
import sys
import time
from typing import Any

__all__ = ["ImportClock"]


class ImportClock:
    """Measures what `import` statements take between `start` and `stop`.

    Modules that C code or `importlib.import_module` loads are not seen. Only the first row of a process is measured:
    an `import` of what is loaded already costs a function more then.

    Args:
        clock: Its first value is when the row began, as others see it; what an import takes is added to it.
        limit_s: How long imports may take: during one, the clock stands so much later.
    """

    def __init__(self, clock: memoryview[float], limit_s: float) -> None:
        self._clock = clock
        self._limit_s = limit_s
        self._total_s = 0.0
        self._depth = 0
        self._import: Any = None

    def start(self) -> None:
        """Begin to measure."""
        if self._import is None:
            self._import = builtins.__import__
            builtins.__import__ = self._measure

    def stop(self) -> None:
        """Measure no longer; what a row has put in place of the built-in function stays."""
        if self._import is not None and builtins.__import__ == self._measure:
            builtins.__import__ = self._import
        self._import = None

    def note(self, took_s: float) -> None:
        """Add what took so long beside that, since it has loaded modules."""
        self._total_s += took_s

    def take_s(self) -> float:
        """The seconds since the last call."""
        total_s, self._total_s = self._total_s, 0.0
        return total_s

    def _measure(self, name: str, *arguments: Any, **options: Any) -> Any:
        begin = self._import or builtins.__import__
        if self._depth or name in sys.modules:
            return begin(name, *arguments, **options)
        self._depth += 1
        began_s = self._clock[0]
        self._clock[0] = began_s + self._limit_s
        started_s = time.monotonic()
        try:
            return begin(name, *arguments, **options)
        finally:
            took_s = time.monotonic() - started_s
            self._depth -= 1
            self._total_s += took_s
            self._clock[0] = began_s + took_s
