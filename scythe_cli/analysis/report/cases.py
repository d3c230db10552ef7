"""The cases of a report: a table that its page can filter, the lines that it draws of them, and those that failed.

At most ten thousand cases, and so much text as a page can hold, are kept of a run of any size.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from scythe_cli.analysis.cases.frame import DURATION, STATE
from scythe_cli.analysis.cases.views import plain_cell
from scythe_cli.analysis.plots.reading import Source
from scythe_cli.analysis.results.tables import field_texts
from scythe_cli.analysis.results.tidy import TidyFrame, input_frame
from scythe_cli.core.states import State
from scythe_cli.run.ledger import Ledger
from scythe_cli.run.outcomes.effective import effective_outcomes

if TYPE_CHECKING:
    from scythe_cli.run.records import RunErrors, SpecError
    from scythe_cli.run.stored_run import StoredRun

__all__ = ["FAILED", "STARTED", "ShownCases", "every_case", "failed_cases", "read_outcomes", "read_shown"]


FAILED = ":failed"
"""The column of `every_case` that tells which cases failed; no field of a model can have such a name."""

_BAD = [state.value for state in (State.FAILED, State.TIMEOUT, State.CRASHED)]
_MAX_CASES = 10_000
_MAX_COLUMNS = 40
_MAX_BYTES = 3_000_000
_MAX_NAMES = 200
_CELL = 60
STARTED = ":started"
_SORT = "sort_index"
_SEED = 0


@dataclass(frozen=True, slots=True)
class ShownCases:
    """The cases that a page has.

    Attributes:
        n: How many the run has.
        n_shown: How many of them the page has.
        notes: What has to be said of them.
        document: They, as JSON: `columns`, each with `label`, `unit`, `role`, `kind` and `cells`; where `names` are
            told, the cells are places among these.
    """

    n: int
    n_shown: int
    notes: list[str]
    document: str


def read_outcomes(run: StoredRun) -> pl.DataFrame | None:
    """What became of the cases, their `sort_index`, `STATE`, `STARTED` and `DURATION`; None for a run without a ledger.

    Raises:
        StorageError: If the run cannot be read.
    """
    n_specs = run.manifest.n_specs if run.manifest else None
    if n_specs is None:
        return None
    with Ledger.open(run.storage, run.layout) as ledger:
        return effective_outcomes(ledger.outcomes(n_specs)).select(
            pl.col(_SORT).cast(pl.Int64),
            pl.col("state").cast(pl.String).alias(STATE),
            pl.col("started_at").alias(STARTED),
            pl.col("duration_s").alias(DURATION),
        )


def every_case(run: StoredRun, outcomes: pl.DataFrame | None) -> Source | None:
    """The inputs of all cases, whatever became of them, with `FAILED`; None where the run tells them not.

    Args:
        run: The run.
        outcomes: See `read_outcomes`.

    Raises:
        StorageError: If the run cannot be read.
    """
    n_specs = run.manifest.n_specs if run.manifest else None
    if n_specs is None or outcomes is None:
        return None
    frame, names = input_frame(run, [])
    if frame is None:
        return None
    failed = outcomes.filter(pl.col(STATE).is_in(_BAD))[_SORT]
    frame = frame.with_columns(pl.col(_SORT).is_in(failed.implode()).alias(FAILED))
    return Source(TidyFrame(frame, names, [], [], [], []), field_texts(run), None, n_specs, _SEED)


def failed_cases(errors: RunErrors | None, most: int) -> list[SpecError]:
    """Some of the cases that failed: the first of each kind, then the second of each, and so on."""
    if errors is None:
        return []
    kinds: dict[tuple[str, str | None, str], list[SpecError]] = {}
    for each in errors.errors:
        if each.state.value in _BAD:
            last = (each.traceback or "").rstrip().rpartition("\n  File ")[2]
            kinds.setdefault((each.state.value, each.error_type, last.partition("\n")[0]), []).append(each)
    chosen: list[SpecError] = []
    for place in range(max(map(len, kinds.values()), default=0)):
        chosen += [cases[place] for cases in kinds.values() if place < len(cases)]
        if len(chosen) >= most:
            break
    return sorted(chosen[:most], key=lambda each: each.sort_index)


def read_shown(run: StoredRun, source: Source | None, outcomes: pl.DataFrame | None) -> ShownCases | None:
    """Read the cases that a page has, with inputs, state, duration and outputs.

    Args:
        run: The run.
        source: The cases that succeeded, with their outputs; None where no tables are there.
        outcomes: See `read_outcomes`.

    Returns:
        The cases; None where there are none.

    Raises:
        StorageError: If the run cannot be read.
    """
    n_specs = run.manifest.n_specs if run.manifest else None
    n = n_specs if n_specs is not None else source.n_rows if source is not None else 0
    if not n:
        return None
    most, texts = _MAX_CASES, field_texts(run)
    while True:
        frame, roles = _read(run, source, n, outcomes, most)
        told = [name for name, role in roles.items() if role == "case" or frame[name].null_count() < frame.height]
        names = told[:_MAX_COLUMNS]
        columns = [_column(frame[name], roles[name], texts[name].unit if name in texts else None) for name in names]
        # inside a script, only a `<` could end it
        document = json.dumps({"columns": columns}, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        if len(document) <= _MAX_BYTES or most < 100:
            break
        most = int(min(most, frame.height) * min(_MAX_BYTES / len(document), 0.9))
    notes: list[str] = []
    if frame.height < n:
        notes.append(f"{frame.height:,} of {n:,} cases, sampled with seed {_SEED}")
    if len(told) > _MAX_COLUMNS:
        notes.append(f"the first {_MAX_COLUMNS} of {len(told)} columns")
    return ShownCases(n, frame.height, notes, document)


def _read(
    run: StoredRun, source: Source | None, n: int, outcomes: pl.DataFrame | None, most: int
) -> tuple[pl.DataFrame, dict[str, str]]:
    """So many cases, drawn at random, and what their columns are."""
    chosen = np.arange(n)
    if n > most:
        chosen = np.sort(np.random.default_rng(_SEED).choice(n, most, replace=False, shuffle=False))
    results = None if source is None else source.tidy
    if outcomes is None:
        assert results is not None
        rows = results.frame.select(_SORT, *results.columns).with_row_index(":row")
        frame = rows.filter(_among(":row", chosen)).drop(":row").collect(engine="streaming")
        roles = {_SORT: "case", **dict.fromkeys([*results.inputs, *results.features], "input")}
        return frame, {**roles, **dict.fromkeys(results.outputs, "output")}
    outputs = [] if results is None else [*results.features, *results.outputs]
    inputs, names = input_frame(run, outputs)
    taken = {name: f"{name} (input)" if name in outputs else name for name in names}
    frame = pl.DataFrame({_SORT: chosen}, schema={_SORT: pl.Int64}).join(
        outcomes.select(_SORT, STATE, DURATION), on=_SORT, how="left"
    )
    frame = frame.with_columns(pl.col(STATE).fill_null(State.PENDING.value))
    more = [None if inputs is None else inputs.rename({a: b for a, b in taken.items() if a != b})]
    more.append(None if results is None else results.frame.select(_SORT, *outputs))
    for each in more:
        if each is not None:
            found = each.filter(_among(_SORT, chosen)).collect(engine="streaming")
            frame = frame.join(found.with_columns(pl.col(_SORT).cast(pl.Int64)), on=_SORT, how="left")
    roles = {_SORT: "case", STATE: "state", DURATION: "duration", **dict.fromkeys(taken.values(), "input")}
    return frame.sort(_SORT), {**roles, **dict.fromkeys(outputs, "output")}


def _among(name: str, chosen: np.ndarray[Any, Any]) -> pl.Expr:
    return pl.col(name).cast(pl.Int64).is_in(pl.Series(chosen, dtype=pl.Int64).implode())


_LABELS = {_SORT: "case", STATE: "state", DURATION: "duration"}


def _column(values: pl.Series, role: str, unit: str | None) -> dict[str, Any]:
    """A column as a page can read it."""
    label = _LABELS.get(values.name, values.name)
    told: dict[str, Any] = {"label": plain_cell(label, 200), "role": role}
    if role == "duration":
        told["unit"] = "s"
    elif unit and role in ("input", "output"):
        told["unit"] = plain_cell(unit, 40)
    if values.dtype.is_numeric() or values.dtype == pl.Duration:
        numbers = values.dt.total_milliseconds() / 1000 if values.dtype == pl.Duration else values
        return {**told, "kind": "number", "cells": [_short(value) for value in numbers.to_list()]}
    if isinstance(values.dtype, pl.Date | pl.Datetime):
        moments = values.cast(pl.Datetime("us")).dt.epoch("ms")
        return {**told, "kind": "time", "cells": moments.to_list()}
    cells = [None if value is None else str(plain_cell(value, _CELL)) for value in values.to_list()]
    names = list(dict.fromkeys(cell for cell in cells if cell is not None))
    if len(names) > _MAX_NAMES or values.dtype.is_nested():
        return {**told, "kind": "text", "cells": cells}
    codes = {name: code for code, name in enumerate(sorted(names))}
    coded = [None if cell is None else codes[cell] for cell in cells]
    return {**told, "kind": "category", "names": list(codes), "cells": coded}


def _short(value: Any) -> float | int | None:
    """A number in six digits, which is what can be seen of it; whole ones as they are."""
    if value is None or isinstance(value, int):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None
