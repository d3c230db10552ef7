"""`scythe runs prune`: remove old runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from scythe_cli.cli.arguments import ExperimentOption, NameArgument, one_name, parse_since
from scythe_cli.cli.framework import Session, command

if TYPE_CHECKING:
    from scythe_cli.services.runs.prune import PruneResult


__all__ = ["app", "prune"]


app = typer.Typer()

_SHOWN = 20


@command(app, "prune", panel="Follow runs")
def prune(
    session: Session,
    name: NameArgument = None,
    experiment: ExperimentOption = None,
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep", metavar="N", min=0, help="Keep the newest N runs of each experiment.", show_default=False
        ),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="WHEN",
            help="Keep runs since a date (2026-11-29, UTC) or of the last 90d.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be removed, and remove nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also remove unfinished runs that a fleet may still be working on.")
    ] = False,
) -> int:
    """Remove old runs, with all their files.

    With --keep and --older-than, removes only runs that both let go. Keeps runs that are still running. Also spelled
    `scythe runs prune`.
    """
    from scythe_cli.services.runs.prune import old_runs, prune_runs

    storage = session.storage()
    before = parse_since(older_than, "--older-than")
    result = old_runs(storage, one_name(name, experiment), keep=keep, before=before, force=force)
    if not dry_run:
        if result.removed and not yes and not _is_confirmed(session, result, storage.location):
            session.output.note("nothing was removed")
            return 1
        result = prune_runs(storage, result)
    if session.options.json:
        session.output.document(result)
    elif session.options.quiet:
        session.output.print(*result.removed)
    else:
        _show(session, result)
    return 0


def _is_confirmed(session: Session, result: PruneResult, location: str) -> bool:
    import sys

    from scythe_cli.cli.output import clean
    from scythe_cli.cli.render.text import plural
    from scythe_cli.errors import UsageError

    if session.options.json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            f"{plural(len(result.removed), 'run')} would be removed, and nobody can be asked here",
            hint="Add `--yes` to remove them, or `--dry-run` to list them.",
        )
    session.output.note("\n".join(_listed(result.removed)))
    question = f"Remove {plural(len(result.removed), 'run')} from {clean(location)}?"
    return typer.confirm(question, default=False, err=True)


def _listed(runs: list[str]) -> list[str]:
    shown = [f"  {run}" for run in runs[:_SHOWN]]
    return shown if len(runs) <= _SHOWN else [*shown, f"  and {len(runs) - _SHOWN} more"]


def _show(session: Session, result: PruneResult) -> None:
    from scythe_cli.cli.render.text import plural

    done = "to be removed" if result.dry_run else "removed"
    session.output.print(f"{plural(len(result.removed), 'run')} {done}, {result.n_kept} kept")
    if result.dry_run:
        session.output.print(*_listed(result.removed))
    if result.at_work:
        many = len(result.at_work) > 1
        session.output.note(
            f"kept, because {'they may be' if many else 'it may be'} at work: {', '.join(result.at_work)}"
        )
