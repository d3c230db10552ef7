"""From records to what is printed: tables and lines that fit 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from scythe_cli.cli.output import clean
from scythe_cli.core.quantities import format_duration, format_size

if TYPE_CHECKING:
    from scythe_cli.analysis.records import (
        QueryResult,
        TableColumn,
        TableRecord,
        TableSummary,
    )
    from scythe_cli.core.records import StateCounts
    from scythe_cli.model.records import ExperimentRecord, FieldRecord
    from scythe_cli.run.catalog import VersionRecord
    from scythe_cli.run.records import (
        ErrorGroup,
        RunningSpec,
        RunRecord,
        SpecError,
    )
    from scythe_cli.services.records import DoctorCheck


__all__ = [
    "answer_table",
    "checks_list",
    "columns_table",
    "counts_table",
    "error_groups",
    "experiments_table",
    "facts",
    "failure_line",
    "fields_table",
    "head_table",
    "heading",
    "number",
    "place",
    "plain_table",
    "plural",
    "progress_bar",
    "running_line",
    "runs_table",
    "spec_error",
    "states_line",
    "tables_table",
    "time_of",
    "versions_table",
]


STATE_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "timeout": "yellow",
    "crashed": "magenta",
    "cancelled": "dim",
    "pending": "cyan",
}
_BAR_WIDTH = 32
_BAR_PARTS = " ▏▎▍▌▋▊▉"


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


def _table(*columns: str, right: Sequence[str] = (), no_wrap: Sequence[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(
            Text(column),
            justify="right" if column in right else "left",
            overflow="fold",
            no_wrap=column in no_wrap,
        )
    return table


def _row(table: Table, *cells: object) -> None:
    table.add_row(*(cell if isinstance(cell, Text) else Text(number(cell)) for cell in cells))


def plain_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table without lines around it, of cells that are written as `number` writes them."""
    table = _table(*headers)
    for row in rows:
        _row(table, *row)
    return table


def _bar(share: float) -> str:
    eighths = round(share * _BAR_WIDTH * 8)
    if share > 0:
        eighths = max(eighths, 1)  # something is never shown as nothing
    if share < 1:
        eighths = min(eighths, _BAR_WIDTH * 8 - 1)
    full, part = divmod(eighths, 8)
    return "█" * full + (_BAR_PARTS[part] if part else "")


def counts_table(counts: StateCounts) -> Table:
    """The specs by state, with a bar for each state; states without specs are dim."""
    from scythe_cli.core.states import State

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, min_width=_BAR_WIDTH)
    table.add_column(justify="right", no_wrap=True)
    for state in State:
        count = counts.of(state)
        share = count / counts.total if counts.total else 0.0
        style = STATE_STYLES[state.value] if count else "dim"
        percent = "" if not count else "<0.1 %" if share < 0.001 else f"{share * 100:.1f} %"
        table.add_row(
            Text(state.value, style=style), Text(f"{count:,}", style=style), Text(_bar(share), style=style), percent
        )
    table.add_row(Text("total"), Text(f"{counts.total:,}"), "", "")
    return table


def states_line(counts: StateCounts) -> Text:
    """The states that have specs, in one line."""
    from scythe_cli.core.states import State

    parts = [
        Text(f"{counts.of(state):,} {state.value}", style=STATE_STYLES[state.value])
        for state in State
        if counts.of(state)
    ]
    return Text(" · ").join(parts or [Text("no specs")])


def running_line(running: Sequence[RunningSpec]) -> str:
    """The specs that have been running for long: `row 17 for 12 s, row 18 for 3 s and 2 more`."""
    shown = ", ".join(f"row {spec.sort_index} for {format_duration(spec.elapsed_s)}" for spec in running[:3])
    return shown + (f" and {len(running) - 3:,} more" if len(running) > 3 else "")


def progress_bar(counts: StateCounts, width: int) -> Text:
    """A bar of all specs: those that succeeded, then those that did not, then those that are pending."""
    total = max(counts.total, 1)
    good, bad = (round(n / total * width) for n in (counts.succeeded, counts.unsuccessful))
    bad = max(bad, 1) if counts.unsuccessful else 0  # something is never shown as nothing
    good = min(good, width - bad)
    return Text.assemble(("█" * good, "green"), ("█" * bad, "red"), ("░" * (width - good - bad), "dim"))


def failure_line(error: SpecError) -> str:
    """One spec that did not succeed, in one line."""
    what = clean(f"{error.error_type or error.state.value}: {error.message or ''}").strip(": ")
    return f"row {error.sort_index}  {next(iter(what.splitlines()), '')}"


