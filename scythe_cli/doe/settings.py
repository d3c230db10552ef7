"""What the user says of single fields: ranges, values, one value for all rows, distributions and levels."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from scythe_cli.doe.domains import Leaf
from scythe_cli.doe.option_values import Chosen, Folders, OptionValue, Range, fixed_value, range_or_values
from scythe_cli.errors import UsageError

__all__ = ["FieldSettings", "SampleOptions", "SampleOptionsDict", "read_settings"]


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """Everything that can be said of fields; names are dotted for nested models.

    Attributes:
        set: A range as `(low, high)` or `"low:high"`, or values as a list or `"a,b,c"`.
        fix: One value for all rows.
        levels: How many levels a field has in `grid` and `oat`.
        default_levels: How many a continuous field has that `levels` does not name.
        log: Fields that are spread evenly on a logarithmic scale.
        normal: Mean and standard deviation, as `(mean, sd)` or `"mean:sd"`.
        triangular: `(low, mode, high)`, or `"low:mode:high"`.
        only: The fields that vary; None for all that have bounds.
        where: Conditions that each row has to meet: Polars SQL expressions over the names of fields.
        correlation: Spearman's rank correlations, by `("a", "b")` or `"a,b"`.
        replicates: How often each case is in the file, in the column `replicate`.
        population: A table of which whole rows are drawn, by its path; the design gives the other fields.
        by: Columns of the population: each stratum of equal values has its share of the rows.
        weights: A column of the population: rows are drawn in proportion to it.
        per_stratum: How many rows are drawn of each stratum, instead of a number of all.
        ignore_columns: Columns of the population to leave out, by name or pattern (`*` stands for anything).
    """

    set: Mapping[str, OptionValue] = field(default_factory=dict[str, OptionValue])
    fix: Mapping[str, Any] = field(default_factory=dict[str, Any])
    levels: Mapping[str, int] = field(default_factory=dict[str, int])
    default_levels: int | None = None
    log: Collection[str] = ()
    normal: Mapping[str, OptionValue] = field(default_factory=dict[str, OptionValue])
    triangular: Mapping[str, OptionValue] = field(default_factory=dict[str, OptionValue])
    only: Collection[str] | None = None
    where: Sequence[str] = ()
    correlation: Mapping[Any, float | str] = field(default_factory=dict[Any, float | str])
    replicates: int = 1
    population: str | Path | None = None
    by: Sequence[str] = ()
    weights: str | None = None
    per_stratum: int | None = None
    ignore_columns: Sequence[str] = ()

    @property
    def says_anything(self) -> bool:
        """Whether anything was said."""
        said = (self.set, self.fix, self.levels, self.log, self.normal, self.triangular, self.where, self.correlation)
        said = (*said, self.population, *self._of_population, self.replicates != 1)
        return any(map(bool, said)) or self.default_levels is not None or self.only is not None

    @property
    def _of_population(self) -> tuple[Any, ...]:
        return (self.by, self.weights, self.per_stratum, self.ignore_columns)

    def check_population(self) -> None:
        """See that what is said of a population is said of one.

        Raises:
            UsageError: If there is none.
        """
        names = ("--by", "--weights", "--per-stratum", "--ignore-columns")
        for name, value in zip(names, self._of_population, strict=True):
            if value and self.population is None:
                raise UsageError(f"{name} is for a population", hint="Give its file with --from.")
        if self.per_stratum is not None:
            if not self.by:
                raise UsageError("--per-stratum needs strata", hint="Name the columns that tell them with --by.")
            if self.per_stratum < 1:
                raise UsageError(f"--per-stratum is {self.per_stratum}; it must be at least 1")


class SampleOptionsDict(TypedDict, total=False):
    """`SampleOptions` as keyword arguments."""

    set: Mapping[str, OptionValue]
    fix: Mapping[str, Any]
    levels: Mapping[str, int]
    default_levels: int | None
    log: Collection[str]
    normal: Mapping[str, OptionValue]
    triangular: Mapping[str, OptionValue]
    only: Collection[str] | None
    where: Sequence[str]
    correlation: Mapping[Any, float | str]
    replicates: int
    population: str | Path | None
    by: Sequence[str]
    weights: str | None
    per_stratum: int | None
    ignore_columns: Sequence[str]


@dataclass(slots=True)
class FieldSettings:
    """What was said of one field, read with the field's type."""

    set: Range | Chosen | None = None
    fix: Chosen | None = None
    levels: int | None = None
    log: bool = False
    normal: tuple[float, float] | None = None
    triangular: tuple[float, float, float] | None = None
    only: bool = False

    @property
    def varies(self) -> bool:
        """Whether the field was told to vary."""
        spread = self.log or self.normal is not None or self.triangular is not None
        return self.set is not None or spread or self.levels is not None or self.only


