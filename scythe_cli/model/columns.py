"""The fields of models as the columns of Arrow tables.

A model's field becomes one column with a type that follows from its annotation alone, never from the data, so that
an empty table has the same schema as a full one; `kinds` tells which. Some columns of an experiment's models belong to
the run and not to the user, and only those of which a cell holds one value can be levels of an index.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from scythe_cli.arrow.build import array_of
from scythe_cli.arrow.plain import has_nanoseconds, holds_times
from scythe_cli.model.file_refs import is_file_reference
from scythe_cli.model.kinds import (
    ENCODING_KEY,
    ColumnError,
    Convert,
    Kind,
    annotation_of,
    fields_of,
    is_alias,
    json_kind,
    kind_of,
)
from scythe_cli.model.outcome_schema import FILE, OUTCOME_SCHEMA, SCALAR

__all__ = [
    "INHERITED_EXTRA",
    "REPLICATE",
    "RESERVED_INPUT_FIELDS",
    "SPEC_LEVELS",
    "Column",
    "columns_of",
    "computed_columns",
    "decoder_of",
    "dotted_fields",
    "extra_column",
    "file_columns",
    "index_columns",
    "input_columns",
    "nested_model",
    "outcome_schema",
    "output_columns",
    "output_files",
    "own_extra",
    "schema_of",
    "unit_of",
    "values_of",
]


SPEC_LEVELS = ("experiment_id", "sort_index", "workflow_run_id", "root_workflow_run_id")
"""The first levels of the index of every final table."""

REPLICATE = "replicate"
"""Level of final tables, int32, of a run that was allocated with replicates, and column of a sampling file that has
them: how many rows before say the same."""

RESERVED_INPUT_FIELDS = frozenset({*SPEC_LEVELS, "storage_settings", "sort_subindex"})
"""Names that a user's input field cannot have."""


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
    def is_nullable(self) -> bool:
        """Whether the model can do without a value."""
        return not self.info.is_required() or type(None) in get_args(self.info.annotation)

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
        if "pandas" in sys.modules and (self.is_json or holds_times(self.type)):
            finer = next(filter(has_nanoseconds, values), None)
            if finer is not None:
                raise ColumnError(f"{self.name}: {_short(finer)} has nanoseconds, and times are kept in microseconds")
        try:
            cells = values if encode is None else [None if v is None else encode(v) for v in values]
            return _array_of(cells, self.type)
        except _MISFITS as error:
            raise ColumnError(f"{self.name}: {self._misfit(values) or error}") from error

    def _misfit(self, values: Sequence[Any]) -> str | None:
        """Say which of the values it is that does not fit."""
        for value in values:
            try:
                cell = value if value is None or self.encode is None else self.encode(value)
                _array_of([cell], self.type)
            except ColumnError as error:
                return f"{_short(value)}: {error}"
            except _MISFITS as error:
                if self.is_json:
                    return f"{_short(value)} cannot be written as JSON: {error}"
                return f"{_short(value)} does not fit a column of type {self.type}"
        return None


def _array_of(cells: Sequence[Any], type_: pa.DataType) -> pa.Array[Any]:
    # pandas' missing time is a datetime to Python, and the year 1 to Arrow
    if pa.types.is_temporal(type_) and any(type(cell).__name__ == "NaTType" for cell in cells):
        raise TypeError("NaT is not a time")
    return array_of(cells, type_)


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
    for name, info in fields_of(model).items():
        try:
            annotation = annotation_of(info)
            if _has_secret(annotation, set()):
                raise ColumnError(
                    "a secret cannot be a field, because cases are written to the storage; read it from the environment"
                )
            kind = kind_of(annotation, (model,))
        except ColumnError as error:
            raise ColumnError(f"{model.__name__}.{name}: {error}") from None
        columns[name] = _column(name, info, kind)
    return columns


def _has_secret(annotation: Any, seen: set[int]) -> bool:
    """Whether a secret can be anywhere in values of this type: pydantic would write `"**********"`."""
    if id(annotation) in seen:
        return False
    seen.add(id(annotation))
    if is_alias(annotation):
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
        return [info.annotation for info in fields_of(cls).values()]
    # `typing.is_typeddict` does not know those of typing_extensions
    is_typed_dict = issubclass(cls, dict) and hasattr(cls, "__total__")
    if dataclasses.is_dataclass(cls) or is_typed_dict or (issubclass(cls, tuple) and hasattr(cls, "_fields")):
        try:
            return list(typing.get_type_hints(cls).values())
        except NameError as error:
            raise ColumnError(f"{cls.__name__}: the type {error.name!r} is not defined") from None
    return []


class _InheritedExtra(str):
    """The `extra` of a model that does not say it itself: pydantic hands a configuration down as it is."""


INHERITED_EXTRA: Any = _InheritedExtra("allow")
"""What `extra` is where a model of the user's says nothing of it."""


def own_extra(model: type[BaseModel]) -> str | None:
    """What a model of the user's says itself about values beyond its fields; None if it says nothing."""
    extra = model.model_config.get("extra")
    return None if isinstance(extra, _InheritedExtra) else extra


