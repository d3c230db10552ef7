"""Outcomes of specs, collected one by one and made into tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from scythe_cli.arrow.build import array_of, repeated
from scythe_cli.core.states import RetryRule, State
from scythe_cli.executor.rows.attempts import (
    NO_ATTEMPTS,
    Attempts,
    Took,
    attempt_arrays,
    failure_arrays,
    outcome_table,
)
from scythe_cli.executor.rows.cells import array_of_objects, nearest_fit
from scythe_cli.executor.rows.extras import Extras, extras_of, feature_column, fit, frame_column, part_of
from scythe_cli.executor.rows.failure import Failure, failure_from
from scythe_cli.executor.rows.frames import Warned
from scythe_cli.model.columns import Column, outcome_schema, output_columns, output_files
from scythe_cli.model.kinds import ColumnError
from scythe_cli.model.models import ExperimentOutputSpec
from scythe_cli.model.outcome_schema import FEATURE, FILE, FRAME, SCALAR, WARNINGS, united_traits

if TYPE_CHECKING:
    from scythe_cli.executor.rows.call import LeafResult


__all__ = ["OutcomeBatch", "Outcomes"]


_WARNINGS_TYPE = pa.list_(pa.struct([(name, pa.string()) for name in Warned._fields]))

_PLAIN = frozenset({bool, int, float, str, type(None)})


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What a batch became.

    Attributes:
        tables: The outcomes; several tables where frames of the same name contradict each other.
        failed: The positions of those that did not succeed.
        again: The positions of those of them that are run again.
    """

    tables: list[pa.Table]
    failed: list[int]
    again: list[int]


