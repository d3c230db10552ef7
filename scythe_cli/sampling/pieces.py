"""The verdict on a piece of a file: whole rows, or the cells of one field, from a first row to a last.

Pieces are judged one by one, in any order and in any process; what is said of them is put together in the order of the
file.
"""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from scythe_cli.model.columns import Column, input_columns
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.sampling.cells import (
    MISSING,
    Given,
    Missing,
    Partial,
    Unusable,
    given_values,
    interpreter_of,
)
from scythe_cli.sampling.files.raw import RawFile, chunked
from scythe_cli.sampling.findings import (
    Finding,
    findings_of,
    found_exception,
    found_unusable,
    problem_of,
)
from scythe_cli.sampling.matching import (
    Cell,
    Group,
    Match,
    Source,
    accepts_none,
)
from scythe_cli.sampling.problems import Problems, show_value
from scythe_cli.sampling.validate import Judge, encoded

if TYPE_CHECKING:
    from scythe_cli.model.experiment import RegisteredExperiment


__all__ = ["Check", "Helpers", "Piece", "Verdict", "cells_of"]


# more are slower: the garbage collector looks at all of them again and again
_SPECS_AT_ONCE = 1_000
_MARKS = frozenset({Missing, Unusable, Partial})


@dataclass(frozen=True, slots=True)
class Helpers:
    """Processes that may be started to judge rows.

    Attributes:
        experiment: The experiment whose input model judges.
        root: The project's folder, from which its module is imported.
        n: How many there may be beside this process.
        worth_s: One is started for so many seconds of work; it takes most of a second to start.
    """

    experiment: RegisteredExperiment[Any, Any]
    root: Path | None
    n: int
    worth_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a file, and what of them is judged.

    Attributes:
        start: The first row.
        stop: The row after the last.
        position: The position of a field among the model's; None for all of them, row by row.
    """

    start: int
    stop: int
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of a piece.

    Attributes:
        arrays: A column for each field that was judged: the accepted values, null where one is refused.
        problems: What is wrong.
    """

    arrays: list[pa.Array[Any]]
    problems: Problems


