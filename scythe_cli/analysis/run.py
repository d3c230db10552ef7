"""One run, as a notebook or a command asks it: its folder, and all that `analysis` makes of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import polars as pl
import pyarrow as pa

from scythe_cli.analysis.records import DiffResult, FetchedFile, PackResult, ReportResult, TableRecord, TableSummary
from scythe_cli.core.html import offered
from scythe_cli.errors import ScytheError, StorageError, first_line
from scythe_cli.run.ledger import POLARS_ERRORS
from scythe_cli.run.stored_run import StoredRun

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import Unpack

    from scythe_cli.analysis.packing.pack import PackOptions
    from scythe_cli.analysis.plots.figure import Figure, PlotKind
    from scythe_cli.analysis.results.fetching import ProgressOfFetch, TableFormat
    from scythe_cli.analysis.surrogate.history import StudyHistory
    from scythe_cli.analysis.surrogate.stored import Surrogate


__all__ = ["Run"]


_P = ParamSpec("_P")
_T = TypeVar("_T")


def _reading_this_run(method: Callable[Concatenate[Run, _P], _T]) -> Callable[Concatenate[Run, _P], _T]:
    """Turn what libraries raise at files of wrong shape into a StorageError; some even panic."""

    @wraps(method)
    def told(self: Run, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return method(self, *args, **kwargs)
        except ScytheError:
            raise
        except (pa.ArrowException, *POLARS_ERRORS, ArithmeticError, ValueError, RecursionError) as error:
            raise StorageError(
                f"{self.experiment_id} has a file that cannot be read: {first_line(error)}",
                hint="--verbose shows where.",
            ) from error

    return told


_NOT_OFFERED = ("layout", "status_from", "storage", "table_key", "table_keys", "tables_are_current")
"""What the program itself needs of a run."""


@dataclass(frozen=True, repr=False)
class Run(StoredRun):
    """One run.

    Attributes:
        storage: Where it is kept.
        layout: Its keys.
    """

    def __repr__(self) -> str:
        return f"<run {self.experiment_id!r} in {self.storage.location}>"

    def __dir__(self) -> list[str]:
        """What the Tab key offers."""
        return offered(self, dir(type(self)), _NOT_OFFERED)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from scythe_cli.analysis.notebook import run_html

        return run_html(self)

    @_reading_this_run
    def tables(self) -> list[TableRecord]:
        """The final tables."""
        from scythe_cli.analysis.results.tables import describe_tables

        return describe_tables(self)

    def table_path(self, name: str) -> str:
        """Where a final table is; raises NotFoundError where there is none."""
        return self.storage.uri(self.table_key(name))

    def table_key(self, name: str) -> str:
        """The key of a final table; raises NotFoundError where there is none."""
        from scythe_cli.analysis.results.tables import table_key

        return table_key(self, name)

    def table(self, name: str, *, files: bool = False) -> pl.LazyFrame:
        """A final table, as a lazy Polars frame: only what is needed of it is read, when it is collected.

        Args:
            name: Its name.
            files: Whether it gets a column for each input file, with its name.

        Raises:
            NotFoundError: If there is no such table.
        """
        from scythe_cli.analysis.results.source_names import levels_at, named_table
        from scythe_cli.analysis.results.tables import local_copy, scan_table

        key = self.table_key(name)
        frame = scan_table(self.storage, key)
        return named_table(self, name, frame, levels_at(local_copy(self.storage, key))) if files else frame

    @_reading_this_run
    def scalars(self, *, files: bool = False) -> pl.DataFrame:
        """`scalars.pq`: one row per spec that succeeded; index levels are the first columns.

        Args:
            files: Whether it gets a column for each input file, with its name.
        """
        from scythe_cli.analysis.results.tables import reading

        with reading(self.storage, self.table_key("scalars")):
            return self.table("scalars", files=files).collect()

    @_reading_this_run
    def to_pandas(self, name: str = "scalars", *, ids: bool = False, files: bool = False) -> pd.DataFrame:
        """A final table as pandas: inputs and outputs as columns, `sort_index` as the index.

        Args:
            name: Its name.
            ids: Whether it comes as it is stored: ids and inputs are the levels of its MultiIndex then.
            files: Whether it gets a column, or level, for each input file, with the names of the source files.
        """
        from scythe_cli.analysis.results.source_names import named_pandas
        from scythe_cli.analysis.results.tables import plain_index, read_pandas

        key = self.table_key(name)
        frame = read_pandas(self.storage, key, None if ids else plain_index(self, name))
        return named_pandas(self, frame, as_columns=not ids) if files else frame

    @_reading_this_run
    def show(self, table: str = "scalars", rows: int = 10) -> TableSummary:
        """A table's head, and a summary of its columns."""
        from scythe_cli.analysis.results.summary import summarise_table

        return summarise_table(self, table, rows)

    @_reading_this_run
    def by_case(
        self,
        outputs: Sequence[str] | None = None,
        *,
        confidence: float = 0.95,
        quantiles: Sequence[float] = (0.05, 0.5, 0.95),
    ) -> pl.DataFrame:
        """The replicates of each case: mean, standard deviation, confidence interval and quantiles of each output.

        Args:
            outputs: Which of the numeric scalar outputs; all unless named.
            confidence: Of the interval of the mean.
            quantiles: Of the replicates, from 0 to 1.

        Returns:
            A row for each case; see `analysis.results.by_case.ByCase`.
        """
        from scythe_cli.analysis.results.by_case import replicates_by_case

        return replicates_by_case(self, outputs, confidence=confidence, quantiles=quantiles).frame

    @_reading_this_run
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
            tables: Which tables; all unless named.
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
        from scythe_cli.analysis.results.fetching import fetch_run

        return fetch_run(
            self,
            dest,
            tables=tables,
            format=format,
            files=files if isinstance(files, bool) or files else False,
            partial=partial,
            overwrite=overwrite,
            raw_cells=raw_cells,
            progress=progress,
        )

    @_reading_this_run
    def query(self, sql: str, *, also: Sequence[StoredRun] = ()) -> pl.DataFrame:
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

    @_reading_this_run
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

    @_reading_this_run
    def diff(
        self,
        other: StoredRun,
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

    @_reading_this_run
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
        log: Collection[str] = (),
    ) -> Figure:
        """Make a picture of the results, which a notebook shows and `save` writes to a file.

        Of many rows, some are drawn at random or all are counted in bins, and the picture says so. With nothing named,
        it shows what the first output depends on.

        Args:
            x: The column across: an input, a feature or an output; nested fields as `wall.u_value`.
            y: The column upwards; for `tornado`, `influence` and `sobol` the output that is asked about.
            color: The column that colors points.
            kind: `scatter` (boxes where x is a category), `hist`, `pairs`, `tornado` (the output at both ends of each
                input), `influence` (rank correlations), `sobol` (of a saltelli design), `convergence` (of a study);
                what fits the columns unless given.
            columns: The columns of `pairs`; some inputs and outputs unless named.
            table: A table of the experiment's own, whose rows are drawn instead of the specs.
            bins: How many bins a histogram has.
            seed: What rows are drawn with.
            log: The axes that are logarithmic, some of `x` and `y`; of a histogram, that of its values.

        Raises:
            NotFoundError: If there is no such column or table.
            UsageError: If the columns do not make such a picture.
        """
        from scythe_cli.analysis.plots.figure import make_figure

        return make_figure(
            self, x=x, y=y, color=color, kind=kind, columns=columns, table=table, bins=bins, seed=seed, log=log
        )

    def surrogate(self) -> Surrogate:
        """What a study has learned from the cases, to predict outputs of others; see `Surrogate.predict`."""
        from scythe_cli.analysis.surrogate.stored import read_surrogate

        return read_surrogate(self.storage, self.layout)

    def study(self) -> StudyHistory | None:
        """How far a study was after each of its rounds; None for a run of no study."""
        from scythe_cli.analysis.surrogate.history import read_history

        return read_history(self.storage, self.layout)

    @_reading_this_run
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

    @_reading_this_run
    def pack(self, path: Path, **options: Unpack[PackOptions]) -> PackResult:
        """Pack the run into one zip, an RO-Crate, with its code; for the options see `PackOptions`.

        Raises:
            UsageError: If it is at work, or there is a file of that name.
            StorageError: If the run cannot be read or the file cannot be written.
        """
        from scythe_cli.analysis.packing.pack import pack_run

        return pack_run(self, Path(path), options)