def read_settings(
    options: SampleOptions, leaves: Sequence[Leaf], *, from_folder: Path, to_folder: Path
) -> dict[str, FieldSettings]:
    """Read what was said of fields.

    Args:
        options: What was said.
        leaves: The fields.
        from_folder: Where relative paths of files start from in the options.
        to_folder: Where they start from in the file that is made.

    Raises:
        UsageError: If a field is not there, or what is said of it cannot be.
    """
    by_name = {leaf.name: leaf for leaf in leaves}
    settings = {name: FieldSettings() for name in by_name}
    folders = Folders(from_folder, to_folder)
    for name, value in options.set.items():
        leaf = _leaf(by_name, "--set", name)
        settings[name].set = range_or_values(leaf, value, folders)
    for name, value in options.fix.items():
        leaf = _leaf(by_name, "--fix", name)
        settings[name].fix = fixed_value(leaf, value, folders)
    for name, n in options.levels.items():
        _leaf(by_name, "--levels", name)
        settings[name].levels = _count(f"--levels {name}", n)
    for name in options.log:
        _leaf(by_name, "--log", name)
        settings[name].log = True
    for name, value in options.normal.items():
        _leaf(by_name, "--normal", name)
        settings[name].normal = _normal(name, value)
    for name, value in options.triangular.items():
        _leaf(by_name, "--triangular", name)
        settings[name].triangular = _triangular(name, value)
    for name in options.only or ():
        _leaf(by_name, "--only", name)
        settings[name].only = True
    if options.default_levels is not None:
        _count("--levels", options.default_levels)
    for name, each in settings.items():
        _check(name, each)
    return settings


def _leaf(leaves: Mapping[str, Leaf], option: str, name: str) -> Leaf:
    if name in leaves:
        return leaves[name]
    parts = [other for other in leaves if other.startswith(f"{name}.")]
    if parts:
        raise UsageError(f"{option} {name}: this is a nested model", hint=f"Name a part of it: {', '.join(parts)}.")
    close = difflib.get_close_matches(name, leaves, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"The fields are {', '.join(leaves)}."
    raise UsageError(f"{option}: there is no field {name!r}", hint=hint)


def _count(option: str, n: int) -> int:
    if n < 1:
        raise UsageError(f"{option}: {n} levels; there must be at least 1")
    return n


def _check(name: str, each: FieldSettings) -> None:
    spreads = [
        option
        for option, is_set in (
            ("--log", each.log),
            ("--normal", each.normal is not None),
            ("--triangular", each.triangular is not None),
        )
        if is_set
    ]
    if each.fix is not None and each.varies:
        raise UsageError(f"{name}: --fix gives it one value, and another option lets it vary")
    if len(spreads) > 1:
        raise UsageError(f"{name}: {' and '.join(spreads)} cannot be combined")
    if spreads and isinstance(each.set, Chosen):
        raise UsageError(f"{name}: {spreads[0]} needs a range, and --set gives single values")
    if each.levels is not None and isinstance(each.set, Chosen):
        raise UsageError(f"{name}: --levels needs a range, and --set gives the values themselves")


def _normal(name: str, value: OptionValue) -> tuple[float, float]:
    mean, sd = _numbers(f"--normal {name}", value, "MEAN:SD", 2)
    if sd <= 0:
        raise UsageError(f"--normal {name}: the standard deviation is {sd:g}; it must be more than 0")
    return mean, sd


def _triangular(name: str, value: OptionValue) -> tuple[float, float, float]:
    low, mode, high = _numbers(f"--triangular {name}", value, "LOW:MODE:HIGH", 3)
    if not (low <= mode <= high and low < high):
        raise UsageError(f"--triangular {name}: {low:g}, {mode:g}, {high:g} do not go up")
    return low, mode, high


def _numbers(option: str, value: OptionValue, form: str, n: int) -> list[float]:
    parts: Sequence[Any] = value.split(":") if isinstance(value, str) else value if isinstance(value, Sequence) else []
    try:
        numbers = [float(part) for part in parts]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != n or not all(map(math.isfinite, numbers)):
        raise UsageError(f"{option}: {value} is not {form}")
    return numbers
