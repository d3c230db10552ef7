"""Bad cells: what is said of one, and how many of them are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from scythe_cli.errors import SamplingFileError

__all__ = ["MAX_SHOWN", "BadCellsError", "CellProblem", "Problems", "listing", "show_text", "show_value"]


MAX_SHOWN = 20
"""How many problems of one file are written out; the rest are counted."""

_MAX_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class CellProblem:
    """What is wrong with one cell, or with one row.

    Attributes:
        label: Where it is, for a person: `line 18`, or `row 17` of a Parquet file.
        row: The position of the case, from 0: its `sort_index`.
        column: The column as the file names it, dotted for a part of a cell; None for a whole row.
        value: The cell as it is written, cut; None for an empty cell or a whole row.
        message: What is wrong, in pydantic's words.
    """

    label: str
    row: int
    column: str | None
    value: str | None
    message: str

    def __str__(self) -> str:
        place = self.label if self.column is None else f"{self.label}, {self.column}"
        return ": ".join(part for part in (place, self.value, self.message) if part is not None)


class BadCellsError(SamplingFileError):
    """Some cells of a sampling file are wrong.

    Attributes:
        path: The file, as it is shown.
        problems: The first problems, in the order of the file.
        n_problems: How many there are in all.
        n_lines: How many of them are lines with too few or too many cells.
    """

    def __init__(
        self,
        path: str | Path,
        problems: Sequence[CellProblem],
        n_problems: int,
        *,
        n_lines: int = 0,
        hint: str | None = None,
    ) -> None:
        n_cells = n_problems - n_lines
        cells = f"{n_cells:,} bad {'cell' if n_cells == 1 else 'cells'}"
        lines = f"{n_lines:,} {'line has' if n_lines == 1 else 'lines have'} not as many cells as the header"
        title = ", ".join(text for text, n in ((cells, n_cells), (lines, n_lines)) if n)
        super().__init__(listing(f"{path}: {title}", map(str, problems), n_problems), hint=hint)
        self.path = path
        self.problems = list(problems)
        self.n_problems = n_problems
        self.n_lines = n_lines


def listing(title: str, lines: object, n_lines: int) -> str:
    """A title with lines below it, of which at most `MAX_SHOWN` are shown."""
    shown = [f"  {line}" for line, _ in zip(lines, range(MAX_SHOWN), strict=False)]  # pyright: ignore[reportArgumentType]
    more = [f"  and {n_lines - len(shown):,} more"] if n_lines > len(shown) else []
    return "\n".join([title, *shown, *more])


class Problems:
    """Collects the problems of a file; keeps the first of each source and counts the rest.

    Problems of one source (a column, or the rows) must come in the order of the file.

    Attributes:
        count: How many there are.
        changes: What changes of the values of a field; it is no problem, but there is to tell.
    """

    def __init__(self) -> None:
        self.count = 0
        self.changes: dict[str, set[str]] = {}
        self._kept: list[tuple[int, int, CellProblem]] = []
        self._n_of_source: dict[int, int] = {}

    def wants(self, source: int) -> bool:
        """Whether a further problem of this source could be shown."""
        return self._n_of_source.get(source, 0) < MAX_SHOWN

    def add(self, source: int, problem: CellProblem) -> None:
        """Add a problem; `source` is the position of the column among the model's."""
        if self.wants(source):
            self._kept.append((problem.row, source, problem))
            self._n_of_source[source] = self._n_of_source.get(source, 0) + 1
        self.count += 1

    def add_all(self, source: int, problems: Sequence[CellProblem]) -> None:
        """Add problems of one source."""
        for problem in problems:
            self.add(source, problem)

    def rows(self) -> set[int]:
        """The rows of those that are kept; all rows with any, where these are few."""
        return {problem.row for _, _, problem in self._kept} if len(self._kept) == self.count else {-1}

    def add_uncollected(self, n: int) -> None:
        """Count problems that are not wanted any more."""
        self.count += n

    def take(self, others: Problems, row_label: Callable[[int], str], first_row: int = 0) -> None:
        """Add what another has collected, whose rows come after those of this one.

        Args:
            others: The other.
            row_label: Names a row of the file.
            first_row: The row that is row 0 to the other.
        """
        n_before = self.count
        for _, source, problem in others._kept:
            if self.wants(source):
                row = problem.row + first_row
                self.add(source, replace(problem, row=row, label=row_label(row)))
        self.add_uncollected(others.count - (self.count - n_before))
        self.note(others.changes)

    def note(self, changes: Mapping[str, Iterable[str]]) -> None:
        """Add what changes of the values of fields."""
        for name, what in changes.items():
            if what:
                self.changes.setdefault(name, set()).update(what)

    def to_plain(self) -> dict[str, Any]:
        """As plain data, for another process."""
        return {
            "count": self.count,
            "kept": [[source, asdict(problem)] for _, source, problem in self._kept],
            "changes": {name: sorted(what) for name, what in self.changes.items()},
        }

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Problems:
        """Read what `to_plain` gave."""
        problems = cls()
        for source, fields in data["kept"]:
            problems.add(source, CellProblem(**fields))
        problems.count = data["count"]
        problems.note(data["changes"])
        return problems

    def raise_if_any(self, path: str | Path, *, n_lines: int = 0, hint: str | None = None) -> None:
        """Raise `BadCellsError` if there are any.

        Args:
            path: The file, as it is shown.
            n_lines: How many of them are lines with too few or too many cells.
            hint: What to do about them.
        """
        if self.count:
            first = sorted(self._kept, key=lambda kept: kept[:2])[:MAX_SHOWN]
            raise BadCellsError(path, [problem for _, _, problem in first], self.count, n_lines=n_lines, hint=hint)


def show_text(text: str) -> str:
    """Text for a message: control characters escaped, cut."""
    head = text[: _MAX_CHARACTERS + 1]
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in head)
    return escaped if len(escaped) <= _MAX_CHARACTERS else escaped[: _MAX_CHARACTERS - 3] + "..."


def show_value(value: object) -> str:
    """A cell for a message: text as it is written, in quotes where white space at its ends would be overlooked."""
    if isinstance(value, str):
        return show_text(value) if value and value == value.strip() else f"'{show_text(value)}'"
    if isinstance(value, (date, datetime, time)):
        return value.isoformat()
    return show_text(repr(value))
