"""Excel workbooks: the first sheet, with the types that its columns have."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from scythe_cli.core.distribution import needs_extra
from scythe_cli.errors import SamplingFileError, first_line
from scythe_cli.sampling.file_columns import RawFile, chunked
from scythe_cli.sampling.files.parquet_file import simplified

__all__ = ["read_excel"]


_ROWS_LOOKED_AT = 100
_ERROR_CELL = re.compile(rb'<c r="([A-Z]+[0-9]+)"[^>]* t="e"')
_NAMED_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class _RowLabel:
    """`row 4`, as the sheet counts."""

    first: int

    def __call__(self, row: int) -> str:
        return f"row {row + self.first}"


def read_excel(path: Path, shown: str, *, units_row: bool = False) -> RawFile:
    """Read the first sheet of a workbook.

    Args:
        path: The file.
        shown: What it is called in messages.
        units_row: Whether the row below the header holds units: it is left out.

    Raises:
        SamplingFileError: If it cannot be read.
        MissingExtraError: If what reads workbooks is not installed.
    """
    with needs_extra("xlsx", f"{shown}: reading a workbook"):
        import fastexcel
    try:
        reader = fastexcel.read_excel(path)
        texts: Any = reader.load_sheet(0, header_row=None, skip_rows=0, n_rows=_ROWS_LOOKED_AT, dtypes="string")
        head = cast("pa.RecordBatch", texts.to_arrow()).to_pylist()
        at = next((i for i, row in enumerate(head) if any(cell and cell.strip() for cell in row.values())), None)
        if at is None:
            raise SamplingFileError(f"{shown}: its first sheet is empty", hint="The first row names the columns.")
        names = [str(cell or "").strip() for cell in head[at].values()]
        sheet: Any = reader.load_sheet(
            0, header_row=at, skip_rows=1 if units_row else None, schema_sample_rows=None, whitespace_as_null=True
        )
        batch = cast("pa.RecordBatch", sheet.to_arrow())
    except SamplingFileError:
        raise
    except Exception as error:
        raise SamplingFileError(f"{shown}: not a valid Excel file: {first_line(error)}") from error
    _check_errors(path, shown)
    columns = [simplified(shown, name, chunked([c], c.type))[0] for name, c in zip(names, batch.columns, strict=False)]
    others = reader.sheet_names[1:]
    notices = [f"from its first sheet, {reader.sheet_names[0]!r}"] if others else []
    if units_row:
        units = head[at + 1].values() if at + 1 < len(head) else []
        notices.append(f"without a row of units, row {at + 2}: {', '.join(unit for unit in units if unit) or 'empty'}")
    label = _RowLabel(at + 2 + units_row)
    return RawFile(shown, names[: len(columns)], columns, batch.num_rows, label, notices=notices)


def _check_errors(path: Path, shown: str) -> None:
    """Refuse cells such as `#DIV/0!`, which would be read as empty ones."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("xl/worksheets/sheet1.xml") as sheet:
            cells = [match.decode() for match in _ERROR_CELL.findall(sheet.read())]
    except (zipfile.BadZipFile, KeyError, OSError):
        return  # not the common form
    if cells:
        named = ", ".join(cells[:_NAMED_AT_MOST]) + (f" and {len(cells) - _NAMED_AT_MOST} more" * (len(cells) > 5))
        raise SamplingFileError(f"{shown}: the formula of {named} ends in an error")
