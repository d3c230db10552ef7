"""Tables of hundreds of megabytes are not copied more often than they must be on their way to the parent."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from scythe_cli.executor.protocol import from_ipc, to_ipc
from scythe_cli.executor.rows.extras import frame_column
from scythe_cli.executor.rows.frames import Frame


def test_the_only_table_of_its_name_is_not_copied() -> None:
    table = pa.Table.from_arrays([pa.array(np.arange(1000.0))], names=["x"])
    _, column = frame_column("frame:t", pa.struct(list(table.schema)), [None, Frame(table)])
    assert column.to_pylist() == [None, [{"x": float(i)} for i in range(1000)]]
    assert column.values.field(0).buffers()[1].address == table.column(0).chunk(0).buffers()[1].address


def test_a_large_table_takes_its_own_size_on_the_way() -> None:
    table = pa.Table.from_arrays([pa.array(np.arange(1_000_000.0))], names=["x"])
    before = pa.total_allocated_bytes()
    sent = to_ipc(table)
    assert pa.total_allocated_bytes() - before < table.nbytes + 100_000
    assert from_ipc(sent).equals(table)
