"""What every picture of a record is made of: cells, lines and tables without borders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from scythe_cli.cli.output import clean

__all__ = [
    "STATE_STYLES",
    "add_row",
    "borderless_table",
    "facts",
    "heading",
    "number",
    "place",
    "plain_table",
    "plural",
    "time_of",
]


STATE_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "timeout": "yellow",
    "crashed": "magenta",
    "cancelled": "dim",
    "pending": "cyan",
}


def number(value: Any) -> str:
    """Write a cell: numbers to six digits, empty cells as nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return clean(value).replace("\n", "⏎")


def plural(count: int, noun: str) -> str:
    """`1 spec`, `2 specs`, `12,000 specs`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def time_of(moment: datetime) -> str:
    """A moment in UTC, to the second."""
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def place(uri: str) -> str:
    """Where something lies; a path below the working directory is shown from there."""
    path = Path(uri)
    here = Path.cwd()
    return str(path.relative_to(here)) if "://" not in uri and path.is_relative_to(here) else uri


def heading(text: str) -> Text:
    """A line above a block."""
    return Text(clean(text), style="bold")


def facts(pairs: Iterable[tuple[str, str | None]]) -> Text:
    """Lines `label  value`; lines without a value are left out. Values are never wrapped: they may be paths."""
    lines = [(label, value) for label, value in pairs if value]
    width = max((len(label) for label, _ in lines), default=0)
    parts: list[Text] = [
        Text.assemble((f"{label:<{width}}", "dim"), "  ", clean(value).replace("\n", "\n" + " " * (width + 2)))
        for label, value in lines
    ]
    return Text("\n").join(parts)


def borderless_table(*columns: str, right: Sequence[str] = (), no_wrap: Sequence[str] = ()) -> Table:
    """A table without lines, to which rows are added; cells are folded where they do not fit."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(
            Text(column),
            justify="right" if column in right else "left",
            overflow="fold",
            no_wrap=column in no_wrap,
        )
    return table


def add_row(table: Table, *cells: object) -> None:
    """Add a row of cells that are written as `number` writes them, but for those that are styled already."""
    table.add_row(*(cell if isinstance(cell, Text) else Text(number(cell)) for cell in cells))


def plain_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table without lines around it, of cells that are written as `number` writes them."""
    table = borderless_table(*headers)
    for row in rows:
        add_row(table, *row)
    return table
