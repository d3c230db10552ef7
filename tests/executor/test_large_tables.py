"""Tables of hundreds of megabytes are not copied more often than they must be on their way to the parent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from scythe_cli.executor.ipc import from_ipc, pack, to_ipc, unpack
from scythe_cli.executor.rows.extras import frame_column
from scythe_cli.executor.rows.frames import Frame


def test_the_only_table_of_its_name_is_not_copied() -> None:
    table = pa.Table.from_arrays([pa.array(np.arange(1000.0))], names=["x"])
    _, column = frame_column("frame:t", pa.struct(list(table.schema)), [None, Frame(table)])
    assert column.to_pylist() == [None, [{"x": float(i)} for i in range(1000)]]
    assert column.values.field(0).buffers()[1].address == table.column(0).chunk(0).buffers()[1].address


def test_a_table_takes_its_own_size_in_bytes() -> None:
    table = pa.Table.from_arrays([pa.array(np.arange(1_000_000.0))], names=["x"])
    before = pa.total_allocated_bytes()
    sent = to_ipc(table)
    assert pa.total_allocated_bytes() - before < table.nbytes + 100_000
    assert from_ipc(sent).equals(table)


def _large() -> pa.Table:
    return pa.Table.from_arrays([pa.array(np.arange(2_100_000.0))], names=["x"])


def test_what_is_large_goes_through_a_file_without_memory(tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    large, small = _large(), pa.Table.from_arrays([pa.array(np.arange(3.0))], names=["x"])
    before = pa.total_allocated_bytes()
    files, blobs = pack([small, large], folder)
    assert [path.name for path in folder.iterdir()] == files
    assert len(files) == len(blobs) == 1
    tables = unpack(files, blobs, folder)
    assert tables is not None
    assert pa.total_allocated_bytes() - before < 100_000
    assert [table.num_rows for table in tables] == [2_100_000, 3]
    assert tables[0].equals(large)
    assert list(folder.iterdir()) == []


def test_what_is_large_is_sent_as_bytes_where_no_file_can_be_written(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.touch()
    large = _large()
    files, blobs = pack([large], taken)
    assert files == []
    tables = unpack(files, blobs, taken)
    assert tables is not None
    assert tables[0].equals(large)


def test_a_file_that_was_written_to_or_removed_is_noticed(tmp_path: Path) -> None:
    (name,), _ = pack([_large()], tmp_path)
    (tmp_path / name).write_bytes(b"nothing of the kind")
    assert unpack([name], [], tmp_path) is None
    assert not (tmp_path / name).exists()
    assert unpack([name], [], tmp_path) is None
