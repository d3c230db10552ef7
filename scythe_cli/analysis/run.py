"""One run, read from its folder alone: it works while the run goes on, after it died, and on an older bucket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from scythe_cli.analysis.records import (
    DiffResult,
    FetchedFile,
    ReportResult,
    TableRecord,
    TableSummary,
)
from scythe_cli.core.records import StateCounts
from scythe_cli.core.states import State
from scythe_cli.errors import StorageError, UsageError
from scythe_cli.run.active import read_running
from scythe_cli.run.catalog import run_record
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.lease import LeaseRecord, read_owner
from scythe_cli.run.ledger import Ledger
from scythe_cli.run.manifest import RunManifest, read_manifest
from scythe_cli.run.outcomes.effective import counts_of, effective_outcomes
from scythe_cli.run.outcomes.error_groups import group_errors, read_errors, spec_errors
from scythe_cli.run.records import (
    RunErrors,
    RunningSpec,
    RunRecord,
    RunStatus,
)
from scythe_cli.storage.base import Storage

if TYPE_CHECKING:
    import pandas as pd

    from scythe_cli.analysis.plots.figure import Figure, PlotKind
    from scythe_cli.analysis.results.fetching import ProgressOfFetch, TableFormat


__all__ = ["Run"]


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

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from scythe_cli.analysis.notebook import run_html

        return run_html(self)

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
        return run_record(self.storage, self.layout)

    def status(self) -> RunStatus:
        """Count the specs by state.

        Raises:
            StorageError: If the run cannot be read.
        """
        if self.manifest is None or self.manifest.n_specs is None:
            return self.status_from(None)
        with Ledger.open(self.storage, self.layout) as ledger:
            outcomes = ledger.outcomes()
            damaged = ledger.damaged
        return self.status_from(effective_outcomes(outcomes), damaged)

    def status_from(self, effective: pl.DataFrame | None, damaged: Sequence[str] = ()) -> RunStatus:
        """The same, for who has read the ledger.

        Args:
            effective: What `effective_outcomes` makes of its outcomes; None for a run that has no ledger.
            damaged: The parts that cannot be read.

        Raises:
            StorageError: If the run cannot be read.
        """
        manifest = self.manifest
        tables = self.table_keys()
        n_specs = manifest.n_specs if manifest else None
        counts: StateCounts | None = None
        rate = eta = None
        last: datetime | None = None
        owner: LeaseRecord | None = None
        running: list[RunningSpec] | None = None
        gathered = "scalars" in tables
        if n_specs is None or effective is None:
            notice = "an older run without a ledger: its tables can be shown and fetched"
        else:
            gathered = gathered and self.tables_are_current(surely=False)
            counts = counts_of(effective, n_specs)
            rate, last = _pace(effective)
            owner = read_owner(self.storage, self.layout)
            eta = counts.pending / rate if rate and counts.pending else None
            running = None if owner is None else read_running(owner, self.experiment_id)
            notice = _notice(manifest, counts, damaged, gathered=gathered, owner=owner)
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
            at_work=None if owner is None else owner.describe(),
            running=running,
            damaged_parts=list(damaged),
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
        from scythe_cli.analysis.results.tables import describe_tables

        return describe_tables(self.storage, self.table_keys())

    def table_path(self, name: str) -> str:
        """Where a final table is.

        Raises:
            NotFoundError: If there is no such table.
        """
        return self.storage.uri(self.table_key(name))

    def table_key(self, name: str) -> str:
        """The key of a final table.

        Raises:
            NotFoundError: If there is no such table.
        """
        from scythe_cli.analysis.results.tables import choose_tables

        keys = self.table_keys()
        return keys[choose_tables([name], keys, self.layout)[0]]

    def table(self, name: str) -> pl.LazyFrame:
        """A final table, as a lazy Polars frame: only what is needed of it is read, when it is collected.

        Raises:
            NotFoundError: If there is no such table.
        """
        from scythe_cli.analysis.results.tables import scan_table

        return scan_table(self.storage, self.table_key(name))

    def scalars(self) -> pl.DataFrame:
        """`scalars.pq`: one row per spec that succeeded; index levels are the first columns."""
        from scythe_cli.analysis.results.tables import reading

        with reading(self.storage, self.table_key("scalars")):
            return self.table("scalars").collect()

    def to_pandas(self, name: str = "scalars") -> pd.DataFrame:
        """A final table as pandas, with its MultiIndex."""
        import pandas as pd

        from scythe_cli.analysis.results.tables import local_copy, reading

        key = self.table_key(name)
        try:
            with reading(self.storage, key):
                return pd.read_parquet(local_copy(self.storage, key))
        except (LookupError, TypeError, AttributeError) as error:
            # what the table says of its index for pandas is JSON, which pandas and pyarrow take to be whole
            raise StorageError(f"{self.storage.uri(key)} has damaged metadata for pandas") from error

    def show(self, table: str = "scalars", rows: int = 10) -> TableSummary:
        """A table's head, and a summary of its columns."""
        from scythe_cli.analysis.results.summary import summarise_table

        return summarise_table(self.storage, self.layout, table, self.table_key(table), rows)

    def fetch(
        self,
        dest: Path,
        *,
        tables: Sequence[str] | None = None,
        format: TableFormat = "pq",  # noqa: A002 - the name of the command's option
        files: bool | Sequence[str] = False,
        partial: bool = False,
        overwrite: bool = False,
        raw_cells: bool = False,
        progress: ProgressOfFetch | None = None,
    ) -> list[FetchedFile]:
        """Copy final tables, and output files, into a folder.

        What an earlier call put there, and what has not changed since, is passed over: so an interrupted fetch goes on
        where it was.

        Args:
            dest: The folder; made when it is missing.
            tables: Which tables; all unless given.
            format: `pq` as they are, `csv`, or `xlsx`: one workbook with a sheet for each table.
            files: Whether output files are copied too, to `<dest>/files/<field>/`; or the fields whose files are.
            partial: Make the tables from what is in the ledger now, for a run that goes on or died.
            overwrite: Whether other files of the same name are replaced.
            raw_cells: Leave text as it is that a spreadsheet would run as a formula.
            progress: Called for each file.

        Returns:
            One record for each table, or for the workbook, then one for each output file.

        Raises:
            NotFoundError: If there is no such table, or none at all.
            UsageError: If another file of a name is there already, or a table is larger than a sheet.
            StorageError: If the storage cannot be read or the folder cannot be written.
        """
        from scythe_cli.analysis.results.fetching import fetch

        return fetch(
            self.storage,
            self.layout,
            dest,
            keys={} if partial else self.table_keys(),
            tables=tables,
            format=format,
            files=files if isinstance(files, bool) or files else False,
            partial=partial,
            overwrite=overwrite,
            raw_cells=raw_cells,
            progress=progress,
        )

    def query(self, sql: str, *, also: Sequence[Run] = ()) -> pl.DataFrame:
        """Ask the tables of the run in SQL; DuckDB answers.

        The query sees the final tables by their names, and `specs`; nothing else of the machine.

        Args:
            sql: One `SELECT`.
            also: Further runs. With them, each table has the rows of all runs, and two more columns at the front:
                `version` and `run`, the time stamp.

        Returns:
            The whole answer; sums of whole numbers are int64, decimals float64.

        Raises:
            UsageError: If it is no query, or DuckDB refuses it.
            StorageError: If a table cannot be read.
        """
        from scythe_cli.analysis.results.query import query_frame

        return query_frame([self, *also], sql)

    def tidy(self, table: str | None = None) -> pl.LazyFrame:
        """One tidy frame: `sort_index`, inputs, features and outputs, nested models as dotted columns.

        Args:
            table: A table of the experiment's own: its rows, each with the inputs and outputs of its spec.

        Raises:
            NotFoundError: If the run has no such table.
        """
        from scythe_cli.analysis.results.tidy import tidy_frame

        return tidy_frame(self, table).frame

    def export(
        self,
        path: Path,
        table: str | None = None,
        *,
        ids: bool = False,
        overwrite: bool = False,
        raw_cells: bool = False,
    ) -> FetchedFile:
        """Write the tidy frame to a file: .pq, .parquet, .csv or .xlsx.

        Args:
            path: The file.
            table: A table of the experiment's own: its rows, each with the inputs and outputs of its spec.
            ids: Whether the run's and the specs' ids come first.
            overwrite: Whether a file of that name is replaced.
            raw_cells: Leave text as it is that a spreadsheet would run as a formula.

        Raises:
            NotFoundError: If the run has no such table.
            UsageError: If the file is there already, or a sheet cannot hold the frame.
            StorageError: If a table cannot be read or the file cannot be written.
        """
        from scythe_cli.analysis.results.exporting import export_run

        return export_run(self, Path(path), table, ids=ids, overwrite=overwrite, raw_cells=raw_cells)

    def diff(
        self,
        other: Run,
        *,
        rtol: float = 0.0,
        atol: float = 0.0,
        tables: Sequence[str] | None = None,
        ignore: Sequence[str] = (),
        limit: int | None = None,
    ) -> DiffResult:
        """Compare this run with another, spec by spec.

        Specs are matched by their inputs, in which a file counts by its content. Two numbers `old` and `new` are the
        same when |new - old| <= atol + rtol·|old|; NaN is the same as NaN. Of output files, only whether there is one
        is compared.

        Args:
            other: The newer run.
            rtol: The relative tolerance.
            atol: The absolute tolerance, in the column's unit.
            tables: Which tables; all but `errors` unless given.
            ignore: Columns that are not compared.
            limit: How many cells, specs and states to return at most; None for all. Counts are always of all.

        Raises:
            NotFoundError: If there is no such table or column, or a run has no specs.
            UsageError: If a tolerance is no number from 0, or the runs have no input in common.
            StorageError: If a run cannot be read.
        """
        from scythe_cli.analysis.results.diff import diff_runs

        return diff_runs(self, other, rtol=rtol, atol=atol, tables=tables, ignore=ignore, limit=limit)

    def plot(
        self,
        x: str | None = None,
        y: str | None = None,
        color: str | None = None,
        *,
        kind: PlotKind | None = None,
        columns: Sequence[str] = (),
        table: str | None = None,
        bins: int | None = None,
        seed: int = 0,
    ) -> Figure:
        """Make a picture of the results, which a notebook shows and `save` writes to a file.

        Of many rows, some are drawn at random or all are counted in bins, and the picture says so.

        Args:
            x: The column across: an input, a feature or an output; nested fields as `wall.u_value`.
            y: The column upwards; for `tornado`, `influence` and `sobol` the output that is asked about.
            color: The column that colors points.
            kind: `scatter` (boxes where x is a category), `hist`, `pairs`, `tornado` (the output at both ends of each
                input), `influence` (rank correlations), `sobol` (for a run of the design saltelli); what fits the
                columns unless given.
            columns: The columns of `pairs`; some inputs and outputs unless given.
            table: A table of the experiment's own, whose rows are drawn instead of the specs.
            bins: How many bins a histogram has.
            seed: What rows are drawn with.

        Raises:
            NotFoundError: If there is no such column or table.
            UsageError: If the columns do not make such a picture.
        """
        from scythe_cli.analysis.plots.figure import make_figure

        return make_figure(self, x=x, y=y, color=color, kind=kind, columns=columns, table=table, bins=bins, seed=seed)

    def report(self, path: Path, *, overwrite: bool = False) -> ReportResult:
        """Write the run on one page: an HTML file that needs no network.

        Args:
            path: The file; an earlier report is replaced.
            overwrite: Whether any other file of that name is replaced.

        Raises:
            UsageError: If the file is there already and is no report, or its ending is not .html.
            StorageError: If the run cannot be read or the file cannot be written.
        """
        from scythe_cli.analysis.report.page import write_report

        return write_report(self, Path(path), overwrite=overwrite)


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
    # what was taken over from another run, or from a spec that is the same, was not run
    done = effective.filter(pl.col("started_at").is_not_null() & (pl.col("state") != State.CANCELLED.value)).height
    return (done / span_s if span_s > 0 else None), last.astimezone(UTC)


def _notice(
    manifest: RunManifest | None,
    counts: StateCounts,
    damaged: Sequence[str],
    *,
    gathered: bool,
    owner: LeaseRecord | None,
) -> str | None:
    if manifest is not None and manifest.state == "allocating":
        return "its allocation is under way, or did not finish"
    if damaged:
        parts = "1 part" if len(damaged) == 1 else f"{len(damaged)} parts"
        return f"{parts} of the ledger cannot be read, and the specs in it are pending; `scythe retry` runs them again"
    if counts.pending and owner is None and manifest is not None and manifest.engine == "local":
        return f"nothing is at work on it; `scythe retry {manifest.experiment_id}` goes on"
    if not gathered and not counts.pending:
        if owner is not None:
            return "all specs have an outcome; the final tables are being made"
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
