"""What is wrong with a value: from pydantic's errors to the cells of the file that they are about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from scythe_cli.core.text import plain_message
from scythe_cli.sampling.decoding import Unusable, is_plain
from scythe_cli.sampling.field_names import field_at
from scythe_cli.sampling.file_columns import FieldColumn, FieldGroup, RawFile
from scythe_cli.sampling.problems import CellProblem, show_value

__all__ = [
    "ValueProblem",
    "cell_problem",
    "empty_problem",
    "exception_problem",
    "problems_of_error",
    "unusable_problem",
]


_EMPTY = "the cell is empty and the field has no default"


@dataclass(frozen=True, slots=True)
class ValueProblem:
    """What is wrong with a cell, wherever it occurs.

    Attributes:
        column: The column, dotted for a part of a cell; None for a whole row.
        message: What is wrong.
        cell: The column whose cell is shown as the value.
        value: The value to show if that is not a whole cell.
    """

    column: str | None
    message: str
    cell: FieldColumn | None = None
    value: str | None = None


def cell_problem(problem: ValueProblem, raw: RawFile, row: int) -> CellProblem:
    """The problem as it occurs in a row."""
    value = problem.value
    if problem.cell is not None:
        try:
            content = problem.cell.cells[row].as_py()
        except (ValueError, OverflowError):
            content = "?"
        value = None if content is None else show_value(content)
    return CellProblem(raw.row_label(row), row, problem.column, value, problem.message)


def unusable_problem(unusable: Unusable) -> ValueProblem:
    """The problem of a cell that has no value which pydantic could validate."""
    return ValueProblem(unusable.column, unusable.message, value=show_value(unusable.value))


def empty_problem(column: str) -> ValueProblem:
    """The problem of an empty cell that needs a value."""
    return ValueProblem(column, _EMPTY)


def exception_problem(error: Exception, root: FieldGroup, location: Sequence[str | int]) -> ValueProblem:
    """The problem behind an exception of the user's own validator that pydantic does not turn into its own error."""
    column, cell, _ = _locate(root, location, len(location))
    return ValueProblem(column, f"{type(error).__name__}: {error}", cell=cell)


def problems_of_error(error: ValidationError, root: FieldGroup, prefix: Sequence[str | int] = ()) -> list[ValueProblem]:
    """One problem for each cell, or part of a cell, that an error is about.

    Args:
        error: The error.
        root: The columns of the whole model.
        prefix: Where in the model the validation began.
    """
    problems: dict[str | None, ValueProblem] = {}
    for detail in error.errors(include_url=False, include_context=False):
        location = (*prefix, *detail["loc"])
        place = _locate(root, location, len(prefix))
        problem = _problem_of_detail(detail["type"], detail["msg"], place, detail.get("input"))
        before = problems.get(problem.column)
        if before is None:
            problems[problem.column] = problem
        elif problem.message not in before.message:
            # each member of a union says why it does not take the value
            problems[problem.column] = replace(before, message=f"{before.message}; {problem.message}")
    return list(problems.values())


def _problem_of_detail(
    kind: str, message: str, place: tuple[str | None, FieldColumn | None, Sequence[str | int]], value: Any
) -> ValueProblem:
    column, cell, tail = place
    message = plain_message(message)
    if kind == "missing":
        if not column:
            return ValueProblem(None, message)
        return ValueProblem(column + _dotted(tail), _EMPTY if cell is not None and not tail else message)
    if column is None:
        return ValueProblem(None, message)
    if tail and not (cell is not None and is_plain(cell)):
        return ValueProblem(column + _dotted(tail), message, value=show_value(value))
    return ValueProblem(column, message, cell=cell)


def _locate(
    root: FieldGroup, location: Sequence[str | int], n_names: int
) -> tuple[str | None, FieldColumn | None, Sequence[str | int]]:
    """The column that a location is about, its cells, and the way on inside the cell.

    Args:
        root: The columns of the whole model.
        location: Fields, and parts of values.
        n_names: How many of the first parts are names of fields; in the others, pydantic uses other names too.
    """
    node: FieldGroup | FieldColumn = root
    position = 0
    while position < len(location):
        if isinstance(node, FieldColumn):
            return node.column, node, location[position:]
        part = location[position]
        name, n = (str(part), 1) if position < n_names else field_at(node.model, location[position:])
        child = node.parts.get(str(part) if name is None else name)
        if child is None:
            column = f"{node.column}.{part}" if node.column else str(part)
            return column, None, location[position + n :]
        node = child
        position += n
    if isinstance(node, FieldColumn):
        return node.column, node, ()
    return node.column or None, None, ()


def _dotted(tail: Sequence[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in tail)
