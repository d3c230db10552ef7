"""Whether a run's results can be had again: some of its rows, each in a fresh process, compared bit by bit."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pyarrow as pa
from pydantic import Field, computed_field

from scythe_cli.analysis.results.output_files import result_key
from scythe_cli.analysis.run import Run
from scythe_cli.arrow.build import array_of
from scythe_cli.core.folders import owned_prefix
from scythe_cli.core.records import Record
from scythe_cli.core.states import State
from scythe_cli.engines.base import Job
from scythe_cli.errors import NotFoundError, StoppedError, UsageError
from scythe_cli.executor.code import told_changes
from scythe_cli.executor.limits import StopSignal
from scythe_cli.executor.rows.inputs import moved_reference
from scythe_cli.model.columns import file_columns
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.outcome_schema import FEATURE, FILE, FRAME, SCALAR
from scythe_cli.run.ledger import Ledger, read_part
from scythe_cli.run.outcomes.duplicates import read_duplicates
from scythe_cli.run.outcomes.effective import effective_outcomes
from scythe_cli.run.outcomes.verification import Verification, write_verification
from scythe_cli.services.allocation.execution import changed_code
from scythe_cli.services.runs.retry import retry_job
from scythe_cli.storage.base import MissingKeyError, Storage
from scythe_cli.storage.opening import open_storage

__all__ = ["DifferingCell", "VerifyResult", "verify_run"]


_SHOWN = 100
_NONE = "(none)"


class DifferingCell(Record):
    """A value that is not the same when its row is run again."""

    sort_index: int
    table: str = Field(description="scalars, result_file_refs, or the name of a table of the experiment's own")
    column: str
    line: int | None = Field(description="the first line of the row's table that differs, from 0; null for a scalar")
    stored: str = Field(description="what the run holds")
    again: str = Field(description="what the row gives now")


class VerifyResult(Record):
    """What came of running some rows of a run again."""

    experiment_id: str
    rows: list[int] = Field(description="the rows that were run again")
    n_succeeded: int = Field(description="rows of the run that could have been chosen")
    n_differing_rows: int
    n_differing_cells: int
    differences: list[DifferingCell] = Field(description=f"at most {_SHOWN} of them")
    notices: list[str] = Field(default=[])

    @computed_field
    @property
    def ok(self) -> bool:
        """Whether every row gave the same again."""
        return not self.n_differing_rows


def verify_run(
    run: Run,
    experiment: RegisteredExperiment[Any, Any],
    *,
    n: int = 10,
    seed: int | None = None,
    root: Path | None = None,
    workers: int = 1,
    stop: StopSignal | None = None,
) -> VerifyResult:
    """Run random rows again that have succeeded, and compare them with what the run holds; see `Project.verify`.

    With a seed, they are the same rows each time.
    """
    if n < 1:
        raise UsageError(f"n is {n}; it must be at least 1")
    job = retry_job(run, experiment, root=root)
    stop = stop or StopSignal()
    with Ledger.open(run.storage, run.layout) as ledger, TemporaryDirectory(prefix=owned_prefix("verify")) as scratch:
        effective = effective_outcomes(ledger.outcomes()).filter(pl.col("state") == State.SUCCEEDED.value)
        # these got the outcome of another row
        effective = effective.join(read_duplicates(run.storage, run.layout), on="sort_index", how="anti")
        if not effective.height:
            raise NotFoundError(f"{run.experiment_id} has no row that succeeded and could be run again")
        seed = secrets.randbits(32) if seed is None else seed
        chosen = effective.sort("sort_index").sample(min(n, effective.height), seed=seed).sort("sort_index")
        again = _run_again(job, Path(scratch), chosen["sort_index"].to_list(), min(workers, chosen.height), stop)
        files = _Files(run, Path(scratch))
        cells: list[DifferingCell] = []
        for row, part, position in chosen.select("sort_index", "part", "row").iter_rows():
            whole = ledger.parts[part]
            stored = read_part(whole, whole.schema.names).slice(position, 1)
            differing = list(_differences(row, stored, again[row]))
            if not any(cell.column == "state" for cell in differing):
                differing += files.differences(row, stored, again[row])
            cells += differing
    changed = changed_code(run, experiment, root)
    result = VerifyResult(
        experiment_id=run.experiment_id,
        rows=chosen["sort_index"].to_list(),
        n_succeeded=effective.height,
        n_differing_rows=len({cell.sort_index for cell in cells}),
        n_differing_cells=len(cells),
        differences=cells[:_SHOWN],
        notices=[f"{told_changes(changed)}; it was run as it is now"] if changed else [],
    )
    record = Verification(
        verified_at=datetime.now(UTC).replace(microsecond=0),
        rows=result.rows,
        n_differing_rows=result.n_differing_rows,
    )
    write_verification(run.storage, run.layout, record)
    return result


def _run_again(job: Job, scratch: Path, rows: Sequence[int], workers: int, stop: StopSignal) -> dict[int, pa.Table]:
    """The outcomes of rows, each run in a process of its own; what they write goes to a folder that is removed."""
    todo = pl.DataFrame({"sort_index": rows, "attempt": [1] * len(rows)}).cast({"attempt": pl.Int32}).to_arrow()
    with replace(job, todo=todo).rows() as batches:
        here = (_with_files_here(batch, job) for batch in batches)
        single = [batch.slice(at, 1) for batch in here for at in range(batch.num_rows)]
    # the experiment's limits hold, and a row that fails is not tried again
    options = replace(job.experiment.options, retries=0, isolation="row", rows_per_process=None)
    experiment = job.experiment.configured(name=job.experiment.name, options=options)
    elsewhere = replace(job, storage=open_storage(str(scratch)), experiment=experiment, workers=workers)
    with elsewhere.executor(worker="verify") as executor:
        tables = [table for table in executor.run(single, stop=stop) if table.num_rows]
    outcomes = {
        table.column("sort_index")[at].as_py(): table.slice(at, 1) for table in tables for at in range(table.num_rows)
    }
    if len(outcomes) < len(rows):
        raise StoppedError("interrupted; nothing was compared")
    return outcomes


def _with_files_here(batch: pa.RecordBatch, job: Job) -> pa.RecordBatch:
    """The same rows, with the input files of a run that was copied from elsewhere where they are now."""
    for column in file_columns(job.experiment.input_validator_type):
        at = batch.schema.get_field_index(column.name)
        if at >= 0:
            field = batch.schema.field(at)
            cells: list[Any] = [
                None if cell is None else str(moved_reference(cell, job.run.experiment_id, job.storage.location))
                for cell in batch.column(at).to_pylist()
            ]
            batch = batch.set_column(at, field, array_of(cells, field.type))
    return batch


def _differences(row: int, stored: pa.Table, again: pa.Table) -> Iterator[DifferingCell]:
    """The cells of a row that are not the same."""
    outcome: dict[str, Any] = again.select(["state", "error_type", "message"]).to_pylist()[0]
    if outcome["state"] != State.SUCCEEDED.value:
        said = f"{outcome['state']}: {outcome['error_type']}: {outcome['message']}"
        yield DifferingCell(
            sort_index=row, table="scalars", column="state", line=None, stored=State.SUCCEEDED.value, again=said[:500]
        )
        return
    for name in dict.fromkeys([*stored.schema.names, *again.schema.names]):
        is_frame = name.startswith(FRAME)
        if not is_frame and not name.startswith((SCALAR, FEATURE)):
            continue
        pair = (_column(stored, name), _column(again, name))
        shown = name.partition(":")[2]
        if is_frame:
            for column, (line, one, other) in _differing_lines(*pair):
                yield DifferingCell(sort_index=row, table=shown, column=column, line=line, stored=one, again=other)
        elif not _is_same(*pair):
            texts = [_NONE if array is None else _text(array[0].as_py()) for array in pair]
            yield DifferingCell(
                sort_index=row, table="scalars", column=shown, line=None, stored=texts[0], again=texts[1]
            )


class _Files:
    """Compares the output files of rows by what they hold.

    Args:
        run: The run.
        scratch: The storage of the rows that were run again; files are copied into it to be read.
    """

    def __init__(self, run: Run, scratch: Path) -> None:
        self._run = run
        self._again = open_storage(str(scratch))
        self._copy = scratch / "compared"

    def differences(self, row: int, stored: pa.Table, again: pa.Table) -> Iterator[DifferingCell]:
        """The output files of a row that do not hold the same."""
        for name in dict.fromkeys([*stored.schema.names, *again.schema.names]):
            if not name.startswith(FILE):
                continue
            uris = [
                None if array is None else array[0].as_py() for array in (_column(stored, name), _column(again, name))
            ]
            run, scratch = self._run, self._again
            one = self._content(run.storage, None if uris[0] is None else result_key(run.storage, run.layout, uris[0]))
            other = self._content(scratch, None if uris[1] is None else scratch.key_of(uris[1]))
            # what is no file of a run is an address that the function gave
            texts = [
                uri or _NONE if content is None else content for uri, content in zip(uris, (one, other), strict=True)
            ]
            if texts[0] != texts[1]:
                yield DifferingCell(
                    sort_index=row,
                    table="result_file_refs",
                    column=name.removeprefix(FILE),
                    line=None,
                    stored=texts[0],
                    again=texts[1],
                )

    def _content(self, storage: Storage, key: str | None) -> str | None:
        """What a file holds, by its hash and size; None for no file of the storage."""
        if key is None:
            return None
        self._copy.unlink(missing_ok=True)
        try:
            storage.get_file(key, self._copy)
        except MissingKeyError:
            return "(no file)"
        with self._copy.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return f"{self._copy.stat().st_size:,} bytes, sha256 {digest[:16]}"


def _column(table: pa.Table, name: str) -> Any:
    """The cells of a column; None where there is none, or nothing but nulls."""
    if name not in table.schema.names:
        return None
    array = table.column(name).combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    return None if array.null_count == len(array) else array


def _differing_lines(stored: Any, again: Any) -> Iterator[tuple[str, tuple[int, str, str]]]:
    """Of each column of a frame that differs: the first line where it does, and what stands there."""
    frames = [_frame(array) for array in (stored, again)]
    n = max(frame.num_rows for frame in frames)
    for name in dict.fromkeys([*frames[0].column_names, *frames[1].column_names]):
        pair = [_column(frame, name) for frame in frames]
        if _is_same(*pair) and frames[0].num_rows == frames[1].num_rows:
            continue
        lengths = [frame.num_rows for frame in frames]
        cells = [[None] * k if array is None else array.to_pylist() for k, array in zip(lengths, pair, strict=True)]
        texts = [[_text(cell) for cell in column] + ["(no line)"] * (n - len(column)) for column in cells]
        line = next((at for at in range(n) if texts[0][at] != texts[1][at]), None)
        if line is not None:
            yield name, (line, texts[0][line], texts[1][line])


def _frame(array: Any) -> pa.Table:
    """The one frame of a column."""
    if array is None:
        return pa.table({})
    rows = array.flatten()
    return pa.Table.from_arrays(rows.flatten(), names=[field.name for field in rows.type])


def _is_same(one: Any, other: Any) -> bool:
    """Whether cells are the same, bit by bit; NaN is like NaN, and 0.0 is not like -0.0."""
    if one is None or other is None:
        return one is other
    if one.type != other.type:
        try:
            # columns of a part of the ledger have a type that fits all of its rows
            other = other.cast(one.type)
        except (pa.ArrowException, NotImplementedError):
            return False
    if one.equals(other) and not _has_floats(one.type):
        return True
    return [_text(cell) for cell in one.to_pylist()] == [_text(cell) for cell in other.to_pylist()]


def _has_floats(type_: Any) -> bool:
    return pa.types.is_nested(type_) or pa.types.is_floating(type_)


def _text(cell: object) -> str:
    """A value with all of its digits."""
    return _NONE if cell is None else repr(cell)
