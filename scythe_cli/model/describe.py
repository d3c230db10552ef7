"""Experiments and their fields, in words."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from scythe_cli.core.records import Record
from scythe_cli.core.states import RetryOn
from scythe_cli.model.columns import RESERVED_INPUT_FIELDS, dotted_fields, unit_of
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.file_refs import is_file_reference

__all__ = ["ExperimentRecord", "FieldRecord", "describe_experiment", "describe_fields"]


_SYMBOLS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


class FieldRecord(Record):
    """One field of an input or output model."""

    name: str = Field(description="dotted for nested models")
    type: str = Field(description="for people: 'float', \"'a' | 'b'\", 'file', 'date or empty'")
    description: str | None = None
    bounds: str | None = Field(default=None, description="'0 ≤ x ≤ 90', or 'at most 20 characters'")
    unit: str | None = Field(default=None, description="the unit in brackets at the end of the description")
    required: bool = True
    default: Any = None


class ExperimentRecord(Record):
    """One experiment of the project."""

    name: str
    entrypoint: str
    description: str
    kind: str = Field(description="'function' or 'workflow'")
    inputs: list[FieldRecord] = Field(default=[])
    outputs: list[FieldRecord] = Field(default=[])
    execution_timeout_s: float
    memory_limit_bytes: int | None = None
    retries: int | None = Field(description="None where it is not said: once, after what `retry_on` names")
    retry_on: list[RetryOn] = Field(default=[], description="after what a spec is run again")
    problem: str | None = Field(default=None, description="why it cannot be loaded")


def describe_experiment(name: str, entrypoint: str, experiment: RegisteredExperiment[Any, Any]) -> ExperimentRecord:
    """Describe an experiment with the fields of its models."""
    options = experiment.options
    return ExperimentRecord(
        name=name,
        entrypoint=entrypoint,
        description=experiment.description,
        kind="function",
        inputs=describe_fields(experiment.input_validator_type, leave_out=RESERVED_INPUT_FIELDS),
        outputs=describe_fields(experiment.output_validator_type, leave_out={"dataframes"}),
        execution_timeout_s=options.execution_timeout.total_seconds(),
        memory_limit_bytes=options.memory_limit_bytes,
        retries=options.retries,
        retry_on=list(options.retry_rule.states),
    )


def describe_fields(model: type[BaseModel], *, leave_out: frozenset[str] | set[str] = frozenset()) -> list[FieldRecord]:
    """Describe the fields of a model; those of nested models with dotted names."""
    return [_describe_field(name, info) for name, info in dotted_fields(model, leave_out=leave_out)]


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _describe_field(name: str, info: FieldInfo) -> FieldRecord:
    required = info.is_required()
    default = None
    if not required:
        default = "computed" if info.default is PydanticUndefined else to_jsonable_python(info.default, fallback=str)
    return FieldRecord(
        name=name,
        type=_type_text(typing.Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation),
        description=info.description,
        bounds=_bounds(_metadata(info)),
        unit=unit_of(info.description),
        required=required,
        default=default,
    )


def _metadata(info: FieldInfo) -> list[Any]:
    """What annotates the field; that of `Annotated[…] | None` stands inside the union."""
    found = list(info.metadata)
    members = [a for a in get_args(info.annotation) if a is not type(None)] if _is_union(info.annotation) else []
    if len(members) == 1 and get_origin(members[0]) is typing.Annotated:
        for item in get_args(members[0])[1:]:
            found += item.metadata if isinstance(item, FieldInfo) else [item]
    return found


def _type_text(annotation: Any) -> str:
    if is_file_reference(annotation):
        return "file or empty" if type(None) in get_args(annotation) else "file"
    origin = get_origin(annotation)
    if origin is typing.Annotated:
        # of all that refers to a file, only a folder's path does not count as a file when it is annotated
        return "folder" if is_file_reference(get_args(annotation)[0]) else _type_text(get_args(annotation)[0])
    if _is_union(annotation):
        members = [a for a in get_args(annotation) if a is not type(None)]
        text = " or ".join(dict.fromkeys(_type_text(member) for member in members))
        return text if len(members) == len(get_args(annotation)) else f"{text} or empty"
    if origin is Literal:
        return " | ".join(repr(v.value if isinstance(v, Enum) else v) for v in get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " | ".join(repr(member.value) for member in annotation)
    if origin is not None:
        inner = ", ".join(_type_text(a) for a in get_args(annotation) if a is not Ellipsis)
        return f"{getattr(origin, '__name__', origin)} of {inner}" if inner else str(origin)
    return {"str": "text", "bool": "true/false"}.get(
        getattr(annotation, "__name__", str(annotation)), getattr(annotation, "__name__", str(annotation))
    )


def _bounds(metadata: list[Any]) -> str | None:
    found: dict[str, Any] = {}
    for item in metadata:
        for key in ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern"):
            value = getattr(item, key, None)
            if value is not None:
                found[key] = value
    texts = [_range(found), _length(found)]
    if "multiple_of" in found:
        texts.append(f"a multiple of {found['multiple_of']}")
    if "pattern" in found:
        texts.append(f"matches {found['pattern']}")
    return ", ".join(text for text in texts if text) or None


def _range(found: Mapping[str, Any]) -> str | None:
    low = next(((found[k], "≤" if k == "ge" else "<") for k in ("ge", "gt") if k in found), None)
    high = next(((found[k], _SYMBOLS[k]) for k in ("le", "lt") if k in found), None)
    if low and high:
        return f"{low[0]} {low[1]} x {high[1]} {high[0]}"
    if low:
        return f"{_SYMBOLS['ge' if low[1] == '≤' else 'gt']} {low[0]}"
    return f"{high[1]} {high[0]}" if high else None


def _length(found: Mapping[str, Any]) -> str | None:
    low, high = found.get("min_length"), found.get("max_length")
    if low is not None and high is not None:
        return f"length {low} to {high}"
    if low is not None:
        return f"length at least {low}"
    return f"length at most {high}" if high is not None else None
