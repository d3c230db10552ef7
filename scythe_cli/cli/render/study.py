"""Studies, what one would do, and what one came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from scythe_cli.cli.render.run import states_line
from scythe_cli.cli.render.text import borderless_table, facts, heading, place, plural
from scythe_cli.core.quantities import format_duration

if TYPE_CHECKING:
    from rich.console import RenderableType

    from scythe_cli.analysis.surrogate.history import StandingRecord, StudyRound
    from scythe_cli.services.study.records import StudyListing, StudyPlan, StudyResult

__all__ = ["list_lines", "plan_lines", "result_lines"]


_MAX_BEST = 10


def list_lines(studies: Sequence[StudyListing]) -> list[RenderableType]:
    """The studies of a project, a line each."""
    if not studies:
        return ["no studies: a table [studies.NAME] in experiments.toml makes one"]
    table = borderless_table("study", "experiment", "targets", "rounds", "cases", "state", right=("rounds", "cases"))
    for each in studies:
        cells = (each.name, each.experiment or "", _targets(each.targets), *_progress(each))
        table.add_row(*(Text(str(cell)) for cell in cells))
    return [table]


def _progress(each: StudyListing) -> tuple[str, str, str]:
    if each.problem is not None:
        return "", "", each.problem
    if each.run is None:
        return "", "", "not started"
    state = "running" if each.is_running else _standing(each.last)
    return f"{each.rounds:,}", f"{each.cases:,}", state


def _standing(last: StudyRound | None) -> str:
    if last is None:
        return "begun"
    if last.standings:
        worst = last.worst
        if worst is not None and worst.ratio is not None and worst.ratio <= 1:
            return "targets hold"
        return "unknown" if worst is None else f"{worst.output} {worst.target.split()[0]} {worst.shown}{_of(worst)}"
    return ", ".join(f"{name} {value:.6g}" for name, value in last.best[0].outputs.items()) if last.best else "begun"


def _of(standing: StandingRecord) -> str:
    return f" for {', '.join(map(str, standing.stratum))}" if standing.stratum else ""


def _targets(targets: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{output} {each}" for output, wanted in targets.items() for each in wanted)


def plan_lines(plan: StudyPlan) -> list[RenderableType]:
    """What a study would do."""
    if plan.run is None:
        title = f"{plan.study}: starts with {plural(plan.initial, 'case')} of {plan.experiment}; nothing has run yet"
    elif plan.end is not None:
        title = f"{plan.study}: nothing to do: {plan.reason}"
    else:
        title = f"{plan.study}: resumes {plan.run}"
    pairs: list[tuple[str, str | None]] = [
        ("experiment", plan.experiment),
        ("engine", plan.engine),
        *((f"  {name}", text) for name, text in plan.fields.items()),
        ("targets", _targets(plan.targets)),
        ("for each", ", ".join(plan.strata)),
        ("first round", plural(plan.initial, "case")),
        ("next round", f"{plural(plan.batch, 'case')}, chosen by {plan.suggest}"),
        ("at most", plural(plan.max_cases, "case")),
        ("pending", f"{plural(plan.pending, 'case')}, to be run first" if plan.pending else None),
    ]
    return [heading(title), facts(pairs), *_of_round(plan.last), *_of_failures(plan.failures)]


def result_lines(result: StudyResult) -> list[RenderableType]:
    """What a study came to."""
    last = result.rounds[-1] if result.rounds else None
    title = f"{result.study}: {result.reason}"
    pairs: list[tuple[str, str | None]] = [
        ("run", result.experiment_id),
        ("folder", place(result.uri)),
        ("rounds", f"{len(result.rounds):,}"),
        ("time", format_duration(result.duration_s)),
    ]
    lines: list[RenderableType] = [heading(title), states_line(result.counts), facts(pairs)]
    return [*lines, *_of_round(last), *_of_failures(result.failures)]


def _of_round(last: StudyRound | None) -> list[RenderableType]:
    lines: list[RenderableType] = []
    if last is None:
        return lines
    if last.standings:
        table = borderless_table("output", "stratum", "target", "measured", "cases", right=("cases",))
        for each in last.standings:
            missed = each.ratio is None or each.ratio > 1
            cells = (each.output, ", ".join(map(str, each.stratum)) or "all", each.target, each.shown, f"{each.n:,}")
            table.add_row(*(Text(cell) for cell in cells), style="red" if missed else "green")
        lines += ["", heading(f"held-out cases after round {last.round}"), table]
    if last.best:
        names = list(last.best[0].outputs)
        table = borderless_table("row", *names, right=("row", *names))
        for best in last.best[:_MAX_BEST]:
            table.add_row(str(best.sort_index), *(f"{value:.6g}" for value in best.outputs.values()))
        more = f", {_MAX_BEST} of {len(last.best):,}" if len(last.best) > _MAX_BEST else ""
        lines += ["", heading(f"best cases{more}"), table]
    return lines


def _of_failures(failures: Sequence[str]) -> list[RenderableType]:
    return ["", heading("where cases fail"), *(Text(f"  {rule}") for rule in failures)] if failures else []