def extra_column(name: str) -> Column:
    """The column of values that no field of the model describes: JSON."""
    return _column(name, FieldInfo(annotation=Any), json_kind(Any))


def _column(name: str, info: FieldInfo, kind: Kind) -> Column:
    return Column(
        name=name,
        info=info,
        type=kind.type,
        is_json=kind.json,
        is_file=is_file_reference(annotation_of(info)),
        is_scalar=kind.scalar,
        encode=kind.encode,
        decode=kind.decode,
    )


def values_of(models: Sequence[Any], name: str) -> list[Any]:
    """The values of a field of some instances; an attribute of its name may be something else."""
    try:
        return [model.__dict__[name] for model in models]
    except KeyError:  # a value beyond the fields
        return [getattr(model, name) for model in models]


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema of some columns."""
    return pa.schema([column.field for column in columns])


def decoder_of(field: pa.Field[Any]) -> Convert | None:
    """How a cell of a stored column that no model describes becomes a value; None where it is the same."""
    return json.loads if (field.metadata or {}).get(ENCODING_KEY) == b"json" else None


def input_columns(model: type[BaseModel]) -> list[Column]:
    """The columns of the user's own input fields, in the order of the model."""
    return [column for name, column in columns_of(model).items() if name not in RESERVED_INPUT_FIELDS]


def file_columns(model: type[BaseModel]) -> list[Column]:
    """The input columns that refer to files."""
    return [column for column in input_columns(model) if column.is_file]


def index_columns(model: type[BaseModel]) -> list[Column]:
    """The inputs that are levels of the index of final tables: those of which a cell holds one value.

    The fields of nested models have dotted names, as `wind.speed`. References to files are none: a table must not
    depend on where the run is kept.
    """
    return [level for column in input_columns(model) for level in _levels(column)]


def _levels(column: Column) -> Iterator[Column]:
    if column.is_file:
        return
    if column.is_scalar:
        yield column
    nested = nested_model(column.info.annotation)
    if nested is None or column.is_json or not pa.types.is_struct(column.type):
        return
    inner = columns_of(nested)
    for part in column.type:
        # where models hold each other, one of them is JSON inside of the other
        if part.name in inner and inner[part.name].type.equals(part.type):
            for level in _levels(inner[part.name]):
                yield dataclasses.replace(level, name=f"{column.name}.{level.name}")


def output_columns(model: type[BaseModel]) -> list[Column]:
    """The columns of `scalars.pq`: every output field but files and dataframes, and what the model computes."""
    fields = [column for name, column in columns_of(model).items() if name != "dataframes" and not column.is_file]
    return fields + computed_columns(model)


@cache
def computed_columns(model: type[BaseModel]) -> list[Column]:
    """The columns of a model's computed fields."""
    columns: list[Column] = []
    for name, info in model.model_computed_fields.items():
        # not required: what cannot be computed, or fits no cell, is null
        field = FieldInfo(annotation=info.return_type, description=info.description, default=None)
        try:
            kind = kind_of(info.return_type, (model,))
        except ColumnError:
            kind = json_kind(Any)
        columns.append(_column(name, field, kind))
    return columns


def output_files(model: type[BaseModel]) -> list[Column]:
    """The output fields that are files."""
    return [column for name, column in columns_of(model).items() if name != "dataframes" and column.is_file]


@cache
def outcome_schema(model: type[BaseModel]) -> pa.Schema:
    """`OUTCOME_SCHEMA`, then the scalar outputs and output files of a model; all of these nullable.

    Columns of features and frames are not known from the model and come after these where there are some.
    """
    fields = list(OUTCOME_SCHEMA)
    fields += [column.field.with_name(SCALAR + column.name) for column in output_columns(model)]
    fields += [pa.field(FILE + column.name, pa.string()) for column in output_files(model)]
    return pa.schema(fields)


def dotted_fields(
    model: type[BaseModel], *, leave_out: frozenset[str] | set[str] = frozenset(), prefix: str = ""
) -> Iterator[tuple[str, FieldInfo]]:
    """The fields of a model by name; those of nested models with dotted names in place of the field that holds them.

    Args:
        model: The model.
        leave_out: Names of fields of the model itself to leave out.
        prefix: What the names begin with.
    """
    for name, info in model.model_fields.items():
        if name in leave_out:
            continue
        nested = nested_model(info.annotation)
        if nested is not None and prefix.count(".") < 5:  # a recursive model is cut there
            yield from dotted_fields(nested, prefix=f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", info


def nested_model(annotation: Any) -> type[BaseModel] | None:
    """The model that a field of this type holds, also if it may be None; None for any other type."""
    is_union = get_origin(annotation) in (Union, types.UnionType)
    members = [a for a in get_args(annotation) if a is not type(None)] if is_union else [annotation]
    if len(members) == 1 and isinstance(members[0], type) and issubclass(members[0], BaseModel):
        return members[0]
    return None


_UNIT = re.compile(r"\[([^\[\]]{1,40})\]\s*\.?\s*$")


def unit_of(description: str | None) -> str | None:
    """The unit of a field: what stands in brackets at the end of its description, as in `Tilt [deg]`."""
    match = _UNIT.search(description or "")
    return match.group(1) if match else None
