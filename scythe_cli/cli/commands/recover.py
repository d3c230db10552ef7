"""`scythe retry`, `logs`, `rerun` and `verify`: resuming a run, looking into a case, running some again."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scythe_cli.cli.arguments import (
    FunctionOption,
    MaxFailuresOption,
    RetryEngineOption,
    RowOption,
    RunArgument,
    WorkersOption,
    parse_timeout,
    timeout_option,
)
from scythe_cli.cli.framework import Session, command

if TYPE_CHECKING:
    from collections.abc import Collection

    from rich.text import Text

    from scythe_cli.core.states import State
    from scythe_cli.model.models import ExperimentOutputSpec
    from scythe_cli.services.runs.history import Attempt, SpecHistory


__all__ = ["app", "logs", "rerun", "retry", "verify"]


app = typer.Typer()

_PANEL = "Run"
_FAILED = 1


@command(app, "retry", panel=_PANEL)
def retry(
    session: Session,
    run: RunArgument = "latest",
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            metavar="STATES",
            help="Re-run only these states [default: pending, failed, timeout, crashed, cancelled].",
            show_default=False,
        ),
    ] = None,
    engine: RetryEngineOption = None,
    workers: WorkersOption = None,
    max_failures: MaxFailuresOption = None,
    accept_new_code: Annotated[
        bool,
        typer.Option(
            "--accept-new-code", help="Resume although the code has changed; results of the new code are marked."
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Stop what a fleet still has of the run first, and take it over.")
    ] = False,
    timeout: Annotated[str | None, timeout_option("How long to wait for a fleet, such as 30m.")] = None,
    wait: Annotated[bool, typer.Option("--wait", hidden=True)] = True,
    function: FunctionOption = None,
) -> int:
    """Resume a stopped run and re-run its failed cases.

    Works in the same run and keeps what has succeeded. The code must be the same as when the run was allocated,
    unless --accept-new-code is given. Exits with 0 when every case has succeeded.
    """
    from scythe_cli.cli.running import run_and_show

    del wait  # as always; `allocate` has it, so that it is typed here, too
    states = None if only is None else _states(only)
    limit_s = None if timeout is None else parse_timeout(timeout)
    project = session.project()
    return run_and_show(
        session,
        lambda progress, stop: project.retry(
            run,
            only=states,
            engine=engine,
            workers=workers,
            max_failures=max_failures,
            accept_new_code=accept_new_code,
            force=force,
            wait_timeout_s=limit_s,
            function=function,
            progress=progress,
            stop=stop,
        ),
    )


@command(app, "logs", panel="Follow runs")
def logs(session: Session, row: RowOption, run: RunArgument = "latest") -> None:
    """Show what a case printed and logged.

    Shows every attempt, and the files that were kept.
    """
    from scythe_cli.services.runs.history import spec_history

    history = spec_history(session.project().run(run), row)
    if session.options.json:
        session.output.document(history)
    else:
        _show_history(session, history)


@command(app, "rerun", panel=_PANEL)
def rerun(
    session: Session,
    row: RowOption,
    run: RunArgument = "latest",
    pdb: Annotated[bool, typer.Option("--pdb", help="Open the debugger where the function fails.")] = False,
    function: FunctionOption = None,
) -> int:
    """Re-run one case in this process, and print its output.

    Uses the inputs, files, random numbers and a working directory as in the run, and writes nothing to the run. With
    --pdb you can look at what the function has written.
    """
    return _rerun(session, run, row, function, debug=pdb)


@command(app, "verify", panel=_PANEL)
def verify(
    session: Session,
    run: RunArgument = "latest",
    n: Annotated[int, typer.Option("--rows", "-n", metavar="N", min=1, help="The number of cases.")] = 10,
    function: FunctionOption = None,
) -> int:
    """Re-run random cases and compare the results.

    Runs each in a fresh process. Exits with 0 when every value is bit for bit what the run holds, with 1 when one
    differs.
    """
    from scythe_cli.cli.render.run import verify_lines

    result = session.project().verify(run, n=n, function=function)
    if session.options.json:
        session.output.document(result)
    else:
        session.output.print(*verify_lines(result))
    for notice in result.notices:
        session.output.note(notice)
    return 0 if result.ok else 1


def _states(text: str) -> Collection[State]:
    from scythe_cli.core.states import State
    from scythe_cli.errors import UsageError
    from scythe_cli.services.runs.retry import RETRIED

    names = [name.strip() for name in text.split(",") if name.strip()]
    allowed = [state.value for state in State if state in RETRIED]
    wrong = [name for name in names if name not in allowed]
    if wrong or not names:
        what = f"--only {wrong[0]}: not a state that can be retried" if wrong else "--only names no state"
        if State.SUCCEEDED.value in wrong:
            what = "cases that succeeded are not run again"
        raise UsageError(what, hint=f"States are {', '.join(allowed)}.")
    return frozenset(State(name) for name in names)


def _show_history(session: Session, history: SpecHistory) -> None:
    from rich.text import Text

    from scythe_cli.cli.output import clean
    from scythe_cli.cli.render.text import heading, place

    output = session.output
    output.print(heading(f"{history.experiment_id}, row {history.sort_index}: {history.state.value}"))
    if not history.attempts:
        output.note("it has not run yet")
    for attempt in history.attempts:
        output.print(Text.assemble("\n", _title(attempt)))
        output.print(attempt.log.rstrip("\n") if attempt.log else Text("(no output)", "dim"))
        said = f"{attempt.error_type or ''}: {attempt.message or ''}".strip(": ")
        if said:
            output.print(Text(said, "red") if said.isprintable() else said)
    if history.files:
        output.print("", heading("files that it wrote"), *(clean(place(uri)) for uri in history.files))


def _title(attempt: Attempt) -> Text:
    from rich.text import Text

    from scythe_cli.cli.output import clean
    from scythe_cli.cli.render.text import time_of
    from scythe_cli.core.quantities import format_duration, format_size

    parts: list[str] = []
    if attempt.started_at is not None:
        parts.append(f"{time_of(attempt.started_at)} UTC")
    if attempt.duration_s is not None:
        parts.append(format_duration(attempt.duration_s))
    if attempt.memory_bytes is not None:
        parts.append(f"{format_size(attempt.memory_bytes)} of memory")
    if attempt.worker:
        parts.append(clean(attempt.worker))
    details = "".join(f", {part}" for part in parts)
    return Text.assemble((f"attempt {attempt.attempt}: {attempt.state.value}", "bold"), (details, "dim"))


def _rerun(session: Session, reference: str, row: int, function: str | None, *, debug: bool) -> int:
    import pdb
    import traceback

    from scythe_cli.cli.output import CleanedStream, clean
    from scythe_cli.errors import ScytheError
    from scythe_cli.services.runs.history import rerun_spec

    project = session.project()
    run = project.run(reference)
    experiment = project.experiment_of(run, function)
    stdout, stderr = sys.stdout, sys.stderr

    def post_mortem(error: BaseException) -> None:
        if debug and isinstance(error, Exception):
            traceback.print_exception(error)
            with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
                pdb.post_mortem(error.__traceback__)

    try:
        # what the function prints must not get into the document
        with (
            contextlib.redirect_stdout(CleanedStream(sys.stderr)),
            contextlib.redirect_stderr(CleanedStream(sys.stderr)),
        ):
            output = rerun_spec(run, experiment, row, root=project.root, on_error=post_mortem)
    except ScytheError:
        raise
    except Exception as error:  # noqa: BLE001 - the user's function may raise anything
        if not debug:
            sys.stderr.write(clean("".join(traceback.format_exception(error))))
        return _FAILED
    _show_output(session, output)
    return 0


def _show_output(session: Session, output: ExperimentOutputSpec) -> None:
    document = _document(output)
    if session.options.json:
        session.output.document(document)
        return
    from scythe_cli.cli.output import clean
    from scythe_cli.cli.render.text import facts

    tables: dict[str, str] = document.pop("dataframes", {})
    session.output.print(facts([(name, clean(value)) for name, value in document.items()]))
    for name, text in tables.items():
        session.output.print("", f"{name}:", text)


def _is_json(value: object) -> bool:
    return value is None or type(value) in (bool, int, float, str, list, dict)


def _document(output: ExperimentOutputSpec) -> dict[str, Any]:
    """The output as plain values; a table as what it prints."""
    names = [*type(output).model_fields, *type(output).model_computed_fields]
    fields = {name: getattr(output, name) for name in names if name != "dataframes"} | (output.model_extra or {})
    document: dict[str, Any] = {name: value if _is_json(value) else str(value) for name, value in fields.items()}
    if output.dataframes:
        document["dataframes"] = {name: str(table) for name, table in output.dataframes.items()}
    return document
