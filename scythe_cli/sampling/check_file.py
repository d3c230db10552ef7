"""The verdict on a whole file: which cells are bad, and the columns of the accepted values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from scythe_cli.errors import SamplingFileError
from scythe_cli.model.columns import Column, schema_of
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.sampling.cells import (
    MISSING,
    Given,
    given_cells,
    given_values,
)
from scythe_cli.sampling.column_rules import fast_accept, fields_are_independent
from scythe_cli.sampling.files.raw import RawFile, chunked
from scythe_cli.sampling.matching import (
    Cell,
    Group,
    Match,
    Source,
)
from scythe_cli.sampling.nested import NestedAccept, accept_nested
from scythe_cli.sampling.pieces import (
    Check,
    Helpers,
    Piece,
    Verdict,
)
from scythe_cli.sampling.problems import show_value
from scythe_cli.sampling.validate import Findings, Judge

__all__ = ["check_cells"]


pc: Any = pyarrow.compute  # its stubs do not know the types that its functions take

_ROWS_AT_ONCE = 20_000


def check_cells(
    raw: RawFile, model: type[ExperimentInputSpec], match: Match, helpers: Helpers | None = None
) -> pa.Table:
    """Judge every cell.

    Args:
        raw: The file.
        model: The model.
        match: Which column belongs to which field.
        helpers: Who may help where cells have to be judged one by one.

    Returns:
        The validated values, a row for each case.

    Raises:
        BadCellsError: If cells are bad; all are counted and the first ones named.
    """
    check = Check(raw, model, match)
    columns = check.columns
    if not columns:
        # a table without columns forgets how many rows it has
        return pa.table({"sort_index": pa.array(np.arange(raw.n_rows), pa.int64())})
    if fields_are_independent(model):
        arrays: list[pa.ChunkedArray[Any]] = []
        for position in range(len(columns)):
            arrays.append(_check_field(check, position, helpers))
            # from here on, its text would only take memory
            check.forget(position)
    else:
        arrays = _check_pieces(check, None, helpers)
    check.problems.raise_if_any(raw.path, hint=_hint(model))
    return pa.Table.from_arrays(arrays, schema=schema_of(columns))


def _check_pieces(check: Check, position: int | None, helpers: Helpers | None) -> list[pa.ChunkedArray[Any]]:
    """Judge all rows, or each cell of a field, and not distinct cells only."""
    if helpers is None or helpers.n < 1 or _may_count(check):
        pieces = (Piece(start, stop, position) for start, stop in _spans(check.raw.n_rows))
        verdicts: Iterable[Verdict] = map(check.judge, pieces)
    else:
        from scythe_cli.sampling.sharing import judge_shared

        verdicts = judge_shared(check, position, helpers)
    columns = check.columns if position is None else [check.columns[position]]
    chunks: list[list[pa.Array[Any]]] = [[] for _ in columns]
    for verdict in verdicts:
        check.problems.take(verdict.problems, check.raw.row_label)
        for done, array in zip(chunks, verdict.arrays, strict=True):
            done.append(array)
    return [chunked(done, column.type) for done, column in zip(chunks, columns, strict=True)]


def _may_count(check: Check) -> bool:
    """Whether a factory makes values: it may give each row another one, as a counter does."""
    return any(info.default_factory is not None for info in check.model.model_fields.values())


def _hint(model: type[ExperimentInputSpec]) -> str | None:
    if model.model_config.get("strict"):
        return f"{model.__name__} is strict, so that it takes no text for numbers: use Parquet, or strict=False."
    return None


def _check_field(check: Check, position: int, helpers: Helpers | None) -> pa.ChunkedArray[Any]:
    judge = check.judge_of(position)
    source = check.root.parts.get(judge.column.name)
    if source is None:
        return _defaults(check, judge)
    if isinstance(source, Cell):
        try:
            return _check_distinct(check, position, judge, source)
        except (pa.ArrowNotImplementedError, pa.ArrowTypeError):
            pass  # lists and structs have no dictionaries
    else:
        accept = accept_nested(source, judge.column, check.interpreters)
        if accept is not None and (column := _check_nested(check, position, source, accept)) is not None:
            return column
    return _check_pieces(check, position, helpers)[0]


def _check_nested(check: Check, position: int, group: Group, accept: NestedAccept) -> pa.ChunkedArray[Any] | None:
    """Accept what can be accepted at once, and judge the other rows; None if these are most of them."""
    judge = check.judge_of(position)
    chunks: list[pa.Array[Any]] = []
    for start, stop in _spans(check.raw.n_rows):
        accepted = accept(start, stop)
        if accepted.ok.true_count == stop - start:
            chunks.append(accepted.values)
            continue
        rows = np.flatnonzero(~accepted.ok.to_numpy(zero_copy_only=False))
        if start == 0 and len(rows) > (stop - start) / 2:
            return None
        values = given_values(_rows_of(group, start, stop, pa.array(rows)), 0, len(rows), check.interpreters)
        array, findings = judge.judge(values)
        for offset in sorted(findings):
            for finding in findings[offset]:
                check.report(position, finding, start + int(rows[offset]))
        order = np.arange(stop - start)
        order[rows] = np.arange(stop - start, stop - start + len(rows))
        chunks.append(_taken(pa.concat_arrays([accepted.values, array]), order))
    return chunked(chunks, judge.column.type)


def _rows_of(source: Source, start: int, stop: int, rows: Any) -> Any:
    """A field as it is in some rows."""
    if isinstance(source, Cell):
        cells: Any = source.cells.slice(start, stop - start).take(rows)
        return Cell(source.column, cells, source.info)
    parts = {name: _rows_of(part, start, stop, rows) for name, part in source.parts.items()}
    return Group(source.column, source.info, source.model, parts)


def _defaults(check: Check, judge: Judge) -> pa.ChunkedArray[Any]:
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


def _check_distinct(check: Check, position: int, judge: Judge, cell: Cell) -> pa.ChunkedArray[Any]:
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
    check: Check,
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


def _spans(n_rows: int) -> Iterator[tuple[int, int]]:
    for start in range(0, n_rows, _ROWS_AT_ONCE):
        yield start, min(start + _ROWS_AT_ONCE, n_rows)
