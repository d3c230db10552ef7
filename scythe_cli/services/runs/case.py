"""All that is known of one case: what went in and came out, its attempts, files and tables, and how to run it again."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import polars as pl
from pydantic import Field

from scythe_cli.analysis.cases.views import plain_cell
from scythe_cli.analysis.results.output_files import result_key
from scythe_cli.analysis.results.tables import META_COLUMNS, reading, scan_table
from scythe_cli.core.records import Record
from scythe_cli.core.states import State
from scythe_cli.errors import NotFoundError
from scythe_cli.services.runs.history import Attempt, spec_history

if TYPE_CHECKING:
    from scythe_cli.analysis.cases.frame import Cases
    from scythe_cli.analysis.run import Run

__all__ = ["CaseFile", "CaseRecord", "CaseTable", "CaseValue", "case_files", "case_record"]

_NO_TABLES = {"errors", "scalars", "result_file_refs"}
_WARNINGS, _FILES = "warnings", "result_file_refs"
_MAX_CELL = 20_000
_MAX_ROWS = 1_000


class CaseValue(Record):
    """An input or an output of a case."""

    name: str
    role: str
    value: Any
    unit: str | None
    description: str | None


class CaseFile(Record):
    """A file that a case has written."""

    name: str
    field: str | None = Field(description="the output that it is; None for one in the case's own folder")
    key: str = Field(description="its key in the storage")


class CaseTable(Record):
    """The rows that a case has in one of the run's tables."""

    name: str
    columns: list[str]
    numeric: list[str]
    n_rows: int
    rows: list[list[Any]] = Field(description="the first thousand")


class CaseRecord(Record):
    """One case."""

    experiment_id: str
    sort_index: int
    n_cases: int
    state: State | None = Field(description="None for a run that kept none")
    values: list[CaseValue]
    attempts: list[Attempt]
    files: list[CaseFile]
    warnings: CaseTable | None
    tables: list[CaseTable]
    commands: dict[str, str] = Field(description="what a command does, and the command")


def case_record(run: Run, cases: Cases, row: int, *, options: str = "") -> CaseRecord:
    """Read all that is known of a case.

    Args:
        run: The run.
        cases: Its cases.
        row: Which one: the row of the sampling file.
        options: Global options that commands need to find the same run.

    Raises:
        NotFoundError: If there is no such case.
        StorageError: If the run cannot be read.
    """
    if not 0 <= row < cases.n:
        raise NotFoundError(f"{run.experiment_id} has no case {row}: it has cases 0 to {cases.n - 1}")
    has_ledger = run.manifest is not None and run.manifest.n_specs is not None
    history = spec_history(run, row) if has_ledger else None
    cells = cases.frame.row(row, named=True)
    values = [
        CaseValue(
            name=column.label,
            role=column.role,
            value=plain_cell(cells[name], _MAX_CELL),
            unit=column.unit,
            description=column.description,
        )
        for name, column in cases.columns.items()
        if column.role != "case"
    ]
    tables = [table for name in sorted(run.table_keys()) if name not in _NO_TABLES and (table := _rows(run, name, row))]
    attempts = [
        attempt.model_copy(update={name: plain_cell(getattr(attempt, name), 200_000) for name in _TEXTS})
        for attempt in (history.attempts if history else [])
    ]
    return CaseRecord(
        experiment_id=run.experiment_id,
        sort_index=row,
        n_cases=cases.n,
        state=history.state if history else None,
        values=values,
        attempts=attempts,
        files=case_files(run, row),
        warnings=next((table for table in tables if table.name == _WARNINGS), None),
        tables=[table for table in tables if table.name != _WARNINGS],
        commands=_commands(run, row, options) if has_ledger else {},
    )


_TEXTS = ("error_type", "message", "traceback", "log", "worker")


def case_files(run: Run, row: int) -> list[CaseFile]:
    """The files of a case that lie in the run's folder; what its tables name elsewhere is not among them.

    Raises:
        StorageError: If the run cannot be read.
    """
    files: list[CaseFile] = []
    keys = run.table_keys()
    if _FILES in keys:
        frame = _own_rows(run, _FILES, row)
        for name in frame.columns:
            for uri in frame[name].drop_nulls().to_list() if frame[name].dtype == pl.String else []:
                key = result_key(run.storage, run.layout, uri)
                if key is not None and run.storage.exists(key):
                    files.append(CaseFile(name=key.rpartition("/")[2], field=name, key=key))
    folder = run.layout.files_of(row)
    for key in sorted(run.storage.list_tree(folder))[:500]:
        files.append(CaseFile(name=key.removeprefix(f"{folder}/"), field=None, key=key))
    return files


def _own_rows(run: Run, name: str, row: int) -> pl.DataFrame:
    key = run.table_key(name)
    with reading(run.storage, key):
        frame = scan_table(run.storage, key)
        if "sort_index" not in frame.collect_schema():
            return pl.DataFrame()
        return (
            frame.filter(pl.col("sort_index") == row)
            .drop(*META_COLUMNS, "sort_subindex", strict=False)
            .collect(engine="streaming")
        )


def _rows(run: Run, name: str, row: int) -> CaseTable | None:
    """What a table has of a case, without the inputs that each of its rows repeats."""
    frame = _own_rows(run, name, row)
    if not frame.height:
        return None
    repeated = {
        column.name
        for column in frame
        if frame.height > 1 and column.dtype.is_nested() is False and column.n_unique() == 1
    }
    inputs = set(run.manifest.file_fields or []) if run.manifest else set[str]()
    columns = [each for each in frame.columns if each not in inputs and each not in repeated] or frame.columns
    shown = frame.select(columns).head(_MAX_ROWS)
    return CaseTable(
        name=name,
        columns=columns,
        numeric=[each for each in columns if frame[each].dtype.is_numeric()],
        n_rows=frame.height,
        rows=[[plain_cell(cell) for cell in cells] for cells in shown.iter_rows()],
    )


def _commands(run: Run, row: int, options: str) -> dict[str, str]:
    here = f"{shlex.quote(run.experiment_id)} {row}{options}"
    return {
        "Run it again here": f"scythe rerun {here}",
        "Run it again in the debugger": f"scythe rerun {here} --pdb",
        "Print what it wrote": f"scythe logs {here}",
    }
