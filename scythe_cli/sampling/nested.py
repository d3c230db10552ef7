"""Nested models whose parts are columns: the rows that are surely right, as structs, without an instance of any model.

As in `column_rules`, what is done here only ever *accepts*. A row is left to pydantic where a part is refused, or where
all parts are empty, since then it depends on the field what stands for the nested model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute
from pydantic import RootModel

from scythe_cli.model.columns import Column, columns_of
from scythe_cli.model.kinds import ColumnError
from scythe_cli.sampling.cells.readings import is_last_resort
from scythe_cli.sampling.column_rules import FastAccept, fast_accept, is_plain_model
from scythe_cli.sampling.decoding import MISSING, Decoder, decode_cells
from scythe_cli.sampling.field_names import members_of
from scythe_cli.sampling.field_values import FieldValidator
from scythe_cli.sampling.file_columns import FieldColumn, FieldGroup

__all__ = ["Accepted", "NestedAccept", "accept_nested"]


pc: Any = pyarrow.compute  # its stubs do not know the types that its functions take


@dataclass(frozen=True, slots=True)
class Accepted:
    """What is right of some rows of a field.

    Attributes:
        ok: Which rows are accepted.
        present: Which rows have a cell at all.
        values: The values; those of rows that are not accepted mean nothing.
    """

    ok: pa.BooleanArray
    present: pa.BooleanArray
    values: pa.Array[Any]


NestedAccept = Callable[[int, int], Accepted]
"""From a first row and the row after the last."""


def accept_nested(group: FieldGroup, column: Column, decoders: Mapping[str, Decoder | None]) -> NestedAccept | None:
    """Compile the check of a nested model; None if pydantic must see each of its rows.

    Args:
        group: The columns of its parts.
        column: The field that holds it.
        decoders: How the cells of each column are decoded.
    """
    model = group.model
    if column.is_json or not pa.types.is_struct(column.type) or column.info.metadata:
        return None
    if [m for m in members_of(column.info.annotation) if m is not None and m is not type(None)] != [model]:
        return None
    if issubclass(model, RootModel) or not is_plain_model(model) or model.model_config.get("strict"):
        return None
    if any(info.alias or info.validation_alias for info in model.model_fields.values()):
        return None  # two fields may go by one name
    try:
        columns = columns_of(model)
    except ColumnError:
        return None
    fields = list(column.type)
    if [(field.name, field.type) for field in fields] != [(name, part.type) for name, part in columns.items()]:
        return None
    parts: list[NestedAccept] = []
    fixed: dict[int, pa.Array[Any]] = {}
    for position, part in enumerate(columns.values()):
        validator = FieldValidator(part, group)
        if validator.changes.may_be:
            return None  # they are noted where pydantic validates
        source = group.parts.get(part.name)
        empty = _when_empty(validator)
        if source is None:
            if empty is None:
                return None
            fixed[position] = empty
            continue
        if isinstance(source, FieldGroup):
            accept = accept_nested(source, part, decoders)
        else:
            accept = _accept_column(source, validator, group, decoders[source.column], empty)
        if accept is None:
            return None
        parts.append(accept)

    def accept_rows(start: int, stop: int) -> Accepted:
        accepted = [part(start, stop) for part in parts]
        ok, present = accepted[0].ok, accepted[0].present
        for part in accepted[1:]:
            ok, present = pc.and_(ok, part.ok), pc.or_(present, part.present)
        arrays = [part.values for part in accepted]
        for position, cell in fixed.items():
            arrays.insert(position, _repeated(cell, stop - start))
        return Accepted(pc.and_(ok, present), present, pa.StructArray.from_arrays(arrays, fields=fields))

    return accept_rows if parts else None


def _when_empty(validator: FieldValidator) -> pa.Array[Any] | None:
    """The lone cell that an empty one stands for; None if it is refused, or another one each time."""
    if validator.column.info.default_factory is not None:
        return None
    array, refused = validator.validate([MISSING])
    return None if refused else array


def _accept_column(
    source: FieldColumn,
    validator: FieldValidator,
    group: FieldGroup,
    decoder: Decoder | None,
    empty: pa.Array[Any] | None,
) -> NestedAccept | None:
    type_ = source.cells.type
    accept = (
        None if not is_last_resort(decoder) else fast_accept(validator.column.info, group.model.model_config, type_)
    )
    if accept is None:
        if pa.types.is_nested(type_) or pa.types.is_null(type_):
            return None  # these have no dictionaries
        accept = _accept_distinct(source.column, validator, decoder)

    def accept_rows(start: int, stop: int) -> Accepted:
        cells: Any = source.cells.slice(start, stop - start).combine_chunks()
        ok, values = accept(cells)
        present = cells.is_valid()
        if empty is not None and cells.null_count:
            values = pc.if_else(present, values, _repeated(empty, len(cells)))
            ok = pc.or_(ok, pc.invert(present))
        return Accepted(ok, present, values)

    return accept_rows


def _accept_distinct(column: str, validator: FieldValidator, decoder: Decoder | None) -> FastAccept:
    """Let pydantic see each distinct cell once."""

    def accept(cells: pa.Array[Any]) -> tuple[pa.BooleanArray, pa.Array[Any]]:
        encoding: Any = cells.dictionary_encode()
        pool, refused = validator.validate(decode_cells(column, encoding.dictionary, decoder))
        right: Any = pa.array([code not in refused for code in range(len(pool))], pa.bool_())
        return pc.fill_null(right.take(encoding.indices), False), pool.take(encoding.indices)

    return accept


def _repeated(cell: pa.Array[Any], n: int) -> pa.Array[Any]:
    indices: Any = pa.repeat(pa.scalar(0, pa.int64()), n)
    return cell.take(indices)
