"""The cases of several runs in one table, so that all views of one run show them over each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from scythe_cli.analysis.cases.frame import CASE, RUN, Cases, Role
from scythe_cli.errors import UsageError

__all__ = ["MAX_RUNS", "Overlay", "overlay_cases"]

MAX_RUNS = 8
"""As many as there are colors that can be told apart."""

_MAX_CASES = 10_000_000


@dataclass(frozen=True, slots=True)
class Overlay:
    """Several runs, laid over each other.

    Attributes:
        cases: Their cases, run by run; `:run` says of which run a case is. It has the columns that all of them have.
        left_out: The columns that are not there, and why.
    """

    cases: Cases
    left_out: dict[str, str] = field(default_factory=dict[str, str])


def overlay_cases(runs: Mapping[str, Cases]) -> Overlay:
    """Put the cases of runs below each other.

    Args:
        runs: The cases of each run, by its whole name.

    Raises:
        UsageError: If these are too few runs, too many, or too many cases.
    """
    if not 2 <= len(runs) <= MAX_RUNS:
        raise UsageError(f"from 2 to {MAX_RUNS} runs can be laid over each other, not {len(runs)}")
    if sum(cases.n for cases in runs.values()) > _MAX_CASES:
        raise UsageError(f"the runs have more than {_MAX_CASES:,} cases together", hint="Choose fewer of them.")
    first = next(iter(runs.values()))
    names = dict.fromkeys(name for cases in runs.values() for name in cases.roles if name != CASE)
    reasons = {name: _why_not(name, runs) for name in names}
    kept = [name for name in names if reasons[name] is None]
    labels = pl.Enum(list(runs))
    frames = [
        cases.frame.select(
            pl.lit(label, labels).alias(RUN), CASE, *(_stackable(cases.frame[name].dtype, name) for name in kept)
        )
        for label, cases in runs.items()
    ]
    roles: dict[str, Role] = {RUN: "case", CASE: "case", **{name: first.roles[name] for name in kept}}
    stacked = pl.concat(frames, how="vertical_relaxed", rechunk=False)
    left_out = {name: why for name, why in reasons.items() if why is not None}
    return Overlay(Cases(stacked, roles, first.texts), left_out)


def _why_not(name: str, runs: Mapping[str, Cases]) -> str | None:
    """Why a column cannot be shown of all runs; None if it can."""
    without = [run for run, cases in runs.items() if name not in cases.roles]
    if without:
        return f"{without[0]} does not have it" if len(without) == 1 else f"{len(without)} runs do not have it"
    roles = dict.fromkeys(cases.roles[name] for cases in runs.values())
    if len(roles) > 1:
        return f"it is {' in one run, '.join(roles)} in another"
    kinds = dict.fromkeys(_kind(cases.frame[name].dtype) for cases in runs.values())
    if len(kinds) > 1:
        return f"its types differ: {', '.join(kinds)}"
    units = dict.fromkeys(
        (text.unit or "none") if (text := cases.texts.get(name)) is not None else "none" for cases in runs.values()
    )
    return f"its units differ: {', '.join(units)}" if len(units) > 1 and next(iter(roles)) != "case" else None


def _kind(dtype: pl.DataType) -> str:
    """What columns can be put below each other: those of which this is the same."""
    if dtype.is_numeric() or dtype == pl.Null:
        return "number"
    if isinstance(dtype, pl.Datetime):
        return "time" if dtype.time_zone is None else f"time in {dtype.time_zone}"
    if dtype.is_nested() or dtype.is_temporal() or dtype == pl.Binary:
        return str(dtype)
    return "text"


def _stackable(dtype: pl.DataType, name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String) if _kind(dtype) == "text" else pl.col(name)
