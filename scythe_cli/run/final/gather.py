"""From the ledger to the final tables: streaming, in ranges of `sort_index`, so that memory stays flat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from scythe_cli.arrow.build import integer_cells, numbers
from scythe_cli.arrow.unify import convert_column, unify_types
from scythe_cli.core.folders import owned_prefix
from scythe_cli.core.records import StateCounts
from scythe_cli.core.states import State
from scythe_cli.errors import StorageError
from scythe_cli.model.outcome_schema import (
    FEATURE,
    FILE,
    FRAME,
    OUTCOME_SCHEMA,
    SCALAR,
    WARNINGS,
    FrameTraits,
    united_traits,
)
from scythe_cli.model.spec_rows import META_SCHEMA
from scythe_cli.run.final.merge import Range, ranges_of
from scythe_cli.run.final.sources import Columns
from scythe_cli.run.final.table_file import RUN_LEVELS
from scythe_cli.run.final.writers import FinalPlan, FinalTables, FramePlan, FrameRows
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import Ledger, PartFile
from scythe_cli.run.outcomes.error_groups import ERROR_COLUMNS
from scythe_cli.run.outcomes.part_list import forget_writers
from scythe_cli.run.outcomes.summary import write_summary
from scythe_cli.run.specs_file import SpecFile
from scythe_cli.storage.base import LISTS_LAG_S, Storage

__all__ = ["GatherResult", "Known", "gather"]


_ROWS_AT_ONCE = 262_144
_FRAME_BYTES_AT_ONCE = 8_000_000
_MAX_KINDS = 1_000  # of warnings that are counted by themselves
_MAX_SAID = 5


@dataclass(frozen=True, slots=True)
class GatherResult:
    """What a gather made.

    Attributes:
        tables: Where each final table is: name to path or URI.
        counts: Specs by state at that moment.
        damaged: Parts of the ledger that could not be read.
        notices: What is to be said of the tables, such as that one could not be made.
        n_warnings: The number of things that could not be kept as they were, the rows of `warnings`.
    """

    tables: dict[str, str]
    counts: StateCounts
    damaged: list[str]
    notices: list[str] = field(default_factory=list[str])
    n_warnings: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """What is known to be in a ledger, whatever a storage lists that may be late with it.

    Attributes:
        n_ended: The number of specs that have an outcome, at least.
        parts: The names of parts.
    """

    n_ended: int = 0
    parts: Collection[str] = ()


def gather(
    storage: Storage,
    run: RunLayout,
    into: Path | None = None,
    on_rows: Callable[[int], None] | None = None,
    *,
    known: Known = Known(),
) -> GatherResult:
    """Make the final tables from the specs and the ledger.

    While the ledger has fewer outcomes than is known, no table is made: it is read again for a minute.

    Args:
        storage: Where the run is kept.
        run: The run.
        into: A folder to write the tables to, instead of the run's `final/`.
        on_rows: Called with the number of specs that have just been gathered.
        known: What the ledger has to have.

    Returns:
        The tables, and the counts they were made from. The tables appear in `final/` one by one, each whole.

    Raises:
        StorageError: If the run cannot be read, a part of the ledger is damaged inside, the ledger lacks outcomes that
            are known, or the tables cannot be written.
    """
    waiting = Retrying(
        retry=retry_if_exception_type(OutcomesMissingError),
        wait=wait_exponential(multiplier=0.25, max=5),
        stop=stop_after_delay(LISTS_LAG_S),
        reraise=True,
    )
    return waiting(_gather, storage, run, into, on_rows, known)


class OutcomesMissingError(StorageError):
    """The ledger lacks outcomes that it is known to have."""


def _gather(
    storage: Storage, run: RunLayout, into: Path | None, on_rows: Callable[[int], None] | None, known: Known
) -> GatherResult:
    if into is None and storage.exists(run.duplicates):
        from scythe_cli.run.outcomes.duplicates import spread_outcomes  # loads much, and few runs have any

        spread_outcomes(storage, run)
    with (
        Ledger.open(storage, run, known=known.parts) as ledger,
        SpecFile.open(storage, run) as specs,  # later: a run that grows has no outcome of a spec that it has not
        TemporaryDirectory(prefix=owned_prefix("gather")) as scratch,
    ):
        folder = into or Path(scratch)
        columns = Columns.of(ledger.parts)
        plan, notices = _plan_of(specs, ledger.parts, columns)
        counts: Counter[str] = Counter()
        kept_otherwise = _Kept()
        size = _range_size(ledger.parts)
        with (
            closing(ranges_of(ledger.parts, columns, specs.n_specs, size, Path(scratch))) as ranges,
            FinalTables(folder, plan) as tables,
        ):
            for outcomes in ranges:
                inputs = specs.read(outcomes.start, outcomes.stop, repeats=sorted(RUN_LEVELS))
                rows = _rows_of(plan, specs, inputs, outcomes)
                kept_otherwise.add(rows.get("warnings"))
                tables.write(rows)
                counts[State.SUCCEEDED] += outcomes.good.height
                counts.update(outcomes.bad["state"].drop_nulls().to_list())
                if on_rows:
                    on_rows(outcomes.stop - outcomes.start)
            paths = tables.finish()
        total = StateCounts(
            **{state.value: counts[state.value] for state in State if state is not State.PENDING},
            pending=specs.n_specs - counts.total(),
        )
        _check_complete(storage, run, total, known, ledger)
        failed = [f"the table {name} cannot be made: {why}" for name, why in tables.failed.items()]
        notices = [*failed, *columns.notices, *notices, *kept_otherwise.notices()]
        if into is not None:
            uris = {name: str(path) for name, path in paths.items()}
        else:
            _put(storage, run, paths)
            write_summary(storage, run, total, ledger, sorted(paths))
            if not total.pending:
                forget_writers(storage, run, [part.name for part in ledger.parts])
            uris = {name: storage.uri(run.table(name)) for name in paths}
        return GatherResult(uris, total, ledger.damaged, notices, kept_otherwise.n)


def _check_complete(storage: Storage, run: RunLayout, counts: StateCounts, known: Known, ledger: Ledger) -> None:
    absent = sorted(set(known.parts).difference(ledger.names))
    missing = known.n_ended - (counts.total - counts.pending)
    # a damaged part is told by itself
    if absent or (missing > 0 and not ledger.damaged):
        what = f"part {absent[0]} was" if absent else "1 outcome was" if missing == 1 else f"{missing:,} outcomes were"
        raise OutcomesMissingError(
            f"{what} written to {storage.uri(run.outcomes)}, and cannot be found there",
            hint="No table was made. The storage lists late what it has taken, or has lost it: `scythe retry` looks "
            "again, and runs what is missing.",
        )


def _put(storage: Storage, run: RunLayout, paths: Mapping[str, Path]) -> None:
    """Put the tables into the run, and remove those of an earlier gather that there are no more."""
    stale = [file.name for file in storage.list_files(run.final) if file.name.removesuffix(".pq") not in paths]
    for name in stale:
        storage.discard(run.key("final", name))
    # scalars come last: where they are, and not older than the ledger, the other tables are as well
    for name in sorted(paths, key=lambda name: name == "scalars"):
        storage.take_file(paths[name], run.table(name))


class _Kept:
    """Counts what could not be kept as it was."""

    def __init__(self) -> None:
        self.n = 0
        self._groups: Counter[tuple[str, str, str]] = Counter()

    def add(self, warnings: pa.Table | FrameRows | None) -> None:
        """Count rows of `warnings`."""
        if not isinstance(warnings, pa.Table) or "why" not in warnings.column_names:
            return
        self.n += warnings.num_rows
        table: Any = pl.from_arrow(warnings)
        for field_name, what, why, n in table.group_by("field", "what", "why", maintain_order=True).len().iter_rows():
            if (field_name, what, why) in self._groups or len(self._groups) < _MAX_KINDS:
                self._groups[field_name, what, why] += n

    def notices(self) -> list[str]:
        """What is said of them: the most frequent ones."""
        said = [
            f"{field_name}: {what}, since {why} ({n:,} {'case' if n == 1 else 'cases'})"
            for (field_name, what, why), n in self._groups.most_common(_MAX_SAID)
        ]
        n_more = self.n - sum(n for _, n in self._groups.most_common(_MAX_SAID))
        return [*said, f"{n_more:,} more warnings are in the table warnings"] if n_more else said


def _plan_of(specs: SpecFile, parts: Sequence[PartFile], columns: Columns) -> tuple[FinalPlan, list[str]]:
    """What the tables of a run look like, from its specs and the schemas of its ledger, and what is said of that."""
    features = _stripped(columns.plain, FEATURE)
    index_fields = [*META_SCHEMA]
    index_fields += specs.index_fields
    known = {f.name for f in index_fields}
    index_fields += [f for f in features if f.name not in known]
    index = pa.schema(index_fields)
    # those of the model first, in its order; types as all parts of the ledger have them
    outputs = unify_types([specs.output_schema, columns.plain], lambda name: name.startswith((SCALAR, FILE)))
    inputs = {name: f"input_{name}" if name in ERROR_COLUMNS else name for name in specs.input_names}
    frames = _stripped([f for f in columns.frames if f.name != WARNINGS], FRAME)
    frame_plans = {f.name: _frame_plan(f, parts, index) for f in frames}
    plan = FinalPlan(
        index=index,
        features=pa.schema(features),
        scalars=pa.schema(_stripped(outputs, SCALAR)),
        files=pa.schema(_stripped(outputs, FILE)),
        frames=frame_plans,
        errors=pa.schema(
            [OUTCOME_SCHEMA.field(name).with_nullable(True) for name in ERROR_COLUMNS]
            + [specs.schema.field(name).remove_metadata().with_name(to) for name, to in inputs.items()]
        ),
        inputs=inputs,
        names=_free_names([f.name.partition(":")[2] for f in outputs], index.names),
        gather=_gather_of(parts),
    )
    renamed = {"scalars": plan.names} | {name: frame.names for name, frame in frame_plans.items()}
    notices = [
        f"the column {old} of {table} is called {new}: {old} is a level of its index"
        for table, names in renamed.items()
        for old, new in names.items()
    ]
    return plan, notices


def _gather_of(parts: Sequence[PartFile]) -> str:
    """What tables that are made from these parts have in common; parts are never changed, only added."""
    return sha256("\n".join(sorted(f"{part.name} {part.n_rows}" for part in parts)).encode()).hexdigest()[:16]


def _free_names(names: Sequence[str], taken: Sequence[str]) -> dict[str, str]:
    """Other names for those that are taken."""
    known = {*names, *taken, "sort_subindex"}
    free: dict[str, str] = {}
    for name in names:
        if name in taken or name == "sort_subindex":
            new = f"output_{name}"
            while new in known:
                new = f"output_{new}"
            known.add(new)
            free[name] = new
    return free


def _stripped(fields: Iterable[pa.Field[Any]], prefix: str) -> list[pa.Field[Any]]:
    return [f.with_name(f.name.removeprefix(prefix)) for f in fields if f.name.startswith(prefix)]


def _frame_plan(frame: pa.Field[Any], parts: Sequence[PartFile], index: pa.Schema) -> FramePlan:
    columns = [f for part in parts if (f := _field_of(part.schema, FRAME + frame.name)) is not None]
    traits = united_traits((f.type.value_type, FrameTraits.of(f)) for f in columns)
    struct = frame.type.value_type
    own = [f.name for f in struct]
    names = _free_names(own, index.names)
    traits = replace(
        traits,
        levels=tuple(level for level in traits.levels if level in own),
        # labels are made again from the names of all columns, so that none may have another
        labels=None if names else traits.labels,
        categories={
            name: each for name, each in traits.categories.items() if pa.types.is_string(struct.field(name).type)
        },
    )
    return FramePlan(traits, struct, names)


def _field_of(schema: pa.Schema, name: str) -> pa.Field[Any] | None:
    position = schema.get_field_index(name)
    return None if position < 0 else schema.field(position)


def _range_size(parts: Sequence[PartFile]) -> int:
    """How many specs to look at at once, so that their outcomes fit in memory."""
    n_outcomes = sum(part.n_rows for part in parts)
    per_spec_bytes = sum(part.frame_bytes for part in parts) / max(1, n_outcomes)
    return _ROWS_AT_ONCE if not per_spec_bytes else min(_ROWS_AT_ONCE, int(_FRAME_BYTES_AT_ONCE / per_spec_bytes) + 1)


def _rows_of(plan: FinalPlan, specs: SpecFile, inputs: pa.Table, outcomes: Range) -> dict[str, pa.Table | FrameRows]:
    """What a range adds to each table."""
    good = outcomes.good
    added: dict[str, pa.Table | FrameRows] = {}
    if good.height:
        rows = good.to_arrow(compat_level=pl.CompatLevel.oldest())
        index = _index_of(plan, specs, _inputs_of(inputs, good["sort_index"], outcomes.start), rows)
        added["scalars"] = _beside(index, rows, plan.scalars, SCALAR, plan.names)
        if len(plan.files):
            added["result_file_refs"] = _beside(index, rows, plan.files, FILE, plan.names)
        if outcomes.frames is not None:
            for name in plan.frames:
                added[name] = FrameRows(index, outcomes.frames.column(FRAME + name))
            if WARNINGS in outcomes.frames.column_names and "warnings" not in plan.frames:
                added["warnings"] = _warnings_of(rows.column("sort_index"), outcomes.frames.column(WARNINGS))
    if good.height < outcomes.stop - outcomes.start:
        added["errors"] = _errors_of(plan, inputs, outcomes)
    return added


def _warnings_of(sort_index: pa.ChunkedArray[Any], warnings: Any) -> pa.Table:
    """A row for each warning of the specs."""
    tables: list[pa.Table] = []
    for chunk in warnings.chunks:
        lengths = integer_cells(chunk.value_lengths())
        own: Any = sort_index.slice(0, len(chunk)).combine_chunks()
        sort_index = sort_index.slice(len(chunk))
        at: Any = numbers(np.repeat(np.arange(len(lengths), dtype=np.int64), lengths), pa.int64())
        structs = chunk.flatten()
        columns = {f.name: values for f, values in zip(structs.type, structs.flatten(), strict=True)}
        tables.append(pa.table({"sort_index": own.take(at), **columns}))
    return pa.concat_tables(tables)


def _inputs_of(inputs: pa.Table, sort_index: pl.Series, start: int) -> pa.Table:
    """The inputs of some specs of a range; not copied when they are all of them."""
    if len(sort_index) == inputs.num_rows:
        return inputs
    return inputs.take(numbers(sort_index.to_numpy() - start, pa.int64()))


def _index_of(plan: FinalPlan, specs: SpecFile, inputs: pa.Table, rows: pa.Table) -> pa.Table:
    """The index of the rows: one line for each, with the spec's levels."""
    own = {*META_SCHEMA.names, *(f.name for f in specs.index_fields)}
    columns: list[Any] = []
    for f in plan.index:
        if f.name in ("workflow_run_id", "sort_index"):
            column = rows.column(f.name)
        elif f.name in plan.features.names and f.name not in own:
            column = rows.column(FEATURE + f.name)
        else:
            column = specs.index_column(inputs, f.name)
        columns.append(column if f.name in RUN_LEVELS else convert_column(column, f.type))
    return pa.Table.from_arrays(columns, names=plan.index.names)


