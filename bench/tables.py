"""Prints what benches report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from bench.measure import Check, Record, Report

__all__ = ["print_report"]


def print_report(report: Report, *, quick: bool = False) -> None:
    """Print records as tables, one for each case, then checks, then notes; limits are meant for full sizes."""
    records = [entry for entry in report if isinstance(entry, Record)]
    for case, group in groupby(records, key=lambda record: record.case):
        print(f"\n{case}")
        _print_table(list(group))
    checks = [entry for entry in report if isinstance(entry, Check)]
    if checks:
        print()
    for check in checks:
        bound = "at least" if check.at_least else "at most"
        verdict = "" if quick else "holds" if check.holds else "DOES NOT HOLD"
        limit = f"{bound} {check.limit:g} {check.unit}".rstrip() + (" at full size" if quick else "")
        print(f"  {verdict:<14}{check.what}: {_number(check.value)} {check.unit}".rstrip() + f", {limit}")
    for note in (entry for entry in report if isinstance(entry, str)):
        print(f"  note: {note}")


def _print_table(records: Sequence[Record]) -> None:
    base = next((record for record in records if record.is_base), None)
    more = dict.fromkeys(name for record in records for name in record.more)
    headers = ["", "seconds", "(min to max)", "a second", "time", "CPU s", "peak MB", "memory", *more]
    rows = [headers]
    for record in records:
        row = [record.subject, _number(record.seconds)]
        row.append(f"{_number(record.spread[0])} to {_number(record.spread[1])}" if record.spread else "")
        row.append(f"{record.n / record.seconds:,.0f}" if record.n and record.seconds else "")
        row.append(_ratio(record.seconds, None if base is None else base.seconds))
        row.append("" if record.cpu_s is None else _number(record.cpu_s))
        row.append("" if record.peak_bytes is None else f"{record.peak_bytes / 1e6:,.0f}")
        row.append(_ratio(record.peak_bytes, None if base is None else base.peak_bytes))
        row += [_cell(record.more.get(name)) for name in more]
        rows.append(row)
    _print_rows(rows)


def _print_rows(rows: Sequence[Sequence[str]]) -> None:
    used = [column for column in range(len(rows[0])) if any(row[column] for row in rows[1:])]
    widths = {column: max(len(row[column]) for row in rows) for column in used}
    for row in rows:
        cells: Iterable[str] = (
            row[c].ljust(widths[c]) if position == 0 else row[c].rjust(widths[c]) for position, c in enumerate(used)
        )
        print("  " + "  ".join(cells).rstrip())


def _ratio(value: float | None, base: float | None) -> str:
    return "" if value is None or not base else f"{_number(value / base)}×"


def _cell(value: float | str | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else _number(value)


def _number(value: float) -> str:
    """Three digits or so."""
    if value and abs(value) < 1:
        return f"{value:.3f}"
    return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"
