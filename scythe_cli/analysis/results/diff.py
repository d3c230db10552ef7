"""What differs between two runs, spec by spec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from scythe_cli.analysis.records import DiffResult, DiffSpec, DiffState
from scythe_cli.analysis.results.diff_specs import SORT, A, B, DiffSide, match_specs
from scythe_cli.analysis.results.diff_tables import FILES, SCALARS, Tolerance, compare_tables
from scythe_cli.core.states import State
from scythe_cli.core.text import hint_for
from scythe_cli.errors import NotFoundError
from scythe_cli.run.ledger import Ledger
from scythe_cli.run.outcomes.effective import effective_outcomes
from scythe_cli.run.stored_run import StoredRun

__all__ = ["diff_runs"]


_NOT_COMPARED = {"errors", "warnings"}


def diff_runs(
    a: StoredRun,
    b: StoredRun,
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    tables: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    limit: int | None = None,
) -> DiffResult:
    """Compare two runs; see `Run.diff`."""
    tolerance = Tolerance(rtol, atol)
    sides = (DiffSide(a), DiffSide(b))
    pairs, inputs = match_specs(sides)
    matched = pairs.drop_nulls([A, B])
    names = _tables(sides, tables)
    differences = compare_tables(sides, names, matched, inputs, tolerance, ignore, limit)
    n_state_changes, states = _state_changes(sides, matched, limit)
    one_sided = [sorted(set(x.keys) & set(names) - set(y.keys)) for x, y in (sides, sides[::-1])]
    only = [pairs.filter(pl.col(other).is_null())[own].sort() for own, other in ((A, B), (B, A))]
    shown = {cell.row_a for cell in differences.cells} | {state.row_a for state in states}
    specs = _spec_values(sides[0], inputs, shown)
    cells = [cell.model_copy(update={"spec": specs.get(cell.row_a, {})}) for cell in differences.cells]
    return DiffResult(
        a=a.experiment_id,
        b=b.experiment_id,
        rtol=rtol,
        atol=atol,
        tables=names,
        joined_on=inputs,
        inputs_only_a=[name for name in sides[0].inputs if name not in sides[1].inputs],
        inputs_only_b=[name for name in sides[1].inputs if name not in sides[0].inputs],
        n_specs_a=sides[0].specs.height,
        n_specs_b=sides[1].specs.height,
        n_matched=matched.height,
        n_only_a=only[0].len(),
        n_only_b=only[1].len(),
        only_a=_specs_of(sides[0], only[0], limit),
        only_b=_specs_of(sides[1], only[1], limit),
        n_state_changes=n_state_changes,
        state_changes=[s.model_copy(update={"spec": specs.get(s.row_a, {})}) for s in states],
        tables_only_a=one_sided[0],
        tables_only_b=one_sided[1],
        columns=differences.columns,
        columns_only_a=differences.only_a,
        columns_only_b=differences.only_b,
        n_rows_only_a=differences.rows_only_a,
        n_rows_only_b=differences.rows_only_b,
        n_cells=sum(column.n_changed for column in differences.columns),
        n_changed_specs=len(differences.changed),
        cells=cells,
    )


def _tables(sides: tuple[DiffSide, DiffSide], requested: Sequence[str] | None) -> list[str]:
    """The tables to compare: scalars first, then output files, then the experiment's own."""
    there = {*sides[0].keys, *sides[1].keys} - _NOT_COMPARED
    for name in requested or ():
        if name not in there:
            raise NotFoundError(f"neither run has a table {name!r} to compare", hint=hint_for(name, sorted(there)))
    order = {SCALARS: 0, FILES: 1}
    return sorted(set(requested) if requested else there, key=lambda name: (order.get(name, 2), name))


def _state_changes(
    sides: tuple[DiffSide, DiffSide], matched: pl.DataFrame, limit: int | None
) -> tuple[int, list[DiffState]]:
    """How many specs ended otherwise, and the first of them."""
    joined = matched
    for own, side in zip((A, B), sides, strict=True):
        frame = _states(side)
        if frame is None:
            return 0, []  # an older run kept none
        joined = joined.join(frame.rename({SORT: own, "state": f"state{own}"}), on=own, how="left")
    pending = State.PENDING.value
    joined = joined.with_columns(pl.col(f"state{A}", f"state{B}").fill_null(pending))
    changed = joined.filter(pl.col(f"state{A}") != pl.col(f"state{B}")).sort(A)
    shown = changed if limit is None else changed.head(limit)
    return changed.height, [
        DiffState(row_a=row[A], row_b=row[B], old=State(row[f"state{A}"]), new=State(row[f"state{B}"]))
        for row in shown.iter_rows(named=True)
    ]


def _states(side: DiffSide) -> pl.DataFrame | None:
    manifest = side.run.manifest
    if manifest is None or manifest.n_specs is None:
        return None
    with Ledger.open(side.run.storage, side.run.layout) as ledger:
        return effective_outcomes(ledger.outcomes(manifest.n_specs)).select(SORT, "state")


def _spec_values(side: DiffSide, inputs: Sequence[str], rows: set[int]) -> dict[int, dict[str, Any]]:
    chosen = side.shown.filter(pl.col(SORT).is_in(list(rows)))
    return {row[SORT]: {name: row[name] for name in inputs} for row in chosen.iter_rows(named=True)}


def _specs_of(side: DiffSide, rows: pl.Series, limit: int | None) -> list[DiffSpec]:
    shown = rows if limit is None else rows.head(limit)
    values = _spec_values(side, side.inputs, set(shown.to_list()))
    return [DiffSpec(row=row, spec=values.get(row, {})) for row in shown.to_list()]
