"""What `scythe allocate --plan` prints."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from scythe_cli.cli.options import Session

if TYPE_CHECKING:
    from scythe_cli.core.progress import ProgressCallback
    from scythe_cli.executor.limits import StopSignal
    from scythe_cli.services.plan import AllocationPlan, Pilot


__all__ = ["plan_and_show"]


_INTERRUPTED = 130
_UNKNOWN = "unknown"


def plan_and_show(session: Session, make: Callable[[ProgressCallback, StopSignal], AllocationPlan]) -> int:
    """Make a plan, with the progress of its pilot on stderr, and print it.

    Args:
        session: The command's session.
        make: What makes it.

    Returns:
        The exit code: 0, or 1 when rows of the pilot did not succeed, 130 after Ctrl-C.
    """
    from scythe_cli.cli.progress import Interrupts, shown_progress
    from scythe_cli.core.progress import Progress
    from scythe_cli.executor.limits import StopSignal

    stop = StopSignal()
    interrupts = Interrupts(stop, session.output)
    with interrupts.handled(), shown_progress(session.output) as show:

        def progress(moment: Progress) -> None:
            interrupts.watch(moment)
            show(moment)

        plan = make(progress, stop)
    if session.options.json:
        session.output.document(plan)
    else:
        _show(session, plan)
    for notice in plan.notices:
        session.output.note(notice)
    if interrupts.stopped:
        return _INTERRUPTED
    return 1 if plan.pilot is not None and plan.pilot.counts.unsuccessful else 0


def _show(session: Session, plan: AllocationPlan) -> None:
    from scythe_cli.cli.render.records import facts, heading, plural
    from scythe_cli.core.quantities import format_duration, format_size

    output = session.output
    output.print(heading(f"{plan.experiment} {plan.version}: {plural(plan.n_to_run, 'spec')} to run, not done yet"))
    saved = [
        None if plan.n_reused is None else f"{plan.n_reused:,} taken over",
        f"{plan.n_duplicates:,} the same as an earlier row" if plan.n_duplicates else None,
    ]
    less = ", ".join(text for text in saved if text)
    uploads = f"{plural(plan.input_files, 'file')}, {format_size(plan.input_bytes)}" if plan.input_files else "none"
    is_fleet = plan.workers is None
    each = plural(plan.rows_per_task or 1, "row")
    nodes = plural(plan.nodes or 1, "node")
    tasks = _UNKNOWN if plan.tasks is None else f"about {plan.tasks:,}, at most {each} each, from {nodes}"
    lines: list[tuple[str, str | None]] = [
        ("file", plan.file),
        ("specs", f"{plan.n_specs:,}{f' ({less})' if less else ''}"),
        ("defaults", ", ".join(plan.defaulted)),
        ("uploads", uploads),
        ("engine", plan.engine if plan.workers is None else f"{plan.engine}, {_processes(plan.workers)}"),
        ("tasks", tasks if is_fleet else None),
        ("parts", _UNKNOWN if plan.parts is None else f"about {plan.parts:,}"),
        ("one spec", _one_spec(plan)),
        ("all specs", _UNKNOWN if plan.work_s is None else f"{format_duration(plan.work_s)} one after the other"),
        ("expected", _UNKNOWN if plan.expected_s is None else f"about {format_duration(plan.expected_s)}"),
    ]
    output.print(facts(lines))
    if plan.pilot is not None:
        _show_pilot(session, plan.pilot)
    if plan.durations is None and plan.n_to_run:
        output.print("", "Next: --pilot 20 runs 20 random rows to see how long they take")


def _processes(n: int) -> str:
    return "1 process" if n == 1 else f"{n:,} processes"


def _one_spec(plan: AllocationPlan) -> str:
    from scythe_cli.core.quantities import format_duration

    known = plan.durations
    if known is None:
        return _UNKNOWN
    source = "the pilot" if known.source == "pilot" else known.source
    times = f"{format_duration(known.mean_s)}, at most {format_duration(known.max_s)}"
    return f"{times} ({known.n:,} of {source})"


def _show_pilot(session: Session, pilot: Pilot) -> None:
    from scythe_cli.cli.render.records import heading, plural, states_line
    from scythe_cli.core.quantities import format_duration

    output = session.output
    title = f"pilot: {plural(len(pilot.rows), 'row')} in {format_duration(pilot.elapsed_s)}, seed {pilot.seed}"
    output.print("", heading(title), states_line(pilot.counts))
    for failure in pilot.failures:
        rows = ", ".join(map(str, failure.rows))
        first = (failure.message.strip().splitlines() or [""])[0]
        noun = "row" if len(failure.rows) == 1 else "rows"
        output.print(f"{failure.error_type}  {failure.state.value}, {noun} {rows}", f"    {first}")
