"""The values of a field: validated by pydantic, kept as the cells of a column, and accepted again when they are read.

The process that runs a spec validates it again, from the stored columns. A validator that changes a value each time it
sees it (`degrees → radians`) would silently pass the function another value than the one that was validated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import ConfigDict, Field, PydanticUserError, TypeAdapter, ValidationError

from scythe_cli.arrow.build import numbers
from scythe_cli.errors import SpecsError, first_line
from scythe_cli.model.columns import Column, input_columns, values_of
from scythe_cli.model.kinds import ColumnError
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.model.spec_rows import spec_factory
from scythe_cli.sampling.cells.changes import Changes
from scythe_cli.sampling.decoding import MISSING, Partial, Unusable
from scythe_cli.sampling.field_names import accepts_none
from scythe_cli.sampling.file_columns import FieldColumn, FieldGroup
from scythe_cli.sampling.problems import show_value
from scythe_cli.sampling.value_problems import (
    ValueProblem,
    empty_problem,
    exception_problem,
    problems_of_error,
    unusable_problem,
)

__all__ = [
    "N_TRIED",
    "ROUND_TRIP_HINT",
    "FieldValidator",
    "ProblemsByPosition",
    "check_round_trip",
    "encode_values",
    "misfit_problem",
    "round_trip_problem",
    "rows_to_try",
]


N_TRIED = 200
"""How many rows are read again."""

ROUND_TRIP_HINT = (
    "Each case is validated again in the process that runs it: make the field's validator and type accept their own "
    "result and return it unchanged."
)

ProblemsByPosition = Mapping[int, list[ValueProblem]]
"""What is wrong, by the position of the value."""


class FieldValidator:
    """Validates the values of one field, apart from the other fields.

    Attributes:
        column: The field.
        changes: What changes of its values.
    """

    def __init__(self, column: Column, root: FieldGroup) -> None:
        """Prepare.

        Args:
            column: The field.
            root: The columns of the file, for naming them.
        """
        self.column = column
        self.changes = Changes(column)
        self._root = root
        self._info = column.info
        config = root.model.model_config
        self._validate_default = bool(
            config.get("validate_default") if self._info.validate_default is None else self._info.validate_default
        )
        self._none_if_missing = self._info.is_required() and accepts_none(self._info.annotation)
        self._config = config

    @cached_property
    def _validate(self) -> Callable[[Any], Any]:
        # made when it is wanted: most columns of numbers are accepted without
        return _validator_of(self.column, self._config)

    def validate(self, values: Sequence[Any]) -> tuple[pa.Array[Any], ProblemsByPosition]:
        """Validate values: decoded ones, `MISSING`, `Unusable` or `Partial`.

        Returns:
            The column's cells, null where a value is refused; and why it is.
        """
        accepted: list[Any] = []
        problems: dict[int, list[ValueProblem]] = {}
        for position, value in enumerate(values):
            try:
                accepted.append(self._value_of(value))
            except _RefusedError as refused:
                accepted.append(None)
                problems[position] = refused.problems
        self.changes.note(accepted)
        array, misfits = encode_values(self.column, accepted)
        for position, message in misfits.items():
            problems[position] = [misfit_problem(self.column, self._root, message, accepted[position])]
        return array, problems

    def _value_of(self, value: Any) -> Any:
        if isinstance(value, Unusable):
            raise _RefusedError([unusable_problem(value)])
        if isinstance(value, Partial):
            raise _RefusedError([*map(unusable_problem, value.unusable), *self._others(value)])
        try:
            if value is MISSING:
                if self._none_if_missing:
                    value = None
                elif self._info.is_required():
                    raise _RefusedError([empty_problem(self._label())])
                else:
                    value = self._info.get_default(call_default_factory=True, validated_data={})
                    if not self._validate_default:
                        return value
            return self._validate(value)
        except _RefusedError:
            raise
        except ValidationError as error:
            raise _RefusedError(problems_of_error(error, self._root, (self.column.name,))) from None
        except Exception as error:  # noqa: BLE001 - a type of the user's can raise anything
            raise _RefusedError([exception_problem(error, self._root, (self.column.name,))]) from None

    def _others(self, partial: Partial) -> list[ValueProblem]:
        """What else is wrong with a nested model of which some cells cannot be decoded."""
        hidden = {unusable.column for unusable in partial.unusable}
        try:
            self._value_of(partial.values)
        except _RefusedError as refused:
            return [problem for problem in refused.problems if problem.column not in hidden]
        return []

    def _label(self) -> str:
        source = self._root.parts.get(self.column.name)
        return self.column.name if source is None else source.column


class _RefusedError(Exception):
    def __init__(self, problems: list[ValueProblem]) -> None:
        super().__init__()
        self.problems = problems


def _validator_of(column: Column, config: ConfigDict) -> Callable[[Any], Any]:
    info = column.info
    metadata = [*info.metadata]
    if info.discriminator is not None:
        metadata.append(Field(discriminator=info.discriminator))
    type_: Any = Annotated[info.annotation, *metadata] if metadata else info.annotation
    try:
        adapter = TypeAdapter[Any](type_, config=config)
    except PydanticUserError:
        # a nested model by itself goes by its own config, and pydantic says so
        adapter = TypeAdapter[Any](type_)
    validate = adapter.validator.validate_python
    return lambda value: validate(value, by_alias=True, by_name=True)


def misfit_problem(column: Column, root: FieldGroup, message: str, value: Any) -> ValueProblem:
    """The problem of a value that pydantic accepts and the column cannot hold.

    Args:
        column: The column.
        root: The columns of the file, for naming the one that the value comes from.
        message: Why it cannot be held.
        value: The value, which is shown where it is not that of a single cell.
    """
    source = root.parts.get(column.name)
    cell = source if isinstance(source, FieldColumn) else None
    label = column.name if source is None else source.column
    return ValueProblem(label, message, cell, None if cell is not None else show_value(value))


def encode_values(column: Column, values: Sequence[Any]) -> tuple[pa.Array[Any], dict[int, str]]:
    """Accepted values as the cells of a column.

    Returns:
        The cells, null where a value does not fit; and why it does not.
    """
    try:
        return column.array(values), {}
    except ColumnError:
        pass
    misfits: dict[int, str] = {}
    fitting: list[Any] = []
    for position, value in enumerate(values):
        message = _misfit(column, value)
        if message is not None:
            misfits[position] = message
        fitting.append(value if message is None else None)
    return column.array(fitting), misfits


def _misfit(column: Column, value: Any) -> str | None:
    if value is None:
        return None
    try:
        pa.array([value if column.encode is None else column.encode(value)], type=column.type)
    except ColumnError as error:
        return str(error)
    except (pa.ArrowException, OverflowError, ValueError, TypeError, AttributeError) as error:
        if column.type == pa.int64() and isinstance(value, int):
            return "Whole numbers go from -2^63 to 2^63 - 1"
        reason = first_line(error)
        return f"the value cannot be kept in a column of type {column.type}: {reason}"
    return None


def check_round_trip(model: type[ExperimentInputSpec], inputs: pa.Table) -> None:
    """Check on the first rows that the model accepts its own values, and keeps them as they are.

    Args:
        model: The input model.
        inputs: Validated values, with the schema of `input_columns(model)`.

    Raises:
        SpecsError: If the model refuses or changes a value; the message names field and row.
    """
    problem = round_trip_problem(model, inputs.slice(0, N_TRIED), lambda row: f"spec {row}")
    if problem is not None:
        raise SpecsError(problem, hint=ROUND_TRIP_HINT)


def round_trip_problem(model: type[ExperimentInputSpec], inputs: pa.Table, label: Callable[[int], str]) -> str | None:
    """Say what is wrong with the first value that does not survive; None if all do."""
    names = frozenset(inputs.column_names)
    columns = [column for column in input_columns(model) if column.name in names]
    if not columns or inputs.num_rows == 0:
        return None
    batch = inputs.combine_chunks().to_batches()[0]
    build = spec_factory(model, batch.schema)
    if _all_survive(columns, batch, build):
        return None
    for row in range(batch.num_rows):
        one = batch.slice(row, 1)
        try:
            spec = build(one)[0]
        except Exception as error:  # noqa: BLE001 - a validator of the user's can raise anything
            return f"{label(row)}: read again, the model fails: {type(error).__name__}: {error}"
        if isinstance(spec, ValidationError):
            return _refusal(spec, label(row), one)
        for column in columns:
            cells, misfits = encode_values(column, values_of([spec], column.name))
            before, after = one.column(column.name)[0].as_py(), cells[0].as_py()
            # repr tells nan from nan and -0.0 from 0.0 the way that is wanted here
            if misfits or repr(before) != repr(after):
                return (
                    f"{label(row)}: read again, field {column.name!r} changes from {show_value(before)} "
                    f"to {show_value(values_of([spec], column.name)[0] if misfits else after)}"
                )
    return None


def _all_survive(
    columns: Sequence[Column],
    batch: pa.RecordBatch,
    build: Callable[[pa.RecordBatch], list[ExperimentInputSpec | ValidationError]],
) -> bool:
    """Whether all rows are read again as they are; where not, one looks at each by itself."""
    try:
        built = build(batch)
    except Exception:  # noqa: BLE001 - a validator of the user's can raise anything
        return False
    specs = [spec for spec in built if not isinstance(spec, ValidationError)]
    if len(specs) < len(built):
        return False
    for column in columns:
        cells, misfits = encode_values(column, values_of(specs, column.name))
        before = batch.column(column.name)
        if misfits or (not before.equals(cells) and repr(before.to_pylist()) != repr(cells.to_pylist())):
            return False
        if pa.types.is_floating(before.type) and repr(before.to_pylist()) != repr(cells.to_pylist()):
            return False  # to Arrow, 0.0 is -0.0
    return True


def _refusal(error: ValidationError, label: str, row: pa.RecordBatch) -> str:
    detail = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(map(str, detail["loc"]))
    field = f" field {place!r}" if place else ""
    value: Any = detail.get("input")
    shown = f" {show_value(value)}" if place else ""
    return f"{label}: read again, the model rejects its own value{shown} of{field or ' the row'}: {detail['msg']}"


def rows_to_try(n_rows: int, first_missing: list[int]) -> pa.Array[Any]:
    """The first rows, and those where a default stands in for the first time."""
    rows = {*range(min(n_rows, N_TRIED)), *(row for row in first_missing if 0 <= row < n_rows)}
    return numbers(np.array(sorted(rows), dtype=np.int64), pa.int64())  # not pa.array, which loads pandas
