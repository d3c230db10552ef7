"""Which specs of a run are to be executed, and with which attempt: a number per spec, compressed into text.

0 says that the spec is not to be executed, any other number is that of its next attempt. Runs of equal numbers cost
next to nothing, and a million specs of which every tenth is retried take about 60 kB: the table goes along in the
message that starts the run, and no object is left in the storage.
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
    text = pack_bytes(attempts.astype("<u2").tobytes())
    if len(text) > MAX_BYTES:
        raise EngineError(
            f"the choice of specs to run again takes {len(text):,} bytes; a message can have {MAX_BYTES:,}",
            hint="Retry fewer states at once with --only.",
        )
    return text


def unpack_todo(text: str) -> Attempts:
    """What `pack_todo` was given."""
    return np.frombuffer(unpack_bytes(text), "<u2").astype(np.uint16)
