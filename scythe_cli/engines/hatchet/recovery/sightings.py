"""What has been so each time that somebody looked, for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["Sightings"]

Key = TypeVar("Key", bound=Hashable)


@dataclass
class Sightings(Generic[Key]):
    """Tells what lasts from what is only about to change.

    What an engine lists lags behind, and between two questions a task can go on: only what is seen again after a while,
    and each time in between, is taken for a fact.

    Attributes:
        lasting_s: For how long.
        clock: Tells seconds.
    """

    lasting_s: float
    clock: Callable[[], float] = time.monotonic
    _since: dict[Key, float] = field(default_factory=dict[Key, float])

    def look(self, seen: Iterable[Key]) -> list[Key]:
        """What has been there at each look for so long; what is missing once begins anew.

        Args:
            seen: What is there now.
        """
        now_s = self.clock()
        self._since = {key: self._since.get(key, now_s) for key in seen}
        return [key for key, since_s in self._since.items() if now_s - since_s >= self.lasting_s]
