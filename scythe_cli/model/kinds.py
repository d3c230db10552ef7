"""From the annotation of a field to the kind of its column: the Arrow type, and how values get there and back.

The kind follows from its annotation alone, never from the data, so that
an empty table has the same schema as a full one:

| annotation | column |
| --- | --- |
| `bool`, `int`, `float`, `str`, `bytes` | bool, int64, double, string, binary |
| `date`, `time`, `timedelta` | date32, time64[us], duration[us] |
| `datetime`, `AwareDatetime` | timestamp[us] without zone, timestamp[us, UTC] |
| enums and literals of one kind | the kind of their values |
| `UUID`, `Decimal`, `Fraction`, `complex`, time zones, addresses, paths, URLs, file references | string |
| a nested model, a `RootModel` | struct of its fields, what its root is |
| `list`, `set`, `tuple[T, ...]` | list |
| anything else (dicts, mixed unions, `Any`) | string that holds JSON, marked in the field's metadata |

Names for types (`NewType`, `type X = …`) stand for what they name. A value that is read back from its cell, and
checked by pydantic, equals the one that was written; inside JSON, as far as pydantic can read its own JSON again.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from pathlib import PurePath
from typing import Any, Literal, Union, cast, get_args, get_origin
from uuid import UUID

import pyarrow as pa
from pydantic import (
    AliasChoices,
    AliasPath,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    FutureDate,
    NaiveDatetime,
    PastDate,
    RootModel,
    TypeAdapter,
)
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from scythe_cli.model.file_refs import is_file_reference

__all__ = [
    "ENCODING_KEY",
    "ColumnError",
    "Convert",
    "Kind",
    "aliases_of",
    "annotation_of",
    "fields_of",
    "is_alias",
    "json_kind",
    "keys_of",
    "kind_of",
]


ENCODING_KEY = b"scythe:encoding"
"""Key in the metadata of an Arrow field; its value `json` says that the cells hold JSON text."""

Convert = Callable[[Any], Any]
"""From a field's value to what Arrow takes, or back from a cell to what pydantic takes."""

_PLAIN: dict[Any, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    date: pa.date32(),
    PastDate: pa.date32(),
    FutureDate: pa.date32(),
    time: pa.time64("us"),
    timedelta: pa.duration("us"),
    datetime: pa.timestamp("us"),
    NaiveDatetime: pa.timestamp("us"),
    AwareDatetime: pa.timestamp("us", tz="UTC"),
}


# not the classes, whose modules few models load
_TEXTS = {
    ("fractions", "Fraction"),
    ("zoneinfo", "ZoneInfo"),
    *(("ipaddress", f"IPv{n}{what}") for n in (4, 6) for what in ("Address", "Interface", "Network")),
    ("pydantic.networks", "IPvAnyAddress"),
    ("pydantic.networks", "IPvAnyInterface"),
    ("pydantic.networks", "IPvAnyNetwork"),
}
"""Classes whose values pydantic reads from the text that `str` makes of them."""


class ColumnError(ValueError):
    """A value that its column cannot hold, or an annotation that can be no column."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What an annotation becomes; `encode` is None where Arrow takes the Python value as it is."""

    type: pa.DataType
    encode: Convert | None = None
    decode: Convert | None = None
    json: bool = False
    scalar: bool = True


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a model, those included whose types were defined only after it."""
    if not model.__pydantic_complete__:
        try:
            model.model_rebuild()
        except PydanticUndefinedAnnotation as error:
            raise ColumnError(f"{model.__name__}: the type {error.name!r} is not defined") from None
    return model.model_fields


def annotation_of(info: FieldInfo) -> Any:
    """The field's type with all that annotates it, which `FieldInfo` keeps apart."""
    return typing.Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation


def aliases_of(info: FieldInfo) -> list[str]:
    """The other names of a field, in the order in which pydantic looks for them; paths into a value are dotted."""
    names: list[str] = []
    for alias in (info.validation_alias, info.alias):
        for choice in alias.choices if isinstance(alias, AliasChoices) else [alias]:
            if isinstance(choice, AliasPath):
                names.append(".".join(map(str, choice.path)))
            elif choice is not None:
                names.append(choice)
    return names


@cache
def keys_of(model: type[BaseModel]) -> Mapping[str, str]:
    """Under which key pydantic takes the value of each field, from a dict with nothing else in it.

    Its name, unless another field goes by that: pydantic looks for other names first.
    """
    fields = fields_of(model)
    aliases = {name: aliases_of(info) for name, info in fields.items()}
    is_taken = any(alias in fields and alias != name for name, others in aliases.items() for alias in others)
    return {name: others[0] if is_taken and others else name for name, others in aliases.items()}


