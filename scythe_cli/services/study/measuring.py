"""What is known after a round, whether that is the end, and how it is said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from scythe_cli.analysis.surrogate.history import BestCase, StandingRecord, StudyRound
from scythe_cli.services.study.records import StudyEnd

if TYPE_CHECKING:
    from scythe_cli.analysis.surrogate.assessing import Assessment, Cases
    from scythe_cli.analysis.surrogate.space import Floats
    from scythe_cli.services.study.settings import Study

__all__ = ["end_of", "measured_round", "said_of_round", "targets_of"]


_LEAST = 4
_PROGRESS = 0.01
_MAX_BEST = 100


def targets_of(study: Study) -> dict[str, list[str]]:
    """What is to be reached, by output, for a person."""
    said: dict[str, list[str]] = {}
    for target in study.targets:
        said.setdefault(target.output, []).append(str(target))
    for output, goal in study.objectives.items():
        said.setdefault(output, []).append(goal)
    for constraint in study.constraints:
        said.setdefault(constraint.output, []).append(str(constraint))
    return said


def measured_round(
    study: Study, number: int, cases: Cases, succeeded: npt.NDArray[np.bool_], found: Assessment | None
) -> StudyRound:
    """What is known after a round.

    Args:
        study: The study.
        number: Which round.
        cases: The cases so far.
        succeeded: Which of them did.
        found: What predictions are like, where there are targets for them.
    """
    best, volume = _best(study, cases) if study.objectives else ([], None)
    standings = [
        StandingRecord(
            output=each.target.output,
            target=str(each.target),
            stratum=list(each.stratum),
            value=each.value if math.isfinite(each.value) else None,
            shown=each.target.shown(each.value),
            ratio=each.ratio if math.isfinite(each.ratio) else None,
            n=each.n,
        )
        for each in (found.standings if found is not None else ())
    ]
    return StudyRound(
        round=number,
        cases=len(cases.points),
        succeeded=int(succeeded.sum()),
        failed=len(cases.points) - int(succeeded.sum()),
        standings=standings,
        best=best,
        hypervolume=volume,
    )


def _best(study: Study, cases: Cases) -> tuple[list[BestCase], float | None]:
    """The cases that keep the constraints and that no other one beats; and how well two objectives are met."""
    allowed = cases.usable
    for constraint in study.constraints:
        values = cases.outputs[constraint.output]
        allowed = allowed & (np.array([constraint.excess(float(v)) if math.isfinite(v) else 1.0 for v in values]) <= 0)
    rows = np.flatnonzero(allowed)
    if not len(rows):
        return [], None
    signs = [1.0 if goal == "minimize" else -1.0 for goal in study.objectives.values()]
    scores = np.stack([s * cases.outputs[o][rows] for s, o in zip(signs, study.objectives, strict=True)], axis=1)
    front = _front(scores)
    names = [*study.objectives, *(c.output for c in study.constraints if c.output not in study.objectives)]
    best = [
        BestCase(sort_index=int(rows[i]), outputs={o: float(cases.outputs[o][rows[i]]) for o in names}) for i in front
    ]
    return best[:_MAX_BEST], _hypervolume(scores, front) if len(signs) == 2 else None


def _front(scores: Floats) -> list[int]:
    """The rows that no other one beats, the least first; of those that are the same, the first."""
    left = np.lexsort(scores.T[::-1])
    front: list[int] = []
    while len(left):
        best = left[0]  # what beats it would come before it
        front.append(int(best))
        left = left[(scores[left] < scores[best]).any(1)]
    return front


def _hypervolume(scores: Floats, front: Sequence[int]) -> float:
    """Of two objectives: the share of the box around all cases that the best dominate."""
    low, high = scores.min(0), scores.max(0)
    span = np.where(high > low, high - low, 1.0)
    points = sorted(map(tuple, ((scores[i] - low) / span for i in front)))
    area, ceiling = 0.0, 1.0
    for x, y in points:
        area += (1.0 - x) * max(ceiling - y, 0.0)
        ceiling = min(ceiling, y)
    return float(area)


def end_of(study: Study, rounds: Sequence[StudyRound]) -> tuple[StudyEnd, str] | None:
    """Whether a study is at its end, and why; None while it goes on."""
    last = rounds[-1]
    if study.targets and last.standings and all(s.ratio is not None and s.ratio <= 1 for s in last.standings):
        return "reached", "all targets hold"
    if last.succeeded < _LEAST and study.targets:
        return "too_few", f"only {last.succeeded:,} of {last.cases:,} cases succeeded: too few to learn from"
    stalled = _stalled(study, rounds)
    if stalled >= study.config.patience:
        if study.objectives:
            return "converged", f"no better case in {stalled:,} rounds"
        return "no_progress", f"no progress in {stalled:,} rounds: {_short_of(last)}"
    if last.cases >= study.config.max_cases:
        short = "" if study.objectives else f": {_short_of(last)}"
        return "max_cases", f"there are {last.cases:,} cases, as many as max_cases allows{short}"
    return None


def _short_of(last: StudyRound) -> str:
    worst = last.worst
    if worst is None:
        return "nothing is known of the targets"
    where = f" for {', '.join(map(str, worst.stratum))}" if worst.stratum else ""
    return f"{worst.output} has {worst.target.split()[0]} {worst.shown}{where}, and is to have {worst.target}"


def _stalled(study: Study, rounds: Sequence[StudyRound]) -> int:
    """How many rounds ago there was progress for the last time."""
    best, at = math.inf, 0
    for position, each in enumerate(rounds):
        value = _distance(study, each)
        if value < best - _PROGRESS * abs(best) or (math.isfinite(value) and not math.isfinite(best)):
            best, at = value, position
        elif study.objectives and value < best:  # a little better is better as well, but no progress
            best = min(best, value)
    return len(rounds) - 1 - at


def _distance(study: Study, each: StudyRound) -> float:
    """How far a study is from its end, in whatever unit: less is better."""
    if study.targets:
        worst = each.worst
        return math.inf if worst is None or worst.ratio is None else worst.ratio
    if not each.best:
        return math.inf
    if len(study.objectives) == 1:
        ((output, goal),) = study.objectives.items()
        value = each.best[0].outputs[output]
        return value if goal == "minimize" else -value
    return -float(len(each.best)) if each.hypervolume is None else -each.hypervolume


def said_of_round(study_name: str, each: StudyRound) -> str:
    """A line on a round, for a person."""
    failed = f", {each.failed:,} failed" if each.failed else ""
    parts = [f"{study_name} round {each.round}: {each.cases:,} cases{failed}"]
    whole: Mapping[tuple[str, str], Any] = {(s.output, s.target): s for s in each.standings if not s.stratum}
    for (output, target), standing in whole.items():
        own = [s for s in each.standings if (s.output, s.target) == (output, target) and s.stratum]
        parts.append(f"{output} {target.split()[0]} {standing.shown}{_worst_of(own, standing)}")
    if each.best:
        first = each.best[0].outputs
        more = f" and {len(each.best) - 1:,} more" if len(each.best) > 1 else ""
        parts.append("best " + ", ".join(f"{name} {value:.6g}" for name, value in first.items()) + more)
    return "; ".join(parts)


def _worst_of(strata: Sequence[StandingRecord], whole: StandingRecord) -> str:
    worst = max(strata, key=lambda s: math.inf if s.ratio is None else s.ratio, default=None)
    if worst is None or worst.shown == whole.shown:
        return ""
    return f" ({worst.shown} for {', '.join(map(str, worst.stratum))})"
