"""`scythe status`, `errors`, `runs` and `versions`: what exists, and how it is."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from scythe_cli.cli.arguments import NameArgument, RunArgument
from scythe_cli.cli.options import Session, command

if TYPE_CHECKING:
    from rich.console import RenderableType

    from scythe_cli.records import RunErrors, RunStatus
    from scythe_cli.runs import Run

__all__ = ["add_to"]

_PANEL = "Follow runs"
_WATCH_INTERVAL_S = 2.0


def add_to(app: typer.Typer) -> None:
    """Add the commands."""

    @command(app, "status", panel=_PANEL)
    def status(  # pyright: ignore[reportUnusedFunction]
        session: Session,
        run: RunArgument = "latest",
        watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the run until it is done.")] = False,
    ) -> None:
        """Count the specs of a run by state.

        It reads the run's folder: it works while the run goes on, and after it died. For a run on a fleet it tells as
        well when no worker is there.
        """
        project = session.project()
        state = _watched(session, project.run(run)) if watch else project.status(run)
        if session.options.json:
            session.output.document(state)
        else:
            session.output.print(*_status_lines(state))
            if state.notice:
                session.output.note(state.notice)

    @command(app, "errors", panel=_PANEL)
    def errors(  # pyright: ignore[reportUnusedFunction]
        session: Session,
        run: RunArgument = "latest",
        row: Annotated[
            int | None, typer.Option("--row", metavar="N", min=0, help="Show this row alone (its sort_index).")
        ] = None,
        limit: Annotated[
            int, typer.Option("--limit", metavar="N", min=0, help="How many specs to list with --json.")
        ] = 100,
    ) -> None:
        """Show what went wrong, grouped by type and place.

        With --row, one spec with its traceback.
        """
        found = session.project().run(run)
        if row is not None:
            _show_row(session, found, row)
            return
        result = found.errors(limit=limit)
        if session.options.json:
            session.output.document(result)
        else:
            _show_errors(session, run, result)

    @command(app, "runs", panel=_PANEL)
    def runs(session: Session, name: NameArgument = None) -> None:  # pyright: ignore[reportUnusedFunction]
        """List the runs, newest first."""
        project = session.project()
        records = project.runs(name)
        if session.options.json:
            session.output.document(records)
        elif records:
            from scythe_cli.cli.render import runs_table

            session.output.print(runs_table(records))
        else:
            _say_nothing_there(session, project.storage.location)

    @command(app, "versions", panel=_PANEL)
    def versions(session: Session, name: NameArgument = None) -> None:  # pyright: ignore[reportUnusedFunction]
        """List the versions, newest first."""
        project = session.project()
        records = project.versions(name)
        if session.options.json:
            session.output.document(records)
        elif records:
            from scythe_cli.cli.render import versions_table

            session.output.print(versions_table(records))
        else:
            _say_nothing_there(session, project.storage.location)


def _say_nothing_there(session: Session, location: str) -> None:
    session.output.note(f"there are no runs in {location}; `scythe allocate FILE` makes one")


def _watched(session: Session, run: Run) -> RunStatus:
    """Read the status until the run is done; the last one is returned."""
    import sys

    from rich.console import Group
    from rich.live import Live

    from scythe_cli.cli.output import make_console

    console = make_console(sys.stderr)
    status = run.status()
    if not console.is_terminal or session.options.quiet:
        while not _is_over(status):
            time.sleep(_WATCH_INTERVAL_S)
            status = run.status()
        return status
    with Live(Group(*_status_lines(status)), console=console, transient=True, auto_refresh=False) as live:
        while not _is_over(status):
            time.sleep(_WATCH_INTERVAL_S)
            status = run.status()
            live.update(Group(*_status_lines(status)), refresh=True)
    return status


def _is_over(status: RunStatus) -> bool:
    return status.counts is None or (status.counts.pending == 0 and status.gathered)


def _status_lines(status: RunStatus) -> list[RenderableType]:
    from scythe_cli.cli.render import counts_table, facts, heading, place, rate, time_of
    from scythe_cli.quantities import format_duration

    lines: list[RenderableType] = [heading(status.experiment_id)]
    if status.counts is not None:
        lines += [counts_table(status.counts), ""]
    last = None
    if status.last_outcome_at is not None:
        ago_s = (datetime.now(UTC) - status.last_outcome_at).total_seconds()
        last = f"{time_of(status.last_outcome_at)} UTC, {format_duration(max(ago_s, 0.0))} ago"
    pending = status.counts.pending if status.counts else 0
    left = f"about {format_duration(status.eta_s)}" if status.eta_s is not None and pending else None
    lines.append(
        facts(
            [
                ("rate", rate(status.rate_per_s) if status.rate_per_s else None),
                ("time left", left),
                ("last spec", last),
                ("tables", ", ".join(status.tables) if status.tables else "not yet"),
                ("engine", status.engine),
                ("folder", place(status.uri)),
            ]
        )
    )
    return lines


def _show_errors(session: Session, reference: str, result: RunErrors) -> None:
    from scythe_cli.cli.render import error_groups, heading, states_line

    output = session.output
    output.print(heading(result.experiment_id), states_line(result.counts))
    if not result.groups:
        output.print("", "No errors.")
        return
    output.print("", error_groups(result.groups))
    run = "" if reference == "latest" else f"{reference} "
    first = result.groups[0].rows[0] if result.groups[0].rows else 0
    if not session.options.quiet:
        output.print("", f"Next: scythe errors {run}--row {first}")


def _show_row(session: Session, run: Run, row: int) -> None:
    from scythe_cli.errors import NotFoundError

    errors = run.errors(limit=None)
    error = next((error for error in errors.errors if error.sort_index == row), None)
    if error is None:
        if row >= errors.counts.total:
            raise NotFoundError(f"{errors.experiment_id} has no row {row}: it has rows 0 to {errors.counts.total - 1}")
        raise NotFoundError(
            f"row {row} of {errors.experiment_id} has no error", hint="`scythe errors` lists rows that have one."
        )
    if session.options.json:
        session.output.document(error)
        return
    from scythe_cli.cli.render import spec_error

    session.output.print(spec_error(error))