@dataclass(slots=True)
class OutcomeBatch:
    """Collects outcomes of one experiment.

    Attributes:
        model: The output model.
        worker: The name to put into the column `worker`.
        attempts: The specs that are run; outcomes tell their positions in it.
        clock_offset_s: What to add to the times of starts, to get seconds since 1970.
        retry: After what a spec is run again.
        n_bytes: The size of what is large in the outcomes at hand: logs, tracebacks and frames.
    """

    model: type[ExperimentOutputSpec]
    worker: str
    attempts: Attempts = NO_ATTEMPTS
    clock_offset_s: float = 0.0
    retry: RetryRule = field(default_factory=lambda: RetryRule(0))
    n_bytes: int = 0
    _good: list[Took] = field(default_factory=list[Took])
    # the scalars alone, so that outputs are freed at once: keeping them would keep the garbage collector busy
    _values: list[Any] = field(default_factory=list[Any])
    _results: list[LeafResult | None] = field(default_factory=list["LeafResult | None"])
    _bad: list[Took] = field(default_factory=list[Took])
    _failures: list[Failure] = field(default_factory=list[Failure])
    _has_extras: bool = False
    _has_warnings: bool = False
    _scalars: list[Column] = field(init=False)
    _files: list[str] = field(init=False)
    _computed: frozenset[str] = field(init=False)
    _allows_extra: bool = field(init=False)
    _extra: dict[str, dict[int, Any]] = field(default_factory=dict[str, dict[int, Any]])
    _schema: pa.Schema = field(init=False)
    _get_values: Callable[[ExperimentOutputSpec], Any] = field(init=False)

    def __post_init__(self) -> None:
        self._scalars = output_columns(self.model)
        self._files = [column.name for column in output_files(self.model)]
        self._computed = frozenset(self.model.model_computed_fields)
        self._allows_extra = self.model.model_config.get("extra") == "allow"
        self._schema = outcome_schema(self.model)
        names = [column.name for column in self._scalars]
        self._get_values = attrgetter(*names) if names else lambda _: ()

    def __len__(self) -> int:
        return len(self._good) + len(self._bad)

    def add(
        self,
        row: int,
        started_s: float,
        duration_s: float,
        log: str | None,
        result: LeafResult | Failure,
        memory: int | None = None,
    ) -> None:
        """Take the outcome of the spec at position `row` of `attempts`; positions ascend."""
        took = (row, started_s, duration_s, log, memory)
        if log is not None:
            self.n_bytes += len(log)
        if isinstance(result, Failure):
            self._add_failure(took, result)
            return
        try:
            values = self._get_values(result.output)
        except BaseException as error:  # noqa: BLE001 - an output that was not validated may lack a field, or do anything
            if not self._computed:
                self._add_failure(took, failure_from(error))
                return
            try:
                values, result = self._values_one_by_one(result)
            except BaseException as error:  # noqa: BLE001 - as above
                self._add_failure(took, failure_from(error))
                return
        self._good.append(took)
        self._values.append(values)
        if self._allows_extra:
            for name, value in (result.output.model_extra or {}).items():
                self._extra.setdefault(name, {})[row] = value
        if result.frames is None and result.features is None and result.files is None and result.warnings is None:
            self._results.append(None)
            return
        # without the output, whose tables may have memory of their own
        self._results.append(replace(result, output=None))  # pyright: ignore[reportArgumentType]
        self._has_warnings |= bool(result.warnings)
        if result.frames or result.features:
            self._has_extras = True
            self.n_bytes += sum(frame.table.nbytes for frame in (result.frames or {}).values())

    def last_plain(self) -> tuple[Took, Any] | None:
        """The last outcome, as `add_plain` takes it; None where it is not of numbers and texts, or any is a failure."""
        if self._bad or self._extra or not self._results or self._results[-1] is not None:
            return None
        values = self._values[-1]
        cells = (values,) if len(self._scalars) == 1 else values
        return None if any(type(cell) not in _PLAIN for cell in cells) else (self._good[-1], values)

    def add_plain(self, took: Took, values: Any) -> None:
        """Take the outcome of a spec that another process has run."""
        self.n_bytes += len(took[3] or "")
        self._good.append(took)
        self._values.append(values)
        self._results.append(None)

    def clear(self) -> None:
        """Forget the outcomes at hand."""
        self._good, self._values, self._results, self._bad, self._failures = [], [], [], [], []
        self._has_extras = self._has_warnings = False
        self._extra = {}
        self.n_bytes = 0

    def _values_one_by_one(self, result: LeafResult) -> tuple[Any, LeafResult]:
        """The values of an output some of whose computed fields cannot be computed: these are null."""
        values: list[Any] = []
        warnings = list(result.warnings or [])
        for column in self._scalars:
            try:
                values.append(getattr(result.output, column.name))
            except Exception as error:
                if column.name not in self._computed:
                    raise
                warnings.append(Warned(column.name, "null instead of its value", f"{type(error).__name__}: {error}"))
                values.append(None)
        return values[0] if len(values) == 1 else tuple(values), replace(result, warnings=warnings)

    def _add_failure(self, took: Took, failure: Failure) -> None:
        self._bad.append(took)
        self._failures.append(failure)
        self.n_bytes += len(failure.traceback or "")

    def finish(self, tries: Sequence[int] | None = None) -> Outcomes:
        """Make the tables, and begin anew.

        Args:
            tries: By position, how many more attempts of a spec there may be; None: none of any.
        """
        scalars = self._convert_scalars()
        again = [] if tries is None else self._again(tries)
        tables: list[pa.Table] = []
        for rows, extras in self._groups():
            tables.append(self._table_of_good(rows, scalars, extras))
        if self._bad:
            bad = self._table_of_bad(again)
            if tables:
                tables[0] = pa.concat_tables([tables[0], bad], promote_options="default")
            else:
                tables.append(bad)
        outcomes = Outcomes(tables, [took[0] for took in self._bad], again)
        self.clear()
        return outcomes

    def _convert_scalars(self) -> list[pa.Array[Any]]:
        """The arrays of the scalar outputs; a row with a value that does not fit becomes a failure."""
        while True:
            if len(self._scalars) == 1:
                columns = [self._values]
            else:
                columns = list(zip(*self._values, strict=True)) or [()] * len(self._scalars)
            arrays: list[pa.Array[Any]] = []
            for column, values in zip(self._scalars, columns, strict=True):
                try:
                    arrays.append(column.array(values))
                except ColumnError:
                    self._reject(column, values)
                    break
            else:
                return arrays

    def _reject(self, column: Column, values: Sequence[Any]) -> None:
        """The nearest of values that do not fit, or null; rows of a column that cannot be null have not succeeded."""
        keep: list[int] = []
        for row, value in enumerate(values):
            try:
                column.array([value])
            except ColumnError as error:
                nearest = None if _is_missing(value) else nearest_fit(column, value)
                if nearest is None and not column.is_nullable:
                    self._bad.append(self._good[row])
                    self._failures.append(Failure(State.FAILED, "ColumnError", f"the output field {error}"))
                    continue
                self._replace(row, column, nearest, None if _is_missing(value) else str(error))
            keep.append(row)
        self._good = [self._good[row] for row in keep]
        self._values = [self._values[row] for row in keep]
        self._results = [self._results[row] for row in keep]

    def _replace(self, row: int, column: Column, value: Any, why: str | None) -> None:
        from scythe_cli.executor.rows.call import LeafResult

        if len(self._scalars) == 1:
            self._values[row] = value
        else:
            values = list(self._values[row])
            values[self._scalars.index(column)] = value
            self._values[row] = tuple(values)
        if why is not None:
            result: Any = self._results[row] or LeafResult(None)  # pyright: ignore[reportArgumentType]
            what = "null instead of its value" if value is None else "the nearest that can be stored"
            warned = Warned(column.name, what, why.removeprefix(f"{column.name}: "))
            self._has_warnings = True
            self._results[row] = replace(result, warnings=[*(result.warnings or []), warned])

    def _groups(self) -> list[tuple[Sequence[int], Extras]]:
        """The rows that go into one table, with the types of its further columns."""
        if not self._good:
            return []
        if not self._has_extras:
            return [(range(len(self._good)), {})]
        rows: list[list[int]] = []
        types: list[Extras] = []
        seen: dict[Any, int] = {}
        for row, result in enumerate(self._results):
            extras = {} if result is None else extras_of(result)
            key = tuple(extras.items())
            group = seen.get(key)
            if group is None:
                group = fit(types, extras)
                if group == len(rows):
                    rows.append([])
                seen[key] = group
            rows[group].append(row)
        return list(zip(rows, types, strict=True))

    def _table_of_good(self, rows: Sequence[int], scalars: Sequence[pa.Array[Any]], extras: Extras) -> pa.Table:
        n = len(rows)
        everything = n == len(self._good)
        good = self._good if everything else [self._good[row] for row in rows]
        arrays = attempt_arrays(self.attempts, good, self.clock_offset_s, self.worker)
        arrays["state"] = repeated(State.SUCCEEDED.value, n)
        arrays["final"] = repeated(True, n)
        if not everything:
            scalars = [array.take(array_of(rows, pa.int64())) for array in scalars]
        for column, array in zip(self._scalars, scalars, strict=True):
            arrays[SCALAR + column.name] = array
        results = self._results if everything else [self._results[row] for row in rows]
        files = dict.fromkeys(self._files)
        if self._allows_extra:
            files |= dict.fromkeys(name for result in results for name in part_of(result, "files"))
        for name in files:
            arrays[FILE + name] = array_of([part_of(result, "files").get(name) for result in results], pa.string())
        table = outcome_table(arrays, self._schema)
        for name in files:
            if FILE + name not in table.column_names:
                table = table.append_column(FILE + name, arrays[FILE + name])
        for name, (type_, _) in extras.items():
            if name.startswith(FEATURE):
                key = name.removeprefix(FEATURE)
                column = feature_column([part_of(result, "features").get(key) for result in results])
                table = table.append_column(pa.field(name, column.type), column)
            else:
                key = name.removeprefix(FRAME)
                frames = [part_of(result, "frames").get(key) for result in results]
                field, column = frame_column(name, type_, frames)
                traits = united_traits((frame.columns, frame.traits) for frame in frames if frame is not None)
                table = table.append_column(traits.put_on(field), column)
        if self._extra or self._has_warnings:
            table = self._with_extra_and_warnings(table, good, results)
        return table

    def _with_extra_and_warnings(
        self, table: pa.Table, good: Sequence[Took], results: Sequence[LeafResult | None]
    ) -> pa.Table:
        warnings = [list((result and result.warnings) or []) for result in results]
        for name, values in self._extra.items():
            cells = [values.get(took[0]) for took in good]
            said: list[Warned] = []
            if all(cell is None or isinstance(cell, float) for cell in cells):
                column = array_of(cells, pa.float64())  # as they are: elsewhere NaN is what is missing
            else:
                column = array_of_objects(
                    cells, lambda what, why, name=name, said=said: said.append(Warned(name, what, why))
                )
            table = table.append_column(SCALAR + name, column)
            for own, cell in zip(warnings, cells, strict=True):
                own += said if cell is not None else ()
        if any(warnings):
            cells = [[warned._asdict() for warned in each] or None for each in warnings]
            table = table.append_column(WARNINGS, pa.array(cells, _WARNINGS_TYPE))
        return table

    def _again(self, tries: Sequence[int]) -> list[int]:
        pairs = zip(self._bad, self._failures, strict=True)
        return [took[0] for took, failure in pairs if self.retry.allows(failure.state, tries[took[0]])]

    def _table_of_bad(self, again: Collection[int]) -> pa.Table:
        arrays = attempt_arrays(self.attempts, self._bad, self.clock_offset_s, self.worker)
        arrays |= failure_arrays(self._failures)
        rows = set(again)
        arrays["final"] = array_of([took[0] not in rows for took in self._bad], pa.bool_())
        return outcome_table(arrays, self._schema)


def _is_missing(value: object) -> bool:
    """Whether it is a value of pandas that says that there is none."""
    return type(value).__name__ in ("NaTType", "NAType")
