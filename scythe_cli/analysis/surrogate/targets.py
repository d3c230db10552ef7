"""What a study is to reach: how well outputs are predicted, or which outputs are as small or large as can be."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from scythe_cli.analysis.surrogate.space import Floats
from scythe_cli.errors import UsageError

__all__ = [
    "Constraint",
    "Metric",
    "Standing",
    "Target",
    "is_objective",
    "read_constraints",
    "read_targets",
    "standings",
]


Metric = Literal["rmse", "mae", "max_error", "r2"]

OBJECTIVES = ("minimize", "maximize")

_TARGET = re.compile(
    r"\s*(?P<metric>rmse|mae|max_error|r2)\s*(?P<sign><=?|>=?)\s*(?P<number>[^\s%]+)\s*(?P<percent>%?)\s*"
)
_CONSTRAINT = re.compile(r"\s*(?P<sign><=?|>=?)\s*(?P<number>\S+)\s*")


@dataclass(frozen=True, slots=True)
class Target:
    """How well an output is to be predicted.

    Attributes:
        output: The output.
        metric: What is measured, between outputs and what was predicted without them.
        limit: What it must not exceed, or for `r2` fall below.
        is_relative: Whether the limit is in percent of the output's range, from the least to the greatest of all cases.
    """

    output: str
    metric: Metric
    limit: float
    is_relative: bool = False

    def __str__(self) -> str:
        sign = ">=" if self.metric == "r2" else "<="
        return f"{self.metric} {sign} {self.shown(self.limit)}"

    def shown(self, value: float | None) -> str:
        """A value of the metric, for a person."""
        if value is None or not math.isfinite(value):
            return "unknown"
        return f"{value:.3g} %" if self.is_relative else f"{value:.4g}"

    def measured(self, truth: Floats, predicted: Floats, span: float) -> float:
        """The metric; a large one where there are too few cases."""
        errors = np.abs(truth - predicted)
        if not len(truth):
            return math.inf
        if self.metric == "r2":
            spread = float(((truth - truth.mean()) ** 2).sum())
            residue = float((errors**2).sum())
            return 1.0 if residue == 0 else -math.inf if spread == 0 else 1.0 - residue / spread
        value = {
            "rmse": lambda: math.sqrt(float((errors**2).mean())),
            "mae": lambda: float(errors.mean()),
            "max_error": lambda: float(errors.max()),
        }[self.metric]()
        return value * 100 / span if self.is_relative and span > 0 else value

    def ratio(self, value: float) -> float:
        """How far a value is from what is asked for: more than 1 falls short of it."""
        if self.metric == "r2":
            short = 1.0 - value
            return short / (1.0 - self.limit) if self.limit < 1 else math.inf if short > 0 else 1.0
        return value / self.limit


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a target is, for all cases or those of a stratum.

    Attributes:
        target: The target.
        stratum: The values of the fields that divide the cases; empty for all of them.
        value: What was measured.
        n: Over how many cases.
    """

    target: Target
    stratum: tuple[Any, ...]
    value: float
    n: int

    @property
    def ratio(self) -> float:
        """See `Target.ratio`."""
        return self.target.ratio(self.value)

    @property
    def holds(self) -> bool:
        """Whether the target is reached."""
        return self.ratio <= 1.0


def standings(
    target: Target,
    truth: Floats,
    predicted: Floats,
    strata: Sequence[tuple[Any, ...]],
    every: Sequence[tuple[Any, ...]],
) -> list[Standing]:
    """How far a target is, of all cases and of each stratum.

    Args:
        target: The target.
        truth: The outputs of cases.
        predicted: What they were predicted as without them.
        strata: The stratum of each case.
        every: The strata that there are; empty without any.
    """
    span = float(np.ptp(truth)) if len(truth) else 0.0
    whole = Standing(target, (), target.measured(truth, predicted, span), len(truth))
    parts: list[Standing] = []
    for stratum in every:
        own = np.array([each == stratum for each in strata], np.bool_)
        value = target.measured(truth[own], predicted[own], span)
        parts.append(Standing(target, stratum, value, int(own.sum())))
    return [whole, *parts]


@dataclass(frozen=True, slots=True)
class Constraint:
    """What an output has to be, of cases that count.

    Attributes:
        output: The output.
        limit: The number.
        is_upper: Whether it must not be more; else it must not be less.
    """

    output: str
    limit: float
    is_upper: bool

    def excess(self, value: float) -> float:
        """How far a value is beyond the limit; 0 or less where it keeps it."""
        return value - self.limit if self.is_upper else self.limit - value

    def __str__(self) -> str:
        return f"{'<=' if self.is_upper else '>='} {self.limit:g}"


def is_objective(text: str) -> bool:
    """Whether a target asks for the least or greatest output, and not for predictions."""
    return text.strip().lower() in OBJECTIVES


def read_targets(targets: Mapping[str, Any], where: str = "targets") -> list[Target]:
    """Read what predictions are to be like; objectives are passed over.

    Args:
        targets: By output, such as `rmse <= 1%` or `r2 >= 0.99`, or a list of several.
        where: What messages call them.

    Raises:
        UsageError: If one says something else.
    """
    read: list[Target] = []
    for output, said in targets.items():
        texts = cast("list[Any]", said) if isinstance(said, list) else [said]
        read += [_target(output, str(text), f"{where}.{output}") for text in texts if not is_objective(str(text))]
    return read


def _target(output: str, text: str, where: str) -> Target:
    match = _TARGET.fullmatch(text)
    number = _number(match["number"]) if match else None
    hint = "Write it as 'rmse <= 1%' (of the output's range), 'mae <= 0.2', 'max_error <= 5%', 'r2 >= 0.99', "
    hint += "'minimize' or 'maximize'."
    if match is None or number is None:
        raise UsageError(f"{where}: {text!r} is no target", hint=hint)
    metric = cast("Metric", match["metric"])
    if (metric == "r2") != match["sign"].startswith(">"):
        raise UsageError(
            f"{where}: {text!r}: {metric} has to be {'>=' if metric == 'r2' else '<='} a number", hint=hint
        )
    if metric == "r2" and (match["percent"] or not number < 1):
        raise UsageError(f"{where}: {text!r}: r2 is a number below 1", hint=hint)
    if metric != "r2" and not number > 0:
        raise UsageError(f"{where}: {text!r}: the limit has to be more than 0", hint=hint)
    return Target(output, metric, number, bool(match["percent"]))


def read_constraints(constraints: Mapping[str, Any], where: str = "constraints") -> list[Constraint]:
    """Read what outputs have to be.

    Args:
        constraints: By output, such as `<= 100`.
        where: What messages call them.

    Raises:
        UsageError: If one says something else.
    """
    read: list[Constraint] = []
    for output, text in constraints.items():
        match = _CONSTRAINT.fullmatch(str(text))
        number = _number(match["number"]) if match else None
        if match is None or number is None:
            raise UsageError(f"{where}.{output}: {text!r} is no constraint", hint="Write it as '<= 100' or '>= 0.5'.")
        read.append(Constraint(output, number, match["sign"].startswith("<")))
    return read


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
