"""Tables as CSV and as Excel workbooks, written in one pass, and safe to open in a spreadsheet.

Text that begins like a formula is run by a spreadsheet when the file is opened
(https://owasp.org/www-community/attacks/CSV_Injection). In CSV such text gets a quote before it, and in a workbook the
cell is marked as text; numbers, and text that is a number, stay as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import polars as pl

from scythe_cli.core.distribution import needs_extra
from scythe_cli.errors import UsageError

__all__ = ["MAX_SHEET_ROWS", "check_fits_sheet", "write_csv", "write_workbook"]


# what a spreadsheet passes over before a formula: blanks, controls, marks of direction and of byte order
_BLANK = r"[\s\x00-\x1f\x7f-\xa0\x{ad}\x{200b}-\x{200f}\x{2028}-\x{202f}\x{2060}-\x{206f}\x{feff}]*"
# signs of half and full width
_SIGN = r"[=@\x{ff1d}\x{ff20}\x{ff0b}\x{ff0d}\x{fe62}\x{fe63}\x{fe66}\x{fe6b}]"
_CALCULATION = r"[+\-](?:[^0-9.;\r\n]|[0-9.]+(?:[eE][+\-]?[0-9]+)?[^0-9.,eE;\s])"
_FORMULA_START = rf"^(?:{_BLANK}(?:{_SIGN}|[+\-])|[\t\r])"
# where a spreadsheet of another country, or one that reads line by line, begins a cell
_FORMULA_INSIDE = rf"([;|\t\r\n\x0b\x0c\x{{85}}\x{{2028}}\x{{2029}}]{_BLANK})({_SIGN}|{_CALCULATION})"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_NUMBER_TEXT = re.compile(_NUMBER)
_START = re.compile(re.sub(r"\\x\{(\w+)\}", lambda m: f"\\u{m[1]:0>4}", _FORMULA_START))
_INSIDE = re.compile(re.sub(r"\\x\{(\w+)\}", lambda m: f"\\u{m[1]:0>4}", _FORMULA_INSIDE))

MAX_SHEET_ROWS = 1_048_576
"""Rows of a sheet, the header included; https://support.microsoft.com/office/1672b34d-7043-467e-8e27-269d656771c3."""

_MAX_SHEET_COLUMNS = 16_384
_MAX_CELL_CHARACTERS = 32_767
_MAX_EXACT_INT = 2**53
_MAX_SHEET_NAME = 31
_SHEET_NAME_TABOO = re.compile(r"[\[\]:*?/\\\x00-\x1f]")
_ROWS_AT_ONCE = 20_000


def _is_formula(text: str) -> bool:
    return _START.match(text) is not None and not _NUMBER_TEXT.match(text)


def _disarmed(text: str) -> str:
    quoted = _INSIDE.sub(r"\1'\2", text)
    return f"'{quoted}" if _is_formula(text) else quoted


def _disarm(column: pl.Expr) -> pl.Expr:
    # a number is none, whatever sign it begins with
    starts = column.str.contains(_FORMULA_START) & ~column.str.contains(_NUMBER)
    quoted = column.str.replace_all(_FORMULA_INSIDE, "${1}'${2}")
    return pl.when(starts).then(pl.lit("'") + quoted).otherwise(quoted)


def _plain_columns(schema: Mapping[str, pl.DataType], *, disarm: bool) -> list[pl.Expr]:
    """Columns of values that a cell can hold: nested cells become JSON, durations seconds, bytes base64."""
    columns: list[pl.Expr] = []
    for name, dtype in schema.items():
        column = pl.col(name)
        if isinstance(dtype, pl.Struct):
            column = column.struct.json_encode()
        elif dtype.is_nested():
            column = column.map_elements(_json, return_dtype=pl.String)
        elif isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
            column = column.cast(pl.String)
        elif dtype == pl.Binary:
            column = column.bin.encode("base64")
        elif dtype == pl.Duration:
            column = column.dt.total_seconds(fractional=True)
        is_text = dtype.is_nested() or isinstance(dtype, pl.String | pl.Categorical | pl.Enum)
        if disarm and is_text:
            column = _disarm(column)
        columns.append(column.alias(_disarmed(name) if disarm else name))
    return columns


def _json(value: Any) -> str:
    return json.dumps(value.to_list() if isinstance(value, pl.Series) else value, default=str)


def write_csv(frame: pl.LazyFrame, target: Path, *, raw_cells: bool = False) -> None:
    """Write a table as CSV.

    Args:
        frame: The table.
        target: The file.
        raw_cells: Leave text as it is that a spreadsheet would run.
    """
    frame.select(_plain_columns(frame.collect_schema(), disarm=not raw_cells)).sink_csv(target)


