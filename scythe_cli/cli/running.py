"""What the commands that run specs have in common: progress, Ctrl-C, the summary, and the exit code."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from scythe_cli.cli.options import Session

if TYPE_CHECKING:
    from scythe_cli.core.progress import ProgressCallback
    from scythe_cli.executor.limits import StopSignal
    from scythe_cli.services.records import AllocateResult


__all__ = ["run_and_show"]


_INTERRUPTED = 130


def run_and_show(session: Session, run: Callable[[ProgressCallback, StopSignal], AllocateResult]) -> int:
    """Run specs with progress on stderr and Ctrl-C handled, and tell what came of it.

    Args:
        session: The command's session.
        run: What runs them.

    Returns:
        The exit code: 0 when every spec succeeded, 1 when some did not, 130 after Ctrl-C.
    """
    from scythe_cli.cli.progress import Interrupts, shown_progress
    from scythe_cli.core.progress import PhaseCallback, Progress
    from scythe_cli.executor.limits import StopSignal

    stop = StopSignal()
    interrupts = Interrupts(stop, session.output)
    with interrupts.handled(), shown_progress(session.output) as show:

        def progress(moment: Progress) -> None:
            interrupts.watch(moment)
            show(moment)

        result = run(PhaseCallback(progress) if session.options.quiet else progress, stop)
    if session.options.json:
        session.output.document(result)
    elif session.options.quiet:
        session.output.print(result.experiment_id)
    else:
        _show_result(session, result)
    for notice in result.notices:
        session.output.note(notice)
    if interrupts.stopped:
        how = f"; `scythe retry {result.experiment_id}` goes on" if result.counts.pending else ""
        session.output.note(f"interrupted; what is finished is kept{how}")
        return _INTERRUPTED
    return 0 if result.ok else 1


def _show_result(session: Session, result: AllocateResult) -> None:
    from scythe_cli.cli.render.records import (
        error_groups,
        facts,
        heading,
        place,
        plural,
        states_line,
    )
    from scythe_cli.core.quantities import format_duration

    counts = result.counts
    output = session.output
    specs = f"{plural(result.n_specs, 'spec')} in {format_duration(result.duration_s)}"
    output.print(heading(f"{result.experiment} {result.version}: {specs}"), states_line(counts))
    output.print(
        "",
        facts(
            [
                ("run", result.experiment_id),
                ("folder", place(result.uri)),
                ("tables", ", ".join(result.tables)),
                ("engine", result.engine),
            ]
        ),
    )
    if result.errors:
        output.print("", heading(f"{plural(counts.unsuccessful, 'spec')} did not succeed"), error_groups(result.errors))
    next_command = "scythe errors" if counts.unsuccessful else "scythe results show"
    if counts.pending and not counts.unsuccessful:
        next_command = f"scythe retry {result.experiment_id}"
    output.print("", f"Next: {next_command}")
