"""Arrays brought to another type, without ever a value that changes or an error.

Which type that is follows from types (`unify`), and whether each value fits into it is seen here: those parts of a
column that hold one that does not become text.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from scythe_cli.arrow.plain import is_list_like, nulls_of, plain_type, storage_of
from scythe_cli.arrow.texts import list_parts, texts_of

__all__ = ["always_fits", "convert"]


_UNITS = ["s", "ms", "us", "ns"]
_MISFITS = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, pa.ArrowKeyError)


def convert(array: Any, type_: pa.DataType) -> Any:
    """Bring an array to a type.

    Args:
        array: An array.
        type_: A type that `unify.common_type` gives for the array's own and others.

    Returns:
        The array in that type, but that a leaf of it is text where the array has a value there that the type
        cannot hold.
    """
    if array.type == type_:
        return array
    if pa.types.is_dictionary(type_):
        return convert(array, type_.value_type).dictionary_encode().cast(type_)
    if _is_castable(array.type) and plain_type(array.type) == type_:
        try:
            return array.cast(type_)
        except _MISFITS:
            pass  # the leaves that fit do so below
    array = storage_of(array)
    if array.type == type_:
        return array
    if pa.types.is_null(array.type):
        return nulls_of(len(array), type_)
    if pa.types.is_string(type_):
        return texts_of(array)
    if pa.types.is_list(type_) and is_list_like(array.type):
        return _list(array, type_)
    if pa.types.is_map(type_) and pa.types.is_map(array.type):
        return _map(array, type_)
    if pa.types.is_struct(type_) and pa.types.is_struct(array.type):
        return _struct(array, type_)
    return _leaf(array, type_)


def _is_castable(type_: Any) -> bool:
    """Whether pyarrow casts a type as a whole to its plain one as it should."""
    is_ = pa.types
    if isinstance(type_, pa.BaseExtensionType) or is_.is_list_view(type_) or is_.is_large_list_view(type_):
        return False
    if is_.is_map(type_) or is_.is_null(type_):
        return False  # nulls in a map become an array that is too short
    return all(_is_castable(type_.field(position).type) for position in range(type_.num_fields))


def _list(array: Any, type_: Any) -> Any:
    elements, lengths, is_null = list_parts(array)
    return pa.ListArray.from_arrays(_offsets(lengths, is_null), convert(elements, type_.value_type))


def _map(array: Any, type_: Any) -> Any:
    elements, lengths, is_null = list_parts(array)
    keys, items = elements.flatten()
    return pa.MapArray.from_arrays(
        _offsets(lengths, is_null), convert(keys, type_.key_type), convert(items, type_.item_type)
    )


def _offsets(lengths: np.ndarray[Any, Any], is_null: np.ndarray[Any, Any]) -> Any:
    """Where lists begin; null where a list is, as `from_arrays` takes it."""
    ends = np.concatenate([[0], np.cumsum(lengths)])
    return pa.array(ends, pa.int32(), mask=np.append(is_null, False))


def _struct(array: Any, type_: Any) -> Any:
    own = {f.name: column for f, column in zip(array.type, array.flatten(), strict=True)}
    columns = [convert(own[f.name], f.type) if f.name in own else nulls_of(len(array), f.type) for f in type_]
    fields = [pa.field(f.name, column.type) for f, column in zip(type_, columns, strict=True)]
    return pa.StructArray.from_arrays(columns, fields=fields, mask=array.is_null())


def _leaf(array: Any, type_: pa.DataType) -> Any:
    try:
        if pa.types.is_boolean(array.type) and pa.types.is_decimal(type_):
            # there is no other way from bool to a decimal, and one that holds 1 need not hold 127
            array = array.cast(pa.int8()).cast(pa.decimal256(3 + type_.scale, type_.scale))
        return array.cast(type_)
    except _MISFITS:
        return texts_of(array)


def always_fits(source: Any, type_: Any) -> bool:
    """Whether every value of a type fits into the common type of it and others."""
    is_ = pa.types
    if source == type_ or is_.is_null(source) or is_.is_string(type_):
        return True
    if isinstance(source, pa.BaseExtensionType):
        return False
    if is_.is_dictionary(source) or is_.is_run_end_encoded(source):
        return always_fits(source.value_type, type_)
    if is_list_like(source) and is_.is_list(type_):
        return always_fits(source.value_type, type_.value_type)
    if is_.is_map(source) and is_.is_map(type_):
        return always_fits(source.key_type, type_.key_type) and always_fits(source.item_type, type_.item_type)
    if is_.is_struct(source) and is_.is_struct(type_):
        return all(type_.get_field_index(f.name) >= 0 and always_fits(f.type, type_.field(f.name).type) for f in source)
    if is_.is_integer(source) and is_.is_floating(type_):
        return source.bit_width <= (32 if type_.bit_width == 64 else 16)
    if is_.is_timestamp(source) and is_.is_timestamp(type_):
        return source.unit == type_.unit
    if is_.is_time(source):
        return _UNITS.index(source.unit) <= _UNITS.index(getattr(type_, "unit", "s"))
    return not (is_.is_temporal(source) or is_.is_decimal(source))