def _beside(index: pa.Table, rows: pa.Table, more: pa.Schema, prefix: str, names: Mapping[str, str]) -> pa.Table:
    for f in more:
        if prefix + f.name in rows.column_names:
            index = index.append_column(names.get(f.name, f.name), rows.column(prefix + f.name))
    return index


def _errors_of(plan: FinalPlan, inputs: pa.Table, outcomes: Range) -> pa.Table:
    """A row for each spec of the range that did not succeed, those without an outcome included."""
    missing = np.ones(outcomes.stop - outcomes.start, bool)
    missing[outcomes.good["sort_index"].to_numpy() - outcomes.start] = False
    rest = pl.DataFrame({"sort_index": pl.Series(np.flatnonzero(missing) + outcomes.start, dtype=pl.Int64)})
    rest = rest.join(outcomes.bad, on="sort_index", how="left", maintain_order="left").with_columns(
        # a spec without an outcome had no attempt that counts
        pl.col("state").fill_null(State.PENDING.value),
        pl.col("attempt").fill_null(0),
    )
    table = rest.to_arrow(compat_level=pl.CompatLevel.oldest())
    chosen = _inputs_of(inputs, rest["sort_index"], outcomes.start)
    for name, to in plan.inputs.items():
        table = table.append_column(to, chosen.column(name))
    return table
