"""`scythe study`: a run that chooses its own next cases until targets hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from scythe_cli.cli import complete
from scythe_cli.cli.arguments import EngineOption, WorkersOption
from scythe_cli.cli.framework import INTERRUPTED, Session, command

if TYPE_CHECKING:
    from scythe_cli.services.project import Project

__all__ = ["app", "study"]


app = typer.Typer()

_NameArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]",
        help="A study of experiments.toml; without it, all studies are listed.",
        show_default=False,
        autocompletion=complete.studies,
    ),
]
_PlanOption = Annotated[
    bool, typer.Option("--plan", help="Show what the study would do, and run nothing.", show_default=False)
]
_NewOption = Annotated[bool, typer.Option("--new", help="Start a new run instead of resuming the latest one.")]
_AcceptNewCodeOption = Annotated[
    bool,
    typer.Option("--accept-new-code", help="Resume even if the code has changed; new outcomes are marked."),
]


@command(app, "study", panel="Run")
def study(
    session: Session,
    name: _NameArgument = None,
    plan: _PlanOption = False,
    new: _NewOption = False,
    engine: EngineOption = None,
    workers: WorkersOption = None,
    accept_new_code: _AcceptNewCodeOption = False,
) -> int:
    """Start or resume a study: a run that chooses its own next cases.

    A study runs a first set of cases, learns from them, chooses the next ones, and ends when its targets hold. A
    table [studies.NAME] in experiments.toml describes it.

    Exits with 0 when the targets hold, and with 1 when the study ended without that.
    """
    project = session.project(engine=engine)
    if name is None:
        return _list(session, project)
    if plan:
        return _plan(session, project, name, workers=workers, new=new)
    return _run(session, project, name, workers=workers, new=new, accept_new_code=accept_new_code)


def _list(session: Session, project: Project) -> int:
    from scythe_cli.services.study.listing import listed_studies

    studies = listed_studies(project)
    if session.options.json:
        session.output.document(studies)
    elif session.options.quiet:
        session.output.print(*(each.name for each in studies))
    else:
        from scythe_cli.cli.render.study import list_lines

        session.output.print(*list_lines(studies))
    return 0


def _plan(session: Session, project: Project, name: str, *, workers: int | None, new: bool) -> int:
    from scythe_cli.services.study.listing import plan_study
    from scythe_cli.services.study.settings import configured_study

    plan = plan_study(project, configured_study(project, name), workers=workers, new=new)
    if session.options.json:
        session.output.document(plan)
    else:
        from scythe_cli.cli.render.study import plan_lines

        session.output.print(*plan_lines(plan))
    return 0


def _run(
    session: Session, project: Project, name: str, *, workers: int | None, new: bool, accept_new_code: bool
) -> int:
    from scythe_cli.analysis.surrogate.history import StudyRound
    from scythe_cli.cli.render.study import result_lines
    from scythe_cli.cli.running import show_result, watched
    from scythe_cli.services.study.calling import study_and_run

    def told(each: StudyRound, line: str) -> None:
        del each
        session.output.tell(line)

    result, interrupts, notices = watched(
        session.output,
        lambda progress, stop: study_and_run(
            project,
            name,
            new=new,
            accept_new_code=accept_new_code,
            workers=workers,
            progress=progress,
            stop=stop,
            on_round=told,
        ),
    )
    show_result(session, result, result_lines, notices)
    if interrupts.stopped:
        return INTERRUPTED
    return 0 if result.ok else 1
