from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scythe_cli.arrow.build import (
    array_of,
    integer_cells,
    numbers,
    repeated,
    texts_of_width,
)
from scythe_cli.model.spec_rows import workflow_run_id, workflow_run_ids

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
    if pa.types.is_date32(array.type):
        array = array.cast(pa.int32())  # as days, which can be more than Python's dates go
    return array.type, repr(array.to_pylist()), array.null_count


@given(st.sampled_from(TYPES), st.lists(VALUES, max_size=20))
@example(pa.date32(), [-719163])
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


@pytest.mark.processes
def test_pandas_is_not_loaded() -> None:
    code = (
        "import sys, pyarrow as pa; from scythe_cli.arrow.build import array_of, repeated;"
        "from scythe_cli.executor.rows.cells import array_of_objects;"
        "[array_of(v, t) for v, t in [([1, None], pa.int64()), ([1.5], pa.float64()), ([True], pa.bool_()),"
        "(['a', None], pa.string())]]; repeated('a', 3);"
        "[array_of_objects(v, print) for v in ([1, None], [1.5, float('nan')], [True], ['a', None])];"
        "print('pandas' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


@given(st.sampled_from([pa.int64(), pa.int32()]), st.lists(st.none() | st.integers(-(2**31), 2**31 - 1)), st.data())
def test_cells_of_a_slice_with_nulls_as_zero(type_: pa.DataType, values: list[int | None], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(values)))
    n = data.draw(st.integers(0, len(values) - start))
    cells = integer_cells(pa.array(values, type_).slice(start, n))
    assert cells.tolist() == [value or 0 for value in values[start : start + n]]
    assert numbers(cells, type_).to_pylist() == cells.tolist()


@given(st.text(max_size=8), st.integers(0, 50))
def test_one_text_many_times(text: str, n: int) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    array = repeated(text, n)
    array.validate(full=True)
    assert array.to_pylist() == [text] * n
    size = len(text.encode())
    assert texts_of_width(np.frombuffer(text.encode() * n, np.uint8), n, size).equals(array)


@given(
    st.text(st.characters(codec="utf-8"), max_size=5),
    st.lists(st.one_of(st.integers(0, 10**8 - 1), st.integers(0, 2**62)), max_size=9),
)
def test_ids_of_many_specs_are_those_of_each(root: str, indices: list[int]) -> None:
    ids = workflow_run_ids(root, pa.array(indices, pa.int64()))
    ids.validate(full=True)
    assert ids.to_pylist() == [workflow_run_id(root, index) for index in indices]