def kind_of(annotation: Any, seen: tuple[Any, ...] = ()) -> Kind:
    """What the column of a field of some type is.

    Args:
        annotation: The field's type, with all that annotates it.
        seen: The models and names for types that the field is inside of: one that holds itself becomes JSON.

    Raises:
        ColumnError: If it can be no column.
    """
    origin = get_origin(annotation)
    if origin is typing.Annotated:
        return _annotated(annotation, seen)
    # only classes are looked up: what annotates a type need not be hashable
    if isinstance(annotation, type) and annotation in _PLAIN:
        return _plain(annotation)
    if is_alias(annotation):
        return json_kind(annotation) if annotation in seen else kind_of(annotation.__value__, (*seen, annotation))
    if isinstance(annotation, typing.NewType):
        return kind_of(annotation.__supertype__, seen)
    if is_file_reference(annotation):
        return Kind(pa.string(), str)
    if origin in (Union, types.UnionType):
        return _union(annotation, seen)
    if origin is Literal:
        return _of_values(annotation, get_args(annotation))
    args = get_args(annotation)
    if (origin in (list, set, frozenset, Sequence) and args) or (origin is tuple and args[1:] == (Ellipsis,)):
        return _list(annotation, args[0], seen)
    if isinstance(annotation, type):
        return _class(annotation, seen)
    return json_kind(annotation)


def is_alias(annotation: Any) -> bool:
    """Whether it was made by `type X = …`, from Python 3.12 on."""
    return isinstance(annotation, getattr(typing, "TypeAliasType", ()))


def _plain(annotation: Any) -> Kind:
    kind = _PLAIN[annotation]
    if annotation in (datetime, NaiveDatetime):
        return Kind(kind, _naive)
    if annotation is time:
        return Kind(kind, _zoneless)
    return Kind(kind)


def _naive(value: datetime) -> datetime:
    if value.tzinfo is not None:
        # Arrow would silently drop the zone, and the function would see another moment than was asked for
        raise ColumnError("a time with a zone needs a field of type pydantic.AwareDatetime")
    return value


def _zoneless(value: time) -> time:
    if value.tzinfo is not None:
        raise ColumnError("a time of day cannot have a zone; use a field of type pydantic.AwareDatetime")
    return value


_REWRITING = {"PlainSerializer", "WrapSerializer", "EncodedBytes", "EncodedStr", "Json"}
"""Metadata that makes the written form of a value another than the value; only pydantic knows both."""


def _annotated(annotation: Any, seen: tuple[Any, ...]) -> Kind:
    inner, *metadata = get_args(annotation)
    if any(type(m).__name__ in _REWRITING for m in metadata):
        return json_kind(annotation)
    return kind_of(inner, seen)


def _union(annotation: Any, seen: tuple[Any, ...]) -> Kind:
    members = [a for a in get_args(annotation) if a is not type(None)]
    if len(members) == 1:
        return kind_of(members[0], seen)
    kinds = [kind_of(member, seen) for member in members]
    if {kind.type for kind in kinds} == {pa.int64(), pa.float64()} and not any(kind.json for kind in kinds):
        return Kind(pa.float64(), _as_double)
    same = {kind.type for kind in kinds}
    if len(same) == 1 and all(k.encode is None and k.decode is None and not k.json for k in kinds):
        return kinds[0]
    return json_kind(annotation, scalar=all(kind.scalar and not kind.json for kind in kinds))


def _as_double(value: Any) -> Any:
    """An integer as a float that equals it, also beyond 2**53, where Arrow takes none; one without is left to fail."""
    try:
        return double if isinstance(value, int) and (double := float(value)) == value else value
    except OverflowError:
        return value


def _list(annotation: Any, item: Any, seen: tuple[Any, ...]) -> Kind:
    kind = kind_of(item, seen)
    if kind.json:
        return json_kind(annotation)
    encode, decode = kind.encode, kind.decode
    is_set = get_origin(annotation) in (set, frozenset)

    def encode_list(values: Any) -> list[Any]:
        # the order of a set of strings differs from process to process
        ordered = sorted(values, key=repr) if is_set else values
        return [v if v is None or encode is None else encode(v) for v in ordered]

    def decode_list(values: Any) -> list[Any]:
        return [v if v is None or decode is None else decode(v) for v in values]

    return Kind(pa.list_(kind.type), encode_list, decode_list if decode else None, scalar=False)


