"""`scythe status`, `errors`, `runs` and `versions`: what exists, and how it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scythe_cli.cli.arguments import ExperimentOption, NameArgument, RunArgument, one_name, parse_since, timeout_option
from scythe_cli.cli.framework import Session, command

if TYPE_CHECKING:
    from scythe_cli.analysis.run import Run
    from scythe_cli.run.records import RunErrors


__all__ = ["app", "errors", "runs", "status", "versions"]


app = typer.Typer()

_PANEL = "Follow runs"


@command(app, "status", panel=_PANEL)
def status(
    session: Session,
    run: RunArgument = "latest",
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            "-w",
            help="Follow the run until it ends; with --json, print one document per line for each change.",
        ),
    ] = False,
    timeout: Annotated[str | None, timeout_option("Stop watching after this time, such as 30m.")] = None,
) -> int:
    """Show the progress of a run.

    Reads only the run's folder, so it works while the run goes on and after it has died. On a fleet it also says when
    no worker is there. With --watch, exits with 1 when some cases did not succeed.
    """
    if watch:
        from scythe_cli.cli.watch import watch_run

        return watch_run(session, run, timeout)
    if timeout is not None:
        from scythe_cli.errors import UsageError

        raise UsageError("--timeout needs --watch", hint="Add --watch.")
    state = session.project().status(run)
    if session.options.json:
        session.output.document(state)
    else:
        from scythe_cli.cli.render.run import status_lines

        session.output.print(*status_lines(state))
        if state.notice:
            session.output.note(state.notice)
    return 0


@command(app, "errors", panel=_PANEL)
def errors(
    session: Session,
    run: RunArgument = "latest",
    row: Annotated[
        int | None, typer.Option("--row", metavar="N", min=0, help="Show only this row, with its traceback.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=0, help="The number of cases to list with --json and --junit.")
    ] = 100,
    junit: Annotated[
        Path | None,
        typer.Option("--junit", metavar="FILE", help="Also write a JUnit file for CI systems.", show_default=False),
    ] = None,
) -> None:
    """Show what went wrong, grouped by type and place.

    With ROW, shows one case and its traceback.
    """
    stored = session.project().run(run)
    if row is not None:
        if junit is not None:
            from scythe_cli.errors import UsageError

            raise UsageError("--junit is for a whole run, not for one row", hint="Leave one of them out.")
        _show_row(session, stored, row)
        return
    result = stored.errors(limit=limit)
    if junit is not None:
        from scythe_cli.analysis.junit import write_junit

        write_junit(result, junit)
        session.output.note(f"written to {junit}")
    if session.options.json:
        session.output.document(result)
    else:
        _show_errors(session, run, result)


@command(app, "runs", panel=_PANEL)
def runs(
    session: Session,
    name: NameArgument = None,
    experiment: ExperimentOption = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="List only the newest N.", show_default=False)
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="List only runs that failed, were cancelled, or stopped early.")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="WHEN",
            help="List only runs since a date (2026-11-29, UTC) or in the last 2d or 3h.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """List the runs and how they went, newest first."""
    from scythe_cli.services.runs.listing import run_records

    moment = parse_since(since)
    storage = session.storage()
    records = run_records(storage, one_name(name, experiment), limit=limit, failed=failed, since=moment)
    if session.options.json:
        session.output.document(records)
    elif session.options.quiet:
        session.output.print(*(record.experiment_id for record in records))
    elif records:
        from scythe_cli.cli.render.runs import runs_table

        session.output.print(*runs_table(records, session.output.width))
    elif failed or since:
        what = "failed or stopped runs" if failed else "runs"
        session.output.note(f"no {what}{f' since {moment:%Y-%m-%d %H:%M} UTC' if moment else ''}")
    else:
        _say_nothing_there(session, storage.location)


@command(app, "versions", panel=_PANEL)
def versions(session: Session, name: NameArgument = None, experiment: ExperimentOption = None) -> None:
    """List the versions, newest first."""
    from scythe_cli.services.runs.listing import version_records

    storage = session.storage()
    records = version_records(storage, one_name(name, experiment))
    if session.options.json:
        session.output.document(records)
    elif records:
        from scythe_cli.cli.render.runs import versions_table

        session.output.print(versions_table(records))
    else:
        _say_nothing_there(session, storage.location)


def _say_nothing_there(session: Session, location: str) -> None:
    session.output.note(f"there are no runs in {location}; `scythe allocate FILE` makes one")


def _show_errors(session: Session, reference: str, result: RunErrors) -> None:
    from scythe_cli.cli.render.run import error_groups, states_line
    from scythe_cli.cli.render.text import heading, plural

    output = session.output
    n_failing = sum(group.count for group in result.failing)
    output.print(heading(result.experiment_id), states_line(result.counts, n_failing))
    groups = [*result.groups, *result.failing]
    if not groups:
        output.print("", "No errors.")
        return
    if result.groups:
        output.print("", error_groups(result.groups))
    if result.failing:
        output.print("", heading(f"failing: {plural(n_failing, 'case')} to be retried"))
        output.print(error_groups(result.failing))
    run = "" if reference == "latest" else f"{reference} "
    first = groups[0].rows[0] if groups[0].rows else 0
    if not session.options.quiet:
        output.print("", f"Next: scythe errors {run}{first}")


def _show_row(session: Session, run: Run, row: int) -> None:
    from scythe_cli.errors import NotFoundError

    errors = run.errors(limit=None)
    error = next((error for error in [*errors.errors, *errors.failing_errors] if error.sort_index == row), None)
    if error is None:
        if row >= errors.counts.total:
            raise NotFoundError(f"{errors.experiment_id} has no row {row}: it has rows 0 to {errors.counts.total - 1}")
        raise NotFoundError(
            f"row {row} of {errors.experiment_id} has no error", hint="`scythe errors` lists the rows that have one."
        )
    if session.options.json:
        session.output.document(error)
        return
    from scythe_cli.cli.render.run import spec_error

    session.output.print(spec_error(error))
