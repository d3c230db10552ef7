"""A whole file against the model: which cells are bad, and the columns of the accepted values.

Where no validator of the user's sees a whole row, fields are validated one by one: cells that are surely right are
accepted as columns, and pydantic sees the distinct values of the rest. Otherwise rows are validated in pieces, in any
order and in any process; what is wrong is put together in the order of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
from pydantic.fields import FieldInfo

from scythe_cli.arrow.mapped import mapped_column
from scythe_cli.errors import SamplingFileError
from scythe_cli.model.columns import Column, extra_column, input_columns, schema_of
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.sampling.cells.readings import is_last_resort
from scythe_cli.sampling.column_rules import fast_accept, fields_are_independent
from scythe_cli.sampling.decoding import MISSING, Decoder, decode_cells, decode_values, decoder_of
from scythe_cli.sampling.field_values import FieldValidator, ProblemsByPosition
from scythe_cli.sampling.file_columns import (
    FieldColumn,
    FieldGroup,
    RawFile,
    chunked,
    columns_of_source,
    match_columns,
    rows_of_source,
)
from scythe_cli.sampling.nested import NestedAccept, accept_nested
from scythe_cli.sampling.problems import Problems, show_value
from scythe_cli.sampling.row_validator import RowValidator
from scythe_cli.sampling.value_problems import ValueProblem, cell_problem

__all__ = ["FileValidator", "Piece", "ValidateAll", "ValidationResult"]


pc: Any = pyarrow.compute  # its stubs do not know the types that its functions take

_ROWS_AT_ONCE = 20_000
_VALUES_AT_ONCE = 1_000
_LINES = -1  # the source of problems that are no field's

_Codes = npt.NDArray[np.int64]
_Accepted = tuple[pa.BooleanArray, "pa.Array[Any]"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a file, and what of them is validated.

    Attributes:
        start: The first row.
        stop: The row after the last.
        position: The position of a field among the model's; None for all of them, row by row.
    """

    start: int
    stop: int
    position: int | None = None


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """What has become of a piece.

    Attributes:
        arrays: A column for each field that was validated: the accepted values, null where one is refused.
        problems: What is wrong.
    """

    arrays: list[pa.Array[Any]]
    problems: Problems


ValidateAll = Callable[["FileValidator", int | None], Iterable[ValidationResult]]
"""Validates all pieces of a file, for a field's position or row by row (None); results are in the order of the file."""