def _class(annotation: type, seen: tuple[Any, ...]) -> Kind:
    if issubclass(annotation, Enum):
        return _of_values(annotation, list(annotation))
    if issubclass(annotation, RootModel):
        return _root(cast("type[RootModel[Any]]", annotation), seen)
    if issubclass(annotation, BaseModel):
        return _model(annotation, seen)
    if issubclass(annotation, (UUID, Decimal, PurePath)) or annotation is complex:
        return Kind(pa.string(), str)
    if (annotation.__module__, annotation.__name__) in _TEXTS:
        return Kind(pa.string(), str)
    if annotation.__module__.startswith("pydantic") and annotation.__name__.endswith(("Url", "Dsn")):
        return Kind(pa.string(), str)
    for base in (bool, int, float, str):
        if issubclass(annotation, base):
            return Kind(_PLAIN[base])
    return json_kind(annotation)


def _of_values(annotation: Any, members: Sequence[Any]) -> Kind:
    """The kind of an enum or a literal; members of enums inside a literal are written as their values."""
    values = [_plain_value(member) for member in members]
    bases = {_plain_base(value) for value in values if value is not None}
    if len(bases) != 1 or None in bases:
        kind = json_kind(annotation, scalar=None not in bases)
        return replace(kind, decode=_by_cell(annotation, members, kind))
    type_ = _PLAIN[bases.pop()]
    if not any(isinstance(member, Enum) for member in members):
        return Kind(type_)
    by_value = dict(zip(values, members, strict=True))
    # what is no member is left for pydantic, which knows of flags and `_missing_`
    return Kind(type_, _plain_value, lambda cell: by_value.get(cell, cell))


def _plain_value(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _plain_base(value: Any) -> type | None:
    return next((base for base in (bool, int, float, str) if isinstance(value, base)), None)


def _by_cell(annotation: Any, members: Sequence[Any], kind: Kind) -> Convert:
    """A decoder that knows the members by their cells: JSON turns a value such as a tuple into another one."""
    encode = kind.encode or str
    try:
        by_cell = {encode(member): member for member in members}
    except ValueError as error:
        name = getattr(annotation, "__name__", annotation)
        raise ColumnError(f"the values of {name} cannot be written as JSON: {error}") from None
    return lambda cell: by_cell[cell] if cell in by_cell else json.loads(cell)


def _root(model: type[RootModel[Any]], seen: tuple[Any, ...]) -> Kind:
    if model in seen:
        return json_kind(model)
    kind = kind_of(annotation_of(fields_of(model)["root"]), (*seen, model))
    encode = kind.encode

    def encode_root(value: Any) -> Any:
        return value.root if encode is None or value.root is None else encode(value.root)

    return replace(kind, encode=encode_root)


def _model(model: type[BaseModel], seen: tuple[Any, ...]) -> Kind:
    fields = fields_of(model)
    if model in seen or not fields or model.model_config.get("extra") == "allow":
        return json_kind(model)
    kinds = {name: kind_of(annotation_of(info), (*seen, model)) for name, info in fields.items()}
    type_ = pa.struct(
        [
            pa.field(name, kind.type, metadata={ENCODING_KEY: b"json"} if kind.json else None)
            for name, kind in kinds.items()
        ]
    )

    def encode(value: Any) -> dict[str, Any]:
        cells: dict[str, Any] = {}
        for name, kind in kinds.items():
            item = getattr(value, name)
            cells[name] = item if item is None or kind.encode is None else kind.encode(item)
        return cells

    keys = keys_of(model)

    def decode(value: Any) -> dict[str, Any]:
        return {
            keys[name]: item if item is None or kind.decode is None else kind.decode(item)
            for (name, kind), item in zip(kinds.items(), (value[name] for name in kinds), strict=True)
        }

    is_same = all(name == key for name, key in keys.items()) and not any(k.decode for k in kinds.values())
    return Kind(type_, encode, None if is_same else decode, scalar=False)


def json_kind(annotation: Any, *, scalar: bool = False) -> Kind:
    """The kind of a column that holds values of this type as JSON text.

    Args:
        annotation: The type of the values.
        scalar: Whether each is one plain value all the same.

    Raises:
        ColumnError: If pydantic cannot write it as JSON.
    """
    try:
        adapter = _adapter(annotation)
    except (PydanticUserError, PydanticUndefinedAnnotation):
        name = getattr(annotation, "__name__", annotation)
        raise ColumnError(f"a cell cannot hold a value of type {name}, and pydantic cannot write it as JSON") from None

    def encode(value: Any) -> str:
        # `round_trip` leaves out computed fields, which a model may refuse to take
        plain = adapter.dump_python(value, mode="json", round_trip=True, warnings=False)
        return json.dumps(to_jsonable_python(plain))

    return Kind(pa.string(), encode, json.loads, json=True, scalar=scalar)


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        # as pydantic writes JSON unless told otherwise, NaN and infinities in it are lost
        return TypeAdapter[Any](annotation, config=ConfigDict(ser_json_inf_nan="constants"))
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
    return TypeAdapter[Any](annotation)  # a class that has a configuration of its own
