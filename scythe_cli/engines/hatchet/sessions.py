"""What a run's folder says of its submissions: what the engine calls each, and that they were cancelled.

What the engine lists of a run lags behind by seconds, so a submission writes down the id of its root node: the engine
tells at once how far that is.

That a run was cancelled is a part of the ledger, whose name says so, and since when: not before the submissions that
there are, and a later submission is later by its name, whatever the clocks of the machines say. The client writes it
before it cancels anything on the engine, and nodes look for it before they ask for more: what a node asks for between
the two would be queued after everything was cancelled.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from scythe_cli.core.names import time_in, timed_name
from scythe_cli.engines.cancelled import CANCEL_PREFIX
from scythe_cli.engines.hatchet.routing import run_key
from scythe_cli.errors import StorageError
from scythe_cli.run.layout import RunLayout
from scythe_cli.storage.base import ForeignKeyError, MissingKeyError, Storage

__all__ = [
    "CancelWatch",
    "Submission",
    "after_cancellations",
    "claim_session",
    "is_cancelled",
    "new_session",
    "note_submission",
    "noted_submissions",
    "submitted_at",
]


_CHECK_S = 2.0
_NOTED = "-submitted.json"
_LAST = "last-submitted.txt"
_NAME = re.compile(r"hatchet-[A-Za-z0-9-]{1,100}-submitted\.json", re.ASCII)
_MAX_NAME_BYTES = 200
_NEWEST = 5


def new_session(not_before: datetime | None = None) -> str:
    """A name for a submission, which says when it was made: by the clock of this machine, or at least at that time."""
    return timed_name("hatchet", not_before=not_before)


def after_cancellations(storage: Storage, layout: RunLayout) -> datetime | None:
    """A time after all cancellations of a run, as their names have it; None where there are none.

    The machine that has cancelled it may have had another clock.

    Raises:
        StorageError: If the ledger cannot be listed.
    """
    files = storage.list_files(layout.outcomes, starting=CANCEL_PREFIX)
    times = [at for file in files if (at := time_in(file.name)) is not None]
    return max(times) + timedelta(seconds=1) if times else None


@dataclass(frozen=True, slots=True)
class Submission:
    """A submission of a run, as its folder has it.

    Attributes:
        workflow_run_id: The id of the root node's Hatchet run.
        made_at: When it was made.
    """

    workflow_run_id: str
    made_at: datetime


def claim_session(storage: Storage, layout: RunLayout, session: str) -> None:
    """Make the note of a submission, before anything is queued.

    Raises:
        StorageError: If it cannot be written, or the storage does not create exclusively.
    """
    name = f"{session}{_NOTED}"
    storage.create(layout.hatchet(name), b"{}")
    # a list of the others may be late; this one is asked for by its key
    storage.write_bytes(layout.hatchet(_LAST), name.encode())


def note_submission(storage: Storage, layout: RunLayout, session: str, workflow_run_id: str) -> None:
    """Write down a submission.

    Raises:
        StorageError: If it cannot be written.
    """
    content = {"workflow_run_id": workflow_run_id, "run": run_key(storage.location, layout.experiment_id)}
    noted = json.dumps(content).encode()
    storage.write_bytes(layout.hatchet(f"{session}{_NOTED}"), noted)


def noted_submissions(storage: Storage, layout: RunLayout) -> list[Submission]:
    """The last submissions of a run, newest first; one that is damaged is none, or that of the run this is a copy of.

    Raises:
        StorageError: If the folder cannot be listed.
    """
    names = _names(storage, layout)
    submissions: list[Submission] = []
    for name in names[:_NEWEST]:
        made_at = time_in(name)
        if made_at is None:
            continue
        with suppress(StorageError, ValueError, LookupError, TypeError):
            content = json.loads(storage.read_bytes(layout.hatchet(name)))
            if content["run"] == run_key(storage.location, layout.experiment_id):
                submissions.append(Submission(str(content["workflow_run_id"]), made_at))
    return submissions


def submitted_at(storage: Storage, layout: RunLayout) -> datetime | None:
    """When the last submission of a run was made, as its name has it, also one that is not queued yet; None for none.

    Raises:
        StorageError: If the folder cannot be listed.
    """
    return max((at for name in _names(storage, layout) if (at := time_in(name)) is not None), default=None)


def _names(storage: Storage, layout: RunLayout) -> list[str]:
    """The names of the notes of submissions, newest first."""
    folder, _, _ = layout.hatchet("x").rpartition("/")
    listed = {file.name for file in storage.list_files(folder) if file.name.endswith(_NOTED)}
    with suppress(MissingKeyError, ForeignKeyError, UnicodeDecodeError):
        last = storage.read_bytes(layout.hatchet(_LAST), max_bytes=_MAX_NAME_BYTES).decode()
        listed |= {last} if _NAME.fullmatch(last) else set()
    return sorted(listed, reverse=True)


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
