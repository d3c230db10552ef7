"""`optimize`: the generator of gest-api that asks Optuna's samplers for cases whose outputs are small or large."""

from __future__ import annotations

import math
from typing import Any

from scythe_cli.analysis.surrogate.libraries import Generator
from scythe_cli.analysis.surrogate.space import Dimension, Space
from scythe_cli.core.distribution import needs_extra

with needs_extra("study", "optimize"):
    import optuna

__all__ = ["OptunaGenerator"]


_SAMPLERS = ("tpe", "nsga2")


class OptunaGenerator(Generator):
    """Suggests cases as Optuna does.

    With one objective, TPE; with several, NSGA-II. A case that failed counts as one that breaks a constraint, and is as
    bad as the worst that there is.

    Args:
        vocs: The variables, objectives to minimize or maximize, and constraints.
        seed: What random numbers follow from.
        sampler: `tpe` or `nsga2`; by the number of objectives unless given.
        space: The variables, where more is known of them than the VOCS says.
    """

    returns_id = True
    takes_failures = True

    def __init__(self, vocs: Any, *, seed: int = 0, sampler: str | None = None, space: Space | None = None) -> None:
        super().__init__(vocs)
        self._goals = {name: type(goal).__name__ == "MinimizeObjective" for name, goal in vocs.objectives.items()}
        self._limits = {
            name: (float(limit.value), type(limit).__name__ == "LessThanConstraint")
            for name, limit in vocs.constraints.items()
        }
        self._space = space or Space.of_vocs(vocs)
        sampler = sampler or ("tpe" if len(self._goals) == 1 else "nsga2")
        if sampler not in _SAMPLERS:
            raise ValueError(f"sampler is {sampler!r}; it is one of {', '.join(_SAMPLERS)}")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(
            directions=["minimize" if is_least else "maximize" for is_least in self._goals.values()],
            sampler=_sampler(sampler, seed % 2**32),
        )
        self._distributions = {d.name: _distribution(d) for d in self._space.dimensions}
        self._trials: dict[int, optuna.Trial] = {}
        self._worst: dict[str, float] = {}

    def _validate_vocs(self, vocs: Any) -> None:
        if not vocs.variables or not vocs.objectives:
            raise ValueError("there must be variables and objectives")
        if any(type(goal).__name__ == "ExploreObjective" for goal in vocs.objectives.values()):
            raise ValueError("objectives are to minimize or maximize")
        if any(type(limit).__name__ == "BoundsConstraint" for limit in vocs.constraints.values()):
            raise ValueError("constraints have one limit")

    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        """The cases to run next, each with an `_id`."""
        points: list[dict[str, Any]] = []
        for _ in range(num_points or 1):
            trial = self._study.ask(self._distributions)
            self._trials[trial.number] = trial
            chosen = {d.name: _value(d, trial.params[d.name]) for d in self._space.dimensions}
            points.append({**chosen, "_id": trial.number})
        return points

    def ingest(self, results: list[dict[str, Any]]) -> None:
        """Learn from cases; those that failed have NaN as outputs.

        Raises:
            ValueError: If an `_id` is not known.
        """
        for result in results:
            for name, is_least in self._goals.items():
                value = float(result[name])
                if math.isfinite(value):
                    known = self._worst.get(name, value)
                    self._worst[name] = max(known, value) if is_least else min(known, value)
        for result in results:
            self._learn(result)

    def _learn(self, result: dict[str, Any]) -> None:
        values = [float(result[name]) for name in self._goals]
        is_good = all(map(math.isfinite, values))
        if not is_good:
            values = [self._worst.get(name, 0.0) for name in self._goals]
        excess = {"failed": 0.0 if is_good else 1.0}
        for name, (limit, is_upper) in self._limits.items():
            excess[f"limit of {name}"] = _excess(float(result[name]), limit, is_upper)
        number = result.get("_id")
        if number is not None:
            if number not in self._trials:
                raise ValueError(f"no case {number} was suggested")
            trial = self._trials.pop(number)
            for key, value in excess.items():
                trial.set_constraint(key, value)
            self._study.tell(trial, values)
            return
        params = {d.name: _param(d, result[d.name]) for d in self._space.dimensions}
        self._study.add_trial(
            optuna.trial.create_trial(
                params=params,
                distributions=self._distributions,
                values=values,
                constraints=excess,
            )
        )


def _excess(value: float, limit: float, is_upper: bool) -> float:
    if not math.isfinite(value):
        return 1.0
    return value - limit if is_upper else limit - value


def _sampler(name: str, seed: int) -> Any:
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=4)


def _distribution(dimension: Dimension) -> Any:
    distributions = optuna.distributions
    if dimension.values is not None:
        return distributions.CategoricalDistribution(range(len(dimension.values)))
    if dimension.step is not None and not dimension.is_log:
        return distributions.FloatDistribution(dimension.low, dimension.high, step=dimension.step)
    return distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.is_log)


def _value(dimension: Dimension, param: Any) -> Any:
    if dimension.values is not None:
        return dimension.values[int(param)]
    if dimension.step is None:
        return float(param)
    number = dimension.low + round((float(param) - dimension.low) / dimension.step) * dimension.step
    return round(number) if dimension.is_whole else number


def _param(dimension: Dimension, value: Any) -> Any:
    if dimension.values is None:
        return min(max(float(value), dimension.low), dimension.high)
    return [str(each) for each in dimension.values].index(str(value))