class FileValidator:
    """Validates a file.

    Attributes:
        raw: The file.
        match: Which column belongs to which field.
        columns: The fields as columns.
        root: The columns of the file; those of a field that has been validated are no longer there.
        decoders: How the cells of each column are decoded.
        problems: What is wrong, as far as it is known.
    """

    def __init__(
        self,
        raw: RawFile,
        model: type[ExperimentInputSpec],
        *,
        is_part: bool = False,
        decoders: dict[str, Decoder | None] | None = None,
        ignore: Sequence[str] = (),
        experiment: str | None = None,
    ) -> None:
        """Find the field of each column.

        Args:
            raw: The file.
            model: The model.
            is_part: Whether these are some of the columns of a file whose other columns are known to be right.
            decoders: How the cells of columns are decoded, where that is known from another part of the same file.
            ignore: Columns to leave out, by name or pattern.
            experiment: The experiment's name, for messages.

        Raises:
            SamplingFileError: If the columns do not fit the model.
        """
        self.raw = raw
        self.match = match_columns(raw, model, is_part=is_part, ignore=ignore, experiment=experiment)
        self.columns: list[Column] = [*input_columns(model), *map(extra_column, self.match.extras)]
        self.root = FieldGroup("", FieldInfo(annotation=model), model, self.match.sources | self.match.extras)
        self.problems = Problems()
        self.problems.add_all(_LINES, raw.problems)
        self.decoders = {} if decoders is None else decoders
        for source in columns_of_source(self.root):
            if source.column not in self.decoders:
                self.decoders[source.column] = decoder_of(source, raw)
        self._model = model
        self._positions = {name: at for at, name in enumerate(raw.names)}
        self._field_validators: dict[int, FieldValidator] = {}
        self._row_validator: RowValidator | None = None

    def validate(self, validate_all: ValidateAll | None = None) -> pa.Table:
        """Validate every cell.

        Args:
            validate_all: Validates pieces with the help of other processes; None where this one does it by itself.

        Returns:
            The validated values, a row for each case.

        Raises:
            BadCellsError: If cells are bad; all are counted and the first ones named.
        """
        if not self.columns:
            # a table without columns forgets how many rows it has
            return pa.table({"sort_index": pa.array(np.arange(self.raw.n_rows), pa.int64())})
        if fields_are_independent(self._model):
            arrays: list[pa.ChunkedArray[Any]] = []
            for position in range(len(self.columns)):
                arrays.append(mapped_column(self._validate_field(position, validate_all)))
                self._forget(position)  # from here on, its text would only take memory
        else:
            arrays = self._validate_pieces(None, validate_all)
        self.problems.note({each.column.name: each.changes.seen for each in self._field_validators.values()})
        self.problems.raise_if_any(self.raw.path, n_lines=len(self.raw.problems), hint=self._hint())
        return pa.Table.from_arrays(arrays, schema=schema_of(self.columns))

    def validate_piece(self, piece: Piece) -> ValidationResult:
        """Validate a piece."""
        problems = Problems()
        if piece.position is None:
            if self._row_validator is None:
                self._row_validator = RowValidator(self._model, self.columns, self.root, self.decoders)
            arrays, row_problems = self._row_validator.validate(piece.start, piece.stop)
            for each in row_problems:
                self._report(each.source, each.problem, each.row, problems)
            problems.note({name: changes.seen for name, changes in self._row_validator.changes.items()})
            return ValidationResult(arrays, problems)
        validator = self._field_validator(piece.position)
        source = self.root.parts[validator.column.name]
        chunks: list[pa.Array[Any]] = []
        for start, stop in _spans(piece.start, piece.stop, _VALUES_AT_ONCE):
            array, refused = validator.validate(decode_values(source, start, stop, self.decoders))
            chunks.append(array)
            for offset in sorted(refused):
                for problem in refused[offset]:
                    self._report(piece.position, problem, start + offset, problems)
        problems.note({validator.column.name: validator.changes.seen})
        return ValidationResult([pa.concat_arrays(chunks)], problems)

    def _report(self, source: int, problem: ValueProblem, row: int, problems: Problems | None = None) -> None:
        """Note a problem, and put it into words if it may be shown."""
        problems = self.problems if problems is None else problems
        if problems.wants(source):
            problems.add(source, cell_problem(problem, self.raw, row))
        else:
            problems.add_uncollected(1)

    def _field_validator(self, position: int) -> FieldValidator:
        if position not in self._field_validators:
            self._field_validators[position] = FieldValidator(self.columns[position], self.root)
        return self._field_validators[position]

    def _forget(self, position: int) -> None:
        """Let go of the cells of a field that has been validated."""
        source = self.root.parts.pop(self.columns[position].name, None)
        if source is None:
            return
        for each in columns_of_source(source):
            at = self._positions.get(each.column)
            if at is not None:  # no part of a struct
                self.raw.columns[at] = chunked([], self.raw.columns[at].type)  # a slice would keep what it is of

    def _hint(self) -> str | None:
        if self._model.model_config.get("strict"):
            name = self._model.__name__
            return f"{name} is strict, so that it takes no text for numbers: use Parquet, or strict=False."
        if self.raw.problems:
            return 'A cell that holds a comma must stand in double quotes: "a, b".'
        if self.raw.is_text and self.raw.n_rows > 1 and self.problems.rows() == {0}:
            return "If that is a row of units: --units-row."
        return None

    def _validate_pieces(self, position: int | None, validate_all: ValidateAll | None) -> list[pa.ChunkedArray[Any]]:
        """Validate all rows, or each cell of a field, and not distinct cells only."""
        if validate_all is None or self._may_count():
            spans = _spans(0, self.raw.n_rows, _ROWS_AT_ONCE)
            results: Iterable[ValidationResult] = (self.validate_piece(Piece(*span, position)) for span in spans)
        else:
            results = validate_all(self, position)
        columns = self.columns if position is None else [self.columns[position]]
        chunks: list[list[pa.Array[Any]]] = [[] for _ in columns]
        for result in results:
            self.problems.take(result.problems, self.raw.row_label)
            for done, array in zip(chunks, result.arrays, strict=True):
                done.append(array)
        return [chunked(done, column.type) for done, column in zip(chunks, columns, strict=True)]

    def _may_count(self) -> bool:
        """Whether a factory makes values: it may give each row another one, as a counter does."""
        return any(info.default_factory is not None for info in self._model.model_fields.values())

    def _validate_field(self, position: int, validate_all: ValidateAll | None) -> pa.ChunkedArray[Any]:
        validator = self._field_validator(position)
        source = self.root.parts.get(validator.column.name)
        if source is None:
            return self._defaults(validator)
        if isinstance(source, FieldColumn):
            try:
                return self._validate_distinct(position, validator, source)
            except (pa.ArrowNotImplementedError, pa.ArrowTypeError):
                pass  # lists and structs have no dictionaries
        else:
            accept = accept_nested(source, validator.column, self.decoders)
            if accept is not None and (column := self._validate_nested(position, source, accept)) is not None:
                return column
        return self._validate_pieces(position, validate_all)[0]

    def _defaults(self, validator: FieldValidator) -> pa.ChunkedArray[Any]:
        """A column that the file lacks; a factory may give each row another value."""
        n_rows = self.raw.n_rows
        each = validator.column.info.default_factory is not None
        chunks: list[pa.Array[Any]] = []
        for start, stop in _spans(0, n_rows, _ROWS_AT_ONCE):
            if each or not chunks:
                array, refused = validator.validate([MISSING] * (stop - start if each else 1))
                _raise_bad_default(self.raw.path, validator.column, refused)
                chunks.append(array if each else _taken(array, np.zeros(n_rows, np.int64)))
        return chunked(chunks, validator.column.type)

    def _validate_nested(self, position: int, group: FieldGroup, accept: NestedAccept) -> pa.ChunkedArray[Any] | None:
        """Accept what can be accepted at once, and validate the other rows; None if these are most of them."""
        validator = self._field_validator(position)
        chunks: list[pa.Array[Any]] = []
        for start, stop in _spans(0, self.raw.n_rows, _ROWS_AT_ONCE):
            accepted = accept(start, stop)
            if accepted.ok.true_count == stop - start:
                chunks.append(accepted.values)
                continue
            rows = np.flatnonzero(~accepted.ok.to_numpy(zero_copy_only=False))
            if start == 0 and len(rows) > (stop - start) / 2:
                return None
            rest = rows_of_source(group, start, stop, pa.array(rows))
            array, refused = validator.validate(decode_values(rest, 0, len(rows), self.decoders))
            for offset in sorted(refused):
                for problem in refused[offset]:
                    self._report(position, problem, start + int(rows[offset]))
            order = np.arange(stop - start)
            order[rows] = np.arange(stop - start, stop - start + len(rows))
            chunks.append(_taken(pa.concat_arrays([accepted.values, array]), order))
        return chunked(chunks, validator.column.type)

    def _validate_distinct(self, position: int, validator: FieldValidator, source: FieldColumn) -> pa.ChunkedArray[Any]:
        """Accept what can be accepted at once; validate each distinct value of the rest."""
        type_ = validator.column.type
        decoder = self.decoders[source.column]
        accept = None
        if is_last_resort(decoder):
            accept = fast_accept(validator.column.info, self._model.model_config, source.cells.type)
        accepted: list[_Accepted | None] = []
        rest: list[pa.Array[Any]] = []
        for chunk in source.cells.chunks:
            if accept is None:
                accepted.append(None)
                rest.append(chunk)
                continue
            ok, values = accept(chunk)
            accepted.append((ok, values))
            rest.append(chunk.slice(0, 0) if ok.true_count == len(ok) else chunk.filter(pc.invert(ok)))
        if not any(map(len, rest)):
            return chunked([values for _, values in filter(None, accepted)], type_)
        pool, codes, refused = _validate_pool(validator, source, rest, decoder)
        if refused:
            self._report_distinct(position, refused, _rows_of_rest(accepted, rest), np.concatenate(codes))
            return chunked([], type_)  # nobody looks at the values of a bad file
        chunks: list[pa.Array[Any]] = []
        for fast, code in zip(accepted, codes, strict=True):
            if fast is None:
                chunks.append(_taken(pool, code))
            elif len(code) == 0:
                chunks.append(fast[1])
            else:
                chunks.append(pc.replace_with_mask(fast[1], pc.invert(fast[0]), _taken(pool, code)))
        return chunked(chunks, type_)

    def _report_distinct(self, position: int, refused: ProblemsByPosition, rows: _Codes, codes: _Codes) -> None:
        """Note the problems of distinct values, wherever they occur; those that are not shown are only counted.

        Args:
            position: The position of the field among the model's.
            refused: What is wrong with values of the pool.
            rows: The rows that were not accepted at once.
            codes: The place of their values in the pool.
        """
        bad = np.isin(codes, np.fromiter(refused, dtype=np.int64))
        counts = np.bincount(codes[bad])
        n_before = self.problems.count
        for row, code in zip(rows[bad].tolist(), codes[bad].tolist(), strict=True):
            if not self.problems.wants(position):
                break
            for problem in refused[code]:
                self._report(position, problem, row)
        total = sum(int(counts[code]) * len(problems) for code, problems in refused.items())
        self.problems.add_uncollected(total - (self.problems.count - n_before))


