"""A process that validates pieces of a file for another: `python -m scythe_cli.sampling.helper SOCKET`.

| from | kind | says |
| --- | --- | --- |
| the other | `start` | what to load, and where the file is; the first message |
| this | `ready`, `broken` | the experiment is loaded, or why not |
| the other | `piece` | cells, by the names of their columns, and what of them is validated |
| this | `result` | the accepted values and the problems, in the order of the pieces |
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from scythe_cli.errors import ScytheError
from scythe_cli.executor.ipc import from_ipc, to_ipc
from scythe_cli.executor.protocol import Connection, Message
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.functions.loading import enter_worker, load_target
from scythe_cli.model.functions.reference import ExperimentTarget
from scythe_cli.sampling.file_columns import RawFile
from scythe_cli.sampling.file_validator import FileValidator, Piece

__all__ = ["main", "serve"]


def main(arguments: list[str]) -> int:
    """Validate pieces until the other process has no more."""
    fd = int(arguments[0])
    os.set_inheritable(fd, False)
    connection = Connection(socket.socket(fileno=fd))
    enter_worker()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        start = connection.receive()
        if start is None:
            return 0
        try:
            experiment = load_target(ExperimentTarget.from_bytes(bytes(start.blobs[0])))
        except ScytheError as error:
            connection.send(Message("broken", {"message": error.message}))
            return 1
        # what is loaded stays loaded: the collector need not look at it again and again
        gc.collect()
        gc.freeze()
        serve(connection, start.fields, experiment)
    return 0


def serve(connection: Connection, facts: Mapping[str, Any], experiment: RegisteredExperiment[Any, Any]) -> None:
    """Answer pieces until there are no more."""
    connection.send(Message("ready", {}))
    validator: FileValidator | None = None
    while (message := connection.receive()) is not None:
        validator = _validator_of(message, facts, experiment, validator)
        result = validator.validate_piece(Piece(0, validator.raw.n_rows, message.fields["position"]))
        table = pa.Table.from_arrays(result.arrays, names=[str(i) for i in range(len(result.arrays))])
        connection.send(Message("result", {"problems": result.problems.to_plain()}, [to_ipc(table)]))


def _validator_of(
    message: Message, facts: Mapping[str, Any], experiment: RegisteredExperiment[Any, Any], before: FileValidator | None
) -> FileValidator:
    cells = from_ipc(message.blobs[0])
    raw = RawFile(
        facts["path"],
        cells.column_names,
        cells.columns,
        message.fields["n_rows"],
        str,
        facts["base"],
        facts["is_text"],
        facts["decimal_comma"],
        frozenset(facts["as_json"]),
    )
    decoders = None if before is None else before.decoders
    return FileValidator(raw, experiment.input_validator_type, is_part=True, decoders=decoders)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
