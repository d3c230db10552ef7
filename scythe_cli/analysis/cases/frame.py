"""The cases of a run with inputs, state and outputs, in one frame, while the run goes on and afterwards."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import polars as pl

from scythe_cli.analysis.results.tables import FieldText, field_texts
from scythe_cli.analysis.results.tidy import input_frame, tidy_frame
from scythe_cli.core.states import State
from scythe_cli.errors import NotFoundError
from scythe_cli.model import outcome_schema
from scythe_cli.run.ledger import Ledger, PartFile, read_part
from scythe_cli.run.outcomes.effective import effective_outcomes
from scythe_cli.run.outcomes.error_groups import ERROR_COLUMNS, place_of

if TYPE_CHECKING:
    from scythe_cli.run.stored_run import StoredRun

__all__ = [
    "CASE",
    "DURATION",
    "ERROR",
    "MEMORY",
    "PLACE",
    "RUN",
    "STATE",
    "CaseColumn",
    "Cases",
    "Kind",
    "Role",
    "read_cases",
]

CASE, STATE, DURATION, ATTEMPT, MEMORY = ":case", ":state", ":duration", ":attempt", ":memory"
STARTED, ERROR, PLACE, MESSAGE = ":started", ":error", ":place", ":message"
RUN = ":run"
"""The columns that every run has, and the one that several have together; no field of a model can have such a name."""

_LABELS = {
    RUN: "run",
    CASE: "case",
    STATE: "state",
    DURATION: "duration",
    MEMORY: "memory",
    ATTEMPT: "attempt",
    STARTED: "started",
    ERROR: "error",
    PLACE: "place",
    MESSAGE: "message",
}
_UNITS = {DURATION: "s", MEMORY: "MB"}
_SORT = "sort_index"
_OUTPUTS = {"out:": "output", "feature:": "feature"}
_MAX_CATEGORIES = 200
_MESSAGE_CHARACTERS = 300

Kind = Literal["number", "time", "category", "text", "other"]
Role = Literal["case", "input", "feature", "output"]


@dataclass(frozen=True, slots=True)
class CaseColumn:
    """A column of the table of cases.

    Attributes:
        name: Its name in the frame.
        label: What people call it.
        role: What it is of a case.
        kind: How it can be drawn: `number`, `time`, `category`; `text` and `other` cannot.
        unit: Its unit.
        description: What the model says of it.
        n_null: How many cases have no value.
        low: The smallest finite value; of a time, milliseconds since 1970.
        high: The largest.
        values: The categories, the most frequent first.
    """

    name: str
    label: str
    role: Role
    kind: Kind
    unit: str | None = None
    description: str | None = None
    n_null: int = 0
    low: float | None = None
    high: float | None = None
    values: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class Cases:
    """The cases of a run.

    Attributes:
        frame: One row for each, in the order of `:case`, which is the row of the sampling file.
        roles: The columns, and what each is.
        texts: Units and descriptions of fields.
    """

    frame: pl.DataFrame
    roles: dict[str, Role]
    texts: dict[str, FieldText]

    @property
    def n(self) -> int:
        """How many there are."""
        return self.frame.height

    @cached_property
    def columns(self) -> dict[str, CaseColumn]:
        """Its columns, by name, with what they hold."""
        return {name: self._described(name) for name in self.roles}

    def column(self, name: str) -> CaseColumn:
        """A column.

        Raises:
            NotFoundError: If there is none of this name.
        """
        if name not in self.columns:
            raise NotFoundError(f"there is no column {name[:80]!r}")
        return self.columns[name]

    def numbers(self, name: str) -> pl.Series:
        """A column as numbers that can be drawn: times as milliseconds, categories by their position; float64."""
        column, values = self.column(name), self.frame[name]
        if column.kind == "category":
            codes = {value: float(code) for code, value in enumerate(column.values)}
            return values.cast(pl.String).replace_strict(codes, default=None, return_dtype=pl.Float64)
        return _numbers(values)

    def _described(self, name: str) -> CaseColumn:
        values, text = self.frame[name], self.texts.get(name)
        role = self.roles[name]
        kind, shown = _kind_of(values)
        low = high = None
        if kind in ("number", "time"):
            finite = _numbers(values).drop_nulls()
            finite = finite.filter(finite.is_finite())
            low, high = cast("Any", (finite.min(), finite.max()))
            if low is not None and not math.isfinite(high - low):
                kind, low, high = "other", None, None  # no axis reaches from one to the other
        unit = text.unit if text is not None and role != "case" else _UNITS.get(name)
        return CaseColumn(
            name=name,
            label=_LABELS.get(name, name),
            role=role,
            kind=kind,
            unit=unit,
            description=text.description if text is not None and role != "case" else None,
            n_null=values.null_count(),
            low=low,
            high=high,
            values=shown,
        )


def _numbers(values: pl.Series) -> pl.Series:
    if values.dtype == pl.Duration:
        return values.dt.total_milliseconds().cast(pl.Float64) / 1000
    if isinstance(values.dtype, pl.Date | pl.Datetime):
        return values.cast(pl.Datetime("us")).dt.epoch("ms").cast(pl.Float64)
    if values.dtype.is_numeric():
        return values.cast(pl.Float64)
    return pl.Series(values.name, [None] * values.len(), pl.Float64)


def _kind_of(values: pl.Series) -> tuple[Kind, list[str]]:
    """How a column can be drawn, and its categories."""
    dtype = values.dtype
    if dtype.is_numeric() or dtype == pl.Duration:
        return "number", []
    if isinstance(dtype, pl.Date | pl.Datetime):
        return "time", []
    if dtype.is_nested() or dtype == pl.Binary:
        return "other", []
    texts = values.cast(pl.String)
    if cast("int", texts.approx_n_unique()) > 2 * _MAX_CATEGORIES:
        return "text", []
    counted = texts.drop_nulls().value_counts(sort=True)
    if counted.height > _MAX_CATEGORIES:
        return "text", []
    return "category", cast("list[str]", counted[values.name].to_list())


def read_cases(run: StoredRun) -> Cases:
    """Read the cases of a run as it is now.

    What the run's final tables tell is taken from them where they are current, and else from the ledger.

    Raises:
        StorageError: If the run cannot be read.
        NotFoundError: If it has neither specs nor tables.
    """
    n_specs = run.manifest.n_specs if run.manifest else None
    if n_specs is None:
        return _older(run)
    with Ledger.open(run.storage, run.layout) as ledger:
        effective = effective_outcomes(ledger.outcomes(n_specs))
        errors, memory = _errors(ledger, effective), _memory(ledger, effective)
        outputs, roles = _outputs(run, ledger, effective)
    inputs, names = input_frame(run, list(roles))
    taken = {name: f"{name} (input)" if name in roles else name for name in names}
    if inputs is None:
        frame = pl.DataFrame({_SORT: pl.int_range(n_specs, eager=True)})
    else:
        frame = inputs.rename({old: new for old, new in taken.items() if old != new}).collect(engine="streaming")
    states = effective.select(
        _SORT,
        pl.col("state").cast(pl.String).alias(STATE),
        pl.col("duration_s").alias(DURATION),
        pl.col("attempt").alias(ATTEMPT),
        pl.col("started_at").alias(STARTED),
    )
    for more in (states, memory, errors, outputs):
        if more is not None:
            frame = frame.join(more, on=_SORT, how="left", maintain_order="left")
    frame = frame.with_columns(pl.col(STATE).fill_null(State.PENDING.value)).rename({_SORT: CASE})
    first: dict[str, Role] = dict.fromkeys((CASE, STATE, DURATION, ATTEMPT, STARTED), "case")
    if memory is not None:
        first[MEMORY] = "case"
    last: dict[str, Role] = dict.fromkeys((ERROR, PLACE, MESSAGE), "case") if errors is not None else {}
    all_roles: dict[str, Role] = {**first, **dict.fromkeys(taken.values(), "input"), **roles, **last}
    return Cases(frame.select(list(all_roles)), all_roles, field_texts(run))


def _older(run: StoredRun) -> Cases:
    """The cases of a run without a ledger: those that its tables have."""
    tidy = tidy_frame(run)
    frame = tidy.frame.collect(engine="streaming").rename({_SORT: CASE})
    roles: dict[str, Role] = {CASE: "case", **dict.fromkeys(tidy.inputs, "input")}
    roles |= {**dict.fromkeys(tidy.features, "feature"), **dict.fromkeys(tidy.outputs, "output")}
    return Cases(frame.select(list(roles)), roles, field_texts(run))


def _outputs(run: StoredRun, ledger: Ledger, effective: pl.DataFrame) -> tuple[pl.DataFrame | None, dict[str, Role]]:
    """What the cases that succeeded have given, by `sort_index`."""
    if "scalars" in run.table_keys() and run.tables_are_current(surely=False):
        tidy = tidy_frame(run)
        roles: dict[str, Role] = {
            **dict.fromkeys(tidy.features, "feature"),
            **dict.fromkeys(tidy.outputs, "output"),
        }
        return tidy.frame.select(_SORT, *roles).collect(engine="streaming"), roles
    good = effective.filter(pl.col("state") == State.SUCCEEDED.value)
    frames = [_of_part(part, rows) for part, rows in _by_part(ledger, good)]
    if not frames:
        return None, {}
    stacked = pl.concat(frames, how="diagonal_relaxed")
    return stacked, {name: _role_of(part_names(ledger.parts), name) for name in stacked.columns if name != _SORT}


def _by_part(ledger: Ledger, outcomes: pl.DataFrame) -> Iterator[tuple[PartFile, pl.Series]]:
    """The parts that outcomes are in, and in which of their rows."""
    for (position,), group in outcomes.group_by("part", maintain_order=True):
        yield ledger.parts[cast("int", position)], group["row"]


def part_names(parts: Sequence[PartFile]) -> dict[str, Role]:
    """The outputs and features that parts of a ledger have, by the names that people know."""
    roles: dict[str, Role] = {}
    for part in parts:
        for name in part.schema.names:
            for prefix, role in _OUTPUTS.items():
                if name.startswith(prefix):
                    roles.setdefault(name.removeprefix(prefix), cast("Role", role))
    return roles


def _role_of(roles: dict[str, Role], name: str) -> Role:
    return roles.get(name, "output")


def _of_part(part: PartFile, rows: pl.Series) -> pl.DataFrame:
    """Outputs and features of some rows of a part of the ledger."""
    names = {name: name.partition(":")[2] for name in part.schema.names if name.startswith(tuple(_OUTPUTS))}
    read = cast("pl.DataFrame", pl.from_arrow(read_part(part, [_SORT, *names])))
    known: set[str] = set()
    kept = [name for name, short in names.items() if not (short in known or known.add(short))]
    return read.select(_SORT, *(pl.col(name).alias(names[name]) for name in kept))[rows]


def _memory(ledger: Ledger, effective: pl.DataFrame) -> pl.DataFrame | None:
    """The most memory that cases have had, in MB, by `sort_index`; None where no part of the ledger tells it."""
    frames = [
        cast("pl.DataFrame", pl.from_arrow(read_part(part, [_SORT, outcome_schema.MEMORY])))[rows]
        for part, rows in _by_part(ledger, effective)
        if outcome_schema.measures_memory(part.schema)
    ]
    if not frames:
        return None
    return pl.concat(frames).select(_SORT, (pl.col(outcome_schema.MEMORY) / 1e6).alias(MEMORY))


def _errors(ledger: Ledger, effective: pl.DataFrame) -> pl.DataFrame | None:
    """What went wrong, by `sort_index`: type, place, and the first line of the message."""
    bad = effective.filter(pl.col("state") != State.SUCCEEDED.value)
    frames = [
        cast("pl.DataFrame", pl.from_arrow(read_part(part, ERROR_COLUMNS)))[rows]
        for part, rows in _by_part(ledger, bad)
    ]
    if not frames:
        return None
    texts = pl.concat(frames)
    places: dict[Any, str | None] = {text: place_of(text) for text in texts["traceback"].unique()}
    place = [places[text] for text in texts["traceback"]]
    return texts.select(
        _SORT,
        pl.col("error_type").fill_null("?").alias(ERROR),
        pl.Series(PLACE, place, pl.String),
        pl.col("message").str.split("\n").list.first().str.slice(0, _MESSAGE_CHARACTERS).alias(MESSAGE),
    )