def _raise_bad_default(path: str | Path, column: Column, refused: ProblemsByPosition) -> None:
    for problems in refused.values():
        value = "" if column.info.default_factory is not None else f" {show_value(column.info.default)}"
        raise SamplingFileError(
            f"{path}: the default{value} of field {column.name!r}: {problems[0].message}",
            hint="Correct the default in the model, or give the file this column.",
        )


def _validate_pool(
    validator: FieldValidator, source: FieldColumn, rest: list[pa.Array[Any]], decoder: Decoder | None
) -> tuple[pa.Array[Any], list[_Codes], ProblemsByPosition]:
    """Validate distinct values; returns the pool of their cells, and for each row its place in the pool."""
    cells = chunked(rest, source.cells.type)
    if pa.types.is_null(cells.type):
        values: list[Any] = []
        codes = [np.full(len(chunk), -1, dtype=np.int64) for chunk in cells.chunks]
    else:
        encoding: Any = cells.dictionary_encode().unify_dictionaries()
        chunks: list[Any] = encoding.chunks
        values = decode_cells(source.column, chunks[0].dictionary, decoder)
        # Arrow may leave empty chunks out here, so that the codes are cut anew
        indices = [pc.fill_null(chunk.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False) for chunk in chunks]
        codes = [code.copy() for code in np.split(np.concatenate(indices), np.cumsum([len(r) for r in rest])[:-1])]
    n_distinct = len(values)
    n_missing = sum(int((code < 0).sum()) for code in codes)
    each = validator.column.info.default_factory is not None
    if n_missing:
        values = [*values, *[MISSING] * (n_missing if each else 1)]
    next_code = n_distinct
    for code in codes:
        missing = code < 0
        code[missing] = np.arange(next_code, next_code + missing.sum()) if each else n_distinct
        next_code += int(missing.sum())
    pool, refused = validator.validate(values)
    return pool, codes, refused


def _rows_of_rest(accepted: list[_Accepted | None], rest: list[pa.Array[Any]]) -> _Codes:
    rows: list[_Codes] = []
    offset = 0
    for fast, chunk in zip(accepted, rest, strict=True):
        if fast is None:
            rows.append(np.arange(offset, offset + len(chunk)))
            offset += len(chunk)
        else:
            rows.append(np.flatnonzero(~fast[0].to_numpy(zero_copy_only=False)) + offset)
            offset += len(fast[0])
    return np.concatenate(rows)


def _taken(pool: pa.Array[Any], indices: Any) -> pa.Array[Any]:
    return pool.take(pa.array(indices))


def _spans(start: int, stop: int, n: int) -> Iterator[tuple[int, int]]:
    for first in range(start, stop, n):
        yield first, min(first + n, stop)
