"""What is wrong with a value: from pydantic's errors to the cells of the file that they are about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from scythe_cli.sampling.decoding import Unusable, is_plain
from scythe_cli.sampling.file_columns import FieldColumn, FieldGroup, RawFile, field_of_location
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
    column, cell, _ = _locate(root, location)
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
        problem = _problem_of_detail(detail["type"], detail["msg"], location, detail.get("input"), root)
        before = problems.get(problem.column)
        if before is None:
            problems[problem.column] = problem
        elif problem.message not in before.message:
            # each member of a union says why it does not take the value
            problems[problem.column] = replace(before, message=f"{before.message}; {problem.message}")
    return list(problems.values())


def _problem_of_detail(
    kind: str, message: str, location: Sequence[str | int], value: Any, root: FieldGroup
) -> ValueProblem:
    column, cell, tail = _locate(root, location)
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
    root: FieldGroup, location: Sequence[str | int]
) -> tuple[str | None, FieldColumn | None, Sequence[str | int]]:
    """The column that a location is about, its cells, and the way on inside the cell."""
    node: FieldGroup | FieldColumn = root
    for position, part in enumerate(location):
        if isinstance(node, FieldColumn):
            return node.column, node, location[position:]
        name = field_of_location(node.model, part)
        child = None if name is None else node.parts.get(name)
        if child is None:
            column = f"{node.column}.{part}" if node.column else str(part)
            return column, None, location[position + 1 :]
        node = child
    if isinstance(node, FieldColumn):
        return node.column, node, ()
    return node.column or None, None, ()


def _dotted(tail: Sequence[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in tail)
