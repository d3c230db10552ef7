"""What would be run, and how long it may take, as `scythe allocate --plan` prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scythe_cli.cli.render.run import states_line
from scythe_cli.cli.render.text import facts, heading, plural
from scythe_cli.core.quantities import format_duration, format_size

if TYPE_CHECKING:
    from rich.console import RenderableType

    from scythe_cli.services.allocation.plan import AllocationPlan, Pilot


__all__ = ["plan_lines"]


_UNKNOWN = "unknown"


def plan_lines(plan: AllocationPlan) -> list[RenderableType]:
    """A plan, what came of its pilot, and what would tell more."""
    title = heading(f"{plan.experiment} {plan.version}: {plural(plan.n_to_run, 'case')} to run; nothing has run yet")
    saved = [
        None if plan.n_reused is None else f"{plan.n_reused:,} reused",
        f"{plan.n_duplicates:,} identical to an earlier one" if plan.n_duplicates else None,
    ]
    less = ", ".join(text for text in saved if text)
    uploads = f"{plural(plan.input_files, 'file')}, {format_size(plan.input_bytes)}" if plan.input_files else "none"
    is_fleet = plan.workers is None
    each = plural(plan.rows_per_task or 1, "row")
    nodes = f", from {plural(plan.nodes or 1, 'node')}" if plan.cores_per_task is None else ""
    tasks = _UNKNOWN if plan.tasks is None else f"about {plan.tasks:,}, at most {each} each{nodes}"
    pairs: list[tuple[str, str | None]] = [
        ("file", plan.file),
        ("cases", f"{plan.n_specs:,}{f' ({less})' if less else ''}"),
        ("defaults", ", ".join(plan.defaulted)),
        ("uploads", uploads),
        ("engine", plan.engine if plan.workers is None else f"{plan.engine}, {_processes(plan.workers)}"),
        ("tasks", tasks if is_fleet else None),
        ("cores", _cores(plan)),
        ("parts", _UNKNOWN if plan.parts is None else f"about {plan.parts:,}"),
        ("one case", _one_spec(plan)),
        ("all cases", _UNKNOWN if plan.work_s is None else f"{format_duration(plan.work_s)} in sequence"),
        ("core hours", None if plan.cores_per_task is None or plan.work_s is None else _core_hours(plan)),
        ("expected", _UNKNOWN if plan.expected_s is None else f"about {format_duration(plan.expected_s)}"),
    ]
    lines: list[RenderableType] = [title, facts(pairs)]
    if plan.pilot is not None:
        lines += _pilot_lines(plan.pilot)
    if plan.durations is None and plan.n_to_run:
        lines += ["", "Next: add --pilot 20 to time 20 random cases"]
    return lines


def _processes(n: int) -> str:
    return "1 process" if n == 1 else f"{n:,} processes"


def _cores(plan: AllocationPlan) -> str | None:
    """The cores that a scheduler reserves; None for an engine without one."""
    if plan.cores_per_task is None:
        return None
    each = f"{plan.cores_per_task:,} each"
    return each if plan.tasks_at_once is None else f"{plan.cores_per_task * plan.tasks_at_once:,} at once, {each}"


def _core_hours(plan: AllocationPlan) -> str:
    hours = (plan.work_s or 0.0) / 3600
    return f"about {hours:,.1f}" if hours >= 0.1 else "less than 0.1"


def _one_spec(plan: AllocationPlan) -> str:
    known = plan.durations
    if known is None:
        return _UNKNOWN
    source = "the pilot" if known.source == "pilot" else known.source
    times = f"{format_duration(known.mean_s)}, at most {format_duration(known.max_s)}"
    return f"{times} ({known.n:,} of {source})"


def _pilot_lines(pilot: Pilot) -> list[RenderableType]:
    title = f"pilot: {plural(len(pilot.rows), 'row')} in {format_duration(pilot.elapsed_s)}, seed {pilot.seed}"
    lines: list[RenderableType] = ["", heading(title), states_line(pilot.counts)]
    for failure in pilot.failures:
        rows = ", ".join(map(str, failure.rows))
        first = (failure.message.strip().splitlines() or [""])[0]
        noun = "row" if len(failure.rows) == 1 else "rows"
        lines += [f"{failure.error_type}  {failure.state.value}, {noun} {rows}", f"    {first}"]
    return lines
