"""From the fields of a pydantic model to the columns of an Arrow table, and back.

A model's field becomes one column with a type that follows from its annotation alone, never from the data, so that
an empty table has the same schema as a full one:

| annotation | column |
| --- | --- |
| `bool`, `int`, `float`, `str`, `bytes` | bool, int64, double, string, binary |
| `date`, `time`, `timedelta` | date32, time64[us], duration[us] |
| `datetime`, `AwareDatetime` | timestamp[us] without zone, timestamp[us, UTC] |
| enums and literals of one kind | the kind of their values |
| `UUID`, `Decimal`, paths, URLs, file references | string |
| a nested model, a `RootModel` | struct of its fields, what its root is |
| `list`, `set`, `tuple[T, ...]` | list |
| anything else (dicts, mixed unions, `Any`) | string that holds JSON, marked in the field's metadata |

Names for types (`NewType`, `type X = …`) stand for what they name. A value that is read back from its cell, and
checked by pydantic, equals the one that was written; inside JSON, as far as pydantic can read its own JSON again.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from pathlib import PurePath
from typing import Any, Literal, Union, cast, get_args, get_origin
from uuid import UUID

import pyarrow as pa
from pydantic import AwareDatetime, BaseModel, NaiveDatetime, RootModel, Secret, SecretBytes, SecretStr, TypeAdapter
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from scythe_cli.arrow.build import array_of
from scythe_cli.model.file_refs import is_file_reference

__all__ = [
    "ENCODING_KEY",
    "Column",
    "ColumnError",
    "Convert",
    "columns_of",
    "decoder_of",
    "extra_column",
    "schema_of",
    "unit_of",
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
    time: pa.time64("us"),
    timedelta: pa.duration("us"),
    datetime: pa.timestamp("us"),
    NaiveDatetime: pa.timestamp("us"),
    AwareDatetime: pa.timestamp("us", tz="UTC"),
}


class ColumnError(ValueError):
    """A value that its column cannot hold, or an annotation that can be no column."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What an annotation becomes; `encode` is None where Arrow takes the Python value as it is."""

    type: pa.DataType
    encode: Convert | None = None
    decode: Convert | None = None
    json: bool = False
    scalar: bool = True


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a model as a column.

    Attributes:
        name: The field's name.
        info: The field as pydantic sees it.
        type: The Arrow type.
        is_json: Whether the cells hold JSON text.
        is_file: Whether the field refers to a file.
        is_scalar: Whether a cell holds one plain value: such an input field can be a level of an index.
        encode: From a field's value to what Arrow takes; None where it is the same.
        decode: From a cell to what pydantic takes; None where it is the same.
    """

    name: str
    info: FieldInfo
    type: pa.DataType
    is_json: bool
    is_file: bool
    is_scalar: bool
    encode: Convert | None
    decode: Convert | None

    @property
    def field(self) -> pa.Field[Any]:
        """The Arrow field, nullable, with the encoding in its metadata."""
        return pa.field(self.name, self.type, metadata={ENCODING_KEY: b"json"} if self.is_json else None)

    def array(self, values: Sequence[Any]) -> pa.Array[Any]:
        """Make an Arrow array of the field's values.

        Raises:
            ColumnError: If a value does not fit; the message names the column and the value.
        """
        encode = self.encode
        try:
            cells = values if encode is None else [None if v is None else encode(v) for v in values]
            return array_of(cells, self.type)
        except _MISFITS as error:
            raise ColumnError(f"{self.name}: {self._blame(values) or error}") from error

    def _blame(self, values: Sequence[Any]) -> str | None:
        """Say which of the values it is that does not fit."""
        for value in values:
            try:
                cell = value if value is None or self.encode is None else self.encode(value)
                array_of([cell], self.type)
            except ColumnError as error:
                return f"{_short(value)}: {error}"
            except _MISFITS as error:
                if self.is_json:
                    return f"{_short(value)} cannot be written as JSON: {error}"
                return f"{_short(value)} does not fit a column of type {self.type}"
        return None


_MISFITS = (pa.ArrowException, OverflowError, RecursionError, ValueError, TypeError, AttributeError)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


@cache
def columns_of(model: type[BaseModel]) -> dict[str, Column]:
    """The columns of a model, by field name, in the order of the fields.

    Raises:
        ColumnError: If a field can be no column, such as a secret.
    """
    columns: dict[str, Column] = {}
    for name, info in _fields(model).items():
        try:
            kind = _kind(_annotation(info), (model,))
        except ColumnError as error:
            raise ColumnError(f"{model.__name__}.{name}: {error}") from None
        columns[name] = _column(name, info, kind)
    return columns


def extra_column(name: str) -> Column:
    """The column of values that no field of the model describes: JSON."""
    return _column(name, FieldInfo(annotation=Any), _json(Any))


def _column(name: str, info: FieldInfo, kind: _Kind) -> Column:
    return Column(
        name=name,
        info=info,
        type=kind.type,
        is_json=kind.json,
        is_file=is_file_reference(_annotation(info)),
        is_scalar=kind.scalar,
        encode=kind.encode,
        decode=kind.decode,
    )


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a model, those included whose types were defined only after it."""
    if not model.__pydantic_complete__:
        try:
            model.model_rebuild()
        except PydanticUndefinedAnnotation as error:
            raise ColumnError(f"{model.__name__}: the type {error.name!r} is not defined") from None
    return model.model_fields


