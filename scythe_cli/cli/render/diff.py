"""What differs between two runs, as a person reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from scythe_cli.cli.output import Output, clean
from scythe_cli.cli.render.text import STATE_STYLES, borderless_table, facts, heading, number, plural

if TYPE_CHECKING:
    from scythe_cli.analysis.records import (
        DiffCell,
        DiffResult,
        DiffSpec,
        DiffState,
    )


__all__ = ["print_diff"]


_SPEC_FIELDS = 3
_CELL_WIDTH = 24
_NAME_WIDTH = 40
_LEAST_SPEC_WIDTH = 16


def print_diff(output: Output, result: DiffResult) -> None:
    """Print the two runs, how many specs and cells differ, and the first of them."""
    output.print(heading(f"{result.a} → {result.b}"), _facts(result))
    _print_inputs(output, result)
    if result.equal:
        within = f" within rtol {result.rtol:g}, atol {result.atol:g}" if result.rtol or result.atol else ""
        output.print("", f"Equal{within}.")
        return
    for title, names in (
        (f"only in {result.a}", [*result.tables_only_a, *result.columns_only_a]),
        (f"only in {result.b}", [*result.tables_only_b, *result.columns_only_b]),
    ):
        if names:
            output.print("", heading(title), ", ".join(names))
    if result.columns:
        output.print("", heading("columns that differ"), _columns(result))
    if result.cells:
        more = f", the first {len(result.cells)}" if len(result.cells) < result.n_cells else ""
        output.print("", heading(f"{plural(result.n_cells, 'cell')} changed{more}"), _cells(result.cells, output.width))
    if result.state_changes:
        _print_states(output, result.state_changes, result.n_state_changes)
    for run, specs, count in ((result.a, result.only_a, result.n_only_a), (result.b, result.only_b, result.n_only_b)):
        if count:
            _print_specs(output, run, specs, count)


def _facts(result: DiffResult) -> Text:
    return facts(
        [
            ("matched", _matched(result)),
            ("changed", _changed(result)),
            ("states", plural(result.n_state_changes, "change") if result.n_state_changes else None),
            ("unmatched", _two(result.n_only_a, result.n_only_b)),
            ("table rows", _two(result.n_rows_only_a, result.n_rows_only_b)),
        ]
    )


def _changed(result: DiffResult) -> str | None:
    if not result.n_cells:
        return None
    return f"{plural(result.n_cells, 'cell')} in {plural(result.n_changed_specs, 'case')}"


def _matched(result: DiffResult) -> str:
    second = "" if result.n_specs_a == result.n_specs_b else f" and {result.n_specs_b:,}"
    return f"{result.n_matched:,} of {result.n_specs_a:,}{second} cases"


def _two(a: int, b: int) -> str | None:
    return f"{a:,} only in the first run, {b:,} only in the second" if a or b else None


def _print_inputs(output: Output, result: DiffResult) -> None:
    for run, names in ((result.a, result.inputs_only_a), (result.b, result.inputs_only_b)):
        if names:
            output.note(f"cases were matched without {', '.join(names)}, which only {run} has")


def _columns(result: DiffResult) -> Table:
    numbers = ("changed", "largest", "relative")
    table = borderless_table("column", *numbers, right=numbers)
    for column in result.columns:
        table.add_row(
            Text(clean(f"{column.table}.{column.column}")),
            f"{column.n_changed:,} of {column.n_compared:,}",
            number(column.max_absolute),
            _percent(column.max_relative),
        )
    return table


def _percent(share: float | None, *, signed: bool = False) -> str:
    if share is None:
        return ""
    return f"{share * 100:{'+' if signed else ''}.3g} %"


def _cells(cells: Sequence[DiffCell], width: int | None) -> Table:
    rows = [
        (
            str(cell.row_a) if cell.row_a == cell.row_b else f"{cell.row_a}→{cell.row_b}",
            _cut(clean(_place(cell)), _NAME_WIDTH),
            _short(cell.old),
            _short(cell.new),
            _percent(cell.relative, signed=True),
        )
        for cell in cells
    ]
    headers = ("row", "column", "old", "new", "change")
    used = sum(max(len(text) for text in column) + 2 for column in zip(headers, *rows, strict=True))
    # the numbers are what this is about: the spec gets the rest of the line
    room = None if width is None else width - used
    with_spec = room is None or room >= _LEAST_SPEC_WIDTH
    table = borderless_table(*headers, *["case"] * with_spec, right=("row", "old", "new", "change"))
    for column in table.columns:
        column.no_wrap, column.overflow = True, "ellipsis"
    for cell, texts in zip(cells, rows, strict=True):
        spec = clean(_pairs(cell.spec))
        more = [Text(spec if room is None else _cut(spec, room), style="dim")] if with_spec else []
        table.add_row(*(Text(text) for text in texts), *more)
    return table


def _place(cell: DiffCell) -> str:
    """The column, with its table and the row of it where these are not plain."""
    if cell.table == "scalars":
        return cell.column
    levels = ", ".join(
        number(value) if name == "sort_subindex" else f"{name}={number(value)}" for name, value in cell.levels.items()
    )
    return f"{cell.table}.{cell.column}" + (f"[{levels}]" if levels else "")


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _short(value: Any) -> str:
    text = "empty" if value is None else f"{value:.9g}" if isinstance(value, float) else number(value)
    return _cut(text, _CELL_WIDTH)


def _pairs(values: Mapping[str, Any]) -> str:
    shown = [f"{name}={number(value)}" for name, value in values.items()]
    return ", ".join(shown[:_SPEC_FIELDS]) + (", …" if len(shown) > _SPEC_FIELDS else "")


def _more(shown: int, count: int) -> str:
    return f", the first {shown}" if shown < count else ""


def _print_states(output: Output, states: Sequence[DiffState], count: int) -> None:
    table = borderless_table("row", "old", "new", "case", right=("row",))
    for state in states:
        table.add_row(
            str(state.row_a) if state.row_a == state.row_b else f"{state.row_a}→{state.row_b}",
            Text(state.old.value, style=STATE_STYLES[state.old.value]),
            Text(state.new.value, style=STATE_STYLES[state.new.value]),
            Text(clean(_pairs(state.spec)), style="dim"),
        )
    output.print("", heading(f"{plural(count, 'case')} changed state{_more(len(states), count)}"), table)


def _print_specs(output: Output, run: str, specs: Sequence[DiffSpec], count: int) -> None:
    table = borderless_table("row", "case", right=("row",))
    for spec in specs:
        table.add_row(str(spec.row), Text(clean(_pairs(spec.spec)), style="dim"))
    output.print("", heading(f"{plural(count, 'case')} only in {run}{_more(len(specs), count)}"), table)
