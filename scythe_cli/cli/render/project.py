"""A project as a person reads it: its experiments and their fields, and what `scythe doctor` looked at."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from scythe_cli.cli.output import clean
from scythe_cli.cli.render.text import add_row, borderless_table, number

if TYPE_CHECKING:
    from scythe_cli.model.describe import ExperimentRecord, FieldRecord
    from scythe_cli.services.records import DoctorCheck


__all__ = ["checks_list", "experiments_table", "fields_table"]


def experiments_table(experiments: Sequence[ExperimentRecord]) -> Table:
    """What is registered."""
    table = borderless_table(
        "experiment", "inputs", "outputs", "entrypoint", right=("inputs", "outputs"), no_wrap=("experiment",)
    )
    for record in experiments:
        if record.problem:
            add_row(table, Text(clean(record.name), style="red"), "", "", record.entrypoint)
        else:
            add_row(table, record.name, len(record.inputs), len(record.outputs), record.entrypoint)
    return table


def fields_table(fields: Sequence[FieldRecord], *, are_inputs: bool) -> Table:
    """The fields of a model: name, type, bounds, unit and default in one line, and below it what the field is."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for field in fields:
        line = Text(clean(field.type))
        if field.bounds:
            line.append(f", {clean(field.bounds)}")
        if field.unit:
            line.append(f" [{clean(field.unit)}]")
        if are_inputs and field.required:
            line.append(" · required", style="dim")
        elif are_inputs:
            line.append(f" · default {'empty' if field.default is None else number(field.default)}")
        description = clean(field.description or "").removesuffix(f"[{field.unit}]").strip()
        if description:
            line.append(f"\n{description}", style="dim")
        table.add_row(Text(clean(field.name), style="bold"), line)
    return table


def checks_list(checks: Sequence[DoctorCheck], width: int | None) -> Text:
    """What was looked at, and what to do about each failure.

    Args:
        checks: What was looked at.
        width: Columns of the terminal; None to leave lines as long as they are. Paths are never cut.
    """
    label_width = max((len(check.name) for check in checks), default=0)
    if width is not None and label_width > width // 2:
        label_width = 0  # beside the names there is no room
    indent = " " * (label_width + 4)
    below = "" if label_width else f"\n{indent}"

    def block(text: str) -> str:
        lines = clean(text).splitlines()
        if width is not None:
            room = max(width - len(indent), 20)
            lines = [part for line in lines for part in _wrapped(line, room)]
        return f"\n{indent}".join(lines)

    blocks: list[Text] = []
    for check in checks:
        mark = Text("✓", style="green") if check.ok else Text("✗", style="red")
        line = Text.assemble(mark, f" {clean(check.name):<{label_width}}{below or '  '}", block(check.detail))
        if check.remedy:
            line.append(f"\n{indent}{block(f'→ {check.remedy}')}", style="bold")
        blocks.append(line)
    return Text("\n").join(blocks)


def _wrapped(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) or [""]
