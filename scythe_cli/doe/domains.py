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
import pyarrow as pa
from pydantic import AwareDatetime, BaseModel, NaiveDatetime, RootModel
from pydantic.fields import FieldInfo

from scythe_cli.doe.scales import Numbers, Scale, microseconds_of
from scythe_cli.model.columns import Column, columns_of, input_columns
from scythe_cli.model.kinds import ColumnError
from scythe_cli.model.models import ExperimentInputSpec

__all__ = ["NO_DEFAULT", "Branch", "Domain", "Leaf", "NoDefault", "Values", "leaves_of"]


_MAX_DEPTH = 8
_DAY_US = 86_400_000_000


class NoDefault:
    """The mark of a field without a default that could be known."""


NO_DEFAULT = NoDefault()


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
        required: Whether a file must have it.
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
        required: Whether a file must have it, where the nested model around it is.
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
    def default_cell(self) -> pa.Array[Any] | None:
        """The default as the lone cell of a column; None where it is not known, or no plain value."""
        if self.default is None or self.column.is_json or not self.column.is_scalar:
            return None
        try:
            return self.column.array([self.default])
        except ColumnError:  # no default that is known, or one that its column cannot hold
            return None

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
    domains = [_of_type(base, metadata) for base, metadata in members if base is not None]
    if len(domains) == 1:
        return domains[0], None
    if domains and all(isinstance(domain, Values) for domain in domains):
        values = [value for domain in domains if isinstance(domain, Values) for value in domain.values]
        return Values(_distinct(values)), None
    numbers = [domain for domain in domains if isinstance(domain, Numbers)]
    # `int | float` is a float with the bounds of both; of `float | Literal["auto"]`, the numbers are drawn
    kinds = {domain.scale.kind for domain in numbers}
    if not numbers or not kinds <= {"int", "float"}:
        return None, None
    chosen = next((domain for domain in numbers if domain.scale.kind == "float"), numbers[0])
    note = None if len(numbers) == len(domains) else "only its numbers are drawn, not its other values"
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
    values = [member for member in members if member is not None]
    plain = [member.value if isinstance(member, Enum) else member for member in values]
    # an empty text in a cell is no value
    if not plain or not all(isinstance(value, (bool, int, float, str)) for value in plain):
        return None
    return Values(_distinct(values))


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
