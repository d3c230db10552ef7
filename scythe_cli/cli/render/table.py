"""A table of a run as a person reads it: its first rows, a summary of its columns, and the files it is in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from scythe_cli.cli.output import Output, clean
from scythe_cli.cli.render.text import add_row, borderless_table, heading, number, plural
from scythe_cli.core.quantities import format_size

if TYPE_CHECKING:
    from rich.console import RenderableType

    from scythe_cli.analysis.records import FetchedFile, QueryResult, TableColumn, TableRecord, TableSummary


__all__ = ["answer_table", "columns_table", "head_table", "print_files", "summary_lines", "tables_table"]


_IDS = ("experiment_id", "workflow_run_id", "root_workflow_run_id")
_NAME_WIDTH = 32


def tables_table(tables: Sequence[TableRecord]) -> Table:
    """The final tables of a run."""
    table = borderless_table("table", "rows", "columns", "size", right=("rows", "columns", "size"))
    for record in tables:
        rows = "" if record.n_rows is None else f"{record.n_rows:,}"
        add_row(table, record.name, rows, record.n_columns, format_size(record.size_bytes))
    return table


def summary_lines(summary: TableSummary, width: int | None) -> list[RenderableType]:
    """A table's first rows, and a summary of its columns.

    Args:
        summary: The table.
        width: Columns of the terminal; None to show everything.
    """
    shown = f", the first {len(summary.head)}" if len(summary.head) < summary.n_rows else ""
    lines: list[RenderableType] = [heading(f"{summary.name} of {summary.experiment_id}")]
    lines += [f"{plural(summary.n_rows, 'row')}{shown}", ""]
    if summary.head:
        table, omitted = head_table(summary, width)
        lines.append(table)
        if omitted:
            lines.append(f"and {plural(len(omitted), 'more column')}: a wider terminal shows more")
        lines.append("")
    lines.append(columns_table(summary))
    if any(column.estimated for column in summary.columns):
        lines += ["", "~ estimated from a sample of the rows, since the table is large"]
    return lines


def print_files(output: Output, files: list[FetchedFile]) -> None:
    """Print what was written: a line for each table, and one for each folder of output files."""
    if output.as_json:
        output.document(files)
        return
    for line in _files_lines(files, with_sizes=not output.quiet):
        output.print(line)
    for file in files:
        for notice in file.notices:
            output.note(notice)


def _files_lines(files: Sequence[FetchedFile], *, with_sizes: bool) -> list[str]:
    tables = [file for file in files if "/" not in file.name]
    folders: dict[str, list[FetchedFile]] = {}
    for file in files:
        if "/" in file.name:
            folders.setdefault(str(Path(file.path).parent), []).append(file)
    places = [(file.path, "", [file]) for file in tables]
    places += [(f"{folder}/", f"{plural(len(inside), 'file')}, ", inside) for folder, inside in folders.items()]
    lines: list[str] = []
    for place, count, inside in places:
        there = sum(file.skipped for file in inside)
        skipped = "" if not there else ", there already" if there == len(inside) else f", {there:,} there already"
        size = format_size(sum(file.size_bytes for file in inside))
        lines.append(f"{place}  ({count}{size}{skipped})" if with_sizes else place)
    return lines


def head_table(summary: TableSummary, width: int | None) -> tuple[Table, list[str]]:
    """The first rows: the row number, then the table's own columns, then the inputs, as many as fit.

    Args:
        summary: The table.
        width: Columns of the terminal; None to show everything.

    Returns:
        What to print, and the names of the columns that do not fit.
    """
    columns = {column.name: column for column in summary.columns}
    order = _by_interest(summary)
    cells = {name: [number(row.get(name)) for row in summary.head] for name in order}
    styles = {name: "dim" for name in order if columns[name].is_index}
    right = {name for name in order if _is_numeric(columns[name].dtype)}
    return _fitting(order, cells, width, right=right, styles=styles)


def answer_table(result: QueryResult, width: int | None) -> tuple[Table, list[str]]:
    """The rows of a query's answer, as many columns of it as fit, in its own order.

    Args:
        result: The answer.
        width: Columns of the terminal; None to show everything.

    Returns:
        What to print, and the names of the columns that do not fit.
    """
    order = [column.name for column in result.columns]
    cells = {name: [number(row.get(name)) for row in result.rows] for name in order}
    right = {column.name for column in result.columns if _is_numeric(column.dtype)}
    # ids are long, and say little: they are what is left out first
    first = [*(name for name in order if name not in _IDS), *(name for name in order if name in _IDS)]
    return _fitting(order, cells, width, right=right, styles={}, first=first)


def _fitting(
    order: Sequence[str],
    cells: Mapping[str, Sequence[str]],
    width: int | None,
    *,
    right: Collection[str],
    styles: Mapping[str, str],
    first: Sequence[str] | None = None,
) -> tuple[Table, list[str]]:
    """As many columns as fit, taken in the order of `first` and shown in their own."""
    limit = _NAME_WIDTH if width is not None else None
    shown: list[str] = []
    used = 0
    for name in first or order:
        needed = max(len(text) for text in (name, *cells[name]))
        needed = min(needed, limit) if limit else needed
        if width is None or used + needed <= width or not shown:  # something is shown anyway
            shown.append(name)
            used += needed + 2
    shown.sort(key=order.index)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in shown:
        table.add_column(
            Text(clean(name)),
            justify="right" if name in right else "left",
            no_wrap=True,
            overflow="ellipsis",
            max_width=limit,
            style=styles.get(name, ""),
        )
    for row in zip(*(cells[name] for name in shown), strict=True):
        table.add_row(*(Text(cell) for cell in row))
    return table, [name for name in order if name not in shown]


def _by_interest(summary: TableSummary) -> list[str]:
    """Names of the columns: those that say which row it is, values, inputs that vary, inputs that do not.

    Ids are left out: they are long, and say nothing that the heading does not.
    """
    rank: dict[str, int] = {}
    for column in summary.columns:
        if column.name in ("sort_index", "sort_subindex"):
            rank[column.name] = 0
        elif column.name in _IDS:
            continue
        elif not column.is_index:
            rank[column.name] = 2
        elif _is_own_level(summary, column.name):
            rank[column.name] = 1
        else:
            long = any(len(number(row.get(column.name))) > _NAME_WIDTH for row in summary.head)  # as URIs are
            rank[column.name] = 5 if long else 4 if column.n_unique == 1 else 3
    if "sort_subindex" in rank and 1 in rank.values():
        rank["sort_subindex"] = 4  # the table's own level says it better
    return sorted(rank, key=lambda name: rank[name])


def _is_own_level(summary: TableSummary, name: str) -> bool:
    """Whether a level of the index differs among the rows of one spec, as a table's own levels do."""
    seen: dict[Any, Any] = {}
    return any(seen.setdefault(row.get("sort_index"), row.get(name)) != row.get(name) for row in summary.head)


