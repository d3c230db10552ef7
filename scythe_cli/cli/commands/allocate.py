"""`scythe validate` and `scythe allocate`: check a sampling file, or a run in its place, and run it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from scythe_cli.cli import complete
from scythe_cli.cli.arguments import (
    AggOption,
    CasesArgument,
    EncodingOption,
    EngineOption,
    ExperimentOption,
    FunctionOption,
    GroupByOption,
    IgnoreColumnsOption,
    MapOption,
    MaxFailuresOption,
    PartialOption,
    UnitsRowOption,
    WorkersOption,
    parse_seed,
    parse_timeout,
    split_names,
    timeout_option,
)
from scythe_cli.cli.framework import Session, command

if TYPE_CHECKING:
    from scythe_cli.services.allocation.options import AllocateOptionsDict, HowReadDict
    from scythe_cli.services.project import Project
    from scythe_cli.services.records import SubmitResult, ValidationReport


__all__ = ["allocate", "app", "validate"]


app = typer.Typer()

_PANEL = "Run"
_LESS = "Running less"
_PLAN = "Planning"
_PART = "Part of a file, and growing a run"
_REPLICATES = "Replicates"

_Bump = Literal["major", "minor", "patch", "keep"]

_BumpOption = Annotated[
    _Bump, typer.Option("--bump", help="The part of the version to raise; keep adds the run to the latest version.")
]
_CopyInputsOption = Annotated[
    bool, typer.Option("--copy-inputs", help="Copy input files from S3 and HTTP into the run too.")
]
_WaitOption = Annotated[
    bool | None,
    typer.Option("--wait/--no-wait", help="Wait until a run on a fleet ends.", show_default=False),
]
_PriorityOption = Annotated[
    Literal["low", "normal", "high"] | None,
    typer.Option(
        "--priority",
        help="What a fleet runs first among what waits. [default: high for up to 100 cases, else normal]",
        show_default=False,
    ),
]
_TimeoutOption = Annotated[str | None, timeout_option("Stop waiting after this time, such as 30m.")]
_ReuseOption = Annotated[
    bool,
    typer.Option(
        "--reuse",
        help="Reuse the results of earlier runs of the same major version for cases with the same inputs, files "
        "and code.",
        rich_help_panel=_LESS,
    ),
]
_ReuseFromOption = Annotated[
    str | None,
    typer.Option(
        "--reuse-from",
        metavar="V",
        help="Reuse the results of this version or run instead.",
        rich_help_panel=_LESS,
        show_default=False,
        autocompletion=complete.runs_and_versions,
    ),
]
_IgnoreCodeOption = Annotated[
    bool,
    typer.Option("--ignore-code", help="Reuse results even if the code has changed since.", rich_help_panel=_LESS),
]
_IntoOption = Annotated[
    str | None,
    typer.Option(
        "--into",
        metavar="RUN",
        help="Add the cases that RUN does not have yet to it, and run only these.",
        rich_help_panel=_PART,
        show_default=False,
        autocompletion=complete.runs,
    ),
]
_LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit", metavar="N", min=1, help="Take the first N cases.", rich_help_panel=_PART, show_default=False
    ),
]
_SampleOption = Annotated[
    int | None,
    typer.Option(
        "--sample",
        metavar="N",
        min=1,
        help="Take N random cases, chosen by --seed.",
        rich_help_panel=_PART,
        show_default=False,
    ),
]
_ReplicatesOption = Annotated[
    int | None,
    typer.Option(
        "--replicates",
        metavar="N",
        min=1,
        help="Run each case N times, each time with a seed of its own.",
        rich_help_panel=_REPLICATES,
        show_default=False,
    ),
]
_UntilOption = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="GOAL",
        help="Add replicates where they are needed until 'half_width(OUTPUT) < 0.01', or '< 1%' of the mean: half "
        "the 95 % confidence interval of each case's mean. Starts with --replicates [default: 10].",
        rich_help_panel=_REPLICATES,
        show_default=False,
    ),
]
_MaxReplicatesOption = Annotated[
    int,
    typer.Option(
        "--max-replicates",
        metavar="N",
        min=2,
        help="With --until: the most replicates of a case.",
        rich_help_panel=_REPLICATES,
    ),
]
_AcceptNewCodeOption = Annotated[
    bool,
    typer.Option(
        "--accept-new-code",
        help="With --into: add cases even if the code has changed; their outcomes are marked.",
        rich_help_panel=_PART,
    ),
]
_DedupeOption = Annotated[
    bool,
    typer.Option(
        "--dedupe",
        help="Run identical cases once, and give the result to all of them.",
        rich_help_panel=_LESS,
    ),
]
_PlanOption = Annotated[
    bool,
    typer.Option(
        "--plan", help="Show what would run and how long it may take, and run nothing.", rich_help_panel=_PLAN
    ),
]
_PilotOption = Annotated[
    int | None,
    typer.Option(
        "--pilot",
        metavar="N",
        min=1,
        help="With --plan: time N random cases on this machine and discard their results.",
        rich_help_panel=_PLAN,
        show_default=False,
    ),
]
_SeedOption = Annotated[
    str,
    typer.Option(
        "--seed",
        metavar="N|new",
        help="Seed for random numbers and for the choice of --pilot; new draws one.",
    ),
]


@command(app, "validate", panel=_PANEL)
def validate(
    session: Session,
    file: CasesArgument = None,
    experiment: ExperimentOption = None,
    function: FunctionOption = None,
    map_: MapOption = None,
    group_by: GroupByOption = None,
    agg: AggOption = None,
    partial_: PartialOption = False,
    ignore_columns: IgnoreColumnsOption = None,
    encoding: EncodingOption = None,
    units_row: UnitsRowOption = False,
) -> None:
    """Check a sampling file, or the cases from a run, without running them.

    Checks every cell against the experiment's inputs and reports all mistakes at once. Nothing is written.
    """
    reading = _reading((map_, group_by, agg, partial_), ignore_columns, encoding, units_row)
    report = session.project().validate(file, experiment, function=function, **reading)
    if session.options.json:
        session.output.document(report)
    else:
        _show_report(session, report)


@command(app, "allocate", panel=_PANEL)
def allocate(
    session: Session,
    file: CasesArgument = None,
    experiment: ExperimentOption = None,
    function: FunctionOption = None,
    bump: _BumpOption = "minor",
    engine: EngineOption = None,
    workers: WorkersOption = None,
    copy_inputs: _CopyInputsOption = False,
    max_failures: MaxFailuresOption = None,
    wait: _WaitOption = None,
    timeout: _TimeoutOption = None,
    priority: _PriorityOption = None,
    reuse: _ReuseOption = False,
    reuse_from: _ReuseFromOption = None,
    ignore_code: _IgnoreCodeOption = False,
    dedupe: _DedupeOption = False,
    into: _IntoOption = None,
    limit: _LimitOption = None,
    sample: _SampleOption = None,
    replicates: _ReplicatesOption = None,
    until: _UntilOption = None,
    max_replicates: _MaxReplicatesOption = 1000,
    accept_new_code: _AcceptNewCodeOption = False,
    map_: MapOption = None,
    group_by: GroupByOption = None,
    agg: AggOption = None,
    partial_: PartialOption = False,
    plan: _PlanOption = False,
    pilot: _PilotOption = None,
    seed: _SeedOption = "0",
    ignore_columns: IgnoreColumnsOption = None,
    encoding: EncodingOption = None,
    units_row: UnitsRowOption = False,
) -> int:
    """Run an experiment for every case of a sampling file, or of a run of another experiment.

    Exits with 0 when every case succeeded, and with 1 when some did not; the run keeps their errors.
    """
    _check_combination(plan=plan, pilot=pilot, reuse=bool(reuse or reuse_from), ignore_code=ignore_code)
    what: AllocateOptionsDict = {"experiment": experiment, "function": function, "bump": bump, "into": into}
    part: AllocateOptionsDict = {"limit": limit, "sample": sample, "replicates": replicates, "until": until}
    reusing: AllocateOptionsDict = {"reuse": reuse_from or reuse, "ignore_code": ignore_code, "dedupe": dedupe}
    running: AllocateOptionsDict = {"workers": workers, "max_failures": max_failures, "priority": priority}
    reading = _reading((map_, group_by, agg, partial_), ignore_columns, encoding, units_row)
    more: AllocateOptionsDict = {"copy_inputs": copy_inputs, "accept_new_code": accept_new_code}
    options: AllocateOptionsDict = {**what, **part, **reusing, **reading, **running, **more}
    options["max_replicates"] = max_replicates
    options["wait_timeout_s"] = None if timeout is None else parse_timeout(timeout)
    options["seed"] = parse_seed(seed)
    project = _project_for(session, engine, into)
    if plan:
        return _plan(session, project, file, options, pilot)
    _check_waiting(project, wait=wait, timeout=timeout, priority=priority)
    return (_submit if project.engine.outlives_client and not wait else _run)(session, project, file, options)


def _reading(
    of_run: tuple[list[str] | None, list[str] | None, list[str] | None, bool],
    ignore_columns: list[str] | None,
    encoding: str | None,
    units_row: bool,
) -> HowReadDict:
    """How cases are read: from a run (`--map`, `--group-by`, `--agg`, `--partial`), or from a file."""
    from scythe_cli.services.chains.rules import read_map

    map_, group_by, agg, unfinished = of_run
    return {
        "map": read_map(map_ or []),
        "group_by": split_names(group_by),
        "agg": split_names(agg),
        "partial": unfinished,
        "ignore_columns": split_names(ignore_columns),
        "encoding": encoding,
        "units_row": units_row,
    }


def _plan(session: Session, project: Project, file: str | None, options: AllocateOptionsDict, pilot: int | None) -> int:
    from scythe_cli.cli.running import plan_and_show

    make = partial(project.plan, file, pilot=pilot, **options)
    return plan_and_show(session, lambda progress, stop: make(progress=progress, stop=stop))


def _submit(session: Session, project: Project, file: str | None, options: AllocateOptionsDict) -> int:
    _show_submitted(session, project.submit(file, **options))
    return 0


def _run(session: Session, project: Project, file: str | None, options: AllocateOptionsDict) -> int:
    from scythe_cli.cli.running import run_and_show

    run = partial(project.allocate, file, **options)
    return run_and_show(session, lambda progress, stop: run(progress=progress, stop=stop))


def _project_for(session: Session, engine: str | None, into: str | None) -> Project:
    """The project, with the engine that a run to be grown was allocated with, unless another is chosen."""
    project = session.project(engine=engine)
    if engine is None and into is not None:
        its_own = project.engine_of(project.run(into))
        if its_own is not None:
            project = session.project(engine=its_own.name)
    return project


def _check_combination(*, plan: bool, pilot: int | None, reuse: bool, ignore_code: bool) -> None:
    """Refuse options that mean nothing without another one."""
    from scythe_cli.errors import UsageError

    if ignore_code and not reuse:
        raise UsageError("--ignore-code needs --reuse", hint="Add --reuse or --reuse-from V.")
    if pilot is not None and not plan:
        raise UsageError("--pilot needs --plan: it times some cases", hint="Add --plan.")


def _check_waiting(project: Project, *, wait: bool | None, timeout: str | None, priority: str | None) -> None:
    """Refuse `--no-wait`, `--timeout` and `--priority` where this command itself runs the specs."""
    from scythe_cli.errors import UsageError

    engine = project.engine
    if not engine.outlives_client and (wait is False or timeout is not None or priority is not None):
        option = "--no-wait" if wait is False else "--timeout" if timeout is not None else "--priority"
        raise UsageError(
            f"{option} is for runs on a fleet: with the {engine.label} engine, this command itself runs the cases"
        )


def _show_submitted(session: Session, submitted: SubmitResult) -> None:
    if session.options.json:
        session.output.document(submitted)
        return
    if session.options.quiet:
        session.output.print(submitted.experiment_id)
        return
    from scythe_cli.cli.render.run import submitted_lines

    session.output.print(*submitted_lines(submitted))
    for notice in submitted.notices:
        session.output.note(notice)


def _show_report(session: Session, report: ValidationReport) -> None:
    from scythe_cli.cli.render.text import facts, heading, plural
    from scythe_cli.core.quantities import format_size

    files = f"{report.input_files:,}, {format_size(report.input_bytes)}" if report.input_files else None
    session.output.print(
        heading(f"{report.file}: {plural(report.n_specs, 'case')} for {report.experiment}, all valid"),
        facts(
            [
                ("columns", ", ".join(report.columns)),
                ("defaults", ", ".join(report.defaulted)),
                ("overwritten", ", ".join(report.ignored)),
                ("input files", files),
            ]
        ),
    )
    for notice in report.notices:
        session.output.note(notice)
