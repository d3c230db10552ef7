"""Pydantic's verdict on the cells of one field, and the accepted values as a column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import pyarrow as pa
from pydantic import ConfigDict, Field, PydanticUserError, TypeAdapter, ValidationError

from scythe_cli.errors import first_line
from scythe_cli.model.columns import Column
from scythe_cli.model.kinds import ColumnError
from scythe_cli.sampling.cells import MISSING, Partial, Unusable
from scythe_cli.sampling.findings import (
    Finding,
    findings_of,
    found_empty,
    found_exception,
    found_unusable,
)
from scythe_cli.sampling.matching import Cell, Group, accepts_none
from scythe_cli.sampling.problems import show_value

__all__ = ["Findings", "Judge", "encoded"]


Findings = Mapping[int, list[Finding]]
"""What is wrong, by the position of the value."""


class Judge:
    """Judges the values of one field, apart from the other fields."""

    def __init__(self, column: Column, root: Group) -> None:
        """Prepare.

        Args:
            column: The field.
            root: The columns of the file, for naming them.
        """
        self.column = column
        self._root = root
        self._info = column.info
        config = root.model.model_config
        self._validate_default = bool(
            config.get("validate_default") if self._info.validate_default is None else self._info.validate_default
        )
        self._none_if_missing = self._info.is_required() and accepts_none(self._info.annotation)
        self._validate = _validator_of(column, config)

    def judge(self, values: Sequence[Any]) -> tuple[pa.Array[Any], Findings]:
        """Judge values: raw ones, `MISSING`, `Unusable` or `Partial`.

        Returns:
            The column's cells, null where a value is refused; and why it is.
        """
        accepted: list[Any] = []
        findings: dict[int, list[Finding]] = {}
        for position, value in enumerate(values):
            try:
                accepted.append(self._value_of(value))
            except _RefusedError as refused:
                accepted.append(None)
                findings[position] = refused.findings
        array, misfits = encoded(self.column, accepted)
        source = self._root.parts.get(self.column.name)
        cell = source if isinstance(source, Cell) else None
        label = self.column.name if source is None else source.column
        for position, message in misfits.items():
            shown = None if cell is not None else show_value(accepted[position])
            findings[position] = [Finding(label, message, cell, shown)]
        return array, findings

    def _value_of(self, value: Any) -> Any:
        if isinstance(value, Unusable):
            raise _RefusedError([found_unusable(value)])
        if isinstance(value, Partial):
            raise _RefusedError([*map(found_unusable, value.unusable), *self._others(value)])
        try:
            if value is MISSING:
                if self._none_if_missing:
                    value = None
                elif self._info.is_required():
                    raise _RefusedError([found_empty(self._label())])
                else:
                    value = self._info.get_default(call_default_factory=True, validated_data={})
                    if not self._validate_default:
                        return value
            return self._validate(value)
        except _RefusedError:
            raise
        except ValidationError as error:
            raise _RefusedError(findings_of(error, self._root, (self.column.name,))) from None
        except Exception as error:  # noqa: BLE001 - a type of the user's can raise anything
            raise _RefusedError([found_exception(error, self._root, (self.column.name,))]) from None

    def _others(self, partial: Partial) -> list[Finding]:
        """What else is wrong with a nested model of which some cells cannot be given."""
        hidden = {unusable.column for unusable in partial.unusable}
        try:
            self._value_of(partial.values)
        except _RefusedError as refused:
            return [finding for finding in refused.findings if finding.column not in hidden]
        return []

    def _label(self) -> str:
        source = self._root.parts.get(self.column.name)
        return self.column.name if source is None else source.column


class _RefusedError(Exception):
    def __init__(self, findings: list[Finding]) -> None:
        super().__init__()
        self.findings = findings


def _validator_of(column: Column, config: ConfigDict) -> Callable[[Any], Any]:
    info = column.info
    metadata = [*info.metadata]
    if info.discriminator is not None:
        metadata.append(Field(discriminator=info.discriminator))
    type_: Any = Annotated[info.annotation, *metadata] if metadata else info.annotation
    try:
        adapter = TypeAdapter[Any](type_, config=config)
    except PydanticUserError:
        # a nested model by itself goes by its own config, and pydantic says so
        adapter = TypeAdapter[Any](type_)
    validate = adapter.validator.validate_python
    return lambda value: validate(value, by_alias=True, by_name=True)


def encoded(column: Column, values: Sequence[Any]) -> tuple[pa.Array[Any], dict[int, str]]:
    """Values as the cells of a column.

    Returns:
        The cells, null where a value does not fit; and why it does not.
    """
    try:
        return column.array(values), {}
    except ColumnError:
        pass
    misfits: dict[int, str] = {}
    fitting: list[Any] = []
    for position, value in enumerate(values):
        message = _misfit(column, value)
        if message is not None:
            misfits[position] = message
        fitting.append(value if message is None else None)
    return column.array(fitting), misfits


def _misfit(column: Column, value: Any) -> str | None:
    if value is None:
        return None
    try:
        pa.array([value if column.encode is None else column.encode(value)], type=column.type)
    except ColumnError as error:
        return str(error)
    except (pa.ArrowException, OverflowError, ValueError, TypeError, AttributeError) as error:
        if column.type == pa.int64() and isinstance(value, int):
            return "Whole numbers go from -2^63 to 2^63 - 1"
        reason = first_line(error)
        return f"the value cannot be kept in a column of type {column.type}: {reason}"
    return None
