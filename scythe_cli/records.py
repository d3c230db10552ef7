"""What the services return: typed records that a notebook can use, and that `--json` prints as they are."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, computed_field

from scythe_cli.states import State

__all__ = [
    "AllocateResult",
    "CancelResult",
    "DiffCell",
    "DiffColumn",
    "DiffResult",
    "DiffSpec",
    "DiffState",
    "DoctorCheck",
    "ErrorDocument",
    "ErrorGroup",
    "ExperimentRecord",
    "FetchedFile",
    "FieldRecord",
    "PlotResult",
    "Problem",
    "ProgramVersion",
    "QueryColumn",
    "QueryResult",
    "ReportResult",
    "RunErrors",
    "RunRecord",
    "RunStatus",
    "RunningSpec",
    "ServedTask",
    "SpecError",
    "StateCounts",
    "SubmitResult",
    "TableColumn",
    "TableRecord",
    "TableSummary",
    "ValidationReport",
    "WorkerStart",
]


class Record(BaseModel):
    """The base of all records: immutable, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from scythe_cli.notebook import record_html

        return record_html(self)


class StateCounts(Record):
    """How many specs are in each state; the six add up to the number of specs."""

    succeeded: int = 0
    failed: int = 0
    timeout: int = 0
    crashed: int = 0
    cancelled: int = 0
    pending: int = 0

    @property
    def total(self) -> int:
        """The number of specs."""
        return sum(self.of(state) for state in State)

    @property
    def unsuccessful(self) -> int:
        """The specs that ended without success."""
        return self.failed + self.timeout + self.crashed + self.cancelled

    def of(self, state: State) -> int:
        """The count of one state."""
        return int(getattr(self, state.value))


class FieldRecord(Record):
    """One field of an input or output model."""

    name: str = Field(description="dotted for nested models")
    type: str = Field(description="for people: 'float', \"'a' | 'b'\", 'file', 'date or empty'")
    description: str | None = None
    bounds: str | None = Field(default=None, description="'0 ≤ x ≤ 90', or 'at most 20 characters'")
    unit: str | None = Field(default=None, description="the unit in brackets at the end of the description")
    required: bool = True
    default: Any = None


class ExperimentRecord(Record):
    """One experiment of the project."""

    name: str
    entrypoint: str
    description: str
    kind: str = Field(description="'function' or 'workflow'")
    inputs: list[FieldRecord] = []
    outputs: list[FieldRecord] = []
    execution_timeout_s: float
    memory_limit_bytes: int | None = None
    retries: int
    problem: str | None = Field(default=None, description="why it cannot be loaded")


class ValidationReport(Record):
    """What checking a sampling file found; bad files raise instead."""

    file: str
    experiment: str
    n_specs: int
    columns: list[str]
    defaulted: list[str] = Field(description="fields that the file does not have and that take their default")
    ignored: list[str] = Field(description="reserved columns that are overwritten")
    input_files: int = Field(description="distinct local input files")
    input_bytes: int


class RunRecord(Record):
    """One run, as far as its folder's name and manifest say."""

    experiment_id: str
    experiment: str
    version: str
    timestamp: datetime
    uri: str
    n_specs: int | None = Field(description="None when the manifest does not say, as in an older bucket")
    engine: str | None
    complete: bool = Field(description="whether final tables exist")


class ErrorGroup(Record):
    """Specs that failed alike: same state, type and place."""

    state: State
    error_type: str
    place: str | None = Field(description="file:line in function, where the error was raised, if it is known")
    message: str = Field(description="the message of the first of them")
    count: int
    rows: list[int] = Field(description="their sort_index, at most the first 20")


class SpecError(Record):
    """One spec that did not succeed."""

    sort_index: int
    state: State
    attempt: int
    error_type: str | None
    message: str | None
    traceback: str | None
    duration_s: float | None


class RunErrors(Record):
    """What went wrong in a run."""

    experiment_id: str
    counts: StateCounts
    groups: list[ErrorGroup]
    errors: list[SpecError] = Field(description="one for each spec that did not succeed, at most the limit asked for")


