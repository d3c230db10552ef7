"""From the fields of an input model to what can be drawn for them.

A field is a leaf, and so is each part of a nested model, with a dotted name. What the model says of its values (`ge`,
`gt`, `le`, `lt`, `multiple_of`, `Literal`, enums, booleans) is its domain.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types as at
from pydantic import AwareDatetime, BaseModel, NaiveDatetime, RootModel
from pydantic.fields import FieldInfo

from scythe_cli.doe.scales import Scale, microseconds_of
from scythe_cli.model.columns import Column, columns_of, input_columns
from scythe_cli.model.models import ExperimentInputSpec

__all__ = ["NO_DEFAULT", "Branch", "Domain", "Leaf", "NoDefault", "Numbers", "Values", "leaves_of"]


_MAX_DEPTH = 8
_DAY_US = 86_400_000_000
_RESOLUTIONS_US = (1_000_000, 1_000, 1)  # the coarsest of which a range has enough is what people can read
_ENOUGH_TICKS = 10_000
_DECIMAL_DIGITS = 6

Number = float | int | Decimal


class NoDefault:
    """The mark of a field without a default that could be known."""


NO_DEFAULT = NoDefault()


@dataclass(frozen=True, slots=True)
class Numbers:
    """Values that have an order and a distance, between two ends as far as there are some.

    Attributes:
        scale: How they are counted.
        low: The lower end, as `scale.number` gives it; None where there is none.
        high: The upper end.
        low_open: Whether the lower end itself is excluded.
        high_open: Whether the upper end itself is excluded.
        has_step: Whether the tick of the scale is a rule of the model's (`multiple_of`), and not of our choice.
        places: The most decimal places of a `Decimal`.
        digits: The most digits of a `Decimal`.
    """

    scale: Scale
    low: Number | None = None
    high: Number | None = None
    low_open: bool = False
    high_open: bool = False
    has_step: bool = False
    places: int | None = None
    digits: int | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether both ends are there."""
        return self.low is not None and self.high is not None

    @property
    def lack(self) -> str | None:
        """Which ends are missing, in words."""
        if self.low is None and self.high is None:
            return "no bounds"
        if self.low is None:
            return f"no lower bound, only {'<' if self.high_open else '≤'} {self._plain(self.high)}"
        if self.high is None:
            return f"no upper bound, only {'>' if self.low_open else '≥'} {self._plain(self.low)}"
        return None

    def _plain(self, number: Number | None) -> object:
        return None if number is None else self.scale.plain(number)

    def contains(self, number: Number) -> bool:
        """Whether a number is in between."""
        above = self.low is None or (number > self.low if self.low_open else number >= self.low)
        below = self.high is None or (number < self.high if self.high_open else number <= self.high)
        return above and below

    def narrowed(self, low: Number, high: Number) -> Numbers:
        """The same numbers between two others, which are part of the range unless the model excludes them."""
        return replace(
            self,
            low=low,
            high=high,
            low_open=self.low_open and low == self.low,
            high_open=self.high_open and high == self.high,
        ).with_tick()

    def with_tick(self) -> Numbers:
        """With ticks that suit the range: whole seconds for years, microseconds for seconds."""
        if self.has_step:
            return self
        kind = self.scale.kind
        if kind in ("datetime", "time", "timedelta"):
            span_us = int(self.high) - int(self.low) if self.low is not None and self.high is not None else 0
            fitting = [us for us in _RESOLUTIONS_US if span_us // us >= _ENOUGH_TICKS]
            return replace(self, scale=replace(self.scale, tick=Decimal(fitting[0] if fitting else 1)))
        if kind == "decimal":
            return replace(self, scale=replace(self.scale, tick=Decimal(1).scaleb(-self._decimal_places())))
        return self

    def _decimal_places(self) -> int:
        low, high = float(self.low or 0), float(self.high or 0)
        places = self.places
        if places is None:
            span = high - low if self.is_bounded and high > low else 1.0
            places = max(0, min(15, _DECIMAL_DIGITS - math.floor(math.log10(span))))
        if self.digits is not None:
            whole = max(len(str(int(abs(end)))) if abs(end) >= 1 else 0 for end in (low, high))
            places = max(0, min(places, self.digits - whole))
        return places

    def __str__(self) -> str:
        low = "" if self.low is None else f"{self._plain(self.low)} {'<' if self.low_open else '≤'} "
        high = "" if self.high is None else f" {'<' if self.high_open else '≤'} {self._plain(self.high)}"
        return f"{low}x{high}"


@dataclass(frozen=True, slots=True)
class Values:
    """Some values without an order: those of a literal, an enum or a boolean."""

    values: tuple[Any, ...]


Domain = Numbers | Values


@dataclass(frozen=True, slots=True)
class Branch:
    """A field that holds a nested model.

    Attributes:
        name: Its dotted name.
        required: Whether it must be given.
        default: What it is otherwise: None or an instance, `NO_DEFAULT` where that is not known.
    """

    name: str
    required: bool
    default: Any


@dataclass(frozen=True, slots=True)
class Leaf:
    """A field that a single column gives.

    Attributes:
        name: Its dotted name.
        column: The field as a column.
        required: Whether it must be given, where the nested model around it is.
        default: Its default, that of the default of the model around it included.
        own_default: Its default by its own declaration.
        domain: What it can be; None where that is not known.
        branches: The nested models around it, from the outermost.
        note: What of the domain was left out, for a person.
    """

    name: str
    column: Column
    required: bool
    default: Any
    own_default: Any
    domain: Domain | None
    branches: tuple[Branch, ...] = ()
    note: str | None = None

    @property
    def info(self) -> FieldInfo:
        """The field as pydantic sees it."""
        return self.column.info

    @property
    def is_bounded(self) -> bool:
        """Whether the model says between which values it is."""
        return self.domain is not None and (not isinstance(self.domain, Numbers) or self.domain.is_bounded)

    @property
    def lack(self) -> str:
        """Why it is not bounded, in words."""
        return (self.domain.lack if isinstance(self.domain, Numbers) else None) or "no bounds"


def leaves_of(model: type[ExperimentInputSpec]) -> list[Leaf]:
    """The fields of a model and of its nested models, in their order, without the reserved ones."""
    return [leaf for column in input_columns(model) for leaf in _leaves(column, "", (), NO_DEFAULT)]


def _leaves(
    column: Column, prefix: str, branches: tuple[Branch, ...], outer: Any, within: tuple[type[BaseModel], ...] = ()
) -> Iterator[Leaf]:
    info = column.info
    name = f"{prefix}{column.name}"
    own = _default(info)
    default = getattr(outer, column.name, NO_DEFAULT) if isinstance(outer, BaseModel) else own
    nested = _nested(info.annotation)
    # a model that holds itself ends in a leaf of JSON
    if nested is not None and nested.model_fields and nested not in within and len(branches) < _MAX_DEPTH:
        branch = Branch(name, info.is_required() and not isinstance(outer, BaseModel), default)
        for part in columns_of(nested).values():
            yield from _leaves(part, f"{name}.", (*branches, branch), default, (*within, nested))
        return
    domain, note = _domain_of(info)
    yield Leaf(
        name=name,
        column=column,
        required=info.is_required(),
        default=default,
        own_default=own,
        domain=domain,
        branches=branches,
        note=note,
    )


def _default(info: FieldInfo) -> Any:
    if info.is_required() or info.default_factory_takes_validated_data:
        return NO_DEFAULT
    try:
        return info.get_default(call_default_factory=True)
    except Exception:  # noqa: BLE001 - a factory of the user's can raise anything; then the default is not known here
        return NO_DEFAULT


def _nested(annotation: Any) -> type[BaseModel] | None:
    members = [base for base, _ in _members(annotation, []) if base is not None]
    if len(members) == 1 and isinstance(members[0], type) and issubclass(members[0], BaseModel):
        return None if issubclass(members[0], RootModel) else members[0]
    return None


def _members(annotation: Any, metadata: list[Any]) -> list[tuple[Any, list[Any]]]:
    """The members of a union (of anything else, itself) with what annotates each; None for NoneType."""
    if isinstance(annotation, getattr(typing, "TypeAliasType", ())):
        return _members(annotation.__value__, metadata)
    if isinstance(annotation, typing.NewType):
        return _members(annotation.__supertype__, metadata)
    origin = get_origin(annotation)
    if origin is typing.Annotated:
        inner, *more = get_args(annotation)
        return _members(inner, [*_flat(more), *metadata])
    if origin in (Union, types.UnionType):
        return [pair for member in get_args(annotation) for pair in _members(member, metadata)]
    if annotation is None or annotation is type(None):
        return [(None, metadata)]
    if isinstance(annotation, type) and issubclass(annotation, RootModel):
        root = annotation.model_fields["root"]
        return _members(root.annotation, [*_flat(root.metadata), *metadata])
    return [(annotation, metadata)]


def _flat(metadata: Sequence[Any]) -> Iterator[Any]:
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from _flat(item.metadata)
        elif isinstance(item, at.GroupedMetadata):
            yield from _flat(list(item))
        else:
            yield item


def _domain_of(info: FieldInfo) -> tuple[Domain | None, str | None]:
    members = _members(info.annotation, list(_flat(info.metadata)))
    found = [_of_type(base, metadata) for base, metadata in members if base is not None]
    if len(found) == 1:
        return found[0], None
    if found and all(isinstance(domain, Values) for domain in found):
        values = [value for domain in found if isinstance(domain, Values) for value in domain.values]
        return Values(_distinct(values)), None
    numbers = [domain for domain in found if isinstance(domain, Numbers)]
    # `int | float` is a float with the bounds of both; of `float | Literal["auto"]`, the numbers are drawn
    kinds = {domain.scale.kind for domain in numbers}
    if not numbers or not kinds <= {"int", "float"}:
        return None, None
    chosen = next((domain for domain in numbers if domain.scale.kind == "float"), numbers[0])
    note = None if len(numbers) == len(found) else "only its numbers are drawn, not its other values"
    return chosen, note


def _of_type(base: Any, metadata: list[Any]) -> Domain | None:
    if get_origin(base) is Literal:
        return _values(get_args(base))
    if not isinstance(base, type):
        return None
    if issubclass(base, Enum):
        return _values(list(base))
    if base is bool:
        return Values((False, True))
    kinds: dict[Any, Scale] = {
        float: Scale("float", None),
        int: Scale("int", Decimal(1)),
        Decimal: Scale("decimal", Decimal(1)),
        date: Scale("date", Decimal(1)),
        datetime: Scale("datetime", Decimal(1)),
        NaiveDatetime: Scale("datetime", Decimal(1)),
        AwareDatetime: Scale("datetime", Decimal(1), aware=True),
        time: Scale("time", Decimal(1)),
        timedelta: Scale("timedelta", Decimal(1)),
    }
    scale = kinds.get(base)
    return None if scale is None else _numbers(scale, metadata)


def _values(members: Sequence[Any]) -> Values | None:
    """The values of a literal or an enum; None where a cell has no plain form of one."""
    given = [member for member in members if member is not None]
    plain = [member.value if isinstance(member, Enum) else member for member in given]
    # an empty text in a cell is no value
    if not plain or not all(isinstance(value, (bool, int, float, str)) for value in plain):
        return None
    return Values(_distinct(given))


def _distinct(values: Sequence[Any]) -> tuple[Any, ...]:
    # 1, 1.0 and True are equal, and not the same value
    return tuple({(type(value), value): value for value in values}.values())


def _numbers(scale: Scale, metadata: Sequence[Any]) -> Numbers:
    numbers = Numbers(scale)
    if scale.kind == "time":
        numbers = replace(numbers, low=0, high=_DAY_US, high_open=True)
    multiple: Any = None
    places: int | None = None
    digits: int | None = None
    for item in metadata:
        for key in ("ge", "gt", "le", "lt"):
            limit = getattr(item, key, None)
            if limit is not None and not callable(limit):
                numbers = _bounded(numbers, key, limit)
        multiple = getattr(item, "multiple_of", None) or multiple
        places = _or(getattr(item, "decimal_places", None), places)
        digits = _or(getattr(item, "max_digits", None), digits)
    numbers = replace(numbers, places=places, digits=digits)
    tick = _tick(multiple)
    if tick is not None:
        return replace(numbers, scale=replace(scale, tick=tick), has_step=True)
    return numbers.with_tick()


def _tick(multiple: Any) -> Decimal | None:
    """`multiple_of` as a distance on the scale; None where it is no positive number."""
    try:
        tick = Decimal(str(microseconds_of(multiple) if isinstance(multiple, timedelta) else multiple))
    except ArithmeticError:
        return None
    return tick if tick.is_finite() and tick > 0 else None


def _or(value: int | None, other: int | None) -> int | None:
    return other if value is None else value


def _bounded(numbers: Numbers, key: str, limit: Any) -> Numbers:
    try:
        number = numbers.scale.number(limit)
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return numbers  # a bound of another type, which pydantic alone understands
    if not math.isfinite(number):
        return numbers
    is_open = key in ("gt", "lt")
    if key in ("ge", "gt"):
        known = numbers.low
        if known is None or number > known or (number == known and is_open):
            return replace(numbers, low=number, low_open=is_open)
    else:
        known = numbers.high
        if known is None or number < known or (number == known and is_open):
            return replace(numbers, high=number, high_open=is_open)
    return numbers
