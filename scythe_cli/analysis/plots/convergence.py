"""How a study came nearer to its targets from round to round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scythe_cli.analysis.plots.shapes import Axis, Points
from scythe_cli.analysis.surrogate.history import StudyHistory, read_history
from scythe_cli.errors import UsageError

if TYPE_CHECKING:
    from scythe_cli.run.stored_run import StoredRun

__all__ = ["convergence_of", "read_convergence"]


def read_convergence(run: StoredRun, output: str | None) -> tuple[str, Points, list[str]]:
    """The picture of a study: its title, its points, and what is to be said.

    Args:
        run: The run of a study.
        output: The output to show; all unless given.

    Raises:
        UsageError: If it is no run of a study, or the study has no such output.
    """
    history = read_history(run.storage, run.layout)
    shape = None if history is None else convergence_of(history, output)
    if history is None or shape is None:
        what = "is not a run of a study" if history is None else f"has nothing measured of {output or 'its outputs'}"
        raise UsageError(f"{run.experiment_id} {what}", hint="--kind convergence is for runs of `scythe study`.")
    ended = [history.reason] if history.reason else []
    return f"How {history.study} came near its targets", shape, [f"{len(history.rounds):,} rounds", *ended]


def convergence_of(history: StudyHistory, output: str | None = None) -> Points | None:
    """What was measured after each round; None where nothing was.

    Of targets, as a share of what is asked for, so that all are reached at 1; of an output to minimize or maximize, the
    best value.
    """
    points = [
        (each.cases, standing.ratio, ", ".join([f"{standing.output} {standing.target}", *map(str, standing.stratum)]))
        for each in history.rounds
        for standing in each.standings
        if standing.ratio is not None and output in (None, standing.output)
    ]
    if points:
        y = Axis("measured / target, reached at 1", "number", log=all(ratio > 0 for _, ratio, _ in points))
        return _points(points, y, "target")
    name = output or next(iter(history.targets), "")
    shown = [each for each in history.rounds if each.best and name in each.best[0].outputs]
    best = [(each.cases, each.best[0].outputs[name], name) for each in shown]
    return _points(best, Axis(f"best {name}", "number"), None) if best else None


def _points(points: list[tuple[int, float, str]], y: Axis, color: str | None) -> Points:
    return Points(
        Axis("cases", "number"),
        y,
        [float(cases) for cases, _, _ in points],
        [value for _, value, _ in points],
        None if color is None else Axis(color, "category"),
        [] if color is None else [label for _, _, label in points],
    )
