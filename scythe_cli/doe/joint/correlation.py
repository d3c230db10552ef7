"""Rank correlations between fields, by rearranging the values that each field has.

After Iman and Conover (1982), "A distribution-free approach to inducing rank correlation among input variables",
Communications in Statistics B 11: the ranks of each field become those of normal scores that have the correlation. Each
field keeps its own values, so that a Latin hypercube stays one. What is asked for is Spearman's ρ; normal scores with
Pearson's r = 2 sin(π ρ / 6) have it (Pearson 1907).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from scythe_cli.core.distribution import needs_extra
from scythe_cli.doe.scales import Unit
from scythe_cli.doe.variables import Variable
from scythe_cli.errors import UsageError

__all__ = ["Correlation", "read_correlation"]


_FAR = 0.1
_LEAST = 1e-9


@dataclass(frozen=True, slots=True)
class Correlation:
    """Rank correlations of some fields.

    Attributes:
        pairs: What was asked for, by two names with a comma between them.
        places: Which of the fields that vary take part.
        scores: The correlation of their normal scores.
    """

    pairs: dict[str, float]
    places: list[int]
    scores: npt.NDArray[np.float64]

    def rearranged(self, points: Unit) -> Unit:
        """Points whose fields have the correlations; the values of each field stay the same.

        Raises:
            UsageError: If the points are too few.
        """
        with needs_extra("sample", "a correlation"):
            from scipy.special import ndtri

        n, k = len(points), len(self.places)
        order = np.argsort(points[:, self.places], axis=0, kind="stable")
        scores = np.empty((n, k))
        np.put_along_axis(scores, order, np.broadcast_to(ndtri(np.arange(1, n + 1) / (n + 1))[:, None], (n, k)), axis=0)
        try:
            if n <= k:
                raise np.linalg.LinAlgError
            own = np.linalg.cholesky(np.corrcoef(scores, rowvar=False))
        except np.linalg.LinAlgError:
            raise UsageError(f"{n:,} rows are too few for a correlation of {k} fields", hint="Give more: -n.") from None
        # scores without a correlation first, then with the one that is wanted
        wanted = np.linalg.solve(own, scores.T).T @ np.linalg.cholesky(self.scores).T
        points = points.copy()
        for column, place in enumerate(self.places):
            ranks = np.argsort(np.argsort(wanted[:, column], kind="stable"))
            points[:, place] = np.sort(points[:, place])[ranks]
        return points

    def reached(self, names: Sequence[str], columns: Sequence[pa.Array[Any]]) -> tuple[dict[str, float], list[str]]:
        """The rank correlations of what was drawn, and what the user should know of them."""
        ranks = {names[place]: _ranks(columns[place]) for place in self.places}
        reached: dict[str, float] = {}
        notices: list[str] = []
        for pair, asked in self.pairs.items():
            one, other = (ranks[name] for name in pair.split(","))
            with np.errstate(invalid="ignore", divide="ignore"):
                value = float(np.corrcoef(one, other)[0, 1])
            reached[pair] = round(value, 6) if math.isfinite(value) else 0.0
            if abs(reached[pair] - asked) > _FAR:
                notices.append(
                    f"the rank correlation of {pair.replace(',', ' and ')} is {reached[pair]:.2f} and not {asked:g}: "
                    "it takes more rows, or more values"
                )
        return reached, notices


def _ranks(column: pa.Array[Any]) -> npt.NDArray[np.float64]:
    series: Any = pl.from_arrow(column)
    if series.dtype == pl.String:  # decimals
        series = series.cast(pl.Float64)
    return series.rank("average").to_numpy()


def read_correlation(said: Mapping[Any, Any], variables: Sequence[Variable], design: str) -> Correlation | None:
    """Read what is said of correlations; None where nothing is.

    Args:
        said: By two names, as a tuple or with a comma between them, the rank correlation.
        variables: The fields that vary.
        design: The design.

    Raises:
        UsageError: If a correlation cannot be, or not all of them together, or the design cannot have any.
    """
    if not said:
        return None
    if design not in ("lhs", "random", "sobol", "halton"):
        why = "its blocks need independent fields" if design == "saltelli" else "its rows say how fields go together"
        raise UsageError(f"--correlation does not go with {design}: {why}", hint="Choose lhs, random, sobol or halton.")
    places = {variable.name: place for place, variable in enumerate(variables)}
    pairs: dict[tuple[str, str], float] = {}
    for key, value in said.items():
        one, other = _names(key, value, places)
        number = _number(f"--correlation {one},{other}", value)
        if (one, other) in pairs or (other, one) in pairs:
            raise UsageError(f"--correlation: that of {one} and {other} is given twice")
        pairs[one, other] = number
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    for name in names:
        if not _has_order(variables[places[name]]):
            raise UsageError(
                f"--correlation: the values of {name} have no order",
                hint="It takes numbers, dates or times; list values from the lowest to the highest.",
            )
    matrix = _scores(pairs, names)
    if matrix is None:
        shown = ", ".join(f"{one},{other}={number:g}" for (one, other), number in pairs.items())
        factor = next((f for f in range(99, 0, -1) if _scores(pairs, names, f / 100) is not None), 0) / 100
        raise UsageError(
            f"--correlation: {shown} cannot hold together (the matrix is not positive definite)",
            hint=f"Bring them closer to 0: times {factor:.2f}, they can hold.",
        )
    kept = {f"{one},{other}": number for (one, other), number in pairs.items()}
    return Correlation(kept, [places[name] for name in names], matrix)


def _scores(
    pairs: Mapping[tuple[str, str], float], names: Sequence[str], factor: float = 1.0
) -> npt.NDArray[np.float64] | None:
    """The correlation of normal scores; None where it is not positive definite."""
    matrix = np.eye(len(names))
    for (one, other), number in pairs.items():
        i, j = names.index(one), names.index(other)
        matrix[i, j] = matrix[j, i] = 2 * math.sin(math.pi * number * factor / 6)
    return matrix if float(np.linalg.eigvalsh(matrix)[0]) > _LEAST else None


def _names(key: Any, value: Any, places: Mapping[str, int]) -> tuple[str, str]:
    parts = [part.strip() for part in key.split(",")] if isinstance(key, str) else [str(part) for part in key]
    if len(parts) != 2 or parts[0] == parts[1] or not all(parts):
        shown = key if isinstance(key, str) else ",".join(parts)
        raise UsageError(f"--correlation {shown}={value}: it is of two fields", hint="Write it as A,B=0.7.")
    for name in parts:
        if name not in places:
            raise UsageError(
                f"--correlation: {name} is not a field that the design varies", hint=f"These vary: {', '.join(places)}."
            )
    return parts[0], parts[1]


def _number(option: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not -1 < number < 1:
        raise UsageError(f"{option}: {value} is not between -1 and 1")
    return number


def _has_order(variable: Variable) -> bool:
    if variable.describe().distribution != "values":
        return True
    cells: list[Any] = variable.levels(None)[0].to_pylist()
    if any(isinstance(cell, (str, bool)) for cell in cells):
        return False
    try:
        return all(one < other for one, other in pairwise(cells))
    except TypeError:
        return False
