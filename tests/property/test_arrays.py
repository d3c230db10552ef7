from __future__ import annotations

import subprocess
import sys
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.arrays import array_of, repeated

TYPES = [pa.int64(), pa.int32(), pa.float64(), pa.bool_(), pa.string(), pa.date32(), pa.list_(pa.int64())]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.dates(),
    st.lists(st.integers(0, 5), max_size=2),
    st.just("\ud800"),
)


def made(make: Any, values: list[Any], type_: pa.DataType) -> Any:
    """What is made, or that it is refused."""
    try:
        array = make(values, type_)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return "refused"
    array.validate(full=True)
    return array.type, repr(array.to_pylist()), array.null_count


@given(st.sampled_from(TYPES), st.lists(VALUES, max_size=20))
def test_the_same_as_pyarrow(type_: pa.DataType, values: list[Any]) -> None:
    assert made(array_of, values, type_) == made(pa.array, values, type_)


@given(st.sampled_from(TYPES[:5]), st.data())
def test_plain_values_are_the_same_as_with_pyarrow(type_: pa.DataType, data: st.DataObject) -> None:
    of_type = {
        pa.int64(): st.integers(-(2**63), 2**63 - 1),
        pa.int32(): st.integers(-(2**31), 2**31 - 1),
        pa.float64(): st.floats(),
        pa.bool_(): st.booleans(),
        pa.string(): st.text(),
    }[type_]
    values = data.draw(st.lists(st.none() | of_type, max_size=40))

    assert made(array_of, values, type_) == made(pa.array, values, type_)
    assert made(array_of, values, type_) != "refused"


@pytest.mark.parametrize("value", [True, False, "", "wörker"])
@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 1000])
def test_repeated(value: bool | str, n: int) -> None:
    array = repeated(value, n)

    array.validate(full=True)
    assert array.to_pylist() == [value] * n


def test_pandas_is_not_loaded() -> None:
    code = (
        "import sys, pyarrow as pa; from scythe_cli.arrays import array_of, repeated;"
        "[array_of(v, t) for v, t in [([1, None], pa.int64()), ([1.5], pa.float64()), ([True], pa.bool_()),"
        "(['a', None], pa.string())]]; repeated('a', 3);"
        "print('pandas' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
