"""Rows and outcomes as processes hand them to each other, in Arrow IPC: as bytes, or in a file where they are large.

Through a socket, each of the two processes would have a dataframe of hundreds of megabytes once more in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa

from scythe_cli.executor.protocol import Blob

__all__ = ["from_ipc", "pack", "to_ipc", "unpack"]


_LARGE_BYTES = 1 << 22
_FILE_BYTES = 1 << 24


def to_ipc(table: pa.Table | pa.RecordBatch) -> memoryview:
    """Rows with their schema, as bytes."""
    if table.nbytes < _LARGE_BYTES:
        sink = pa.BufferOutputStream()
        _write_stream(sink, table)
        return memoryview(sink.getvalue())
    # a buffer that grows would take twice the memory
    count = pa.MockOutputStream()
    _write_stream(count, table)
    buffer: Any = pa.allocate_buffer(count.size())
    _write_stream(pa.FixedSizeBufferWriter(buffer), table)
    return memoryview(buffer)


def _write_stream(sink: Any, table: pa.Table | pa.RecordBatch) -> None:
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write(table)


def from_ipc(blob: Blob) -> pa.Table:
    """Rows from bytes; they are not copied."""
    return _read_stream(pa.py_buffer(blob))


def _read_stream(source: Any) -> pa.Table:
    with pa.ipc.open_stream(source, options=pa.ipc.IpcReadOptions(use_threads=False)) as reader:
        return reader.read_all()


def pack(tables: Iterable[pa.Table], folder: Path) -> tuple[list[str], list[memoryview]]:
    """Make tables ready to be sent, without a copy in memory of those that are large.

    Returns:
        The names of files in the folder, which hold those that are large; and the others, as bytes.
    """
    files: list[str] = []
    blobs: list[memoryview] = []
    for table in tables:
        name = _write_file(table, folder) if table.nbytes >= _FILE_BYTES else None
        if name is None:
            blobs.append(to_ipc(table))
        else:
            files.append(name)
    return files, blobs


def _write_file(table: pa.Table, folder: Path) -> str | None:
    """Write a table to a new file, and return its name; None where that cannot be done."""
    path = folder / uuid4().hex
    try:
        folder.mkdir(exist_ok=True)
        with pa.OSFile(str(path), "wb") as sink:
            _write_stream(sink, table)
    except OSError:
        # the disk may be full: the memory is not
        with suppress(OSError):
            path.unlink()
        return None
    return path.name


def unpack(files: Iterable[str], blobs: Iterable[Blob], folder: Path) -> list[pa.Table] | None:
    """The tables that `pack` has made ready; None where a file is not there any more, or is not what was written.

    Files are removed. What is in them is not read before it is used.
    """
    try:
        return [*(_read_file(folder / Path(name).name) for name in files), *map(from_ipc, blobs)]
    except (OSError, pa.ArrowException):
        return None


def _read_file(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        path.unlink()
        return _read_stream(source)
