"""Nulls inside nested Parquet cells: parts that are missing, not values.

Arrow gives all structs of a column the same fields, and fills those that one does not have with null. As in an empty
cell, such a part is left out unless None is a value that it has to have.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel, RootModel
from pydantic.fields import FieldInfo

from scythe_cli.sampling.field_names import accepts_none, field_at, members_of

__all__ = ["without_nulls"]


_MAX_DEPTH = 32


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """A part of a model or the like: its type, and whether null stands for None in it."""

    annotation: Any
    keeps_none: bool


def without_nulls(annotation: Any, type_: pa.DataType) -> Callable[[Any], Any] | None:
    """What takes the nulls out of the cells of a column; None if there can be none.

    Args:
        annotation: The type of the field.
        type_: The type of the column.
    """
    if not _has_struct(type_):
        return None
    return lambda value: _cleaned(annotation, value, 0)


def _has_struct(type_: Any) -> bool:
    if pa.types.is_struct(type_):
        return True
    if pa.types.is_map(type_):
        return _has_struct(type_.item_type)
    return hasattr(type_, "value_type") and _has_struct(type_.value_type)


def _cleaned(annotation: Any, value: Any, depth: int) -> Any:
    if not isinstance(value, (dict, list, tuple)) or depth > _MAX_DEPTH:
        return value
    members = [member for member in members_of(annotation) if member is not None and member is not type(None)]
    members = [_root_of(member) for member in members]
    if isinstance(value, dict):
        return _cleaned_dict(members, typing.cast("dict[str, Any]", value), depth)
    # a map is a list of pairs
    if value and all(isinstance(item, tuple) for item in value) and any(_is_dict(member) for member in members):
        items = {key: item for key, item in value}  # noqa: C416 - pairs
        value_type = next((get_args(m)[1] for m in members if _is_dict(m) and len(get_args(m)) == 2), Any)
        return {key: _cleaned(value_type, item, depth + 1) for key, item in items.items()}
    types_ = _item_types(members, len(value))
    return [_cleaned(item_type, item, depth + 1) for item_type, item in zip(types_, value, strict=True)]


def _root_of(member: Any) -> Any:
    while isinstance(member, type) and issubclass(member, RootModel):
        member = member.model_fields["root"].annotation
    return member


def _is_dict(member: Any) -> bool:
    origin = get_origin(member) or member
    return isinstance(origin, type) and issubclass(origin, Mapping) and not hasattr(origin, "__total__")


def _item_types(members: Sequence[Any], n: int) -> list[Any]:
    for member in members:
        args = get_args(member)
        if get_origin(member) is tuple and len(args) == n and args[-1] is not Ellipsis:
            return list(args)
        if args and not _is_dict(member):
            return [args[0]] * n
    return [Any] * n


def _cleaned_dict(members: Sequence[Any], value: dict[str, Any], depth: int) -> dict[str, Any]:
    parts = [found for member in members if (found := _parts_of(member)) is not None]
    cleaned: dict[str, Any] = {}
    for key, item in value.items():
        fitting = [part for find in parts if (part := find(key)) is not None]
        if item is None:
            if any(part.keeps_none for part in fitting) or not parts:
                cleaned[key] = None
        elif len(fitting) == 1:
            cleaned[key] = _cleaned(fitting[0].annotation, item, depth + 1)
        elif fitting:
            union: Any = typing.Union[tuple(part.annotation for part in fitting)]  # noqa: UP007 - made from a list
            cleaned[key] = _cleaned(union, item, depth + 1)
        else:
            cleaned[key] = item
    return cleaned


def _parts_of(member: Any) -> Callable[[str], _Part | None] | None:
    """How the part of a value is found by its key; None for a type that says nothing of its parts."""
    if _is_dict(member):
        args = get_args(member)
        if len(args) != 2:
            return None
        part = _Part(args[1], accepts_none(args[1]))
        return lambda key: part
    if not isinstance(member, type):
        return None
    if issubclass(member, BaseModel):
        return lambda key: _part_of_model(member, key)
    if dataclasses.is_dataclass(member):
        optional = {
            field.name
            for field in dataclasses.fields(member)
            if field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        }
    elif issubclass(member, dict) and hasattr(member, "__total__"):
        optional = set(getattr(member, "__optional_keys__", ()))
    else:
        return None
    hints = typing.get_type_hints(member)

    def find(key: str) -> _Part | None:
        if key not in hints:
            return None
        return _Part(hints[key], key not in optional and accepts_none(hints[key]))

    return find


def _part_of_model(model: type[BaseModel], key: str) -> _Part | None:
    name, _ = field_at(model, [key])
    if name is None:
        return None
    info: FieldInfo = model.model_fields[name]
    return _Part(info.annotation, info.is_required() and accepts_none(info.annotation))
