"""A field that varies: from numbers in [0, 1) to its values, and its levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from pydantic_core import to_jsonable_python

from scythe_cli.doe.distributions import distribution_of
from scythe_cli.doe.domains import Leaf, Values
from scythe_cli.doe.number_variables import continuous, counted
from scythe_cli.doe.option_values import Chosen, Range
from scythe_cli.doe.scales import Numbers, Unit, taken
from scythe_cli.doe.settings import FieldSettings
from scythe_cli.errors import UsageError
from scythe_cli.run.design_record import DesignField

__all__ = ["Variable", "variable_of"]


_SHOWN_VALUES = 1000


class Variable(Protocol):
    """A field that varies."""

    @property
    def name(self) -> str:
        """The column."""
        ...

    @property
    def own_levels(self) -> int | None:
        """How many levels it has by itself; None where that is for the design to say."""
        ...

    def at(self, unit: Unit) -> pa.Array[Any]:
        """Its values at numbers in [0, 1), by the inverse of its distribution function."""
        ...

    def levels(self, n: int | None) -> tuple[pa.Array[Any], Unit]:
        """Levels from its lowest to its highest value, and where they lie in [0, 1).

        Args:
            n: How many; fewer where it has not as many values, and its own unless given.
        """
        ...

    def base(self) -> pa.Array[Any]:
        """The one value around which others vary: the default, else the middle."""
        ...

    def describe(self) -> DesignField:
        """What is kept in the record of the design."""
        ...


def variable_of(leaf: Leaf, settings: FieldSettings) -> Variable:
    """Make the variable of a field that is bounded, by its model or by what was said of it.

    Raises:
        UsageError: If a distribution does not fit the field.
    """
    if isinstance(settings.set, Chosen):
        chosen = settings.set
        return _OfValues(leaf.name, chosen.cells, chosen.shown, leaf.default_cell, chosen.probabilities)
    domain = leaf.domain
    if isinstance(domain, Values):
        _refuse_options_of_numbers(leaf, settings)
        return _of_values(leaf, domain)
    assert isinstance(domain, Numbers)
    if isinstance(settings.set, Range):
        domain = domain.narrowed(settings.set.low, settings.set.high)
    distribution = distribution_of(leaf, settings, domain)
    if domain.scale.tick is None:
        return continuous(leaf, domain, distribution)
    return counted(leaf, domain, distribution)


def _refuse_options_of_numbers(leaf: Leaf, settings: FieldSettings) -> None:
    for option, value in (
        ("--log", settings.log),
        ("--normal", settings.normal),
        ("--triangular", settings.triangular),
        ("--levels", settings.levels),
    ):
        if value:
            raise UsageError(f"{leaf.name}: {option} is for numbers, and this field has single values")


@dataclass(frozen=True, slots=True)
class _OfValues:
    """Some values, each as likely as the others where nothing else is said."""

    name: str
    cells: pa.Array[Any]
    shown: list[Any]
    default: pa.Array[Any] | None
    probabilities: tuple[float, ...] | None = None

    @property
    def own_levels(self) -> int | None:
        return len(self.cells)

    def at(self, unit: Unit) -> pa.Array[Any]:
        n = len(self.cells)
        if self.probabilities is not None:
            upto = np.cumsum(self.probabilities)
            return taken(self.cells, np.minimum(np.searchsorted(upto, unit, side="right"), n - 1).astype(np.int64))
        return taken(self.cells, np.minimum((unit * n).astype(np.int64), n - 1))

    def levels(self, n: int | None) -> tuple[pa.Array[Any], Unit]:
        del n  # all of them, always
        return self.cells, (np.arange(len(self.cells)) + 0.5) / len(self.cells)

    def base(self) -> pa.Array[Any]:
        if self.default is not None and self.default.type == self.cells.type:
            cells: list[Any] = self.cells.to_pylist()
            if self.default[0].as_py() in cells:
                return self.default
        return self.cells.slice(0, 1)

    def describe(self) -> DesignField:
        return DesignField(
            name=self.name,
            distribution="values",
            values=self.shown[:_SHOWN_VALUES],
            n_values=len(self.shown),
            probabilities=None if self.probabilities is None else list(self.probabilities[:_SHOWN_VALUES]),
        )


def _of_values(leaf: Leaf, domain: Values) -> _OfValues:
    shown = [to_jsonable_python(value, fallback=str) for value in domain.values]
    if leaf.column.is_json:
        # values of several types: text, of which pydantic makes the value that it can only mean
        texts = [value if isinstance(value, str) else str(value).lower() for value in shown]
        return _OfValues(leaf.name, pa.array(texts, pa.string()), shown, None)
    return _OfValues(leaf.name, leaf.column.array(domain.values), shown, leaf.default_cell)
