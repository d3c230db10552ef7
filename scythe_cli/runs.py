"""One run, read from its folder alone: it works while the run goes on, after it died, and on an older bucket."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import polars as pl

from scythe_cli.catalog import list_experiments, list_runs, list_versions
from scythe_cli.errors import NotFoundError, UsageError
from scythe_cli.failures import group_errors, read_errors, spec_errors
from scythe_cli.layout import RunLayout
from scythe_cli.ledger import Ledger, counts_of, effective_outcomes
from scythe_cli.manifest import RunManifest, read_manifest
from scythe_cli.outcomes import State
from scythe_cli.records import (
    FetchedFile,
    RunErrors,
    RunRecord,
    RunStatus,
    StateCounts,
    TableRecord,
    TableSummary,
    VersionRecord,
)
from scythe_cli.storage import Storage
from scythe_cli.versioning import SemVer

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Run", "run_records", "version_records"]


@dataclass(frozen=True)
class Run:
    """One run.

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
        """What the run is; None when its folder has no manifest."""
        return read_manifest(self.storage, self.layout)

    def table_keys(self) -> dict[str, str]:
        """The final tables: name to key."""
        files = self.storage.list_files(self.layout.final)
        return {f.name.removesuffix(".pq"): f"{self.layout.final}/{f.name}" for f in files if f.name.endswith(".pq")}

    def tables_are_current(self, *, surely: bool = True) -> bool:
        """Whether the final tables are there, and not older than the ledger.

        Args:
            surely: What to say where both are of the same second, which is as fine as some storages tell the time:
                False takes the tables for current then.
        """
        return _are_current(self.storage, self.layout, surely=surely)

    def record(self) -> RunRecord:
        """What the folder's name and the manifest say."""
        manifest = self.manifest
        return RunRecord(
            experiment_id=self.experiment_id,
            experiment=self.layout.experiment,
            version=str(self.layout.version),
            timestamp=self.layout.timestamp,
            uri=self.uri,
            n_specs=manifest.n_specs if manifest else None,
            engine=manifest.engine if manifest else None,
            complete="scalars" in self.table_keys(),
        )

    def status(self) -> RunStatus:
        """Count the specs by state.

        Raises:
            StorageError: If the run cannot be read.
        """
        manifest = self.manifest
        tables = self.table_keys()
        n_specs = manifest.n_specs if manifest else None
        counts: StateCounts | None = None
        rate = eta = None
        last: datetime | None = None
        damaged: list[str] = []
        notice: str | None = None
        gathered = "scalars" in tables
        if n_specs is None:
            notice = "an older run without a ledger: its tables can be shown and fetched"
        else:
            with Ledger.open(self.storage, self.layout) as ledger:
                outcomes = ledger.outcomes()
                damaged = ledger.damaged
            gathered = gathered and self.tables_are_current(surely=False)
            effective = effective_outcomes(outcomes)
            counts = counts_of(effective, n_specs)
            rate, last = _pace(effective)
            eta = counts.pending / rate if rate and counts.pending else None
            notice = _notice(manifest, counts, damaged, gathered=gathered)
        return RunStatus(
            experiment_id=self.experiment_id,
            experiment=self.layout.experiment,
            version=str(self.layout.version),
            timestamp=self.layout.timestamp,
            uri=self.uri,
            engine=manifest.engine if manifest else None,
            n_specs=n_specs,
            counts=counts,
            rate_per_s=rate,
            eta_s=eta,
            gathered=gathered,
            tables=sorted(tables),
            last_outcome_at=last,
            damaged_parts=damaged,
            notice=notice,
        )

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
        with Ledger.open(self.storage, self.layout) as ledger:
            effective = effective_outcomes(ledger.outcomes())
            frame = read_errors(ledger, effective)
        return RunErrors(
            experiment_id=self.experiment_id,
            counts=counts_of(effective, n_specs),
            groups=group_errors(frame),
            errors=spec_errors(frame, limit),
        )

    def tables(self) -> list[TableRecord]:
        """The final tables."""
        from scythe_cli.tables import describe_tables

        return describe_tables(self.storage, self.table_keys())

    def table_path(self, name: str) -> str:
        """Where a final table is.

        Raises:
            NotFoundError: If there is no such table.
        """
        return self.storage.uri(self._table_key(name))

    def _table_key(self, name: str) -> str:
        keys = self.table_keys()
        if name not in keys:
            if not keys:
                raise NotFoundError(
                    f"{self.experiment_id} has no final tables yet",
                    hint="`scythe status` shows how far it is; `scythe results fetch --partial` takes what is there.",
                )
            raise NotFoundError(
                f"{self.experiment_id} has no table {name!r}", hint=f"There are: {', '.join(sorted(keys))}."
            )
        return keys[name]

    def table(self, name: str) -> pl.DataFrame:
        """A final table, as Polars.

        Raises:
            NotFoundError: If there is no such table.
        """
        from scythe_cli.tables import local_table

        with local_table(self.storage, self._table_key(name)) as path:
            return pl.read_parquet(path, glob=False)

    def scalars(self) -> pl.DataFrame:
        """`scalars.pq`: one row per spec that succeeded; index levels are the first columns."""
        return self.table("scalars")

    def to_pandas(self, name: str = "scalars") -> pd.DataFrame:
        """A final table as pandas, with its MultiIndex."""
        import pandas as pd

        from scythe_cli.tables import local_table

        with local_table(self.storage, self._table_key(name)) as path:
            return pd.read_parquet(path)

    def show(self, table: str = "scalars", rows: int = 10) -> TableSummary:
        """A table's head, and a summary of its columns."""
        from scythe_cli.tables import summarise_table

        return summarise_table(self.storage, self.layout, table, self._table_key(table), rows)

    def fetch(
        self,
        dest: Path,
        *,
        tables: Sequence[str] | None = None,
        format: Literal["pq", "csv"] = "pq",  # noqa: A002 - the name of the command's option
        partial: bool = False,
        overwrite: bool = False,
    ) -> list[FetchedFile]:
        """Copy final tables into a folder.

        Args:
            dest: The folder; made when it is missing.
            tables: Which tables; all unless given.
            format: `pq` as they are, or `csv`.
            partial: Make the tables from what is in the ledger now, for a run that goes on or died.
            overwrite: Whether files of the same name are replaced.

        Raises:
            NotFoundError: If there is no such table, or none at all.
            UsageError: If a file is there already, or `dest` is no folder.
            StorageError: If the storage cannot be read or the folder cannot be written.
        """
        from scythe_cli.tables import fetch_tables

        return fetch_tables(
            self.storage,
            self.layout,
            {} if partial else self.table_keys(),
            dest,
            names=tables,
            as_csv=format == "csv",
            partial=partial,
            overwrite=overwrite,
        )


