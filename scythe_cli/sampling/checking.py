"""The verdict on a whole file: which cells are bad, and the columns of the accepted values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from scythe_cli.base import ExperimentInputSpec, input_columns
from scythe_cli.columns import Column, schema_of
from scythe_cli.errors import SamplingFileError
from scythe_cli.sampling.cells import (
    MISSING,
    Given,
    Partial,
    Unusable,
    given_cells,
    given_values,
    interpreter_of,
)
from scythe_cli.sampling.compile import fast_accept, fields_are_independent
from scythe_cli.sampling.findings import Finding, findings_of, found_exception, found_unusable, problem_of
from scythe_cli.sampling.judging import Findings, Judge, encoded
from scythe_cli.sampling.matching import Cell, Group, Match, Source, accepts_none
from scythe_cli.sampling.problems import Problems, show_value
from scythe_cli.sampling.raw import RawFile, chunked

__all__ = ["check_cells"]

pc: Any = pyarrow.compute  # its stubs do not know the types that its functions take

_ROWS_AT_ONCE = 20_000


@dataclass
class _Check:
    """What the check of one file needs everywhere."""

    raw: RawFile
    model: type[ExperimentInputSpec]
    root: Group
    interpreters: dict[str, Given | None]
    problems: Problems = field(default_factory=Problems)

    def report(self, source: int, finding: Finding, row: int) -> None:
        if self.problems.wants(source):
            self.problems.add(source, problem_of(finding, self.raw, row))
        else:
            self.problems.add_uncollected(1)


def check_cells(raw: RawFile, model: type[ExperimentInputSpec], match: Match) -> pa.Table:
    """Judge every cell.

    Returns:
        The validated values, a row for each case.

    Raises:
        BadCellsError: If cells are bad; all are counted and the first ones named.
    """
    root = Group("", FieldInfo(annotation=model), model, match.sources)
    # the folder as it is written, made absolute: a link to the file's folder stays one
    folder = Path(raw.path).absolute().parent
    interpreters = {cell.column: interpreter_of(cell, folder) for cell in _cells_of(root)}
    check = _Check(raw, model, root, interpreters)
    columns = input_columns(model)
    if not columns:
        # a table without columns forgets how many rows it has
        return pa.table({"sort_index": pa.array(np.arange(raw.n_rows), pa.int64())})
    if fields_are_independent(model):
        arrays = [_check_field(check, position, column) for position, column in enumerate(columns)]
    else:
        arrays = _check_rows(check, columns)
    check.problems.raise_if_any(raw.path, hint=_hint(model))
    return pa.Table.from_arrays(arrays, schema=schema_of(columns))


def _hint(model: type[ExperimentInputSpec]) -> str | None:
    if model.model_config.get("strict"):
        return f"{model.__name__} is strict, so that it takes no text for numbers: use Parquet, or strict=False."
    return None


def _cells_of(source: Source) -> Iterator[Cell]:
    if isinstance(source, Cell):
        yield source
    else:
        for part in source.parts.values():
            yield from _cells_of(part)


# ------------------------------------------------------------------ field by field


def _check_field(check: _Check, position: int, column: Column) -> pa.ChunkedArray[Any]:
    source = check.root.parts.get(column.name)
    judge = Judge(column, check.root)
    if source is None:
        return _defaults(check, judge)
    if isinstance(source, Cell):
        try:
            return _check_distinct(check, position, judge, source)
        except (pa.ArrowNotImplementedError, pa.ArrowTypeError):
            pass  # lists and structs have no dictionaries
    return _check_each(check, position, judge, source)


def _defaults(check: _Check, judge: Judge) -> pa.ChunkedArray[Any]:
    """A column that the file lacks; a factory may give each row another value."""
    n_rows = check.raw.n_rows
    each = judge.column.info.default_factory is not None
    chunks: list[pa.Array[Any]] = []
    for start in range(0, n_rows, _ROWS_AT_ONCE):
        n = min(_ROWS_AT_ONCE, n_rows - start)
        if each or not chunks:
            array, findings = judge.judge([MISSING] * (n if each else 1))
            _raise_bad_default(check.raw.path, judge.column, findings)
            chunks.append(array if each else _taken(array, np.zeros(n_rows, np.int64)))
    return chunked(chunks, judge.column.type)


def _raise_bad_default(path: Path, column: Column, findings: Findings) -> None:
    for found in findings.values():
        value = "" if column.info.default_factory is not None else f" {show_value(column.info.default)}"
        raise SamplingFileError(
            f"{path}: the default{value} of field {column.name!r}: {found[0].message}",
            hint="Correct the default in the model, or give the file this column.",
        )


def _check_distinct(check: _Check, position: int, judge: Judge, cell: Cell) -> pa.ChunkedArray[Any]:
    """Accept what can be accepted at once; judge each distinct value of the rest."""
    type_ = judge.column.type
    config = check.model.model_config
    given = check.interpreters[cell.column]
    accept = None if given is not None else fast_accept(judge.column.info, config, cell.cells.type)
    accepted: list[tuple[pa.BooleanArray, pa.Array[Any]] | None] = []
    rest: list[pa.Array[Any]] = []
    for chunk in cell.cells.chunks:
        if accept is None:
            accepted.append(None)
            rest.append(chunk)
            continue
        ok, values = accept(chunk)
        accepted.append((ok, values))
        rest.append(chunk.slice(0, 0) if ok.true_count == len(ok) else chunk.filter(pc.invert(ok)))
    if not any(map(len, rest)):
        return chunked([values for _, values in filter(None, accepted)], type_)
    pool, codes, findings = _judge_distinct(judge, cell, rest, given)
    if findings:
        _report_distinct(check, position, findings, _rows_of_rest(accepted, rest), np.concatenate(codes))
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


def _taken(pool: pa.Array[Any], indices: npt.NDArray[np.int64]) -> pa.Array[Any]:
    positions: Any = pa.array(indices)
    return pool.take(positions)


def _judge_distinct(
    judge: Judge, cell: Cell, rest: list[pa.Array[Any]], given: Given | None
) -> tuple[pa.Array[Any], list[npt.NDArray[np.int64]], Findings]:
    """Judge distinct values; returns the pool of their cells, and for each row its place in the pool."""
    cells = chunked(rest, cell.cells.type)
    if pa.types.is_null(cells.type):
        values: list[Any] = []
        codes = [np.full(len(chunk), -1, dtype=np.int64) for chunk in cells.chunks]
    else:
        encoding: Any = cells.dictionary_encode().unify_dictionaries()
        chunks: list[Any] = encoding.chunks
        values = given_cells(cell.column, chunks[0].dictionary, given)
        # Arrow may leave empty chunks out here, so that the codes are cut anew
        indices = [pc.fill_null(chunk.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False) for chunk in chunks]
        codes = [code.copy() for code in np.split(np.concatenate(indices), np.cumsum([len(r) for r in rest])[:-1])]
    n_distinct = len(values)
    n_missing = sum(int((code < 0).sum()) for code in codes)
    each = judge.column.info.default_factory is not None
    if n_missing:
        values = [*values, *[MISSING] * (n_missing if each else 1)]
    next_code = n_distinct
    for code in codes:
        missing = code < 0
        n = int(missing.sum())
        code[missing] = np.arange(next_code, next_code + n) if each else n_distinct
        next_code += n
    pool, findings = judge.judge(values)
    return pool, codes, findings


def _rows_of_rest(
    accepted: list[tuple[pa.BooleanArray, pa.Array[Any]] | None], rest: list[pa.Array[Any]]
) -> npt.NDArray[np.int64]:
    rows: list[npt.NDArray[np.int64]] = []
    offset = 0
    for fast, chunk in zip(accepted, rest, strict=True):
        if fast is None:
            rows.append(np.arange(offset, offset + len(chunk)))
            offset += len(chunk)
        else:
            rows.append(np.flatnonzero(~fast[0].to_numpy(zero_copy_only=False)) + offset)
            offset += len(fast[0])
    return np.concatenate(rows)


def _report_distinct(
    check: _Check,
    position: int,
    findings: Findings,
    rows: npt.NDArray[np.int64],
    codes: npt.NDArray[np.int64],
) -> None:
    bad = np.isin(codes, np.fromiter(findings, dtype=np.int64))
    counts = np.bincount(codes[bad])
    n_before = check.problems.count
    for row, code in zip(rows[bad].tolist(), codes[bad].tolist(), strict=True):
        if not check.problems.wants(position):
            break
        for finding in findings[code]:
            check.report(position, finding, row)
    total = sum(int(counts[code]) * len(found) for code, found in findings.items())
    check.problems.add_uncollected(total - (check.problems.count - n_before))


def _check_each(check: _Check, position: int, judge: Judge, source: Source) -> pa.ChunkedArray[Any]:
    """Judge each cell of a column whose values cannot be told apart cheaply."""
    chunks: list[pa.Array[Any]] = []
    for start, stop in _spans(check.raw.n_rows):
        array, findings = judge.judge(given_values(source, start, stop, check.interpreters))
        chunks.append(array)
        for offset in sorted(findings):
            for finding in findings[offset]:
                check.report(position, finding, start + offset)
    return chunked(chunks, judge.column.type)


def _spans(n_rows: int) -> Iterator[tuple[int, int]]:
    for start in range(0, n_rows, _ROWS_AT_ONCE):
        yield start, min(start + _ROWS_AT_ONCE, n_rows)


# -------------------------------------------------------------------- row by row


def _check_rows(check: _Check, columns: list[Column]) -> list[pa.ChunkedArray[Any]]:
    """Judge whole rows, as the process that runs the specs does."""
    sources = check.root.parts
    none_if_missing = {name for name, s in sources.items() if s.info.is_required() and accepts_none(s.info.annotation)}
    clean = all(_needs_no_look(check, source) for source in sources.values())
    chunks: list[list[pa.Array[Any]]] = [[] for _ in columns]
    for start, stop in _spans(check.raw.n_rows):
        specs = _specs(check, start, stop, none_if_missing, clean=clean)
        values = [[None if spec is None else getattr(spec, column.name) for spec in specs] for column in columns]
        for position, (column, kept, done) in enumerate(zip(columns, values, chunks, strict=True), 1):
            array, misfits = encoded(column, kept)
            source = sources.get(column.name)
            cell = source if isinstance(source, Cell) else None
            label = column.name if source is None else source.column
            for offset, message in misfits.items():
                shown = None if cell is not None else show_value(kept[offset])
                check.report(position, Finding(label, message, cell, shown), start + offset)
            done.append(array)
    return [chunked(done, column.type) for done, column in zip(chunks, columns, strict=True)]


def _specs(check: _Check, start: int, stop: int, none_if_missing: set[str], *, clean: bool) -> list[Any]:
    """Build the specs of some rows, None in place of a bad one."""
    sources = check.root.parts
    given = [given_values(source, start, stop, check.interpreters) for source in sources.values()]
    # without a column there is nothing to zip
    rows = zip(*given, strict=True) if given else iter([()] * (stop - start))
    validate = check.model.__pydantic_validator__.validate_python
    specs: list[Any] = []
    for row, cells in enumerate(rows, start):
        values = dict(zip(sources, cells, strict=True))
        if clean:
            try:
                specs.append(validate(values, by_alias=True, by_name=True))
                continue
            except Exception:  # noqa: BLE001 - judged again below, which puts it into words
                pass
        specs.append(_check_row(check, row, values, none_if_missing))
    return specs


def _needs_no_look(check: _Check, source: Source) -> bool:
    """Whether each cell of a source is there and goes to pydantic as it is."""
    if not isinstance(source, Cell) or check.interpreters[source.column] is not None or source.cells.null_count:
        return False
    type_ = source.cells.type
    return pa.types.is_string(type_) or pa.types.is_integer(type_) or pa.types.is_floating(type_)


def _check_row(check: _Check, row: int, cells: dict[str, Any], none_if_missing: set[str]) -> Any:
    """Judge one row; returns the spec, or None if it is bad."""
    unusable: list[Unusable] = []
    given: dict[str, Any] = {}
    for name, value in cells.items():
        if isinstance(value, Unusable):
            unusable.append(value)
        elif isinstance(value, Partial):
            given[name] = value.values
            unusable += value.unusable
        elif value is not MISSING:
            given[name] = value
        elif name in none_if_missing:
            given[name] = None
    found = [found_unusable(value) for value in unusable]
    spec = None
    try:
        spec = check.model.__pydantic_validator__.validate_python(given, by_alias=True, by_name=True)
    except ValidationError as error:
        # a cell that could not be given is not also missing
        hidden = {value.column for value in unusable}
        found += [finding for finding in findings_of(error, check.root) if finding.column not in hidden]
    except Exception as error:  # noqa: BLE001 - a validator of the user's can raise anything
        if not unusable:
            found.append(found_exception(error, check.root, ()))
    for finding in found:
        check.report(0, finding, row)
    return None if found else spec
