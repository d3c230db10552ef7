"""How a run went, in a few hundred bytes, for lists of many runs.

It is the first line of `manifest.yml`, a comment: a list reads that one file and no ledger, and parses no YAML. It is
written with the final tables, and says of which ledger they are made; when more is run, it is emptied.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from scythe_cli.core.records import StateCounts
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.manifest import MAX_MANIFEST_BYTES, UnreadableManifestError, read_manifest
from scythe_cli.storage.base import ForeignKeyError, MissingKeyError, Storage

if TYPE_CHECKING:
    from scythe_cli.run.ledger import Ledger, PartFile


__all__ = [
    "RunSummary",
    "empty_summary",
    "made_of_others",
    "parse_summary",
    "put_summary",
    "read_summary",
    "write_summary",
]


_MARK = b"# summary "
_EMPTY = _MARK + b"{}"
_LONGEST = timedelta(days=3650)


class RunSummary(BaseModel):
    """How a run went.

    Attributes:
        counts: Its cases by state.
        engine: Where they ran.
        sampling_file: Where they came from.
        started_at: When the first was started (UTC); None where none was.
        finished_at: When the last had ended (UTC).
        tables: The names of its final tables; None in a run of an earlier version.
        n_parts: How many parts its ledger had when they were made; None in a run of an earlier version.
        parts: A digest of the names of these; no other part ever has the same.
    """

    model_config = ConfigDict(extra="ignore")

    counts: StateCounts
    engine: str | None = None
    sampling_file: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    tables: list[str] | None = None
    n_parts: int | None = None
    parts: str | None = None

    @property
    def duration_s(self) -> float | None:
        """The seconds from the first start to the last end."""
        if self.started_at is None or self.finished_at is None:
            return None
        return max(0.0, (self.finished_at - self.started_at).total_seconds())


def write_summary(
    storage: Storage, run: RunLayout, counts: StateCounts, ledger: Ledger, tables: list[str] | None = None
) -> None:
    """Keep how a run went, once its tables are there; a run without a readable manifest gets none.

    Args:
        storage: Where the run is kept.
        run: The run.
        counts: Its cases by state.
        ledger: Its ledger.
        tables: The names of its final tables.

    Raises:
        StorageError: If it cannot be written.
    """
    try:
        manifest = read_manifest(storage, run, brief=True)
    except UnreadableManifestError:
        return
    if manifest is None or manifest.n_specs is None:
        return
    started, finished = _times(ledger.parts)
    summary = RunSummary(
        counts=counts,
        engine=manifest.engine,
        sampling_file=manifest.sampling_file,
        started_at=started,
        finished_at=finished,
        tables=tables,
        n_parts=len(ledger.names),
        parts=_digest(ledger.names),
    )
    put_summary(storage, run, summary)


def put_summary(storage: Storage, run: RunLayout, summary: RunSummary) -> None:
    """Write the line.

    Raises:
        StorageError: If the run has no manifest, or it cannot be written.
    """
    line = json.dumps(summary.model_dump(mode="json")).encode()  # in ASCII, whatever the file is called
    storage.write_bytes(run.manifest, _MARK + line + b"\n" + _without(_read(storage, run)))


def read_summary(storage: Storage, run: RunLayout) -> RunSummary | None:
    """How a run went; None where that is not kept, or is not valid.

    Raises:
        StorageError: If it cannot be read.
    """
    return parse_summary(_first_line(storage, run))


def parse_summary(line: bytes) -> RunSummary | None:
    """How a run went, from the first line of its manifest; None where that tells it not, or is not valid."""
    try:
        return RunSummary.model_validate_json(line.removeprefix(_MARK)) if line.startswith(_MARK) else None
    except ValidationError:
        return None


def empty_summary(storage: Storage, run: RunLayout) -> None:
    """Forget how a run went, since more of it is about to run: its tables are not those of its ledger any more."""
    before = _read(storage, run)
    if before.startswith(_MARK) and (after := _EMPTY + b"\n" + _without(before)) != before:
        storage.write_bytes(run.manifest, after)


def made_of_others(storage: Storage, run: RunLayout, names: Collection[str]) -> bool:
    """Whether the final tables are known to be made of other parts than those with some names, all that are there.

    That is not known of a run of an earlier version, nor where there were more parts than these, some of which a
    storage may not list yet.

    Raises:
        StorageError: If the manifest cannot be read.
    """
    line = _first_line(storage, run)
    if line == _EMPTY:
        return True
    summary = parse_summary(line)
    if summary is None or summary.n_parts is None or len(names) < summary.n_parts:
        return False
    return _digest(names) != summary.parts


def _digest(names: Iterable[str]) -> str:
    return sha256("\n".join(sorted(names)).encode()).hexdigest()


def _first_line(storage: Storage, run: RunLayout) -> bytes:
    """The first line of the manifest; none where there is no manifest of ours."""
    try:
        return _read(storage, run).partition(b"\n")[0]
    except (MissingKeyError, ForeignKeyError):
        return b""


def _read(storage: Storage, run: RunLayout) -> bytes:
    return storage.read_bytes(run.manifest, max_bytes=MAX_MANIFEST_BYTES)


def _without(manifest: bytes) -> bytes:
    return manifest.partition(b"\n")[2] if manifest.startswith(_MARK) else manifest


def _times(parts: Sequence[PartFile]) -> tuple[datetime | None, datetime | None]:
    """The first start and the last end, from the statistics of the parts: no row is read.

    The end is that of the longest case if it was the last to start, but never later than now.
    """
    firsts: list[datetime] = []
    lasts: list[datetime] = []
    for part in parts:
        for group in _groups(part):
            start, duration = (group.get(name) for name in ("started_at", "duration_s"))
            if start is not None:
                firsts.append(_utc(start.min))
                longest = min(timedelta(seconds=float(duration.max)), _LONGEST) if duration is not None else timedelta()
                lasts.append(_utc(start.max) + longest)
    return min(firsts, default=None), min(max(lasts), datetime.now(UTC)) if lasts else None


def _groups(part: PartFile) -> list[dict[str, Any]]:
    """The statistics of the columns of each row group that has any."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata: Any = pq.read_metadata(part.path)
        groups: list[Any] = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        return [
            {
                group.column(i).path_in_schema: stats
                for i in range(group.num_columns)
                if group.column(i).path_in_schema in ("started_at", "duration_s")
                and (stats := group.column(i).statistics) is not None
                and stats.has_min_max
            }
            for group in groups
        ]
    except (pa.ArrowException, OSError):
        return []


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
