"""Tables, queries, differences, pictures and reports, as records."""

from __future__ import annotations

from typing import Any

from pydantic import Field, computed_field

from scythe_cli.core.records import Record, StateCounts
from scythe_cli.core.states import State

__all__ = [
    "DiffCell",
    "DiffColumn",
    "DiffResult",
    "DiffSpec",
    "DiffState",
    "FetchedFile",
    "PackResult",
    "PlotResult",
    "QueryColumn",
    "QueryResult",
    "ReportResult",
    "TableColumn",
    "TableRecord",
    "TableSummary",
]


class TableRecord(Record):
    """One final table."""

    name: str
    uri: str
    size_bytes: int
    n_rows: int | None
    n_columns: int | None


class TableColumn(Record):
    """One column of a table, summarised; the numbers are None for columns that are not numeric or empty."""

    name: str
    dtype: str
    is_index: bool
    n_null: int
    n_unique: int | None = None
    min: Any = None
    mean: float | None = None
    max: Any = None
    unit: str | None = None
    description: str | None = None
    estimated: list[str] = Field(
        default=[], description="which of n_null, n_unique, min, mean and max come from a part of a large table's rows"
    )


class TableSummary(Record):
    """A table's head, and its columns."""

    experiment_id: str
    name: str
    uri: str
    n_rows: int
    columns: list[TableColumn]
    head: list[dict[str, Any]]


class CasesSummary(Record):
    """The replicates of each case in brief."""

    experiment_id: str
    confidence: float = Field(description="of the intervals of the mean, such as 0.95")
    inputs: list[str]
    outputs: list[str]
    n_cases: int
    rows: list[dict[str, Any]] = Field(
        description="of the first cases: `case`, the inputs, `replicates`, `missing`, and for each output y `y.mean`, "
        "`y.sd`, `y.half_width`, `y.low`, `y.high`, `y.q05`, `y.q50` and `y.q95`"
    )


class FetchedFile(Record):
    """One file that was fetched or exported."""

    name: str
    path: str
    size_bytes: int
    skipped: bool = Field(default=False, description="it was there already, from an earlier fetch of the same")
    notices: list[str] = Field(default=[])


class QueryColumn(Record):
    """One column of a query's answer."""

    name: str
    dtype: str


class QueryResult(Record):
    """The answer of a query, or its first rows."""

    experiment_ids: list[str] = Field(description="the runs whose tables were asked")
    sql: str
    columns: list[QueryColumn]
    n_rows: int = Field(description="of the whole answer")
    rows: list[dict[str, Any]]


class DiffSpec(Record):
    """A spec that only one of two runs has."""

    row: int = Field(description="its sort_index")
    spec: dict[str, Any]


class DiffState(Record):
    """A spec that ended otherwise."""

    row_a: int = Field(description="its sort_index in the first run")
    row_b: int
    old: State
    new: State
    spec: dict[str, Any] = Field(default={})


class DiffCell(Record):
    """A cell that differs."""

    table: str
    row_a: int = Field(description="the spec's sort_index in the first run")
    row_b: int
    spec: dict[str, Any] = Field(default={}, description="the inputs that specs were matched by")
    levels: dict[str, Any] = Field(description="the table's own index levels, which tell the rows of a spec apart")
    column: str
    old: Any
    new: Any
    absolute: float | None = Field(description="how far apart the numbers are")
    relative: float | None = Field(description="the change, in parts of the old number's size")


class DiffColumn(Record):
    """A column that has cells which differ."""

    table: str
    column: str
    n_compared: int
    n_changed: int
    max_absolute: float | None
    max_relative: float | None


class DiffResult(Record):
    """What differs between two runs."""

    a: str
    b: str
    rtol: float
    atol: float
    tables: list[str] = Field(description="the tables that were compared")
    joined_on: list[str] = Field(description="the inputs that specs were matched by")
    inputs_only_a: list[str]
    inputs_only_b: list[str]
    n_specs_a: int
    n_specs_b: int
    n_matched: int
    n_only_a: int
    n_only_b: int
    only_a: list[DiffSpec] = Field(description="at most the limit asked for, as all lists of specs and cells here")
    only_b: list[DiffSpec]
    n_state_changes: int
    state_changes: list[DiffState]
    tables_only_a: list[str]
    tables_only_b: list[str]
    columns: list[DiffColumn] = Field(description="those with cells that differ")
    columns_only_a: list[str] = Field(description="as table.column")
    columns_only_b: list[str]
    n_rows_only_a: int = Field(description="rows of the experiment's own tables, of specs that both have")
    n_rows_only_b: int
    n_cells: int
    n_changed_specs: int
    cells: list[DiffCell]

    @computed_field
    @property
    def equal(self) -> bool:
        """Whether nothing differs; an input that only one run has counts only where it leaves specs without a match."""
        counts = (self.n_cells, self.n_only_a, self.n_only_b, self.n_state_changes, self.n_rows_only_a)
        names = (self.tables_only_a, self.tables_only_b, self.columns_only_a, self.columns_only_b)
        return not (any(counts) or self.n_rows_only_b or any(names))


class PlotResult(Record):
    """A picture of a run's results."""

    experiment_id: str
    kind: str
    title: str
    notes: list[str] = Field(description="how many rows it shows, and how they were drawn or counted")
    path: str | None = Field(description="the file that was written")
    vega_lite: dict[str, Any] = Field(description="the picture as a Vega-Lite specification, with its data")


class ReportResult(Record):
    """A report that was written."""

    experiment_id: str
    path: str
    size_bytes: int
    notices: list[str] = Field(default=[])


class PackResult(Record):
    """A run that was packed into a file."""

    experiment_id: str
    path: str
    size_bytes: int
    n_files: int
    counts: StateCounts | None = Field(description="its cases by state; null for an older run without a ledger")
    code: list[str] = Field(description="the source files that were packed with it")
    notices: list[str] = Field(default=[])