def check_fits_sheet(name: str, n_rows: int, n_columns: int) -> None:
    """Refuse a table that is larger than a sheet.

    Raises:
        UsageError: If it has too many rows or columns.
    """
    if n_rows >= MAX_SHEET_ROWS or n_columns > _MAX_SHEET_COLUMNS:
        what = f"{n_rows:,} rows" if n_rows >= MAX_SHEET_ROWS else f"{n_columns:,} columns"
        raise UsageError(
            f"{name} has {what}; a sheet of an Excel workbook takes {MAX_SHEET_ROWS - 1:,} rows below its header, "
            f"and {_MAX_SHEET_COLUMNS:,} columns",
            hint="Use --format csv or pq, or leave the table out with --table.",
        )


def write_workbook(
    tables: Mapping[str, pl.LazyFrame],
    target: Path,
    *,
    raw_cells: bool = False,
    on_table: Callable[[str], None] | None = None,
) -> list[str]:
    """Write an Excel workbook with a sheet for each table.

    Args:
        tables: The tables, by name.
        target: The file.
        raw_cells: Do not mark text as text that begins like a formula. A workbook's text is never run anyway; the mark
            keeps it from being run after somebody has edited the cell.
        on_table: Called with the name of a table before it is written.

    Returns:
        What the workbook does not hold as the tables do: text that was cut.

    Raises:
        UsageError: If a table is larger than a sheet.
        MissingExtraError: If xlsxwriter is not installed.
    """
    with needs_extra("xlsx", "a workbook"):
        import xlsxwriter
    for name, frame in tables.items():
        check_fits_sheet(name, int(frame.select(pl.len()).collect().item()), len(frame.collect_schema()))
    notices: list[str] = []
    # rows go to the file as they are written, so that memory does not grow with the table
    workbook: Any = xlsxwriter.Workbook(
        str(target),
        {
            "constant_memory": True,
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "nan_inf_to_errors": True,
            "remove_timezone": True,
            "tmpdir": str(target.parent),
        },
    )
    try:
        formats = _Formats(workbook, raw_cells=raw_cells)
        taken: set[str] = set()
        for name, frame in tables.items():
            if on_table:
                on_table(name)
            sheet: Any = workbook.add_worksheet(_sheet_name(name, taken))
            cut = _write_sheet(sheet, frame, formats)
            if cut:
                cells = "1 cell" if cut == 1 else f"{cut:,} cells"
                notices.append(f"{name}: text of {cells} was cut to {_MAX_CELL_CHARACTERS:,} characters")
    finally:
        workbook.close()
    return notices


class _Formats:
    """The looks of cells."""

    def __init__(self, workbook: Any, *, raw_cells: bool) -> None:
        self.header: Any = workbook.add_format({"bold": True, "bottom": 1})
        self.text: Any = None if raw_cells else workbook.add_format({"quote_prefix": True})
        self.by_type: dict[type, Any] = {
            datetime: workbook.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}),
            date: workbook.add_format({"num_format": "yyyy-mm-dd"}),
            time: workbook.add_format({"num_format": "hh:mm:ss"}),
        }


def _sheet_name(name: str, taken: set[str]) -> str:
    """A name that Excel takes, and that no sheet has yet."""
    plain = _SHEET_NAME_TABOO.sub("_", name).strip("'") or "table"
    if plain.casefold() == "history":  # which Excel keeps for itself
        plain += "_"
    chosen, number = plain[:_MAX_SHEET_NAME], 1
    while chosen.casefold() in taken:
        number += 1
        chosen = f"{plain[: _MAX_SHEET_NAME - len(str(number)) - 1]}~{number}"
    taken.add(chosen.casefold())
    return chosen


def _write_sheet(sheet: Any, frame: pl.LazyFrame, formats: _Formats) -> int:
    """Write a table to a sheet.

    Returns:
        How many texts were cut.
    """
    cut = 0
    schema = frame.collect_schema()
    sheet.freeze_panes(1, 0)
    for position, (name, dtype) in enumerate(schema.items()):
        sheet.set_column(position, position, min(max(len(name) + 2, 12 if dtype.is_temporal() else 8), 40))
    for position, name in enumerate(schema):
        sheet.write_string(0, position, name[:_MAX_CELL_CHARACTERS], formats.header)
    row = 0
    for cells in _rows(frame.select(_plain_columns(schema, disarm=False))):
        row += 1
        for position, cell in enumerate(cells):
            if cell is None:
                continue
            if isinstance(cell, bool):
                sheet.write_boolean(row, position, cell)
            elif isinstance(cell, float) or (isinstance(cell, int) and abs(cell) <= _MAX_EXACT_INT):
                sheet.write_number(row, position, cell)
            elif isinstance(cell, datetime | date | time):
                sheet.write_datetime(row, position, cell, formats.by_type[type(cell)])
            else:
                text = str(cell)
                cut += len(text) > _MAX_CELL_CHARACTERS
                mark = formats.text if _is_formula(text) else None
                sheet.write_string(row, position, text[:_MAX_CELL_CHARACTERS], mark)
    return cut


def _rows(frame: pl.LazyFrame) -> Iterator[Sequence[Any]]:
    for batch in frame.collect_batches(chunk_size=_ROWS_AT_ONCE, maintain_order=True):
        yield from batch.iter_rows()