def _annotation(info: FieldInfo) -> Any:
    """The field's type with all that annotates it, which `FieldInfo` keeps apart."""
    return typing.Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema of some columns."""
    return pa.schema([column.field for column in columns])


def decoder_of(field: pa.Field[Any]) -> Convert | None:
    """How a cell of a stored column that no model describes becomes a value; None where it is the same."""
    return json.loads if (field.metadata or {}).get(ENCODING_KEY) == b"json" else None


def _kind(annotation: Any, seen: tuple[Any, ...]) -> _Kind:
    origin = get_origin(annotation)
    if origin is typing.Annotated:
        return _annotated(annotation, seen)
    # only classes are looked up: what annotates a type need not be hashable
    if isinstance(annotation, type) and annotation in _PLAIN:
        return _plain(annotation)
    if _is_alias(annotation):
        return _json(annotation) if annotation in seen else _kind(annotation.__value__, (*seen, annotation))
    if isinstance(annotation, typing.NewType):
        return _kind(annotation.__supertype__, seen)
    if is_file_reference(annotation):
        return _Kind(pa.string(), str)
    if origin in (Union, types.UnionType):
        return _union(annotation, seen)
    if origin is Literal:
        return _of_values(annotation, get_args(annotation))
    args = get_args(annotation)
    if (origin in (list, set, frozenset, Sequence) and args) or (origin is tuple and args[1:] == (Ellipsis,)):
        return _list(annotation, args[0], seen)
    if isinstance(annotation, type):
        return _class(annotation, seen)
    return _json(annotation)


def _is_alias(annotation: Any) -> bool:
    """Whether it was made by `type X = …`, from Python 3.12 on."""
    return isinstance(annotation, getattr(typing, "TypeAliasType", ()))


def _plain(annotation: Any) -> _Kind:
    kind = _PLAIN[annotation]
    if annotation in (datetime, NaiveDatetime):
        return _Kind(kind, _naive)
    if annotation is time:
        return _Kind(kind, _zoneless)
    return _Kind(kind)


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


def _annotated(annotation: Any, seen: tuple[Any, ...]) -> _Kind:
    inner, *metadata = get_args(annotation)
    if any(type(m).__name__ in _REWRITING for m in metadata):
        return _json(annotation)
    return _kind(inner, seen)


def _union(annotation: Any, seen: tuple[Any, ...]) -> _Kind:
    members = [a for a in get_args(annotation) if a is not type(None)]
    if len(members) == 1:
        return _kind(members[0], seen)
    kinds = [_kind(member, seen) for member in members]
    if {kind.type for kind in kinds} == {pa.int64(), pa.float64()} and not any(kind.json for kind in kinds):
        return _Kind(pa.float64())
    same = {kind.type for kind in kinds}
    if len(same) == 1 and all(k.encode is None and k.decode is None and not k.json for k in kinds):
        return kinds[0]
    return _json(annotation, scalar=all(kind.scalar and not kind.json for kind in kinds))


def _list(annotation: Any, item: Any, seen: tuple[Any, ...]) -> _Kind:
    kind = _kind(item, seen)
    if kind.json:
        return _json(annotation)
    encode, decode = kind.encode, kind.decode
    is_set = get_origin(annotation) in (set, frozenset)

    def encode_list(values: Any) -> list[Any]:
        # the order of a set of strings differs from process to process
        ordered = sorted(values, key=repr) if is_set else values
        return [v if v is None or encode is None else encode(v) for v in ordered]

    def decode_list(values: Any) -> list[Any]:
        return [v if v is None or decode is None else decode(v) for v in values]

    return _Kind(pa.list_(kind.type), encode_list, decode_list if decode else None, scalar=False)


def _class(annotation: type, seen: tuple[Any, ...]) -> _Kind:
    if issubclass(annotation, Enum):
        return _of_values(annotation, list(annotation))
    if issubclass(annotation, RootModel):
        return _root(cast("type[RootModel[Any]]", annotation), seen)
    if issubclass(annotation, BaseModel):
        return _model(annotation, seen)
    if issubclass(annotation, (UUID, Decimal, PurePath)):
        return _Kind(pa.string(), str)
    if annotation.__module__.startswith("pydantic") and annotation.__name__.endswith(("Url", "Dsn")):
        return _Kind(pa.string(), str)
    for base in (bool, int, float, str):
        if issubclass(annotation, base):
            return _Kind(_PLAIN[base])
    return _json(annotation)


def _of_values(annotation: Any, members: Sequence[Any]) -> _Kind:
    """The kind of an enum or a literal; members of enums inside a literal are written as their values."""
    values = [_plain_value(member) for member in members]
    bases = {_plain_base(value) for value in values if value is not None}
    if len(bases) != 1 or None in bases:
        kind = _json(annotation, scalar=None not in bases)
        return replace(kind, decode=_by_cell(annotation, members, kind))
    type_ = _PLAIN[bases.pop()]
    if not any(isinstance(member, Enum) for member in members):
        return _Kind(type_)
    by_value = dict(zip(values, members, strict=True))
    # what is no member is left for pydantic, which knows of flags and `_missing_`
    return _Kind(type_, _plain_value, lambda cell: by_value.get(cell, cell))


def _plain_value(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _plain_base(value: Any) -> type | None:
    return next((base for base in (bool, int, float, str) if isinstance(value, base)), None)


def _by_cell(annotation: Any, members: Sequence[Any], kind: _Kind) -> Convert:
    """A decoder that knows the members by their cells: JSON turns a value such as a tuple into another one."""
    encode = kind.encode or str
    try:
        by_cell = {encode(member): member for member in members}
    except ValueError as error:
        name = getattr(annotation, "__name__", annotation)
        raise ColumnError(f"the values of {name} cannot be written as JSON: {error}") from None
    return lambda cell: by_cell[cell] if cell in by_cell else json.loads(cell)


def _root(model: type[RootModel[Any]], seen: tuple[Any, ...]) -> _Kind:
    if model in seen:
        return _json(model)
    kind = _kind(_annotation(_fields(model)["root"]), (*seen, model))
    encode = kind.encode

    def encode_root(value: Any) -> Any:
        return value.root if encode is None or value.root is None else encode(value.root)

    return replace(kind, encode=encode_root)


def _model(model: type[BaseModel], seen: tuple[Any, ...]) -> _Kind:
    fields = _fields(model)
    if model in seen or not fields or model.model_config.get("extra") == "allow":
        return _json(model)
    kinds = {name: _kind(_annotation(info), (*seen, model)) for name, info in fields.items()}
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

    def decode(value: Any) -> dict[str, Any]:
        return {
            name: item if item is None or kind.decode is None else kind.decode(item)
            for (name, kind), item in zip(kinds.items(), (value[name] for name in kinds), strict=True)
        }

    return _Kind(type_, encode, decode if any(k.decode for k in kinds.values()) else None, scalar=False)


def _json(annotation: Any, *, scalar: bool = False) -> _Kind:
    if _has_secret(annotation, set()):
        raise ColumnError("a secret cannot be a field: specs are written to the storage; read it from the environment")
    try:
        adapter = TypeAdapter[Any](annotation)
    except (PydanticUserError, PydanticUndefinedAnnotation):
        name = getattr(annotation, "__name__", annotation)
        raise ColumnError(f"a value of type {name} fits no cell, and pydantic cannot write it as JSON") from None

    def encode(value: Any) -> str:
        # `round_trip` leaves out computed fields, which a model may refuse to take
        plain = adapter.dump_python(value, mode="json", round_trip=True, warnings=False)
        return json.dumps(to_jsonable_python(plain))

    return _Kind(pa.string(), encode, json.loads, json=True, scalar=scalar)


def _has_secret(annotation: Any, seen: set[int]) -> bool:
    """Whether a secret can be anywhere in values of this type: pydantic would write `"**********"`."""
    if id(annotation) in seen:
        return False
    seen.add(id(annotation))
    if _is_alias(annotation):
        return _has_secret(annotation.__value__, seen)
    if isinstance(annotation, typing.NewType):
        return _has_secret(annotation.__supertype__, seen)
    inner = list(get_args(annotation))
    origin = get_origin(annotation) or annotation
    if isinstance(origin, type):
        if issubclass(origin, (Secret, SecretStr, SecretBytes)):
            return True
        inner += _parts(origin)
    return any(_has_secret(each, seen) for each in inner)


def _parts(cls: type) -> list[Any]:
    """The types that a model, dataclass, typed dict or named tuple is made of."""
    if issubclass(cls, BaseModel):
        return [info.annotation for info in _fields(cls).values()]
    # `typing.is_typeddict` does not know those of typing_extensions
    is_typed_dict = issubclass(cls, dict) and hasattr(cls, "__total__")
    if dataclasses.is_dataclass(cls) or is_typed_dict or (issubclass(cls, tuple) and hasattr(cls, "_fields")):
        try:
            return list(typing.get_type_hints(cls).values())
        except NameError as error:
            raise ColumnError(f"{cls.__name__}: the type {error.name!r} is not defined") from None
    return []


_UNIT = re.compile(r"\[([^\[\]]{1,40})\]\s*\.?\s*$")


def unit_of(description: str | None) -> str | None:
    """The unit of a field: what stands in brackets at the end of its description, as in `Tilt [deg]`."""
    match = _UNIT.search(description or "")
    return match.group(1) if match else None
