"""Values that reach the function as equal ones of another form, since their column has one type for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast, get_args

import pyarrow as pa
from pydantic import AwareDatetime, BaseModel

from scythe_cli.model.columns import Column, extra_column, input_columns
from scythe_cli.model.kinds import annotation_of, is_alias
from scythe_cli.model.models import ExperimentInputSpec

__all__ = ["Changes", "changes_of_specs"]


FLOATS = "whole numbers arrive as floats: 1 as 1.0"
UTC = "times arrive in UTC: the same moments, without their offsets"
TEXTS = "values that JSON has no form for, such as dates, arrive as text"

_JSON_TYPES = (str, int, float, bool, type(None))


class Changes:
    """Notes what changes of the values of one column.

    Attributes:
        seen: What has been noted so far.
    """

    def __init__(self, column: Column) -> None:
        """Prepare.

        Args:
            column: The column.
        """
        self.seen: set[str] = set()
        leaves = set(_leaves(annotation_of(column.info), set()))
        self._type = column.type
        self._is_any = column.is_json and bool(leaves & {Any, object})
        self._possible = set[str]()
        if not column.is_json and {int, float} <= leaves:
            self._possible.add(FLOATS)
        if not column.is_json and AwareDatetime in leaves:
            self._possible.add(UTC)
        if self._is_any:
            self._possible.add(TEXTS)

    @property
    def may_be(self) -> bool:
        """Whether anything can change at all."""
        return bool(self._possible)

    def note(self, values: Sequence[Any]) -> None:
        """Look at accepted values."""
        if self._possible <= self.seen:
            return
        for value in values:
            if self._is_any:
                if not _is_json(value):
                    self.seen.add(TEXTS)
                    return
            else:
                self.seen.update(_changes(value, self._type))


def changes_of_specs(model: type[ExperimentInputSpec], specs: Sequence[ExperimentInputSpec]) -> list[str]:
    """What is to be told of specs that were made in Python, as it is of those in a file."""
    notices: list[str] = []
    overwritten = [name for name, is_other in _SET_BY_THE_RUN.items() if any(map(is_other, specs, range(len(specs))))]
    if overwritten:
        notices.append(f"set by the run, whatever the cases say: {', '.join(overwritten)}")
    extra = dict.fromkeys(name for spec in specs for name in spec.model_extra or {})
    for column in (*input_columns(model), *map(extra_column, extra)):
        changes = Changes(column)
        if changes.may_be:
            changes.note([getattr(spec, column.name, None) for spec in specs])
        notices += [f"{column.name}: {what}" for what in sorted(changes.seen)]
    return notices


# by name, whether a spec at a position says otherwise; `experiment_id` is what everybody has to make up
_SET_BY_THE_RUN: dict[str, Callable[[ExperimentInputSpec, int], bool]] = {
    "sort_index": lambda spec, position: "sort_index" in spec.model_fields_set and spec.sort_index != position,
    "storage_settings": lambda spec, _: spec.storage_settings is not None,
    "workflow_run_id": lambda spec, _: spec.workflow_run_id is not None,
    "root_workflow_run_id": lambda spec, _: spec.root_workflow_run_id is not None,
}


def _leaves(annotation: Any, seen: set[int]) -> Iterable[Any]:
    """The types that a type is made of."""
    if id(annotation) in seen:
        return
    seen.add(id(annotation))
    if is_alias(annotation):
        annotation = annotation.__value__
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for info in annotation.model_fields.values():
            yield from _leaves(annotation_of(info), seen)
        return
    arguments = get_args(annotation)
    if not arguments:
        try:
            hash(annotation)
        except TypeError:
            return
        # a bare `dict` or `list` holds anything
        yield Any if annotation in (dict, list, tuple, set) else annotation
    for argument in arguments:
        yield from _leaves(argument, seen)


def _is_json(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in cast("dict[Any, Any]", value)) and all(map(_is_json, value.values()))
    if type(value) is list:
        return all(map(_is_json, cast("list[Any]", value)))
    return type(value) in _JSON_TYPES


def _changes(value: Any, type_: Any) -> Iterable[str]:
    if value is None:
        return
    if pa.types.is_floating(type_):
        if type(value) is int:
            yield FLOATS
    elif pa.types.is_timestamp(type_):
        if type_.tz is not None and isinstance(value, datetime) and value.utcoffset() != timedelta(0):
            yield UTC
    elif pa.types.is_list(type_) and not isinstance(value, (str, Mapping)):
        for item in value:
            yield from _changes(item, type_.value_type)
    elif pa.types.is_struct(type_):
        for part in type_:
            yield from _changes(getattr(value, part.name, None), part.type)
