"""Whole rows validated by the model, as in the process that runs the specs: for models with their own validators."""

from __future__ import annotations

import gc
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from scythe_cli.model.columns import Column, values_of
from scythe_cli.model.kinds import keys_of
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.sampling.cells.changes import Changes
from scythe_cli.sampling.decoding import MISSING, Decoder, Missing, Partial, Unusable, decode_values
from scythe_cli.sampling.field_names import accepts_none
from scythe_cli.sampling.field_values import encode_values, misfit_problem
from scythe_cli.sampling.file_columns import FieldGroup
from scythe_cli.sampling.value_problems import ValueProblem, exception_problem, problems_of_error, unusable_problem

__all__ = ["RowProblem", "RowValidator"]


# more are slower: the garbage collector looks at all of them again and again
_SPECS_AT_ONCE = 1_000
_MARKS = frozenset({Missing, Unusable, Partial})


@dataclass(frozen=True, slots=True)
class RowProblem:
    """What is wrong with a row.

    Attributes:
        row: The row.
        source: 0 for what the model says of the row, i for what does not fit the i-th column, counted from 1.
        problem: What is wrong.
    """

    row: int
    source: int
    problem: ValueProblem


class RowValidator:
    """Validates rows as instances of the model.

    Attributes:
        changes: What changes of the values of each field.
    """

    def __init__(
        self,
        model: type[ExperimentInputSpec],
        columns: Sequence[Column],
        root: FieldGroup,
        decoders: Mapping[str, Decoder | None],
    ) -> None:
        """Prepare.

        Args:
            model: The model.
            columns: Its fields as columns.
            root: The columns of the file.
            decoders: How the cells of each column are decoded.
        """
        self.changes = {column.name: Changes(column) for column in columns}
        self._columns = columns
        self._root = root
        self._decoders = decoders
        self._none_if_missing = {
            name
            for name, s in root.parts.items()
            if name in model.model_fields and s.info.is_required() and accepts_none(s.info.annotation)
        }
        self._keys = {name: keys_of(model).get(name, name) for name in root.parts}
        self._extras = frozenset(root.parts) - frozenset(model.model_fields)
        self._validate = model.__pydantic_validator__.validate_python
        rows: Any = list[model]  # pyright: ignore[reportInvalidTypeForm]
        self._validate_all = TypeAdapter[Any](rows).validator.validate_python

    def validate(self, start: int, stop: int) -> tuple[list[pa.Array[Any]], list[RowProblem]]:
        """Validate the rows from `start` to `stop`.

        Returns:
            The cells of each column, null in rows that are refused; and what is wrong, for each source in the order
            of the rows.
        """
        chunks: list[list[pa.Array[Any]]] = [[] for _ in self._columns]
        problems: list[RowProblem] = []
        with _young_heap():
            for first in range(start, stop, _SPECS_AT_ONCE):
                specs = self._specs(first, min(first + _SPECS_AT_ONCE, stop), problems)
                is_whole = type(None) not in set(map(type, specs))
                for source, (column, done) in enumerate(zip(self._columns, chunks, strict=True), 1):
                    if column.name in self._extras:
                        values = [None if spec is None else spec.model_extra.get(column.name) for spec in specs]
                    else:
                        values = values_of(specs, column.name) if is_whole else _values(column.name, specs)
                    self.changes[column.name].note(values)
                    array, misfits = encode_values(column, values)
                    done.append(array)
                    for offset, message in misfits.items():
                        problem = misfit_problem(column, self._root, message, values[offset])
                        problems.append(RowProblem(first + offset, source, problem))
        return [pa.concat_arrays(done) for done in chunks], problems

    def _specs(self, start: int, stop: int, problems: list[RowProblem]) -> list[Any]:
        """Build the specs of some rows, None in place of a bad one."""
        sources = self._root.parts
        names = tuple(sources)
        columns = [decode_values(source, start, stop, self._decoders) for source in sources.values()]
        # without a column there is nothing to zip
        rows = list(zip(*columns, strict=True)) if columns else [()] * (stop - start)
        plain = self._plain_rows(names, columns, rows)
        if plain is not None:
            try:
                # one call for all is faster than one for each
                return self._validate_all(plain, by_alias=True, by_name=True)
            except Exception:  # noqa: BLE001 - validated again below, which puts it into words
                pass
        # made anew: a validator may have changed what was passed to it
        specs: list[Any] = []
        for row, cells in enumerate(rows, start):
            spec, row_problems = self._validate_row(dict(zip(names, cells, strict=True)))
            specs.append(spec)
            problems += [RowProblem(row, 0, problem) for problem in row_problems]
        return specs

    def _plain_rows(
        self, names: Sequence[str], columns: Sequence[Sequence[Any]], rows: Sequence[Sequence[Any]]
    ) -> list[dict[str, Any]] | None:
        """What pydantic validates of each row; None where cells need a closer look."""
        keys = [self._keys[name] for name in names]
        marks = [_MARKS.intersection(map(type, values)) for values in columns]
        if not any(marks):
            return [dict(zip(keys, cells, strict=True)) for cells in rows]
        missing = {name for name, marked in zip(names, marks, strict=True) if marked}
        if set().union(*marks) == {Missing} and not missing & self._none_if_missing:
            return [{key: cell for key, cell in zip(keys, cells, strict=True) if cell is not MISSING} for cells in rows]
        return None

    def _validate_row(self, cells: dict[str, Any]) -> tuple[Any, list[ValueProblem]]:
        """Validate one row; returns the spec, or None and what is wrong."""
        unusable: list[Unusable] = []
        values: dict[str, Any] = {}
        for name, value in cells.items():
            if isinstance(value, Unusable):
                unusable.append(value)
            elif isinstance(value, Partial):
                values[self._keys[name]] = value.values
                unusable += value.unusable
            elif value is not MISSING:
                values[self._keys[name]] = value
            elif name in self._none_if_missing:
                values[self._keys[name]] = None
        problems = [unusable_problem(value) for value in unusable]
        spec = None
        try:
            spec = self._validate(values, by_alias=True, by_name=True)
        except ValidationError as error:
            # a cell that could not be decoded is not also missing
            hidden = {value.column for value in unusable}
            problems += [each for each in problems_of_error(error, self._root) if each.column not in hidden]
        except Exception as error:  # noqa: BLE001 - a validator of the user's can raise anything
            if not unusable:
                problems.append(exception_problem(error, self._root, ()))
        return None if problems else spec, problems


def _values(name: str, specs: Sequence[Any]) -> list[Any]:
    # an attribute of a plain function's model need not be the field of its name
    return [None if spec is None else spec.__dict__[name] for spec in specs]


@contextmanager
def _young_heap() -> Generator[None]:
    """Let the garbage collector pass over what is there already, which it else looks at a thousand times."""
    is_ours = gc.get_freeze_count() == 0
    if is_ours:
        gc.freeze()
    try:
        yield
    finally:
        if is_ours:
            gc.unfreeze()
