"""Replicates of each case as a person reads them: a table for each output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scythe_cli.cli.render.text import heading, number, plain_table, plural

if TYPE_CHECKING:
    from rich.console import RenderableType

    from scythe_cli.analysis.records import CasesSummary

__all__ = ["cases_lines"]


_INPUTS = 4


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
