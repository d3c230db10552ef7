"""Lists of runs and versions as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from scythe_cli.cli.output import clean
from scythe_cli.cli.render.text import STATE_STYLES, add_row, borderless_table, place, plural, time_of
from scythe_cli.core.quantities import format_duration

if TYPE_CHECKING:
    from rich.console import RenderableType

    from scythe_cli.run.catalog import VersionRecord
    from scythe_cli.run.records import RunRecord


__all__ = ["runs_table", "versions_table"]


_MARKS = {
    "succeeded": ("✓", "green"),
    "failed": ("✗", "red"),
    "cancelled": ("✗", "dim"),
    "stopped": ("■", "yellow"),
    "running": ("▶", "cyan"),
    "unknown": ("·", "dim"),
}
_FEW_S = 90.0


def runs_table(runs: Sequence[RunRecord], width: int | None) -> list[RenderableType]:
    """The runs: a line each, or where that is too long, a line with what became of it below.

    Args:
        runs: The runs.
        width: Columns of the terminal; None to make lines as long as they are.
    """
    rows = [
        (
            Text.assemble(_MARKS[run.state], " ", clean(run.experiment_id)),
            _cases(run),
            Text("" if run.duration_s is None else format_duration(run.duration_s)),
            Text(_ago(run.finished_at or run.timestamp)),
            Text("" if run.sampling_file is None else clean(place(run.sampling_file)), style="dim"),
        )
        for run in runs
    ]
    headers = ("  run", "cases", "time", "when", "file")
    needed = sum(max(len(title), *(len(row[i]) for row in rows)) for i, title in enumerate(headers)) + 8
    if width is None or needed <= width:
        table = borderless_table(*headers, right=("time", "when"), no_wrap=headers)
        for row in rows:
            table.add_row(*row)
        return [table]
    lines: list[RenderableType] = []
    for run, *details in rows:
        lines += [run, Text.assemble("  ", Text(" · ").join(text for text in details if text))]
    return lines


def _cases(run: RunRecord) -> Text:
    """How many cases came to which state: `200 succeeded`, or `190 succeeded, 10 failed`."""
    counts = run.counts
    if counts is None:
        n = "" if run.n_specs is None else plural(run.n_specs, "case")
        word = "" if run.state == "unknown" else run.state
        return Text(", ".join(part for part in (n, word) if part), style=_MARKS[run.state][1])
    from scythe_cli.core.states import State

    parts = [Text(f"{counts.of(s):,} {s.value}", STATE_STYLES[s.value]) for s in State if counts.of(s)]
    return Text(", ").join(parts or [Text("no cases")])


def _ago(moment: datetime) -> str:
    """How long ago something was: `12 s ago`, `3 h ago`, `5 d ago`."""
    seconds = max(0.0, (datetime.now(UTC) - moment).total_seconds())
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size and (unit != "min" or seconds >= _FEW_S):
            return f"{seconds // size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def versions_table(versions: Sequence[VersionRecord]) -> Table:
    """The versions, newest first."""
    table = borderless_table("experiment", "version", "runs", "latest run (UTC)", right=("runs",), no_wrap=("version",))
    for version in versions:
        latest = time_of(version.latest_run) if version.latest_run else ""
        add_row(table, version.experiment, version.version, version.n_runs, latest)
    return table
