"""That a run was cancelled: a part of the ledger whose name says so, and since when.

The client writes it before it cancels anything on the engine, and nodes look for it before they ask for more: what a
node asks for between the two would be queued after everything was cancelled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import polars as pl
import pyarrow as pa

from scythe_cli.core.states import State
from scythe_cli.model.outcome_schema import OUTCOME_SCHEMA
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import Ledger, write_part
from scythe_cli.run.manifest import read_manifest
from scythe_cli.run.outcomes.effective import effective_outcomes
from scythe_cli.storage.base import Storage

__all__ = ["CANCEL_PREFIX", "CancelWatch", "is_cancelled", "write_cancelled"]


CANCEL_PREFIX = "cancel-"
"""Begins the names of the parts; the time of the cancellation follows, as it does in the name of a session."""

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


def write_cancelled(storage: Storage, run: RunLayout) -> int:
    """Give `cancelled` to every spec that has no outcome.

    Returns:
        How many there were.

    Raises:
        StorageError: If the run cannot be read or written.
    """
    manifest = read_manifest(storage, run)
    n_specs = manifest.n_specs if manifest and manifest.n_specs else 0
    with Ledger.open(storage, run) as ledger:
        outcomes = ledger.outcomes(n_specs)
    known = effective_outcomes(outcomes).select("sort_index")
    last = outcomes.group_by("sort_index").agg(pl.col("attempt").max())
    missing = (
        pl.DataFrame({"sort_index": pl.int_range(0, n_specs, eager=True)})
        .join(known, on="sort_index", how="anti")
        .join(last, on="sort_index", how="left")
        .sort("sort_index")
    )
    n = missing.height
    if n:
        columns: dict[str, pa.Array[Any]] = {f.name: pa.nulls(n, f.type) for f in OUTCOME_SCHEMA}
        columns["sort_index"] = missing["sort_index"].to_arrow().cast(pa.int64())
        columns["state"] = pa.repeat(State.CANCELLED.value, n)
        columns["attempt"] = missing["attempt"].fill_null(0).to_arrow().cast(pa.int32())
        columns["final"] = pa.repeat(pa.scalar(True), n)
        columns["error_type"] = pa.repeat("Cancelled", n)
        columns["message"] = pa.repeat("the run was cancelled before this case was run", n)
        table = pa.table(columns, schema=OUTCOME_SCHEMA)
        write_part(storage, run, f"{CANCEL_PREFIX}{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:8]}", table)
    return n
