"""Which specs of a run are to be executed, and with which attempt: a number per spec, compressed into text.

0 says that the spec is not to be executed, any other number is that of its next attempt. Where all next attempts are
the same, a bit per spec is enough: a million specs of which any tenth is retried take 80 kB. The text goes along in
the message that starts the run, and no object is left in the storage.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from scythe_cli.engines.hatchet.payloads import pack_bytes, unpack_bytes
from scythe_cli.errors import EngineError

__all__ = ["MAX_BYTES", "pack_todo", "todo_array", "unpack_todo"]


MAX_BYTES = 3_000_000
"""A gRPC message can have 4 MB."""

Attempts = np.ndarray[Any, np.dtype[np.uint16]]


def todo_array(todo: pa.Table, n_specs: int) -> Attempts:
    """A number per spec of the run, from the columns `sort_index` and `attempt`."""
    attempts = np.zeros(n_specs, np.uint16)
    numbers = np.minimum(todo.column("attempt").to_numpy(), np.iinfo(np.uint16).max)
    attempts[todo.column("sort_index").to_numpy()] = numbers
    return attempts


def pack_todo(attempts: Attempts) -> str:
    """As text.

    Raises:
        EngineError: If there are too many specs for one message.
    """
    numbers = np.unique(attempts[attempts > 0])
    if len(numbers) <= 1:
        number = int(numbers[0]) if len(numbers) else 0
        head = np.array([len(attempts), number], "<u8").tobytes()
        raw = b"b" + head + np.packbits(attempts > 0).tobytes()
    else:
        raw = b"n" + attempts.astype("<u2").tobytes()
    text = pack_bytes(raw)
    if len(text) > MAX_BYTES:
        raise EngineError(
            f"the choice of cases to retry takes {len(text):,} bytes; a message can have {MAX_BYTES:,}",
            hint="Retry fewer states at once with --only.",
        )
    return text


def unpack_todo(text: str) -> Attempts:
    """The opposite of `pack_todo`."""
    raw = unpack_bytes(text)
    if raw[:1] == b"n":
        return np.frombuffer(raw[1:], "<u2").astype(np.uint16)
    n, number = (int(value) for value in np.frombuffer(raw[1:17], "<u8"))
    chosen = np.unpackbits(np.frombuffer(raw[17:], np.uint8), count=n)
    return chosen.astype(np.uint16) * np.uint16(number)
