"""Columns of any types become one, and each value can be found again in it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import reduce
from itertools import product
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.arrow.plain import plain_type
from scythe_cli.arrow.texts import texts_of
from scythe_cli.arrow.unify import always_fits, common_type, convert_column, stack_tables
from tests.arrow.odd_arrays import ARRAYS, NESTINGS, meanings, odd_columns
from tests.fuzzing import NIGHTLY, cases


def _table(array: Any) -> pa.Table:
    return pa.Table.from_arrays([array], names=["x"])


@pytest.mark.parametrize("name", ARRAYS)
def test_a_plain_column_has_the_values_of_any_other_and_fits_into_parquet(name: str) -> None:
    array = ARRAYS[name]
    plain = convert_column(pa.chunked_array([array]), plain_type(array.type))
    plain.validate(full=True)
    assert meanings(plain) == meanings(array)
    pq.write_table(pa.table({"x": plain}), pa.BufferOutputStream())


@pytest.mark.parametrize("name", ["null", "small int64"])
def test_nulls_inside_of_anything_stay_as_many(name: str) -> None:
    for nesting in product(NESTINGS, repeat=3):
        array = reduce(lambda inner, put: put(inner), nesting, ARRAYS[name])
        plain = convert_column(pa.chunked_array([array]), plain_type(array.type))
        plain.validate(full=True)
        assert meanings(plain) == meanings(array), nesting


@pytest.mark.parametrize("name", ARRAYS)
def test_any_two_types_have_a_common_one(name: str) -> None:
    a = ARRAYS[name]
    for b in ARRAYS.values():
        common = common_type(a.type, b.type)
        assert common == plain_type(common)
        assert str(common_type(common, a.type)) == str(common), "it holds what it was made for"


@pytest.mark.parametrize("nesting", [None, *NESTINGS])
def test_what_is_said_to_fit_does(nesting: Callable[[Any], Any] | None) -> None:
    arrays = [array if nesting is None else nesting(array) for array in ARRAYS.values()]
    if nesting is not None and not NIGHTLY:
        arrays = arrays[NESTINGS.index(nesting) % 2 :: 2]
    types = {str(array.type): array.type for array in arrays}
    if nesting is None:
        decimals = [pa.decimal128(n_whole + scale, scale) for scale in (0, 2, 19, 36) for n_whole in (1, 2)]
        types |= {str(type_): type_ for type_ in decimals}
    for array, other in product(arrays, types.values()):
        common = common_type(array.type, other)
        if always_fits(array.type, common):
            assert convert_column(pa.chunked_array([array]), common).type == common, (array.type, other)


@given(odd_columns(3))
@cases(60)
def test_stacked_columns_have_all_values(arrays: list[pa.Array[Any]]) -> None:
    stacked = stack_tables([_table(array) for array in arrays]).column("x")
    stacked.validate(full=True)
    assert meanings(stacked) == [value for array in arrays for value in meanings(array)]


def test_what_is_widened_and_what_is_text() -> None:
    def common(*names: str) -> str:
        return str(stack_tables([_table(ARRAYS[name]) for name in names]).column("x").type)

    assert common("bool", "int8") == "int8"
    assert common("bool", "float64") == "double"
    assert common("int8", "uint8") == "int16"
    assert common("int64", "uint64") == "decimal128(20, 0)"
    assert common("decimal", "small int64") == "decimal128(21, 2)"
    assert common("small int64", "float64") == "double"
    assert common("int64", "float64") == "string", "2**53 + 1 is no double"
    assert common("usual date32", "usual timestamp") == "timestamp[us]"
    assert common("date32", "usual timestamp") == "string"
    assert common("Zurich", "usual UTC") == "timestamp[us, tz=UTC]"
    assert common("usual timestamp", "UTC") == "string", "nobody knows the zone of the former"
    assert common("list", "string") == "string"
    assert common("struct", "other struct") == "struct<a: string, b: string, c: double>"


def test_no_pair_at_the_top_is_left_out() -> None:
    for a, b in product(list(ARRAYS)[::3], list(ARRAYS)[1::3]):
        stacked = stack_tables([_table(ARRAYS[a]), _table(ARRAYS[b])]).column("x")
        assert meanings(stacked) == [*meanings(ARRAYS[a]), *meanings(ARRAYS[b])], (a, b)


@given(st.lists(st.integers(-(2**53), 2**53), min_size=1), st.integers(0, 6))
def test_numbers_are_the_same_text_whatever_is_beside_them(numbers: list[int], scale: int) -> None:
    """Cells of a column that is text in the end come in parts, and each has the type that holds its own cells."""
    expected = [str(number) for number in numbers]
    decimals = pa.array([Decimal(number) for number in numbers], pa.decimal128(16 + scale, scale))
    for array in (pa.array(numbers, pa.int64()), pa.array(map(float, numbers), pa.float64()), decimals):
        assert texts_of(array).to_pylist() == expected


def test_text_of_values() -> None:
    def text(name: str) -> list[str | None]:
        return texts_of(ARRAYS[name]).to_pylist()

    assert text("float64") == ["0.5", "Infinity", "-Infinity", "5e-324", None, "0.1"]
    assert text("decimal") == ["1.1", None, "-9.99"]
    assert text("string")[:2] == ["n/a", '"q"\n']
    assert text("binary") == ["/wA=", "a", None]
    assert text("usual date32") == ["2024-10-04", "1970-01-01"]
    assert text("usual timestamp") == ["2001-09-09T01:46:40"]
    assert text("half an hour") == ["1970-01-01T00:00:00+00:00", None]
    assert text("duration ns") == ["-PT4611686018.427387905S", "PT0.000000001S", None]
    assert text("interval") == ["P1M2DT0.000000003S", None, "P-1M0DT-0.000000005S"]
    assert text("struct") == [None, '{"a": null, "b": null}']
    assert text("map") == ['{"a": 1, "a": null}', None, "{}"]
    assert text("dense union") == ["x", "2"]
    assert text("uuid") == ["00000000-0000-0000-0000-000000000007", None]
