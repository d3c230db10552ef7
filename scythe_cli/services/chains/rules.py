"""How the rows of a run become cases, as people write it: `--map`, `--group-by`, `--agg`, `--partial`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scythe_cli.errors import UsageError

__all__ = ["ORDERED", "PICKED", "RANKED", "SUMMED", "Aggregate", "ChainRules", "read_aggregate", "read_map"]


SUMMED = ("mean", "sum", "std", "var")
PICKED = ("first", "last", "count")
ORDERED = ("min", "max")
RANKED = ("median",)
_QUANTILE = re.compile(r"q(\d{1,2}(?:\.\d+)?|100)")
_KNOWN = ("mean", "sum", "min", "max", "median", "std", "var", "first", "last", "count", "q05", "q95")


@dataclass(frozen=True, slots=True)
class Aggregate:
    """What is made of the values of a group.

    Attributes:
        reference: The input or output.
        how: `mean`, `sum`, …
    """

    reference: str
    how: str

    def __str__(self) -> str:
        return f"{self.reference}:{self.how}"


def read_aggregate(text: str) -> Aggregate:
    """Read `annual_yield:mean`.

    Raises:
        UsageError: If it is none.
    """
    reference, colon, how = (part.strip() for part in text.rpartition(":"))
    known = how in (*SUMMED, *PICKED, *ORDERED, *RANKED) or _QUANTILE.fullmatch(how) is not None
    if not colon or not reference or not known:
        raise UsageError(
            f"--agg {text}: write it as OUTPUT:HOW, such as 'annual_yield:mean'",
            hint=f"HOW is one of {', '.join(_KNOWN[:-2])}, or a quantile such as {_KNOWN[-2]} or {_KNOWN[-1]}.",
        )
    return Aggregate(reference, how)


@dataclass(frozen=True, slots=True)
class ChainRules:
    """How the rows of a run become cases.

    Attributes:
        map: By input of the next experiment, the input or output of the run that it is.
        group_by: The inputs or outputs of the run whose equal rows become one case.
        agg: What is made of the others, such as `annual_yield:mean`.
        partial: Whether the run may be unfinished.
    """

    map: Mapping[str, str]
    group_by: Sequence[str] = ()
    agg: Sequence[str] = ()
    partial: bool = False

    def option(self) -> str | None:
        """The first of these that says something, as an option of the command."""
        given = {"--map": self.map, "--group-by": self.group_by, "--agg": self.agg, "--partial": self.partial}
        return next((option for option, value in given.items() if value), None)

    def aggregates(self) -> list[Aggregate]:
        """What is made of the rows of a group, also where only `map` says it.

        Raises:
            UsageError: If it is not written as it should be, or nothing says which rows are brought together.
        """
        texts = [*self.agg, *(old for old in self.map.values() if ":" in old)]
        found = [read_aggregate(text) for text in texts]
        if found and not self.agg and not self.group_by:
            raise UsageError(
                f"--map takes {texts[0]}, and nothing says of which rows",
                hint=f"Add --group-by, or --agg {texts[0]} for one case of all rows.",
            )
        return found


def read_map(texts: Sequence[str]) -> dict[str, str]:
    """Read what `--map` says: `new=old`, several with commas between.

    Raises:
        UsageError: If it is written otherwise, or an input is named twice.
    """
    found: dict[str, str] = {}
    for text in (part.strip() for each in texts for part in each.split(",")):
        if not text:
            continue
        new, equals, old = (part.strip() for part in text.partition("="))
        if not equals or not new or not old:
            raise UsageError(
                f"--map {text}: write it as NEW=OLD, such as energy=annual_yield",
                hint="NEW is an input of the experiment, OLD an input or output of the run.",
            )
        if found.setdefault(new, old) != old:
            raise UsageError(f"--map takes {new} from {found[new]} and from {old}", hint="Leave one of them out.")
    return found
