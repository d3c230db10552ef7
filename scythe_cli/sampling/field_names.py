"""By which names columns belong to fields, and what the types of fields say about empty cells."""

from __future__ import annotations

import difflib
import types
import typing
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from scythe_cli.model.columns import RESERVED_INPUT_FIELDS
from scythe_cli.model.kinds import aliases_of, is_alias

__all__ = ["accepts_none", "field_at", "field_names", "find_field", "members_of", "nested_model", "suggestion"]


@cache
def _fields_by_name(model: type[BaseModel]) -> Mapping[str, str]:
    """From all that a field can be called to its name; as for pydantic, another name comes before the own one."""
    aliases = {name: aliases_of(info) for name, info in model.model_fields.items()}
    names = {name: name for name, others in aliases.items() if not others}
    for name, others in aliases.items():
        for alias in others:
            names.setdefault(alias, name)
    for name in aliases:
        names.setdefault(name, name)
    # the same letter may be one character or two: `ö`, or `o` with dots to be put above
    for known, name in list(names.items()):
        names.setdefault(unicodedata.normalize("NFC", known), name)
    return names


def _field_named(model: type[BaseModel], name: str) -> str | None:
    names = _fields_by_name(model)
    return names.get(name) or (None if name.isascii() else names.get(unicodedata.normalize("NFC", name)))


def find_field(model: type[BaseModel], dotted: str) -> tuple[str | None, str]:
    """The field that a dotted name begins with, and what comes after it."""
    for candidate, tail in ((dotted, ""), *((dotted[:i], dotted[i + 1 :]) for i, c in enumerate(dotted) if c == ".")):
        name = _field_named(model, candidate)
        if name is not None:
            return name, tail
    return None, ""


def field_at(model: type[BaseModel], location: Sequence[str | int]) -> tuple[str | None, int]:
    """The field that pydantic means by the beginning of an error's location, and of how many parts that is.

    It uses other names of fields there, and a path is several parts.
    """
    for n in range(1, min(len(location), 8) + 1):
        name = _field_named(model, ".".join(map(str, location[:n])))
        if name is not None:
            return name, n
    return None, 1


def field_names(model: type[BaseModel], depth: int = 0) -> Iterator[str]:
    """The names of the fields, dotted for those of nested models."""
    for name, info in model.model_fields.items():
        nested = nested_model(info.annotation)
        if nested is None or depth > 2:
            yield name
        else:
            for inner in field_names(nested, depth + 1):
                yield f"{name}.{inner}"


@cache
def _names_to_suggest(model: type[BaseModel]) -> Mapping[str, str]:
    names = {candidate.lower(): candidate for candidate in field_names(model)}
    names |= {alias.lower(): alias for info in model.model_fields.values() for alias in aliases_of(info)}
    return {low: name for low, name in names.items() if name.split(".")[0] not in RESERVED_INPUT_FIELDS}


def suggestion(name: str, model: type[BaseModel]) -> str:
    """The nearest name, put as a question; empty if none is near."""
    names = _names_to_suggest(model)
    nearest = difflib.get_close_matches(name.lower(), names, n=1)
    return f"; did you mean {names[nearest[0]]!r}?" if nearest else ""


def members_of(annotation: Any) -> list[Any]:
    """The members of a union, without annotations around them; of anything else, itself."""
    if is_alias(annotation):
        return members_of(annotation.__value__)
    if isinstance(annotation, typing.NewType):
        return members_of(annotation.__supertype__)
    origin = get_origin(annotation)
    if origin is typing.Annotated:
        return members_of(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [inner for member in get_args(annotation) for inner in members_of(member)]
    return [annotation]


def accepts_none(annotation: Any) -> bool:
    """Whether None is a value of its own for this annotation."""
    return any(
        member is None or member is type(None) or member is Any or (get_origin(member) is Literal and _has_none(member))
        for member in members_of(annotation)
    )


def _has_none(literal: Any) -> bool:
    return any(value is None for value in get_args(literal))


def nested_model(annotation: Any) -> type[BaseModel] | None:
    """The model of a field that holds one, or maybe none."""
    models = [member for member in members_of(annotation) if member is not None and member is not type(None)]
    if len(models) == 1 and isinstance(models[0], type) and issubclass(models[0], BaseModel):
        return models[0]
    return None
