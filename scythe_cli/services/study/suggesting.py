"""What chooses the next cases: a generator that speaks gest-api, led through all rounds that a run has.

A generator's state follows from the run alone. One whose suggestions follow from what it has ingested gets the cases of
each round; any other is asked for each round again, and gives the same points where it is deterministic.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scythe_cli.analysis.surrogate.generator import SurrogateGenerator
from scythe_cli.analysis.surrogate.libraries import VOCS
from scythe_cli.errors import ConfigError, InvalidInputError, first_line
from scythe_cli.model.functions.entrypoints import load_function

if TYPE_CHECKING:
    from scythe_cli.analysis.surrogate.space import Dimension, Floats, Point
    from scythe_cli.services.study.settings import Study

__all__ = ["Suggesting", "vocs_of"]


_FEW = 100
"""Whole numbers are single values for a generator, up to so many."""


def vocs_of(study: Study) -> Any:
    """Variables, objectives and constraints as gest-api tells them."""
    limits = {c.output: ["LESS_THAN" if c.is_upper else "GREATER_THAN", c.limit] for c in study.constraints}
    wanted = {target.output: "EXPLORE" for target in study.targets}
    objectives = {output: goal.upper() for output, goal in study.objectives.items()}
    variables = {dimension.name: _variable(dimension) for dimension in study.space.dimensions}
    made: Any = VOCS
    return made(variables=variables, objectives={**wanted, **objectives}, constraints=limits)


def _variable(dimension: Dimension) -> Any:
    if dimension.values is not None:
        return set(dimension.values)
    if dimension.is_whole and dimension.n_values <= _FEW:
        step = round(dimension.step or 1)
        return set(range(round(dimension.low), round(dimension.high) + 1, step))
    return [dimension.low, dimension.high]


class Suggesting:
    """A generator, and what it has been told.

    Args:
        study: The study.
        root: The folder that modules are imported from first.

    Attributes:
        generator: The generator.
        notices: For the user.
    """

    def __init__(self, study: Study, root: Path) -> None:
        self._study = study
        self.notices: list[str] = []
        self.generator: Any = _made(study, root)
        self._is_replayed = not getattr(self.generator, "depends_on_ingested_only", False)
        self._takes_failures = bool(getattr(self.generator, "takes_failures", False))
        self._asked: list[dict[str, Any]] | None = None

    def ask(self, n: int, known: Collection[tuple[Any, ...]]) -> list[Point]:
        """Cases that the run does not have; fewer than asked for where the generator suggests others.

        Args:
            n: How many.
            known: The keys of the cases of the run.

        Raises:
            InvalidInputError: If what the generator gives is no list of cases.
        """
        self._asked, points = None, self._suggested(n)
        new: dict[tuple[Any, ...], Point] = {}
        for _, point in points:
            key = self._study.space.key(point)
            if key not in known:
                new.setdefault(key, point)
        accepted = self._study.accepted(list(new.values()))
        self._asked = [suggestion for suggestion, _ in points]
        return [point for point, flag in zip(new.values(), accepted, strict=True) if flag]

    def replay(self, n: int, rows: Sequence[Point], known: Collection[tuple[Any, ...]]) -> None:
        """Ask again for a round that the run has, where the generator has to be asked.

        Args:
            n: How many cases it was asked for.
            rows: Those that the run got.
            known: The keys of the cases before.
        """
        self._asked = None
        if not self._is_replayed:
            return
        key = self._study.space.key
        if [key(point) for point in self.ask(n, known)] != [key(row) for row in rows]:
            self._asked = None
            self.notices = [
                f"{self._study.config.suggest} suggests other cases than those that the run has: it is not "
                "deterministic, or has changed; it learns from those of the run"
            ]

    def tell(self, rows: Sequence[Point], known: Mapping[tuple[Any, ...], int], outputs: Mapping[str, Floats]) -> None:
        """Let the generator learn.

        Args:
            rows: The cases that the run got in this round.
            known: By key, which of the cases of the run each is.
            outputs: The outputs of all cases of the run; NaN where one failed.
        """
        key, told = self._study.space.key, [(row, row) for row in rows]
        if self._asked is not None and self._is_replayed:
            told = [(suggestion, _on(self._study, suggestion)) for suggestion in self._asked]
        failed = dict.fromkeys(self._study.outputs, math.nan)
        results: list[dict[str, Any]] = []
        for point, case in told:
            at = known.get(key(case))
            found = failed if at is None else {name: float(values[at]) for name, values in outputs.items()}
            if self._takes_failures or all(map(math.isfinite, found.values())):
                results.append({**point, **found})
        self._asked = None
        self.generator.ingest(results)

    def _suggested(self, n: int) -> list[tuple[dict[str, Any], Point]]:
        suggest = self._study.config.suggest
        try:
            given = self.generator.suggest(n)
        except ValueError:
            given = self.generator.suggest(None)  # it gives as many as it gives
        try:
            suggestions = [dict(each) for each in given]
            return [(each, _on(self._study, each)) for each in suggestions]
        except (TypeError, ValueError, KeyError) as error:
            raise InvalidInputError(f"{suggest} suggests no cases: {first_line(error)}") from error


def _on(study: Study, suggestion: Point) -> Point:
    """A suggestion as a case: within what varies, with whole numbers where they are."""
    if study.first.pool is not None:
        return {name: suggestion[name] for name in study.space.names}
    point: dict[str, Any] = {}
    for dimension in study.space.dimensions:
        value = suggestion[dimension.name]
        if dimension.values is not None:
            keys = {str(known): known for known in dimension.values}
            point[dimension.name] = value if value in dimension.values else keys[str(value)]
        else:
            number = min(max(float(value), dimension.low), dimension.high)
            if dimension.step is not None:
                number = dimension.low + round((number - dimension.low) / dimension.step) * dimension.step
            point[dimension.name] = round(number) if dimension.is_whole else float(f"{number:.15g}")
    return point


def _made(study: Study, root: Path) -> Any:
    config = study.config
    if config.suggest == "surrogate":
        return SurrogateGenerator(
            vocs_of(study),
            targets=config.targets,
            strata=config.strata,
            seed=config.seed,
            folds=config.folds,
            pool=study.first.pool,
            space=study.space,
            accepts=study.accepted,
            **config.options,
        )
    if config.suggest == "optimize":
        from scythe_cli.analysis.surrogate.optimizing import OptunaGenerator

        return OptunaGenerator(vocs_of(study), seed=config.seed, space=study.space, **config.options)
    factory = load_function(config.suggest, root)
    options = dict(config.options)
    if "seed" not in options and _takes(factory, "seed"):
        options["seed"] = config.seed
    try:
        generator = factory(vocs_of(study), **options)
    except Exception as error:
        raise ConfigError(
            f"{config.suggest} makes no generator of these variables: {type(error).__name__}: {first_line(error)}",
            hint="It is called with a VOCS of gest-api, and with the keywords in `options`.",
        ) from error
    for name in ("suggest", "ingest"):
        if not callable(getattr(generator, name, None)):
            raise ConfigError(f"{config.suggest} gives a {type(generator).__name__}, which has no method {name!r}")
    return generator


def _takes(factory: Any, name: str) -> bool:
    try:
        return name in inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return False