def _is_numeric(dtype: str) -> bool:
    return dtype.lower().startswith(("int", "uint", "float", "decimal", "double"))


def columns_table(summary: TableSummary) -> Table:
    """One row for each column: what it holds, and its range."""
    described = any(column.unit for column in summary.columns)
    has_nulls = any(column.n_null for column in summary.columns)
    headers = ["column", "type", *["unit"] * described, "min", "mean", "max", "distinct", *["empty"] * has_nulls]
    table = borderless_table(
        *headers, right=("min", "mean", "max", "distinct", "empty"), no_wrap=("min", "mean", "max")
    )
    for column in summary.columns:
        cells: list[object] = [
            Text(clean(column.name), style="dim" if column.is_index else ""),
            column.dtype.lower(),
            *[column.unit] * described,
            _about(_short(column.min), column, "min"),
            _about(number(column.mean), column, "mean"),
            _about(_short(column.max), column, "max"),
            _about("" if column.n_unique is None else _counted(column, "n_unique"), column, "n_unique"),
            *([_about(_counted(column, "n_null"), column, "n_null")] if has_nulls else []),
        ]
        add_row(table, *cells)
    return table


def _about(text: str, column: TableColumn, what: str) -> str:
    """What was estimated is marked as such."""
    return f"~{text}" if text and what in column.estimated else text


def _counted(column: TableColumn, what: str) -> str:
    """A count; one that was estimated to two digits, since there is no more in it."""
    count = int(getattr(column, what))
    if what in column.estimated and count >= 100:
        count = int(float(f"{count:.1e}"))
    return f"{count:,}"


def _short(value: Any, limit: int = 12) -> str:
    text = number(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
