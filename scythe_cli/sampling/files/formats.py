"""What a file is, by its first bytes: its ending only tells apart what is text."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

from scythe_cli.errors import SamplingFileError
from scythe_cli.sampling.file_columns import RawFile
from scythe_cli.sampling.files.csv_file import read_csv
from scythe_cli.sampling.files.leftovers import with_decimal_comma, without_leftovers
from scythe_cli.sampling.files.places import LocalFile, unpacked
from scythe_cli.sampling.files.text_file import text_of

__all__ = ["read_located"]


_NO_TABLES = {
    b"SQLite format 3\0": "an SQLite database",
    b"\x89HDF": "an HDF5 file",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a picture",
    b"\x7fELF": "a program",
    b"CDF\x01": "a NetCDF file",
    b"CDF\x02": "a NetCDF file",
    b"PAR1": "a Parquet file",
    b"\x93NUMPY": "a NumPy array",
    b"\x80\x04\x95": "a Python pickle",
    b"\x80\x05\x95": "a Python pickle",
    b"MATLAB": "a MATLAB file",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"\xfd7zXZ": "an xz archive",
}
_MAX_NESTED = 3
_READ = "Sampling files are CSV, Parquet, Arrow, JSON Lines or Excel."


def read_located(file: LocalFile, *, encoding: str | None = None, units_row: bool = False) -> RawFile:
    """Read a file of any known kind.

    Args:
        file: The file.
        encoding: How the characters of text are written; found out unless given.
        units_row: Whether the row below the header holds units.

    Raises:
        SamplingFileError: If it is of no known kind, or no table.
        OSError: If it cannot be read.
    """
    raw = _read(file, encoding, units_row)
    return replace(raw, base=file.base)


def _read(file: LocalFile, encoding: str | None, units_row: bool) -> RawFile:
    if file.path.is_dir():
        from scythe_cli.sampling.files.parquet_file import read_folder

        return without_leftovers(read_folder(file.path, file.shown), units_row=units_row)
    magic = _first_bytes(file.path)
    for _ in range(_MAX_NESTED):
        inner = unpacked(file, magic)
        if inner is None:
            break
        file, magic = inner, _first_bytes(inner.path)
    if magic.startswith(b"PAR1") or file.suffix in (".parquet", ".pq"):
        from scythe_cli.sampling.files.parquet_file import read_parquet

        return without_leftovers(read_parquet(file.path, file.shown), units_row=units_row)
    if magic.startswith((b"ARROW1", b"FEA1", b"\xff\xff\xff\xff")) or file.suffix in (".feather", ".arrow", ".ipc"):
        from scythe_cli.sampling.files.parquet_file import read_arrow

        return without_leftovers(read_arrow(file.path, file.shown), units_row=units_row)
    if _is_workbook(file, magic):
        from scythe_cli.sampling.files.excel_file import read_excel

        # what belongs to text only, as for rows of nothing, is the same for a sheet
        return without_leftovers(read_excel(file.path, file.shown, units_row=units_row))
    what = next((what for start, what in _NO_TABLES.items() if magic.startswith(start)), None)
    if magic.startswith(b"PK\x03\x04"):
        what = "a ZIP archive"
    if what is not None:
        raise SamplingFileError(f"{file.shown}: this is {what}, not a sampling file", hint=_READ)
    if encoding is None and _is_json(file, magic):
        from scythe_cli.sampling.files.records_file import read_records

        return without_leftovers(read_records(file.path, file.shown), units_row=units_row)
    text = text_of(file, encoding)
    raw = read_csv(text, file.folder)
    if text.delimiter != ",":
        raw = with_decimal_comma(raw)
    return without_leftovers(raw, units_row=units_row)


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def _is_workbook(file: LocalFile, magic: bytes) -> bool:
    if magic.startswith(b"\xd0\xcf\x11\xe0") or file.suffix in (".xlsx", ".xlsm", ".xls", ".xlsb", ".ods"):
        return True
    if not magic.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(file.path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return False
    return any(name.startswith("xl/") or name == "content.xml" for name in names)


def _is_json(file: LocalFile, magic: bytes) -> bool:
    text = magic.removeprefix(b"\xef\xbb\xbf").lstrip()
    if file.suffix in (".jsonl", ".ndjson", ".json"):
        return True
    return file.suffix != ".csv" and text.startswith((b'{"', b"[{"))
