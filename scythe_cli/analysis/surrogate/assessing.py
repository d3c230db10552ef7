"""How well the outputs of cases are predicted: models of all outputs, and how far each target is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from scythe_cli.analysis.surrogate.fitting import Fit, HeldOut, fit_output, folds_of, held_out, one_thread
from scythe_cli.analysis.surrogate.space import Floats, Point, Space
from scythe_cli.analysis.surrogate.targets import Standing, Target, standings

__all__ = ["Assessment", "Cases", "assess"]


@dataclass(frozen=True)
class Cases:
    """What is known of cases.

    Attributes:
        space: The fields that vary.
        points: The cases.
        outputs: The numbers that each output has; NaN where a case did not succeed, or has no such number.
    """

    space: Space
    points: Sequence[Point]
    outputs: Mapping[str, Floats]

    @cached_property
    def x(self) -> Floats:
        """Their coordinates."""
        return self.space.coordinates(self.points) if self.points else np.empty((0, len(self.space.groups)))

    @cached_property
    def usable(self) -> npt.NDArray[np.bool_]:
        """Which have a number for each output."""
        flags = np.ones(len(self.points), np.bool_)
        for values in self.outputs.values():
            flags &= np.isfinite(values)
        return flags

    def strata(self, fields: Sequence[str]) -> list[tuple[Any, ...]]:
        """The stratum of each."""
        return [tuple(point[name] for name in fields) for point in self.points] if fields else []

    def every_stratum(self, fields: Sequence[str]) -> list[tuple[Any, ...]]:
        """The strata that there can be, or are where a field is a number."""
        if not fields:
            return []
        dimensions = {dimension.name: dimension for dimension in self.space.dimensions}
        values = [dimensions[name].values if name in dimensions else None for name in fields]
        if any(each is None for each in values):
            return sorted(set(self.strata(fields)), key=repr)
        return list(product(*(each for each in values if each is not None)))


@dataclass(frozen=True, slots=True)
class Assessment:
    """What was learned from cases.

    Attributes:
        cases: The cases.
        fits: A model of each output, of the cases that are usable.
        predicted: What the usable cases are predicted as when they are held out.
        standings: How far each target is, of all cases first, then of each stratum.
        strata: The stratum of each usable case.
    """

    cases: Cases
    fits: Mapping[str, Fit]
    predicted: Mapping[str, HeldOut]
    standings: Sequence[Standing]
    strata: Sequence[tuple[Any, ...]]

    @property
    def holds(self) -> bool:
        """Whether all targets are reached, in each stratum."""
        return bool(self.standings) and all(standing.holds for standing in self.standings)

    @property
    def worst(self) -> float:
        """The greatest ratio of what was measured to what is asked for."""
        return max((standing.ratio for standing in self.standings), default=0.0)


def assess(
    cases: Cases, targets: Sequence[Target], fields: Sequence[str] = (), *, seed: int = 0, n_folds: int = 10
) -> Assessment:
    """Fit a model to each output, and measure how far targets are.

    Held-out predictions are made with the hyperparameters of all cases, which costs little; where all targets hold
    with these, they have to hold as well with those that the other folds give.

    Args:
        cases: The cases.
        targets: What is to be reached.
        fields: The fields whose values divide the cases into strata.
        seed: What random numbers follow from.
        n_folds: Into how many parts cases are divided.
    """
    usable = cases.usable
    x, groups, ratios = cases.x[usable], cases.space.groups, cases.space.ratios
    strata = [stratum for stratum, flag in zip(cases.strata(fields), usable, strict=True) if flag] if fields else []
    every = cases.every_stratum(fields)
    folds = folds_of(len(x), n_folds, strata)
    outputs = {name: values[usable] for name, values in cases.outputs.items()}

    def measured(predicted: Mapping[str, Floats]) -> list[Standing]:
        return [
            standing
            for target in targets
            for standing in standings(target, outputs[target.output], predicted[target.output], strata, every)
        ]

    with one_thread():
        made = {name: fit_output(x, y, groups, folds, seed=[seed], ratios=ratios) for name, y in outputs.items()}
        found = measured({name: out.means for name, (_, out) in made.items()})
        if found and all(standing.holds for standing in found):
            found = measured({name: held_out(fit, groups, folds, seed=[seed]) for name, (fit, _) in made.items()})
    fits = {name: fit for name, (fit, _) in made.items()}
    return Assessment(cases, fits, {name: out for name, (_, out) in made.items()}, found, strata)
