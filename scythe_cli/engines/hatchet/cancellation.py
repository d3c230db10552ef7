"""That a run was cancelled: a part of the ledger whose name says so, and since when.

The client writes it before it cancels anything on the engine, and nodes look for it before they ask for more: what a
node asks for between the two would be queued after everything was cancelled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from scythe_cli.engines.cancelled import CANCEL_PREFIX
from scythe_cli.run.layout import RunLayout
from scythe_cli.storage.base import Storage

__all__ = ["CancelWatch", "is_cancelled"]


_CHECK_S = 2.0


def is_cancelled(names: Iterable[str], session: str) -> bool:
    """Whether a submission was cancelled.

    Args:
        names: Of parts of the ledger that begin with `CANCEL_PREFIX`; earlier submissions may have been cancelled.
        session: That of the submission.
    """
    begun = session.split("-")[1]
    return any(name.removeprefix(CANCEL_PREFIX).split("-")[0] >= begun for name in names)


@dataclass
class CancelWatch:
    """Looks whether a submission was cancelled, every other second at most.

    Attributes:
        storage: Where the run is kept.
        layout: The run.
        session: That of the submission.
        seen: Whether it was, as far as has been seen.
    """

    storage: Storage
    layout: RunLayout
    session: str
    seen: bool = field(default=False, init=False)
    _due_s: float = field(default=0.0, init=False)

    async def look(self) -> None:
        """See what the ledger says.

        Raises:
            StorageError: If the ledger cannot be listed.
        """
        if self.seen or time.monotonic() < self._due_s:
            return
        # of a large run's ledger, only what tells of it
        files = await asyncio.to_thread(self.storage.list_files, self.layout.outcomes, starting=CANCEL_PREFIX)
        self.seen = is_cancelled((file.name for file in files), self.session)
        self._due_s = time.monotonic() + _CHECK_S
