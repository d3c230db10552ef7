"""A run as a person reads it: how its specs stand, what went wrong, what came of it, and lists of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from scythe_cli.cli.output import clean
from scythe_cli.cli.render.text import STATE_STYLES, add_row, borderless_table, facts, heading, place, plural, time_of
from scythe_cli.core.quantities import format_duration, format_rate

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from scythe_cli.core.records import StateCounts
    from scythe_cli.run.records import ErrorGroup, QueueRecord, RunningSpec, RunStatus, SpecError
    from scythe_cli.services.records import AllocateResult, SubmitResult
    from scythe_cli.services.runs.verify import VerifyResult


__all__ = [
    "counts_table",
    "error_groups",
    "failure_line",
    "progress_bar",
    "queue_line",
    "result_lines",
    "running_line",
    "spec_error",
    "states_line",
    "status_lines",
    "submitted_lines",
    "verify_lines",
]


_BAR_WIDTH = 32
_BAR_PARTS = " ▏▎▍▌▋▊▉"


def _bar(share: float, width: int) -> str:
    eighths = round(share * width * 8)
    if share > 0:
        eighths = max(eighths, 1)  # something is never shown as nothing
    if share < 1:
        eighths = min(eighths, width * 8 - 1)
    full, part = divmod(eighths, 8)
    return "█" * full + (_BAR_PARTS[part] if part else "")


class _ShareBar:
    """The bar of a state, as wide as there is room for: where it is cut, it would tell of another share."""

    def __init__(self, share: float, style: str) -> None:
        self._share, self._style = share, style

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, min(_BAR_WIDTH, options.max_width))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(_bar(self._share, min(_BAR_WIDTH, options.max_width)), style=self._style)


def counts_table(counts: StateCounts, failing: int = 0) -> Table:
    """The specs by state, with a bar for each state; states without specs are dim.

    Args:
        counts: The specs.
        failing: How many of those that are pending have failed before.
    """
    from scythe_cli.core.states import State

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    table.add_column(justify="right", no_wrap=True)
    for state in State:
        count = counts.of(state)
        share = count / counts.total if counts.total else 0.0
        style = STATE_STYLES[state.value] if count else "dim"
        percent = "" if not count else "<0.1 %" if share < 0.001 else f"{share * 100:.1f} %"
        table.add_row(Text(state.value, style=style), Text(f"{count:,}", style=style), _ShareBar(share, style), percent)
    if failing:
        table.add_row(Text("  failing", style="red"), Text(f"{failing:,}", style="red"), "to be retried", "")
    table.add_row(Text("total"), Text(f"{counts.total:,}"), "", "")
    return table


def states_line(counts: StateCounts, failing: int = 0) -> Text:
    """The states that have specs, in one line, and how many of those that are pending have failed before."""
    from scythe_cli.core.states import State

    parts = [
        Text(f"{counts.of(state):,} {state.value}", style=STATE_STYLES[state.value])
        for state in State
        if counts.of(state)
    ]
    if failing:
        parts[-1].append(f" ({failing:,} failing)", style="red")
    return Text(" · ").join(parts or [Text("no cases")])


def running_line(running: Sequence[RunningSpec]) -> str:
    """The specs that have been running for long: `row 17 for 12 s, row 18 for 3 s and 2 more`."""
    shown = ", ".join(f"row {spec.sort_index} for {format_duration(spec.elapsed_s)}" for spec in running[:3])
    return shown + (f" and {len(running) - 3:,} more" if len(running) > 3 else "")


def queue_line(queue: QueueRecord) -> str:
    """The tasks in a queue: `3 queued (waiting for free nodes), 8 running, 5 done`."""
    why = f" ({queue.reasons[0]})" if queue.queued and queue.reasons else ""
    parts = [f"{queue.queued:,} queued{why}"] if queue.queued else []
    parts += [f"{queue.running:,} running"] if queue.running else []
    parts += [f"{queue.done:,} done"] if queue.done else []
    if queue.closing and not (queue.queued or queue.running):
        parts.append("the closing job is queued or running")
    return ", ".join(parts) or "none"


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
        where = f"\n    at {clean(group.place)}" if group.place else ""
        blocks.append(
            Text.assemble(
                (f"{group.count:,} × {clean(group.error_type)}", "bold"),
                (f"  {group.state.value}", STATE_STYLES[group.state.value]),
                f"\n{message}{more}" if message.strip() else "",
                (where, "dim"),
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


def status_lines(status: RunStatus) -> list[RenderableType]:
    """How a run is, as `scythe status` prints it."""
    from scythe_cli.services.runs.watching import is_idle, seconds_ago

    lines: list[RenderableType] = [heading(status.experiment_id)]
    if status.counts is not None:
        lines += [counts_table(status.counts, status.failing), ""]
    last = None
    if status.last_outcome_at is not None:
        last = f"{time_of(status.last_outcome_at)} UTC, {format_duration(seconds_ago(status.last_outcome_at))} ago"
    pending = status.counts.pending if status.counts else 0
    eta_s = status.eta_s if pending and not is_idle(status) else None
    lines.append(
        facts(
            [
                ("rate", format_rate(status.rate_per_s) if status.rate_per_s else None),
                ("time left", None if eta_s is None else f"about {format_duration(eta_s)}"),
                ("last case", last),
                ("at work", status.at_work),
                ("running", running_line(status.running) if status.running else None),
                ("workers", ", ".join(status.workers) if status.workers else None),
                ("tasks", queue_line(status.queue) if status.queue else None),
                ("jobs", ", ".join(status.queue.jobs) if status.queue else None),
                ("tables", ", ".join(status.tables) if status.tables else "not yet"),
                ("engine", status.engine),
                ("folder", place(status.uri)),
            ]
        )
    )
    return lines


def result_lines(result: AllocateResult) -> list[RenderableType]:
    """What came of a run, and the command that looks further into it."""
    counts = result.counts
    specs = f"{plural(result.n_specs, 'case')} in {format_duration(result.duration_s)}"
    lines: list[RenderableType] = [
        heading(f"{result.experiment} {result.version}: {specs}"),
        states_line(counts),
        "",
        facts(
            [
                ("run", result.experiment_id),
                ("folder", place(result.uri)),
                ("tables", ", ".join(result.tables)),
                *([("warnings", f"{result.n_warnings:,}, see the table warnings")] if result.n_warnings else []),
                ("engine", result.engine),
            ]
        ),
    ]
    if result.errors:
        title = f"{plural(counts.unsuccessful, 'case')} did not succeed"
        lines += ["", heading(title), error_groups(result.errors)]
    if result.failing:
        title = f"{plural(sum(group.count for group in result.failing), 'pending case')} failed and can be retried"
        lines += ["", heading(title), error_groups(result.failing)]
    has_errors = bool(counts.unsuccessful or result.failing)
    next_command = "scythe errors" if has_errors else "scythe results show"
    if counts.pending and not has_errors:
        next_command = f"scythe retry {result.experiment_id}"
    return [*lines, "", f"Next: {next_command}"]


def submitted_lines(submitted: SubmitResult) -> list[RenderableType]:
    """A run that a fleet has been handed."""
    return [
        heading(f"{submitted.experiment} {submitted.version}: {plural(submitted.n_specs, 'case')} submitted"),
        facts(
            [
                ("run", submitted.experiment_id),
                ("folder", place(submitted.uri)),
                ("engine", submitted.engine),
                ("workflow run", submitted.workflow_run_id),
            ]
        ),
        "",
        f"Next: scythe status, or {submitted.look}" if submitted.look else "Next: scythe status",
    ]


def verify_lines(result: VerifyResult) -> list[RenderableType]:
    """What came of running some rows again: a line, and the cells that differ."""
    n = len(result.rows)
    what = f"re-ran {n:,} of {plural(result.n_succeeded, 'case')}"
    if result.ok:
        return [heading(f"{result.experiment_id}: {what}, identical bit for bit")]
    table = borderless_table("row", "table", "column", "line", "stored", "again", right=("row", "line"))
    for cell in result.differences:
        texts = (cell.table, cell.column, "" if cell.line is None else str(cell.line), cell.stored, cell.again)
        add_row(table, str(cell.sort_index), *map(clean, texts))
    hidden = result.n_differing_cells - len(result.differences)
    lines: list[RenderableType] = [
        heading(f"{result.experiment_id}: {what}, {plural(result.n_differing_rows, 'case')} differ"),
        table,
    ]
    return [*lines, f"and {plural(hidden, 'cell')} more"] if hidden else lines