def error_groups(groups: Sequence[ErrorGroup]) -> Text:
    """Failures that are alike, each with how often, what, where, and in which rows."""
    blocks: list[Text] = []
    for group in groups:
        lines = clean(group.message).strip().splitlines() or [""]
        message = "\n".join(f"    {line}" for line in lines[:4])
        more = f"\n    … {plural(len(lines) - 4, 'more line')}" if len(lines) > 4 else ""
        place = f"\n    at {clean(group.place)}" if group.place else ""
        blocks.append(
            Text.assemble(
                (f"{group.count:,} × {clean(group.error_type)}", "bold"),
                (f"  {group.state.value}", STATE_STYLES[group.state.value]),
                f"\n{message}{more}" if message.strip() else "",
                (place, "dim"),
                (f"\n    {_rows(group)}", "dim"),
            )
        )
    return Text("\n").join(blocks)


def _rows(group: ErrorGroup) -> str:
    shown = ", ".join(str(row) for row in group.rows[:8])
    more = group.count - len(group.rows[:8])
    return f"row{'s' if group.count > 1 else ''} {shown}" + (f" and {more:,} more" if more > 0 else "")


def spec_error(error: SpecError) -> Text:
    """One spec that did not succeed, with its traceback."""
    attempt = f", attempt {error.attempt}" if error.attempt > 1 else ""
    duration = f", {format_duration(error.duration_s)}" if error.duration_s is not None else ""
    text = Text.assemble(
        (f"row {error.sort_index}", "bold"),
        "  ",
        (error.state.value, STATE_STYLES[error.state.value]),
        (f"{attempt}{duration}", "dim"),
    )
    traceback = clean(error.traceback).rstrip() if error.traceback else ""
    said = f"{clean(error.error_type or '')}: {clean(error.message or '')}".strip(": ")
    if said and said not in traceback:
        text.append(f"\n{said}")
    if traceback:
        text.append(f"\n{traceback}")
    return text


def experiments_table(experiments: Sequence[ExperimentRecord]) -> Table:
    """What is registered."""
    table = _table(
        "experiment", "inputs", "outputs", "entrypoint", right=("inputs", "outputs"), no_wrap=("experiment",)
    )
    for record in experiments:
        if record.problem:
            _row(table, Text(clean(record.name), style="red"), "", "", record.entrypoint)
        else:
            _row(table, record.name, len(record.inputs), len(record.outputs), record.entrypoint)
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


def versions_table(versions: Sequence[VersionRecord]) -> Table:
    """The versions, newest first."""
    table = _table("experiment", "version", "runs", "latest run (UTC)", right=("runs",), no_wrap=("version",))
    for version in versions:
        latest = time_of(version.latest_run) if version.latest_run else ""
        _row(table, version.experiment, version.version, version.n_runs, latest)
    return table


def runs_table(runs: Sequence[RunRecord]) -> Table:
    """The runs, newest first."""
    table = _table("run", "specs", "engine", "tables", right=("specs",))
    for run in runs:
        specs = "" if run.n_specs is None else f"{run.n_specs:,}"
        tables = Text("yes", style="green") if run.complete else Text("not yet", style="dim")
        _row(table, run.experiment_id, specs, run.engine, tables)
    return table


def tables_table(tables: Sequence[TableRecord]) -> Table:
    """The final tables of a run."""
    table = _table("table", "rows", "columns", "size", right=("rows", "columns", "size"))
    for record in tables:
        rows = "" if record.n_rows is None else f"{record.n_rows:,}"
        _row(table, record.name, rows, record.n_columns, format_size(record.size_bytes))
    return table


_IDS = ("experiment_id", "workflow_run_id", "root_workflow_run_id")


_NAME_WIDTH = 32


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
    table = _table(*headers, right=("min", "mean", "max", "distinct", "empty"), no_wrap=("min", "mean", "max"))
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
        _row(table, *cells)
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


def checks_list(checks: Sequence[DoctorCheck], width: int | None) -> Text:
    """What was looked at, and what to do about each failure.

    Args:
        checks: What was looked at.
        width: Columns of the terminal; None to leave lines as long as they are. Paths are never cut.
    """
    label_width = max((len(check.name) for check in checks), default=0)
    indent = " " * (label_width + 4)

    def block(text: str) -> str:
        lines = clean(text).splitlines()
        if width is not None:
            room = max(width - len(indent), 20)
            lines = [part for line in lines for part in _wrapped(line, room)]
        return f"\n{indent}".join(lines)

    blocks: list[Text] = []
    for check in checks:
        mark = Text("✓", style="green") if check.ok else Text("✗", style="red")
        line = Text.assemble(mark, f" {clean(check.name):<{label_width}}  ", block(check.detail))
        if check.remedy:
            line.append(f"\n{indent}{block(f'→ {check.remedy}')}", style="bold")
        blocks.append(line)
    return Text("\n").join(blocks)


def _wrapped(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) or [""]