def _pace(effective: pl.DataFrame) -> tuple[float | None, datetime | None]:
    """Specs finished a second between the first start and the last end, and that end."""
    if not effective.height:
        return None, None
    ends = effective.select(
        first=pl.col("started_at").min(),
        last=(pl.col("started_at") + pl.duration(microseconds=pl.col("duration_s").fill_null(0) * 1_000_000)).max(),
    ).row(0)
    first, last = ends
    if first is None or last is None:
        return None, None
    span_s = (last - first).total_seconds()
    done = effective.filter(pl.col("state") != State.CANCELLED.value).height
    return (done / span_s if span_s > 0 else None), last.astimezone(UTC)


def _notice(manifest: RunManifest | None, counts: StateCounts, damaged: list[str], *, gathered: bool) -> str | None:
    if manifest is not None and manifest.state == "allocating":
        return "its allocation is under way, or did not finish"
    if damaged:
        parts = "1 part" if len(damaged) == 1 else f"{len(damaged)} parts"
        return f"{parts} of the ledger cannot be read, and the specs in it are pending; `scythe retry` runs them again"
    if not gathered and not counts.pending:
        return (
            "all specs have an outcome; the final tables are being made, or their making was interrupted: "
            "then `scythe retry` makes them"
        )
    return None


def _are_current(storage: Storage, layout: RunLayout, *, surely: bool) -> bool:
    tables = {f.name: f.modified for f in storage.list_files(layout.final)}
    if "scalars.pq" not in tables:  # it is written last
        return False
    parts = [f.modified for f in storage.list_files(layout.outcomes) if f.name.endswith(".pq")]
    if not parts:
        return True
    newest, made = max(parts), tables["scalars.pq"]
    return newest < made if surely else newest <= made


def run_records(storage: Storage, experiment: str | None = None) -> list[RunRecord]:
    """All runs, or those of one experiment, newest first.

    Raises:
        NotFoundError: If there is no such experiment.
    """
    names = _names(storage, experiment)
    runs = [run for name in names for v in list_versions(storage, name) for run in list_runs(storage, name, v)]
    runs.sort(key=lambda run: (run.timestamp, run.version), reverse=True)
    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(Run.record, [Run(storage, run) for run in runs]))


def version_records(storage: Storage, experiment: str | None = None) -> list[VersionRecord]:
    """All versions, or those of one experiment: experiments by name, in each the newest first.

    Raises:
        NotFoundError: If there is no such experiment.
    """
    records: list[VersionRecord] = []
    for name in _names(storage, experiment):
        for version in reversed(list_versions(storage, name)):
            records.append(_version_record(storage, name, version))
    return records


def _version_record(storage: Storage, name: str, version: SemVer) -> VersionRecord:
    runs = list_runs(storage, name, version)
    return VersionRecord(
        experiment=name,
        version=str(version),
        n_runs=len(runs),
        latest_run=runs[-1].timestamp if runs else None,
    )


def _names(storage: Storage, experiment: str | None) -> list[str]:
    names = list_experiments(storage)
    if experiment is None:
        return names
    if experiment not in names:
        hint = f"There are: {', '.join(names)}." if names else "`scythe allocate FILE` makes a first run."
        raise NotFoundError(f"{storage.location} has no runs of {experiment!r}", hint=hint)
    return [experiment]
