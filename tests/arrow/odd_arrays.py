"""Arrays of every Arrow type with values at their borders, and what they are inside of."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import pyarrow as pa
from hypothesis import strategies as st

from scythe_cli.arrow.texts import texts_of

_TEXT, _INT = pa.string(), pa.int64()


def _integers(values: list[int | None], type_: pa.DataType) -> pa.Array[Any]:
    width = pa.int32() if type_.bit_width == 32 else _INT
    return pa.array(values, width).cast(type_)


def _unions() -> tuple[pa.Array[Any], pa.Array[Any]]:
    codes = pa.array([0, 1, 0], pa.int8())
    numbers, words = pa.array([1, 2, 3]), pa.array(["x", "y", "z"])
    dense = pa.UnionArray.from_dense(codes, pa.array([0, 0, 1], pa.int32()), [numbers[:2], words[:1]])
    return dense[1:], pa.UnionArray.from_sparse(codes, [numbers, words])[1:]


ARRAYS: dict[str, pa.Array[Any]] = {
    "null": pa.nulls(2),
    "bool": pa.array([True, False, None]),
    "int8": pa.array([-128, 127], pa.int8()),
    "int16": pa.array([-(2**15), None], pa.int16()),
    "int32": pa.array([2**31 - 1, -(2**31)], pa.int32()),
    "int64": pa.array([2**53 + 1, -(2**63), None]),
    "small int64": pa.array([3, -1]),
    "uint8": pa.array([255, None], pa.uint8()),
    "uint16": pa.array([2**16 - 1], pa.uint16()),
    "uint32": pa.array([2**32 - 1], pa.uint32()),
    "uint64": pa.array([2**64 - 1, None], pa.uint64()),
    "float16": pa.array([1.5, 65504.0, None], pa.float16()),
    "float32": pa.array([0.1, float("nan"), 3e38], pa.float32()),
    "float64": pa.array([0.5, float("inf"), -float("inf"), 5e-324, None, 0.1]),
    "decimal": pa.array([Decimal("1.10"), None, Decimal("-9.99")]),
    "decimal32": pa.array([Decimal("1.1")], pa.decimal32(9, 1)),
    "long decimal": pa.array([Decimal("1.1"), -(Decimal(10) ** 36)], pa.decimal128(38, 1)),
    "fine decimal": pa.array([Decimal("0." + "1" * 38)], pa.decimal128(38, 38)),
    "decimal256": pa.array([Decimal(10) ** 60, None], pa.decimal256(70, 2)),
    "coarse decimal": pa.array([Decimal(100), None], pa.decimal128(5, -2)),
    "string": pa.array(["n/a", '"q"\n', "", None, "7", "[1"]),
    "large string": pa.array(["ü", None], pa.large_string()),
    "string view": pa.array(["a" * 20, None], pa.string_view()),
    "binary": pa.array([b"\xff\x00", b"a", None]),
    "large binary": pa.array([b"\xfe"], pa.large_binary()),
    "fixed binary": pa.array([b"ab", None], pa.binary(2)),
    "binary view": pa.array([b"x" * 30, None], pa.binary_view()),
    "date32": _integers([0, 2**31 - 1, None, -(2**31)], pa.date32()),
    "usual date32": _integers([20_000, 0], pa.date32()),
    "date64": _integers([86_400_000, None], pa.date64()),
    "time32": pa.array([86_399, None], pa.time32("s")),
    "time64": pa.array([1, 86_399_999_999_999], pa.time64("ns")),
    "timestamp s": _integers([2**62, 0], pa.timestamp("s")),
    "timestamp us": _integers([2**62, -5, None], pa.timestamp("us")),
    "usual timestamp": _integers([10**15], pa.timestamp("us")),
    "timestamp ns": _integers([2**62 + 1, -5], pa.timestamp("ns")),
    "Zurich": _integers([0, 1], pa.timestamp("us", "Europe/Zurich")),
    "no zone that is known": _integers([0, 1], pa.timestamp("ns", "Mars/Olympus")),
    "half an hour": _integers([0, None], pa.timestamp("ms", "+05:30")),
    "UTC": _integers([0, -(2**60)], pa.timestamp("ms", "UTC")),
    "usual UTC": _integers([10**12], pa.timestamp("ms", "UTC")),
    "duration s": _integers([2**62, -1], pa.duration("s")),
    "duration ns": _integers([-(2**62) - 1, 1, None], pa.duration("ns")),
    "interval": pa.array([(1, 2, 3), None, (-1, 0, -5)], pa.month_day_nano_interval()),
    "dictionary": pa.array(["a", None, "a"]).dictionary_encode(),
    "dictionary of structs": pa.DictionaryArray.from_arrays([0, None], pa.array([{"a": 1}])),
    "runs": pa.RunEndEncodedArray.from_arrays([1, 3], ["a", None])[1:],
    "list": pa.array([[1, None], None, []]),
    "large list": pa.array([["x"], None], pa.large_list(_TEXT))[:1],
    "fixed list": pa.array([[1, 2], None, [3, 4]], pa.list_(_INT, 2))[1:],
    "list view": pa.array([None, [1, 2], [3]], pa.list_view(_INT))[1:],
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": None}])[1:],
    "other struct": pa.array([{"a": "one", "c": 1.5}]),
    "empty struct": pa.array([{}, None], pa.struct([])),
    "struct of equals": pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]),
    "map": pa.array([[("a", 1), ("a", None)], None, []], pa.map_(_TEXT, _INT)),
    "map of decimals": pa.array([[(1, Decimal("1.1"))], [(2, None)]], pa.map_(_INT, pa.decimal128(2, 1)))[1:],
    "dense union": _unions()[0],
    "sparse union": _unions()[1],
    "uuid": pa.array([UUID(int=7).bytes, None], pa.uuid()),
    "bool8": pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, None], pa.int8())),
}


def _in_list(array: Any) -> Any:
    return pa.LargeListArray.from_arrays(pa.array([0, 0, len(array)], _INT), array)


def _in_struct(array: Any) -> Any:
    return pa.StructArray.from_arrays([array, pa.nulls(len(array))], names=["s", "n"])


def _in_map(array: Any) -> Any:
    keys = pa.array([f"k{i}" for i in range(len(array))])
    return pa.MapArray.from_arrays(pa.array([0, len(array)], pa.int32()), keys, array)


NESTINGS: list[Callable[[Any], Any]] = [_in_list, _in_struct, _in_map]


@st.composite
def odd_columns(draw: st.DrawFn, n: int) -> list[pa.Array[Any]]:
    """The arrays of a column in `n` specs: of any types, inside of the same things up to two levels deep."""
    nestings = draw(st.lists(st.sampled_from(NESTINGS), max_size=2))
    arrays = [ARRAYS[name] for name in draw(st.lists(st.sampled_from(sorted(ARRAYS)), min_size=n, max_size=n))]
    for nesting in nestings:
        arrays = [nesting(array) for array in arrays]
    return arrays


_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
_DAY = re.compile(r"-?\d{4,}-\d\d-\d\d")
_SINCE = re.compile(r"(-?\d+) (D|s|ms|us|ns) since .*")
_NS = {"D": 86_400 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def meaning(cell: str | None) -> Any:
    """What the text of a cell means: the same for the same value of different types."""
    if cell is None:
        return None
    if cell in ("true", "false"):
        return Fraction(cell == "true")
    if _NUMBER.fullmatch(cell):
        return Fraction(cell)
    if _DAY.fullmatch(cell):
        return f"{cell}T00:00:00"
    if since := _SINCE.fullmatch(cell):
        return f"{int(since[1]) * _NS[since[2]]} ns"
    if cell[:1] in ("[", "{", '"'):
        try:
            parsed = json.loads(
                cell, object_pairs_hook=_Pairs, parse_float=Fraction, parse_int=Fraction, parse_constant=str
            )
        except ValueError:
            return cell
        return _plain(parsed)
    return cell


class _Pairs(list[Any]):
    """The members of a JSON object, those of equal names included."""


def _plain(value: Any) -> Any:
    if isinstance(value, _Pairs):
        members = [(name, _plain(item)) for name, item in value]
        return ("object", sorted(((n, repr(item)) for n, item in members if item is not None), key=repr))
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bool):
        return Fraction(value)
    return meaning(value) if isinstance(value, str) else value


def meanings(array: Any) -> list[Any]:
    """The meanings of the cells of an array."""
    chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
    return [meaning(cell) for chunk in chunks for cell in texts_of(chunk).to_pylist()]
