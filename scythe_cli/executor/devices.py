"""Which GPUs each process has: a program chooses its own when it first uses one, and keeps them until it ends."""

from __future__ import annotations

from collections.abc import Sequence

from scythe_cli.core.cores import Gpus
from scythe_cli.errors import EngineError

__all__ = ["Devices"]


class Devices:
    """The GPUs of this machine, and who holds them.

    Args:
        gpus: Those that there are.
    """

    def __init__(self, gpus: Gpus) -> None:
        self._gpus = gpus
        self._held: dict[int, tuple[str, ...]] = {}

    def held_by(self, holder: int) -> tuple[str, ...]:
        """The GPUs of a process; none for one that has got none."""
        return self._held.get(holder, ())

    def acquire(self, holder: int, n: int) -> bool:
        """Give a process so many GPUs instead of those that it has; tells whether there are as many.

        Args:
            holder: The process.
            n: How many it is to have.

        Raises:
            EngineError: If this machine has fewer.
        """
        if n > len(self._gpus.ids):
            raise EngineError(
                f"a case takes {n} GPU{'s' * (n != 1)}, and there {'is' if len(self._gpus.ids) == 1 else 'are'} "
                f"{len(self._gpus.ids) or 'none'} to use on this machine ({self._gpus.source})",
                hint="`scythe doctor` shows the GPUs that can be used here.",
            )
        own = self.held_by(holder)
        free = [*own, *self._free()]
        if n > len(free):
            return False
        self._held[holder] = tuple(free[:n])
        return True

    def release(self, holder: int) -> None:
        """Take note that a process has ended."""
        self._held.pop(holder, None)

    def to_free(self, n: int, idle: Sequence[int]) -> list[int]:
        """Which idle processes must end for so many GPUs to be free; those that hold most come first.

        Args:
            n: How many are to be free.
            idle: The processes that run nothing.
        """
        ending: list[int] = []
        n_free = len(self._free())
        for holder in sorted(idle, key=lambda each: -len(self.held_by(each))):
            if n_free >= n:
                break
            if self.held_by(holder):
                ending.append(holder)
                n_free += len(self.held_by(holder))
        return ending

    def setting(self, holder: int) -> dict[str, str]:
        """The variable of the environment that lets a process see its own GPUs alone."""
        return self._gpus.setting(self.held_by(holder))

    def _free(self) -> list[str]:
        held = {gpu for some in self._held.values() for gpu in some}
        return [gpu for gpu in self._gpus.ids if gpu not in held]
