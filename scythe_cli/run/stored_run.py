"""One run, as its folder holds it: readable while it goes on, after it died, and in an older bucket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from scythe_cli.errors import UsageError
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import Ledger
from scythe_cli.run.lists.records import run_record
from scythe_cli.run.manifest import RunManifest, read_manifest
from scythe_cli.run.outcomes.error_groups import read_errors
from scythe_cli.run.outcomes.standings import Standings, standings_of
from scythe_cli.run.outcomes.summary import RunSummary, read_summary
from scythe_cli.run.records import RunErrors, RunRecord, RunStatus
from scythe_cli.run.status import status_of, tables_are_current
from scythe_cli.storage.base import Storage

__all__ = ["StoredRun"]


_MANY = 2_000_000


@dataclass(frozen=True)
class StoredRun:
    """A run's folder.

    Attributes:
        storage: Where it is kept.
        layout: Its keys.
    """

    storage: Storage
    layout: RunLayout

    @property
    def experiment_id(self) -> str:
        """`<experiment>/<version>/<timestamp>`."""
        return self.layout.experiment_id

    @property
    def uri(self) -> str:
        """Its folder."""
        return self.storage.uri(self.layout.experiment_id)

    @cached_property
    def manifest(self) -> RunManifest | None:
        """What the run is; None when its folder has no manifest. It is read once."""
        return read_manifest(self.storage, self.layout)

    def table_keys(self) -> dict[str, str]:
        """The final tables: name to key."""
        files = self.storage.list_files(self.layout.final)
        names = {file.name.removesuffix(".pq") for file in files if file.name.endswith(".pq")}
        if self.storage.local_path(self.layout.final) is None:
            summary = read_summary(self.storage, self.layout)
            if summary is not None and summary.tables:
                # what else is listed was deleted of late, or could not be
                late = set(summary.tables) - names
                names &= set(summary.tables)
                names |= {name for name in late if self.storage.exists(self.layout.table(name))}
        return {name: self.layout.table(name) for name in sorted(names)}

    def tables_are_current(self, *, surely: bool = True) -> bool:
        """Whether the final tables are there, and not older than the ledger.

        Args:
            surely: What to say where both are of the same second, which is as fine as some storages tell the time:
                False takes the tables for current then.
        """
        return tables_are_current(self.storage, self.layout, surely=surely)

    def record(self) -> RunRecord:
        """What the folder's name and the manifest say."""
        return run_record(self.storage, self.layout)

    def status(self) -> RunStatus:
        """Count the specs by state.

        Raises:
            StorageError: If the run cannot be read.
        """
        if self.manifest is None or self.manifest.n_specs is None:
            return self.status_from(None)
        with Ledger.open(self.storage, self.layout) as ledger:
            summary = self._summary_of_many()
            standings = standings_of(ledger, self.manifest.n_specs) if summary is None else summary
            status = self.status_from(standings, ledger.damaged)
        late = self._late(status)
        return status if late is None else status.model_copy(update={"notice": late})

    def _late(self, status: RunStatus) -> str | None:
        """What is to be said where the storage does not list outcomes that are in the tables; None otherwise."""
        is_here = self.storage.local_path(self.layout.outcomes) is not None
        if is_here or status.counts is None or not status.counts.pending or status.damaged_parts:
            return None
        summary = read_summary(self.storage, self.layout)
        if summary is None or summary.counts.total != status.counts.total:
            return None
        n = status.counts.pending - summary.counts.pending
        if n <= 0:
            return None
        return f"the storage does not list the outcomes of {n:,} cases that were there when the tables were made"

    def _summary_of_many(self) -> RunSummary | None:
        """How a run of millions ended, as was written with its tables: to read its ledger takes a while.

        None for all others, whose ledger is looked through again each time.
        """
        n_specs = self.manifest.n_specs if self.manifest else None
        if not n_specs or n_specs < _MANY:
            return None
        summary = read_summary(self.storage, self.layout)
        if summary is None or summary.counts.pending or summary.counts.total != n_specs:
            return None
        return summary if self.tables_are_current() else None

    def status_from(self, standings: Standings | RunSummary | None, damaged: Sequence[str] = ()) -> RunStatus:
        """The same, for who has read the ledger.

        Args:
            standings: What has become of each spec, or its summary; None for a run that has no ledger.
            damaged: The parts that cannot be read.

        Raises:
            StorageError: If the run cannot be read.
        """
        return status_of(self.storage, self.layout, self.manifest, self.table_keys(), standings, damaged)

    def errors(self, limit: int | None = 20) -> RunErrors:
        """What went wrong: groups of what failed alike, and the specs themselves.

        Args:
            limit: How many specs to return at most; None for all.

        Raises:
            UsageError: If it is an older run, which kept no errors.
        """
        n_specs = self.manifest.n_specs if self.manifest else None
        if n_specs is None:
            raise UsageError(f"{self.experiment_id} is an older run, which kept no errors")
        summary = self._summary_of_many()
        if summary is not None and summary.counts.succeeded == n_specs:
            return RunErrors(experiment_id=self.experiment_id, counts=summary.counts, groups=[], errors=[])
        with Ledger.open(self.storage, self.layout) as ledger:
            standings = standings_of(ledger, n_specs)
            ended, failing = read_errors(ledger, standings, limit)
        return RunErrors(
            experiment_id=self.experiment_id,
            counts=standings.counts(),
            groups=ended.groups(),
            errors=ended.first(),
            failing=failing.groups(),
            failing_errors=failing.first(),
        )
