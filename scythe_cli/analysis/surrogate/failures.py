"""Where cases fail: how likely that is for others, and rules that a person can read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from scythe_cli.analysis.surrogate.gaussian import GaussianProcess, fit_gaussian
from scythe_cli.analysis.surrogate.libraries import DecisionTreeClassifier, ExtraTreesClassifier
from scythe_cli.analysis.surrogate.space import Dimension, Floats, Point, Space

__all__ = ["Failures", "failure_rules"]


_TREES = 60
_GAUSSIAN_ROWS = 300
_DEPTH = 3
_LEAST_IN_RULE = 3
_LEAST_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Failures:
    """How likely cases succeed, learned from those that did and those that did not.

    Attributes:
        process: A Gaussian process of which is 1 and which is 0; None where all succeeded, or all failed.
        forest: A forest instead, for many cases.
    """

    process: GaussianProcess | None = None
    forest: Any = field(default=None, repr=False)

    @classmethod
    def learned(
        cls, x: Floats, succeeded: npt.NDArray[np.bool_], groups: npt.NDArray[np.int64], *, seed: Sequence[int]
    ) -> Failures:
        """Learn from cases.

        Args:
            x: Coordinates, a row for each case.
            succeeded: Whether each did.
            groups: For each coordinate the position of its field.
            seed: What random numbers follow from.
        """
        if succeeded.all() or not succeeded.any():
            return cls()
        if len(x) <= _GAUSSIAN_ROWS:
            return cls(
                fit_gaussian(x, succeeded.astype(np.float64), groups, seed=seed, kernels=("matern52",), n_starts=1)
            )
        state = int(np.random.default_rng([*seed, len(x)]).integers(2**31))
        forest: Any = ExtraTreesClassifier(n_estimators=_TREES, min_samples_leaf=2, random_state=state, n_jobs=1)
        return cls(forest=forest.fit(x, succeeded))

    def success(self, x: Floats) -> Floats:
        """How likely cases succeed."""
        if self.process is not None:
            return np.clip(self.process.predict(x)[0], 0.0, 1.0)
        if self.forest is None:
            return np.ones(len(x))
        return cast("Floats", self.forest.predict_proba(x)[:, list(self.forest.classes_).index(True)])


def failure_rules(space: Space, points: Sequence[Point], succeeded: npt.NDArray[np.bool_]) -> list[str]:
    """Where cases fail, in words: `wind > 0.71 and site = Oslo: 12 of 13 failed`.

    Args:
        space: The fields that vary.
        points: The cases.
        succeeded: Whether each did.

    Returns:
        The rules that tell of failures, those of most failures first; none where failures follow no rule.
    """
    if succeeded.all() or not succeeded.any():
        return []
    x = space.coordinates(points)
    made: Any = DecisionTreeClassifier(max_depth=_DEPTH, min_samples_leaf=_LEAST_IN_RULE, random_state=0)
    tree: Any = made.fit(x, ~succeeded).tree_
    leaves = cast("npt.NDArray[np.int64]", tree.apply(x.astype(np.float32)))
    owners = [(d, i) for d in space.dimensions for i in range(d.width)]
    rules: list[tuple[int, str]] = []
    for leaf, path in _paths(tree, 0, []):
        own = leaves == leaf
        failed, n = int((own & ~succeeded).sum()), int(own.sum())
        if n >= _LEAST_IN_RULE and failed / n >= _LEAST_SHARE and path:
            rules.append((failed, f"{_in_words(path, owners)}: {failed:,} of {n:,} failed"))
    return [rule for _, rule in sorted(rules, key=lambda each: (-each[0], each[1]))]


_Path = list[tuple[int, float, bool]]


def _paths(tree: Any, node: int, path: _Path) -> list[tuple[int, _Path]]:
    """Each leaf with the splits that lead to it: coordinate, threshold, and whether it is above."""
    left, right = int(tree.children_left[node]), int(tree.children_right[node])
    if left < 0:
        return [(node, path)]
    split = (int(tree.feature[node]), float(tree.threshold[node]))
    return [*_paths(tree, left, [*path, (*split, False)]), *_paths(tree, right, [*path, (*split, True)])]


def _in_words(path: _Path, owners: Sequence[tuple[Dimension, int]]) -> str:
    bounds: dict[str, tuple[Dimension, float, float]] = {}
    said: dict[str, None] = {}
    for coordinate, threshold, is_above in path:
        dimension, at = owners[coordinate]
        if dimension.values is not None:
            said[f"{dimension.name} {'=' if is_above else '≠'} {dimension.values[at]}"] = None
            continue
        _, low, high = bounds.get(dimension.name, (dimension, 0.0, 1.0))
        bounds[dimension.name] = (
            (dimension, max(low, threshold), high) if is_above else (dimension, low, min(high, threshold))
        )
    for name, (dimension, low, high) in bounds.items():
        least, most = (f"{float(dimension.at(np.array([end]))[0]):.3g}" for end in (low, high))
        if low > 0.0 and high < 1.0:
            said[f"{least} < {name} <= {most}"] = None
        else:
            said[f"{name} > {least}" if low > 0.0 else f"{name} <= {most}"] = None
    return " and ".join(said)
