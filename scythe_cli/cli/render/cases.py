"""Cases as a person reads of them: replicates of each, a table for each output; and where the inputs came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from scythe_cli.cli.output import clean
from scythe_cli.cli.render.text import heading, number, plain_table, plural

if TYPE_CHECKING:
    from rich.console import RenderableType

    from scythe_cli.analysis.records import CasesSummary
    from scythe_cli.services.chains.tracing import OriginStep

__all__ = ["cases_lines", "origin_lines"]


_INPUTS = 4
_ROWS = 5
_MAPPED = 6


def cases_lines(summary: CasesSummary) -> list[RenderableType]:
    """What the replicates of each case say of each output."""
    shown = f", the first {len(summary.rows)}" if len(summary.rows) < summary.n_cases else ""
    lines: list[RenderableType] = [
        heading(f"cases of {summary.experiment_id}"),
        f"{plural(summary.n_cases, 'case')}{shown}; ± is half the {summary.confidence * 100:g} % interval of the mean",
    ]
    # what varies among the cases tells them apart
    varying = [name for name in summary.inputs if len({repr(row[name]) for row in summary.rows}) > 1][:_INPUTS]
    for output in summary.outputs:
        headers = ["case", *varying, "n", f"mean {output}", "±", "sd", "5 %", "50 %", "95 %"]
        lines += ["", plain_table(headers, [_row(row, varying, output) for row in summary.rows])]
    n_missing = sum(row["missing"] for row in summary.rows)
    if n_missing:
        lines += ["", f"{plural(n_missing, 'replicate')} did not succeed, and is not counted"]
    return lines


def _row(row: dict[str, Any], varying: list[str], output: str) -> list[object]:
    values = [row[f"{output}.{what}"] for what in ("mean", "half_width", "sd", "q05", "q50", "q95")]
    cells = ["" if value is None else number(value) for value in values]
    return [row["case"], *(row[name] for name in varying), row["replicates"], *cells]


def origin_lines(steps: Sequence[OriginStep]) -> list[RenderableType]:
    """The whole way of a row's inputs: a line for each run, those of its rows' inputs below."""
    lines: list[RenderableType] = [heading("where the inputs came from")]
    for step in steps:
        line = f"{'  ' * step.depth}{_rows(step.rows)} of {step.experiment_id}"
        if step.group_by:
            line += f", grouped by {', '.join(step.group_by)}"
        if step.map:
            line += f": {_mapped(step.map)}"
        if step.problem is not None:
            line += f" ({step.problem})"
        lines.append(Text(clean(line)))
    return lines


def _rows(rows: Sequence[int]) -> str:
    if len(rows) == 1:
        return f"row {rows[0]}"
    shown = ", ".join(map(str, rows[:_ROWS]))
    return f"rows {shown}" if len(rows) <= _ROWS else f"{len(rows):,} rows, {shown}, …,"


def _mapped(taken: Mapping[str, str]) -> str:
    told = [new if new == old else f"{new} = {old}" for new, old in taken.items()]
    told.sort(key=lambda text: " = " not in text)  # what has another name first
    more = f" and {len(told) - _MAPPED} more" if len(told) > _MAPPED else ""
    return ", ".join(told[:_MAPPED]) + more
