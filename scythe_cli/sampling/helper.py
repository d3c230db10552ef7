"""A process that judges pieces of a file for another: `python -m scythe_cli.sampling.helper SOCKET`.

| from | kind | says |
| --- | --- | --- |
| the other | `start` | what to load, and where the file is; the first message |
| this | `ready`, `broken` | the experiment is loaded, or why not |
| the other | `piece` | cells, by the names of their columns, and what of them is judged |
| this | `verdict` | the accepted values and the problems, in the order of the pieces |
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from scythe_cli.errors import ScytheError
from scythe_cli.executor.protocol import (
    Connection,
    Message,
    from_ipc,
    to_ipc,
)
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.function_ref import ExperimentTarget, enter_worker, load_target
from scythe_cli.sampling.files.raw import RawFile
from scythe_cli.sampling.matching import match_columns
from scythe_cli.sampling.pieces import Check, Piece

__all__ = ["main", "serve"]


def main(arguments: list[str]) -> int:
    """Judge pieces until the other process has no more."""
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
        serve(connection, Path(start.fields["path"]), experiment)
    return 0


def serve(connection: Connection, path: Path, experiment: RegisteredExperiment[Any, Any]) -> None:
    """Answer pieces until there are no more."""
    connection.send(Message("ready", {}))
    check: Check | None = None
    while (message := connection.receive()) is not None:
        check = _check_of(message, path, experiment, check)
        verdict = check.judge(Piece(0, check.raw.n_rows, message.fields["position"]))
        table = pa.Table.from_arrays(verdict.arrays, names=[str(i) for i in range(len(verdict.arrays))])
        connection.send(Message("verdict", {"problems": verdict.problems.to_plain()}, [to_ipc(table)]))


def _check_of(message: Message, path: Path, experiment: RegisteredExperiment[Any, Any], before: Check | None) -> Check:
    cells = from_ipc(message.blobs[0])
    raw = RawFile(path, cells.column_names, cells.columns, message.fields["n_rows"], str)
    model = experiment.input_validator_type
    match = match_columns(raw, model, is_part=True)
    return Check(raw, model, match, interpreters={} if before is None else before.interpreters)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
