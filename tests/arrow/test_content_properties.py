"""Whatever rows say: how they are laid out does not count."""

from __future__ import annotations

import struct
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.arrow.content import row_contents

KINDS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.just("a" * 300),
    pa.binary(): st.binary(max_size=20),
    pa.timestamp("us"): st.datetimes(),
    pa.list_(pa.string()): st.lists(st.none() | st.text("ab", max_size=9), max_size=4),
    pa.struct([("a", pa.int64()), ("b", pa.list_(pa.float64()))]): st.fixed_dictionaries(
        {"a": st.none() | st.integers(0, 9), "b": st.lists(st.floats(), max_size=3)}
    ),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    types = draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=4))
    n = draw(st.integers(1, 8))
    columns = [pa.array(draw(st.lists(st.none() | KINDS[t], min_size=n, max_size=n)), t) for t in types]
    return pa.table(columns, names=[f"c{i}" for i in range(len(types))])


BITS = 2**64 - 1


def mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & BITS
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & BITS
    return x ^ (x >> 31)


def added(value: Any, name: str) -> int:
    """What a cell adds: the recipe in plain Python."""

    def salt(kind: int) -> int:
        return mix((int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little") + kind) & BITS)

    if value is None:
        return 0
    if isinstance(value, bool):
        return mix(int(value) ^ salt(3))
    if isinstance(value, int):
        return mix((value & BITS) ^ salt(1))
    if isinstance(value, float):
        value = float("nan") if value != value else value + 0.0
        return mix(int.from_bytes(struct.pack("<d", value), "little") ^ salt(2))
    if isinstance(value, datetime):
        return mix((value - datetime(1970, 1, 1)) // timedelta(microseconds=1) & BITS ^ salt(4))
    if isinstance(value, str | bytes):
        raw = value.encode() if isinstance(value, str) else value
        number = mix(len(raw) ^ salt(5))
        pieces = [raw[i : i + 8] for i in range(0, len(raw), 8)]
        for piece in pieces if len(raw) <= 256 else [blake2b(raw, digest_size=8).digest()]:
            number = mix(number ^ int.from_bytes(piece, "little"))
        return number
    if isinstance(value, list):
        placed = [mix((added(each, name) + 0x9E3779B97F4A7C15 * i) & BITS) for i, each in enumerate(value, 1)]
        return mix(sum(placed) & BITS ^ mix(len(value) ^ salt(6)))
    return (salt(7) + sum(added(each, f"{name}.{key}") for key, each in value.items())) & BITS


@given(tables())
def test_the_recipe_is_what_is_written(table: pa.Table) -> None:
    expected = [mix(sum(added(value, name) for name, value in row.items()) & BITS) for row in table.to_pylist()]
    assert row_contents(table).tolist() == expected


@given(tables(), st.data())
def test_neither_order_nor_neighbours_nor_chunks_count(table: pa.Table, data: st.DataObject) -> None:
    expected = row_contents(table).tolist()
    n = table.num_rows
    order = data.draw(st.permutations(range(n)))
    names = data.draw(st.permutations(table.column_names))
    moved = table.take(pa.array(order)).select(names)
    assert row_contents(moved).tolist() == [expected[row] for row in order]
    at = data.draw(st.integers(0, n))
    assert row_contents(table.slice(0, at)).tolist() + row_contents(table.slice(at)).tolist() == expected
    assert row_contents(pa.concat_tables([table.slice(0, at), table.slice(at)])).tolist() == expected
    batch = table.combine_chunks().to_batches()[0]
    assert [row_contents(batch.slice(row, 1))[0] for row in range(n)] == expected


@given(tables(), st.data())
def test_a_cell_that_is_another_makes_another_row(table: pa.Table, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, table.num_columns - 1))
    type_ = table.schema.field(number).type
    cells = table.column(number).to_pylist()
    other = data.draw(st.none() | KINDS[type_])
    replaced = table.set_column(number, f"c{number}", pa.array([other, *cells[1:]], type_))
    # as text, NaN is like NaN; the two zeros are alike
    same = repr(table.column(number)[0].as_py()).replace("-0.0", "0.0") == repr(
        replaced.column(number)[0].as_py()
    ).replace("-0.0", "0.0")
    before, after = row_contents(table).tolist(), row_contents(replaced).tolist()
    assert (before[0] == after[0]) is same
    assert before[1:] == after[1:]
