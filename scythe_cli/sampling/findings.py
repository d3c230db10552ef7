"""From pydantic's errors to the cells of the file that they are about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from scythe_cli.sampling.cells import Unusable, is_plain
from scythe_cli.sampling.files.raw import RawFile
from scythe_cli.sampling.matching import Cell, Group, field_of_location
from scythe_cli.sampling.problems import CellProblem, show_value

__all__ = ["EMPTY", "Finding", "findings_of", "found_empty", "found_exception", "found_unusable", "problem_of"]


EMPTY = "the cell is empty and the field has no default"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a cell, wherever it occurs.

    Attributes:
        column: The column, dotted for a part of a cell; None for a whole row.
        message: What is wrong.
        cell: The column whose cell is shown as the value.
        value: The value to show if that is not a whole cell.
    """

    column: str | None
    message: str
    cell: Cell | None = None
    value: str | None = None


def problem_of(finding: Finding, raw: RawFile, row: int) -> CellProblem:
    """The finding as it occurs in a row."""
    value = finding.value
    if finding.cell is not None:
        try:
            content = finding.cell.cells[row].as_py()
        except (ValueError, OverflowError):
            content = "?"
        value = None if content is None else show_value(content)
    return CellProblem(raw.row_label(row), row, finding.column, value, finding.message)


def found_unusable(unusable: Unusable) -> Finding:
    """A cell that pydantic could not be asked about."""
    return Finding(unusable.column, unusable.message, value=show_value(unusable.value))


def found_empty(column: str) -> Finding:
    """An empty cell that needs a value."""
    return Finding(column, EMPTY)


def found_exception(error: Exception, root: Group, location: Sequence[str | int]) -> Finding:
    """An exception out of the user's own validator that pydantic does not take for a verdict."""
    column, cell, _ = _locate(root, location)
    return Finding(column, f"{type(error).__name__}: {error}", cell=cell)


def findings_of(error: ValidationError, root: Group, prefix: Sequence[str | int] = ()) -> list[Finding]:
    """One finding for each cell, or part of a cell, that an error is about.

    Args:
        error: The error.
        root: The columns of the whole model.
        prefix: Where in the model the validation began.
    """
    found: dict[str | None, Finding] = {}
    for detail in error.errors(include_url=False, include_context=False):
        finding = _finding(detail["type"], detail["msg"], (*prefix, *detail["loc"]), detail.get("input"), root)
        before = found.get(finding.column)
        if before is None:
            found[finding.column] = finding
        elif finding.message not in before.message:
            # each member of a union says why it does not take the value
            message = f"{before.message}; {finding.message}"
            found[finding.column] = Finding(before.column, message, before.cell, before.value)
    return list(found.values())


def _finding(kind: str, message: str, location: Sequence[str | int], value: Any, root: Group) -> Finding:
    column, cell, tail = _locate(root, location)
    if kind == "missing":
        return (
            Finding(column + _dotted(tail), EMPTY if cell is not None and not tail else message)
            if column
            else (Finding(None, message))
        )
    if column is None:
        return Finding(None, message)
    if tail and not (cell is not None and is_plain(cell)):
        return Finding(column + _dotted(tail), message, value=show_value(value))
    return Finding(column, message, cell=cell)


def _locate(root: Group, location: Sequence[str | int]) -> tuple[str | None, Cell | None, Sequence[str | int]]:
    """The column that a location is about, its cells, and the way on inside the cell."""
    node: Group | Cell = root
    for position, part in enumerate(location):
        if isinstance(node, Cell):
            return node.column, node, location[position:]
        name = field_of_location(node.model, part)
        child = None if name is None else node.parts.get(name)
        if child is None:
            column = f"{node.column}.{part}" if node.column else str(part)
            return column, None, location[position + 1 :]
        node = child
    if isinstance(node, Cell):
        return node.column, node, ()
    return node.column or None, None, ()


def _dotted(tail: Sequence[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in tail)