@dataclass
class Check:
    """A file, and the model that it is judged by.

    Attributes:
        raw: The file.
        model: The model.
        match: Which column belongs to which field.
        interpreters: How the cells of each column are read; found out unless given.
        problems: What is wrong, as far as it is known.
    """

    raw: RawFile
    model: type[ExperimentInputSpec]
    match: Match
    interpreters: dict[str, Given | None] = field(default_factory=dict[str, "Given | None"])
    problems: Problems = field(default_factory=Problems)

    def __post_init__(self) -> None:
        self.root = Group("", FieldInfo(annotation=self.model), self.model, self.match.sources)
        self.columns: list[Column] = input_columns(self.model)
        # the folder as it is written, made absolute: a link to the file's folder stays one
        folder = Path(self.raw.path).absolute().parent
        for cell in cells_of(self.root):
            if cell.column not in self.interpreters:
                self.interpreters[cell.column] = interpreter_of(cell, folder)
        sources = self.root.parts
        self._none_if_missing = {
            name for name, s in sources.items() if s.info.is_required() and accepts_none(s.info.annotation)
        }
        self._validate = self.model.__pydantic_validator__.validate_python
        rows: Any = list[self.model]  # pyright: ignore[reportInvalidTypeForm]
        self._validate_all = TypeAdapter[Any](rows).validator.validate_python
        self._judges: dict[int, Judge] = {}

    def report(self, source: int, finding: Finding, row: int, problems: Problems | None = None) -> None:
        """Note a problem, and put it into words if it may be shown."""
        problems = self.problems if problems is None else problems
        if problems.wants(source):
            problems.add(source, problem_of(finding, self.raw, row))
        else:
            problems.add_uncollected(1)

    def judge_of(self, position: int) -> Judge:
        """What judges the values of a field."""
        if position not in self._judges:
            self._judges[position] = Judge(self.columns[position], self.root)
        return self._judges[position]

    def forget(self, position: int) -> None:
        """Let go of the cells of a field that has been judged."""
        source = self.root.parts.pop(self.columns[position].name, None)
        if source is None:
            return
        gone = {cell.column for cell in cells_of(source)}
        for at, (name, column) in enumerate(zip(self.raw.names, self.raw.columns, strict=True)):
            if name in gone:
                self.raw.columns[at] = chunked([], column.type)  # a slice would keep what it is of

    def judge(self, piece: Piece) -> Verdict:
        """Judge a piece."""
        problems = Problems()
        if piece.position is None:
            with _young_heap():
                return Verdict(self._judge_rows(piece, problems), problems)
        judge = self.judge_of(piece.position)
        source = self.root.parts[judge.column.name]
        arrays: list[pa.Array[Any]] = []
        for start, stop in _spans(piece):
            array, findings = judge.judge(given_values(source, start, stop, self.interpreters))
            arrays.append(array)
            for offset in sorted(findings):
                for finding in findings[offset]:
                    self.report(piece.position, finding, start + offset, problems)
        return Verdict([pa.concat_arrays(arrays)], problems)

    # -------------------------------------------------------------- row by row

    def _judge_rows(self, piece: Piece, problems: Problems) -> list[pa.Array[Any]]:
        """Judge whole rows, as the process that runs the specs does."""
        chunks: list[list[pa.Array[Any]]] = [[] for _ in self.columns]
        for start, stop in _spans(piece):
            specs = self._specs(start, stop, problems)
            is_whole = type(None) not in set(map(type, specs))
            for position, (column, done) in enumerate(zip(self.columns, chunks, strict=True), 1):
                kept = list(map(attrgetter(column.name), specs)) if is_whole else _values(column.name, specs)
                done.append(self._encoded(position, column, kept, start, problems))
        return [pa.concat_arrays(done) for done in chunks]

    def _encoded(
        self, position: int, column: Column, kept: Sequence[Any], start: int, problems: Problems
    ) -> pa.Array[Any]:
        array, misfits = encoded(column, kept)
        source = self.root.parts.get(column.name)
        cell = source if isinstance(source, Cell) else None
        label = column.name if source is None else source.column
        for offset, message in misfits.items():
            shown = None if cell is not None else show_value(kept[offset])
            self.report(position, Finding(label, message, cell, shown), start + offset, problems)
        return array

    def _specs(self, start: int, stop: int, problems: Problems) -> list[Any]:
        """Build the specs of some rows, None in place of a bad one."""
        sources = self.root.parts
        names = tuple(sources)
        given = [given_values(source, start, stop, self.interpreters) for source in sources.values()]
        # without a column there is nothing to zip
        rows = list(zip(*given, strict=True)) if given else [()] * (stop - start)
        plain = self._plain_rows(names, given, rows)
        if plain is not None:
            try:
                # one call for all is faster than one for each
                return self._validate_all(plain, by_alias=True, by_name=True)
            except Exception:  # noqa: BLE001 - judged again below, which puts it into words
                pass
        # made anew: a validator may have changed what it was given
        return [
            self._judge_row(row, dict(zip(names, cells, strict=True)), problems)
            for row, cells in enumerate(rows, start)
        ]

    def _plain_rows(
        self, names: Sequence[str], given: Sequence[Sequence[Any]], rows: Sequence[Sequence[Any]]
    ) -> list[dict[str, Any]] | None:
        """What pydantic is given for each row; None where cells need a closer look."""
        marks = [_MARKS.intersection(map(type, values)) for values in given]
        if not any(marks):
            return [dict(zip(names, cells, strict=True)) for cells in rows]
        missing = {name for name, found in zip(names, marks, strict=True) if found}
        if set().union(*marks) == {Missing} and not missing & self._none_if_missing:
            return [
                {name: cell for name, cell in zip(names, cells, strict=True) if cell is not MISSING} for cells in rows
            ]
        return None

    def _judge_row(self, row: int, cells: dict[str, Any], problems: Problems) -> Any:
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
            elif name in self._none_if_missing:
                given[name] = None
        found = [found_unusable(value) for value in unusable]
        spec = None
        try:
            spec = self._validate(given, by_alias=True, by_name=True)
        except ValidationError as error:
            # a cell that could not be given is not also missing
            hidden = {value.column for value in unusable}
            found += [finding for finding in findings_of(error, self.root) if finding.column not in hidden]
        except Exception as error:  # noqa: BLE001 - a validator of the user's can raise anything
            if not unusable:
                found.append(found_exception(error, self.root, ()))
        for finding in found:
            self.report(0, finding, row, problems)
        return None if found else spec


def cells_of(source: Source) -> Iterator[Cell]:
    """The columns that a field, or a part of one, comes from."""
    if isinstance(source, Cell):
        yield source
    else:
        for part in source.parts.values():
            yield from cells_of(part)


def _spans(piece: Piece) -> Iterator[tuple[int, int]]:
    for start in range(piece.start, piece.stop, _SPECS_AT_ONCE):
        yield start, min(start + _SPECS_AT_ONCE, piece.stop)


def _values(name: str, specs: Sequence[Any]) -> list[Any]:
    return [None if spec is None else getattr(spec, name) for spec in specs]


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