class RunningSpec(Record):
    """A spec that is being run."""

    sort_index: int
    elapsed_s: float = Field(description="how long it has been running")


class RunStatus(Record):
    """How far a run is."""

    experiment_id: str
    experiment: str
    version: str
    timestamp: datetime
    uri: str
    engine: str | None
    n_specs: int | None
    counts: StateCounts | None = Field(description="None for an older run without a ledger")
    rate_per_s: float | None = Field(description="finished specs a second over the time that the run was at work")
    eta_s: float | None = Field(description="seconds to the end at this rate; None when unknown or done")
    gathered: bool = Field(description="whether the final tables are there")
    tables: list[str] = Field(description="the names of the final tables")
    last_outcome_at: datetime | None
    workers: list[str] | None = Field(
        default=None, description="workers of a fleet that serve the experiment; None when nobody was asked"
    )
    at_work: str | None = Field(
        default=None, description="the process that is at work on it, as its lease tells; None on a fleet"
    )
    running: list[RunningSpec] | None = Field(
        default=None,
        description="specs that have been running for a second or more, the longest first; None when that is not "
        "known, as of a process on another machine",
    )
    last_failures: list[SpecError] = Field(
        default=[], description="the last specs that did not succeed, while a run is watched"
    )
    damaged_parts: list[str] = Field(default=[], description="parts of the ledger that cannot be read")
    notice: str | None = None


class AllocateResult(Record):
    """What an allocation did."""

    experiment_id: str
    experiment: str
    version: str
    timestamp: datetime
    uri: str
    engine: str
    workflow_run_id: str
    n_specs: int
    counts: StateCounts
    duration_s: float
    n_reused: int = Field(default=0, description="specs whose outcome was taken over from an earlier run")
    n_duplicates: int = Field(default=0, description="specs that got the outcome of another one that is the same")
    tables: dict[str, str] = Field(description="final tables: name to path or URI")
    errors: list[ErrorGroup] = []
    notices: list[str] = []

    @computed_field
    @property
    def ok(self) -> bool:
        """Whether every spec succeeded."""
        return self.counts.succeeded == self.n_specs


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


class FetchedFile(Record):
    """One file that was fetched or exported."""

    name: str
    path: str
    size_bytes: int
    skipped: bool = Field(default=False, description="it was there already, from an earlier fetch of the same")
    notices: list[str] = []


class DoctorCheck(Record):
    """One thing that `scythe doctor` looked at."""

    name: str
    ok: bool
    detail: str
    remedy: str | None = None
    exit_code: int = Field(default=0, description="what the command exits with because of this check")


class SubmitResult(Record):
    """A run that was handed to a fleet, which goes on by itself."""

    experiment_id: str
    experiment: str
    version: str
    timestamp: datetime
    uri: str
    engine: str
    workflow_run_id: str = Field(description="of the run's root, as the engine's dashboard shows it")
    n_specs: int
    notices: list[str] = []


class CancelResult(Record):
    """What a cancellation did."""

    experiment_id: str
    cancelled: int = Field(description="specs that will not run")
    counts: StateCounts


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
    spec: dict[str, Any] = {}


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
    notices: list[str] = []


class ServedTask(Record):
    """One thing that a worker serves."""

    name: str = Field(description="of the Hatchet task")
    kind: str = Field(description="'experiment', 'workflow' or 'scatter/gather'")
    place: str = Field(description="where its code is")


class WorkerStart(Record):
    """A worker, as it begins to serve."""

    name: str
    slots: int = Field(description="specs that run at the same time")
    serves: list[ServedTask]


class ProgramVersion(Record):
    """What `--version` tells."""

    version: str


class Problem(Record):
    """What is wrong, and what to do."""

    type: str = Field(description="the class of the error, as in scythe_cli.errors")
    message: str
    hint: str | None
    exit_code: int


class ErrorDocument(Record):
    """What a command prints that ends with an error."""

    error: Problem
