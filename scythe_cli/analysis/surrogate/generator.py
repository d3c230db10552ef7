"""`surrogate`: the generator of gest-api that suggests the cases from which predictions get better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from scythe_cli.analysis.surrogate.assessing import Assessment, Cases, assess
from scythe_cli.analysis.surrogate.choosing import candidates_of, choose, outer_points
from scythe_cli.analysis.surrogate.fitting import one_thread
from scythe_cli.analysis.surrogate.libraries import Generator
from scythe_cli.analysis.surrogate.space import Point, Space
from scythe_cli.analysis.surrogate.targets import read_targets

__all__ = ["SurrogateGenerator"]


class SurrogateGenerator(Generator):
    """Suggests cases where a surrogate model of the outputs is least sure, or was wrong.

    What it suggests follows from what it has ingested and from its seed alone, not from what it has suggested before.

    Args:
        vocs: The variables, and the outputs as objectives to explore.
        targets: How well outputs are to be predicted, such as `rmse <= 1%`; those that are reached count less.
        strata: Variables whose values divide the cases; targets are for each.
        seed: What random numbers follow from.
        folds: Into how many parts cases are divided to hold them out.
        log: Variables that are spread on a logarithmic scale.
        pool: The only points that can be suggested.
        space: The variables, where more is known of them than the VOCS says.
        accepts: Tells which points can be cases; all unless given.
    """

    depends_on_ingested_only = True
    """A study need not ask again for what it has asked for before, to come to the same state."""

    takes_failures = True
    """Outputs that are NaN tell that a case failed."""

    def __init__(
        self,
        vocs: Any,
        *,
        targets: Mapping[str, Any] | None = None,
        strata: Sequence[str] = (),
        seed: int = 0,
        folds: int = 10,
        log: Sequence[str] = (),
        pool: Sequence[Point] | None = None,
        space: Space | None = None,
        accepts: Callable[[Sequence[Point]], Any] | None = None,
    ) -> None:
        super().__init__(vocs)
        self.vocs = vocs
        self._space = space or Space.of_vocs(vocs, log)
        self._targets = read_targets(targets or {})
        self._outputs = list(dict.fromkeys([*vocs.objectives, *(target.output for target in self._targets)]))
        self._strata, self._seed, self._folds, self._pool = list(strata), seed, folds, pool
        self._accepts = accepts
        self._points: list[Point] = []
        self._values: dict[str, list[float]] = {name: [] for name in self._outputs}
        self._found: Assessment | None = None

    def _validate_vocs(self, vocs: Any) -> None:
        if not vocs.variables or not vocs.objectives:
            raise ValueError("there must be variables, and outputs as objectives")

    @property
    def assessment(self) -> Assessment:
        """What is known from what was ingested."""
        if self._found is None:
            outputs = {name: np.array(values, np.float64) for name, values in self._values.items()}
            cases = Cases(self._space, self._points, outputs)
            self._found = assess(cases, self._targets, self._strata, seed=self._seed, n_folds=self._folds)
        return self._found

    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        """The cases to run next; fewer than asked for where there are no more."""
        seed = [self._seed, len(self._points)]
        known = {self._space.key(point) for point in self._points}
        candidates = candidates_of(self._space, known, self._pool, seed=seed)
        n = num_points or 1
        constants = {name: constant.value for name, constant in self.vocs.constants.items()}
        outer = outer_points(self._space, known, self._pool, seed=seed)
        chosen = self._chosen(candidates, outer, n, seed)
        if self._accepts is not None and not all(self._accepts(chosen)):
            chosen = self._chosen(self._taken(candidates), self._taken(outer), n, seed)
        return [{**point, **constants} for point in chosen]

    def _taken(self, points: Sequence[Point]) -> list[Point]:
        flags = self._accepts(points) if self._accepts is not None else [True] * len(points)
        return [point for point, flag in zip(points, flags, strict=True) if flag]

    def _chosen(
        self, candidates: Sequence[Point], also: Sequence[Point], n: int, seed: Sequence[int]
    ) -> Sequence[Point]:
        if not any(len(fit.y) > 2 for fit in self.assessment.fits.values()):
            return candidates[:n]
        with one_thread():
            return choose(self.assessment, candidates, self._strata, n, seed=seed, also=also)

    def ingest(self, results: list[dict[str, Any]]) -> None:
        """Learn from cases; those that failed have NaN as outputs."""
        for result in results:
            self._points.append({name: result[name] for name in self._space.names})
            for name in self._outputs:
                value = result.get(name)
                self._values[name].append(float("nan") if value is None else float(value))
        self._found = None
