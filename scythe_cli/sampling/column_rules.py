"""Fields whose cells can be checked as whole columns, and models whose fields can be checked one by one.

What is compiled here only ever *accepts*: cells that pydantic would certainly take, with certainly the same value.
All others go to pydantic, which alone refuses cells and words what is wrong with them. So a rule that is too narrow
costs time, and none can change a result.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Union, cast, get_args, get_origin

import annotated_types as at
import pyarrow as pa
import pyarrow.compute
from pydantic import AfterValidator, BaseModel, BeforeValidator, PlainValidator, WrapValidator
from pydantic.fields import FieldInfo
from pydantic.types import AllowInfNan

from scythe_cli.model.columns import RESERVED_INPUT_FIELDS
from scythe_cli.model.models import ExperimentInputSpec

__all__ = ["FastAccept", "fast_accept", "fields_are_independent", "is_plain_model"]


pc: Any = pyarrow.compute  # its stubs do not know the types that its functions take

FastAccept = Callable[["pa.Array[Any]"], "tuple[pa.BooleanArray, pa.Array[Any]]"]
"""From raw cells to which of them are accepted, and the values of these; the other values mean nothing."""

_EXACT_IN_DOUBLE = 2**53
# as in JSON, and short enough that the value is neither infinite nor out of int64
_FLOAT_TEXT = r"^-?(?:0|[1-9][0-9]{0,24})(?:\.[0-9]{1,25})?(?:[eE][+-]?[0-9]{1,2})?$"
_INT_TEXT = r"^-?(?:0|[1-9][0-9]{0,17})$"
_STRING_CONFIG = ("str_strip_whitespace", "str_to_lower", "str_to_upper", "str_min_length", "str_max_length")
_VALIDATORS = (AfterValidator, BeforeValidator, PlainValidator, WrapValidator)


@dataclass(frozen=True, slots=True)
class _Rules:
    base: type
    bounds: tuple[tuple[str, float], ...]
    min_length: int = 0
    max_length: int | None = None


def fast_accept(info: FieldInfo, config: Mapping[str, Any], raw: pa.DataType) -> FastAccept | None:
    """Compile the check of a field; None if pydantic must see each distinct cell.

    Args:
        info: The field.
        config: The model's config.
        raw: The type of the cells in the file.
    """
    rules = _rules_of(info, config)
    if rules is None:
        return None
    if rules.base is str:
        return _accept_str(rules) if pa.types.is_string(raw) else None
    if pa.types.is_string(raw):
        return _accept_number(rules, _from_text)
    if pa.types.is_integer(raw) and not pa.types.is_uint64(raw):
        return _accept_number(rules, _from_integer)
    if pa.types.is_floating(raw):
        return _accept_number(rules, _from_floating)
    return None


def _rules_of(info: FieldInfo, config: Mapping[str, Any]) -> _Rules | None:
    base, metadata = _peeled(info.annotation)
    metadata = [*metadata, *info.metadata]
    if base not in (int, float, str) or config.get("strict"):
        return None
    if base is str and any(config.get(key) for key in _STRING_CONFIG):
        return None
    bounds: list[tuple[str, float]] = []
    min_length, max_length = 0, None
    for item in _flat(metadata):
        match item:
            case str() | AllowInfNan():
                pass  # a remark; or about numbers that are never accepted here
            case at.Ge(limit) | at.Gt(limit) | at.Le(limit) | at.Lt(limit) if _is_exact(limit, base):
                bounds.append((type(item).__name__.lower(), cast("float", limit)))
            case at.MinLen(length) if base is str:
                min_length = max(min_length, length)
            case at.MaxLen(length) if base is str:
                max_length = length if max_length is None else min(max_length, length)
            case _:
                return None
    return _Rules(base, tuple(bounds), min_length, max_length)


def _peeled(annotation: Any) -> tuple[Any, list[Any]]:
    """Take `Annotated` and `| None` away; returns what is inside, and all metadata."""
    origin = get_origin(annotation)
    if origin is typing.Annotated:
        inner, metadata = _peeled(get_args(annotation)[0])
        return inner, [*metadata, *get_args(annotation)[1:]]
    if origin in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        if len(members) == 1:
            return _peeled(members[0])
    return annotation, []


def _flat(metadata: Iterable[Any]) -> Iterable[Any]:
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from _flat(item.metadata)
        elif isinstance(item, (at.Interval, at.Len)):
            yield from _flat(item)
        else:
            yield item


def _is_exact(limit: object, base: type) -> bool:
    if isinstance(limit, bool):
        return False
    if isinstance(limit, int):
        return base in (int, float) and abs(limit) <= _EXACT_IN_DOUBLE
    return isinstance(limit, float) and base is float and math.isfinite(limit)


def _accept_str(rules: _Rules) -> FastAccept:
    def accept(cells: pa.Array[Any]) -> tuple[pa.BooleanArray, pa.Array[Any]]:
        if rules.min_length == 0 and rules.max_length is None:
            return cells.is_valid(), cells
        lengths = pc.utf8_length(cells)
        ok = pc.greater_equal(lengths, rules.min_length)
        if rules.max_length is not None:
            ok = pc.and_(ok, pc.less_equal(lengths, rules.max_length))
        return pc.fill_null(ok, False), cells

    return accept


_Numbers = Callable[["pa.Array[Any]", type], "tuple[pa.BooleanArray, pa.Array[Any]]"]


def _accept_number(rules: _Rules, numbers: _Numbers) -> FastAccept:
    compare = {"ge": pc.greater_equal, "gt": pc.greater, "le": pc.less_equal, "lt": pc.less}

    def accept(cells: pa.Array[Any]) -> tuple[pa.BooleanArray, pa.Array[Any]]:
        ok, values = numbers(cells, rules.base)
        for name, limit in rules.bounds:
            ok = pc.and_(ok, compare[name](values, pa.scalar(limit, values.type)))
        return pc.fill_null(ok, False), values

    return accept


def _from_text(cells: pa.Array[Any], base: type) -> tuple[pa.BooleanArray, pa.Array[Any]]:
    ok = pc.match_substring_regex(cells, _INT_TEXT if base is int else _FLOAT_TEXT)
    if pc.all(ok, skip_nulls=True).as_py() is False:
        # an array of nulls: with a scalar, releases of Arrow before 22 cut the texts of a slice short
        cells = pc.if_else(ok, cells, pa.nulls(len(cells), cells.type))
    return ok, cells.cast(pa.int64() if base is int else pa.float64())


def _from_integer(cells: pa.Array[Any], base: type) -> tuple[pa.BooleanArray, pa.Array[Any]]:
    integers = cells.cast(pa.int64())
    if base is int:
        return integers.is_valid(), integers
    ok = pc.and_(pc.greater_equal(integers, -_EXACT_IN_DOUBLE), pc.less_equal(integers, _EXACT_IN_DOUBLE))
    return ok, integers.cast(pa.float64(), safe=False)


def _from_floating(cells: pa.Array[Any], base: type) -> tuple[pa.BooleanArray, pa.Array[Any]]:
    floats = cells.cast(pa.float64())
    ok = pc.is_finite(floats)
    if base is float:
        return ok, floats
    whole = pc.and_(pc.equal(pc.floor(floats), floats), pc.less(pc.abs(floats), float(_EXACT_IN_DOUBLE)))
    ok = pc.fill_null(pc.and_(ok, whole), False)
    return ok, pc.if_else(ok, floats, pa.scalar(None, pa.float64())).cast(pa.int64())


def fields_are_independent(model: type[ExperimentInputSpec]) -> bool:
    """Whether each field can be validated without the others: nothing of the user's sees a whole row.

    A validator of the user's may look at other fields, or remember what it saw; so a model with one is validated row
    by row, as it will be where the spec is run.
    """
    return is_plain_model(model, but=RESERVED_INPUT_FIELDS)


def is_plain_model(model: type[BaseModel], but: Collection[str] = ()) -> bool:
    """Whether what an instance of a model is made of are the values of its fields, and nothing of the user's is called.

    Args:
        model: The model.
        but: Names of fields that do not matter.
    """
    decorators = model.__pydantic_decorators__
    if (
        decorators.field_validators
        or decorators.model_validators
        or decorators.root_validators
        or decorators.validators
        or model.__pydantic_custom_init__
    ):
        return False
    own = [cls for cls in model.__mro__ if cls not in ExperimentInputSpec.__mro__]
    for cls in own:
        if any(name in vars(cls) for name in ("__get_pydantic_core_schema__", "__new__", "__getattribute__")):
            return False
        # pydantic gives a class with private attributes a hook of its own
        hook = vars(cls).get("model_post_init")
        if hook is not None and getattr(hook, "__name__", "") != "init_private_attributes":
            return False
    return not any(_needs_row(info) for name, info in model.model_fields.items() if name not in but)


def _needs_row(info: FieldInfo) -> bool:
    if info.default_factory is not None and info.default_factory_takes_validated_data:
        return True
    return any(map(_is_custom, info.metadata)) or _has_custom(info.annotation, set())


def _has_custom(annotation: Any, seen: set[int]) -> bool:
    if id(annotation) in seen:
        return False
    seen.add(id(annotation))
    if isinstance(annotation, getattr(typing, "TypeAliasType", ())):
        return _has_custom(annotation.__value__, seen)
    if get_origin(annotation) is typing.Annotated:
        inner, *metadata = get_args(annotation)
        return any(map(_is_custom, metadata)) or _has_custom(inner, seen)
    if any(_has_custom(argument, seen) for argument in get_args(annotation)):
        return True
    # a nested model sees only itself
    return isinstance(annotation, type) and not issubclass(annotation, BaseModel) and _has_hook(annotation)


def _is_custom(item: Any) -> bool:
    if isinstance(item, FieldInfo):
        return any(map(_is_custom, item.metadata))
    return isinstance(item, _VALIDATORS) or _has_hook(item)


def _has_hook(item: Any) -> bool:
    cls = item if isinstance(item, type) else type(item)
    if cls.__module__.partition(".")[0] in ("pydantic", "pydantic_core", "annotated_types", "scythe_cli"):
        return False
    hooks = ("__get_pydantic_core_schema__", "__prepare_pydantic_annotations__", "__get_validators__")
    return any(hasattr(item, hook) for hook in hooks)
