"""`scythe validate` and `scythe allocate`: check a sampling file, and run it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from scythe_cli.cli import complete
from scythe_cli.cli.arguments import (
    ExperimentOption,
    FileArgument,
    MaxFailuresOption,
    WorkersOption,
)
from scythe_cli.cli.options import Session, command

if TYPE_CHECKING:
    from scythe_cli.services.records import SubmitResult, ValidationReport


__all__ = ["add_to"]


_PANEL = "Run"
_LESS = "Running less"
_PLAN = "Planning"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""

    @command(app, "validate", panel=_PANEL)
    def validate(  # pyright: ignore[reportUnusedFunction]
        session: Session, file: FileArgument, experiment: ExperimentOption = None
    ) -> None:
        """Check a sampling file; nothing is written.

        Every cell is checked against the experiment's inputs, and all mistakes are reported at once.
        """
        report = session.project().validate(file, experiment)
        if session.options.json:
            session.output.document(report)
        else:
            _show_report(session, file, report)

    @command(app, "allocate", panel=_PANEL)
    def allocate(  # pyright: ignore[reportUnusedFunction]
        session: Session,
        file: FileArgument,
        experiment: ExperimentOption = None,
        bump: Annotated[
            Literal["major", "minor", "patch", "keep"],
            typer.Option("--bump", help="Which part of the version goes up; keep adds a run to the latest version."),
        ] = "minor",
        engine: Annotated[
            Literal["local", "hatchet"] | None,
            typer.Option("--engine", help="Where specs run. Else as configured.", show_default=False),
        ] = None,
        workers: WorkersOption = None,
        copy_inputs: Annotated[
            bool, typer.Option("--copy-inputs", help="Copy input files from S3 and HTTP into the run as well.")
        ] = False,
        max_failures: MaxFailuresOption = None,
        wait: Annotated[
            bool | None,
            typer.Option(
                "--wait/--no-wait",
                help="Wait for the end of a run on a fleet.",
                show_default=False,
            ),
        ] = None,
        timeout: Annotated[
            str | None,
            typer.Option("--timeout", metavar="DURATION", help="How long to wait, such as 30m.", show_default=False),
        ] = None,
        reuse: Annotated[
            bool,
            typer.Option(
                "--reuse",
                help="Take outcomes over from earlier runs of the same major version, for specs whose inputs, files "
                "and code are the same.",
                rich_help_panel=_LESS,
            ),
        ] = False,
        reuse_from: Annotated[
            str | None,
            typer.Option(
                "--reuse-from",
                metavar="V",
                help="Take them from this version or run instead.",
                rich_help_panel=_LESS,
                show_default=False,
                autocompletion=complete.runs_and_versions,
            ),
        ] = None,
        ignore_code: Annotated[
            bool,
            typer.Option(
                "--ignore-code", help="Take them over even if the code has changed since.", rich_help_panel=_LESS
            ),
        ] = False,
        dedupe: Annotated[
            bool,
            typer.Option(
                "--dedupe",
                help="Run rows that are the same once, and give the outcome to all of them.",
                rich_help_panel=_LESS,
            ),
        ] = False,
        plan: Annotated[
            bool,
            typer.Option(
                "--plan", help="Only tell what would be done, and how long it may take.", rich_help_panel=_PLAN
            ),
        ] = False,
        pilot: Annotated[
            int | None,
            typer.Option(
                "--pilot",
                metavar="N",
                min=1,
                help="With --plan: run N random rows on this machine to see how long they take; results are discarded.",
                rich_help_panel=_PLAN,
                show_default=False,
            ),
        ] = None,
        seed: Annotated[
            int,
            typer.Option("--seed", metavar="S", min=0, help="Chooses the rows of the pilot.", rich_help_panel=_PLAN),
        ] = 0,
    ) -> int:
        """Run an experiment for every row of a sampling file.

        Exits with 0 when every spec succeeded, with 1 when some did not; their errors are kept in the run.
        """
        from scythe_cli.cli.running import run_and_show
        from scythe_cli.core.quantities import parse_duration
        from scythe_cli.errors import UsageError

        if ignore_code and not (reuse or reuse_from):
            raise UsageError("--ignore-code says what --reuse takes over", hint="Add --reuse or --reuse-from V.")
        if pilot is not None and not plan:
            raise UsageError("--pilot is for --plan: it runs some rows to see how long they take", hint="Add --plan.")
        source: bool | str = reuse_from or reuse
        project = session.project(engine=engine)
        if plan:
            from scythe_cli.cli.commands.plan import plan_and_show

            return plan_and_show(
                session,
                lambda progress, stop: project.plan(
                    file,
                    experiment=experiment,
                    bump=bump,
                    workers=workers,
                    copy_inputs=copy_inputs,
                    reuse=source,
                    ignore_code=ignore_code,
                    dedupe=dedupe,
                    pilot=pilot,
                    pilot_seed=seed,
                    progress=progress,
                    stop=stop,
                ),
            )
        if not project.engine.outlives_client and (wait is False or timeout is not None):
            option = "--no-wait" if wait is False else "--timeout"
            kind = project.engine.label
            raise UsageError(f"{option} is for runs on a fleet: with the {kind} engine, this command runs the specs")
        if project.engine.outlives_client and not wait:
            submitted = project.submit(
                file,
                experiment=experiment,
                bump=bump,
                copy_inputs=copy_inputs,
                reuse=source,
                ignore_code=ignore_code,
                dedupe=dedupe,
            )
            _show_submitted(session, submitted)
            return 0
        try:
            timeout_s = None if timeout is None else parse_duration(timeout).total_seconds()
        except ValueError as error:
            raise UsageError(f"--timeout: {error}") from None
        return run_and_show(
            session,
            lambda progress, stop: project.allocate(
                file,
                experiment=experiment,
                bump=bump,
                workers=workers,
                copy_inputs=copy_inputs,
                max_failures=max_failures,
                reuse=source,
                ignore_code=ignore_code,
                dedupe=dedupe,
                wait_timeout_s=timeout_s,
                progress=progress,
                stop=stop,
            ),
        )


def _show_submitted(session: Session, submitted: SubmitResult) -> None:
    from scythe_cli.cli.render.records import (
        facts,
        heading,
        place,
        plural,
    )

    if session.options.json:
        session.output.document(submitted)
        return
    if session.options.quiet:
        session.output.print(submitted.experiment_id)
        return
    session.output.print(
        heading(f"{submitted.experiment} {submitted.version}: {plural(submitted.n_specs, 'spec')} submitted"),
        facts(
            [
                ("run", submitted.experiment_id),
                ("folder", place(submitted.uri)),
                ("engine", submitted.engine),
                ("id there", submitted.workflow_run_id),
            ]
        ),
        "",
        "Next: scythe status",
    )
    for notice in submitted.notices:
        session.output.note(notice)


def _show_report(session: Session, file: Path, report: ValidationReport) -> None:
    from scythe_cli.cli.render.records import facts, heading, plural
    from scythe_cli.core.quantities import format_size

    files = f"{report.input_files:,}, {format_size(report.input_bytes)}" if report.input_files else None
    session.output.print(
        heading(f"{file}: {plural(report.n_specs, 'spec')} for {report.experiment}, all valid"),
        facts(
            [
                ("columns", ", ".join(report.columns)),
                ("defaults", ", ".join(report.defaulted)),
                ("overwritten", ", ".join(report.ignored)),
                ("input files", files),
            ]
        ),
    )
