"""The template: a process that loads the experiment once, and from which those that run specs are forked.

`python -m scythe_cli.executor.child.template CONTROL LIFELINE` (inherited descriptors). It loads the libraries of this
package, and then the experiment that it is told. It never runs a spec.

Requests and answers are JSON, a datagram each:

| from | says |
| --- | --- |
| parent | `{"cwd": PATH, "seed": NUMBER, "needs_s3": BOOL, "is_forced": BOOL}` and a file with an `ExperimentTarget` |
| template | `{"ready": true, "unfit": REASON or null, "fork_s": SECONDS}` or `{"broken": FIELDS}` |
| parent | `{"fork": true}` with four descriptors: socket, board, lifeline and output of the new process |
| template | `{"pid": PID}` |
| parent | `{"reap": PID}`, of a process that is dead or about to be |
| template | `{"code": CODE}`, negative for a signal |

The first of the parent's tells the working directory, the seed of the run, whether the client of S3 is loaded as well,
and whether the template is forked even where that may do harm. Where none comes before the end, nothing is loaded.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import select
import signal
import socket
import sys
from typing import Any

import numpy as np
import pyarrow as pa

from scythe_cli.arrow.build import numbers
from scythe_cli.core.processes import c_library
from scythe_cli.errors import EntrypointError, ScytheError
from scythe_cli.executor.child.forking import adopt_orphans, fork, fork_cost_s, kill_orphans, unfit_reason, wait_for
from scythe_cli.executor.child.main import Loaded, broken, end_with_pipe, freeze, load, run_forked
from scythe_cli.executor.ipc import from_ipc, to_ipc
from scythe_cli.executor.rows.capture import Capture
from scythe_cli.executor.rows.failure import cut_middle
from scythe_cli.model.columns import outcome_schema
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.spec_rows import list_validator

__all__ = ["main"]


_POLL_S = 1.0
_MESSAGE_BYTES = 1 << 16
_TEXT_CHARS = 20_000


def main(arguments: list[str]) -> int:
    """Load the experiment, and fork when the parent asks for it, until it closes its end."""
    control_fd, lifeline_fd = (int(argument) for argument in arguments)
    for fd in (control_fd, lifeline_fd):
        os.set_inheritable(fd, False)
    end_with_pipe(lifeline_fd)
    output_fd = os.dup(1)
    faulthandler.enable(output_fd, all_threads=False)
    control = socket.socket(fileno=control_fd)
    _warm_up()
    order, fds, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 1)
    if not order:
        return 0  # nothing is to be run after all
    fields = json.loads(order)
    capture = Capture(output_fd)
    with os.fdopen(fds[0], "rb") as file:
        target = file.read()
    try:
        _enter(fields["cwd"])
        loaded = load(target, fields["seed"], capture)
    except ScytheError as error:
        said = broken(error).fields
        _answer(control, broken={**said, "message": cut_middle(said["message"], _TEXT_CHARS)})
        return 1
    _warm_up_for(loaded.experiment, needs_s3=fields["needs_s3"])
    freeze()
    fork_s = fork_cost_s(5)
    unfit = None if fields["is_forced"] else unfit_reason()
    _answer(control, ready=True, unfit=unfit, fork_s=fork_s)
    if unfit is not None:
        return 0
    return _Template(control, [lifeline_fd, output_fd], loaded).serve()


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise EntrypointError(f"{folder} cannot be the working directory: {error.strerror}") from error


def _warm_up() -> None:
    """Load what all rows will need of this package and its libraries, so that none of them waits for it."""
    c_library()
    # Arrow takes its memory at the first use
    from_ipc(to_ipc(pa.Table.from_arrays([numbers(np.zeros(1), pa.float64())], ["x"])))


def _warm_up_for(experiment: RegisteredExperiment[Any, Any], *, needs_s3: bool) -> None:
    """Load and compile what the rows of an experiment will need beside that."""
    list_validator(experiment.input_validator_type)
    outcome_schema(experiment.output_validator_type)
    if "pandas" in sys.modules:
        import pandas as pd

        from scythe_cli.executor.rows.frames import convert_frames

        frame = pd.DataFrame({"x": [1.0], "text": ["a"]})
        convert_frames({"frame": frame}, frozenset())
    if needs_s3:
        with contextlib.suppress(ImportError):
            import s3fs  # noqa: F401  # pyright: ignore[reportUnusedImport]


def _answer(control: socket.socket, **fields: Any) -> None:
    control.send(json.dumps(fields).encode())


class _Template:
    def __init__(self, control: socket.socket, own_fds: list[int], loaded: Loaded) -> None:
        self._control = control
        self._own_fds = own_fds
        self._loaded = loaded
        self._children: set[int] = set()
        self._parent = os.getppid()

    def serve(self) -> int:
        adopt_orphans()
        while True:
            if not select.select([self._control], [], [], _POLL_S)[0]:
                if os.getppid() == self._parent:
                    continue
                break  # another process keeps the parent's end open
            data, fds, _, _ = socket.recv_fds(self._control, _MESSAGE_BYTES, 4)
            if not data:
                break
            request = json.loads(data)
            if "fork" in request:
                pid = self._fork(fds)
                if not pid:
                    return run_forked(fds, self._loaded)
                self._children.add(pid)
                _answer(self._control, pid=pid)
            else:
                pid = request["reap"]
                code = wait_for(pid)
                self._children.discard(pid)
                kill_orphans(self._children)
                _answer(self._control, code=code)
        for pid in self._children:
            for kill in (os.kill, os.killpg):  # it may have no group of its own yet
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    kill(pid, signal.SIGKILL)
        kill_orphans()
        return 0

    def _fork(self, fds: list[int]) -> int:
        """Fork; returns in both processes as `os.fork` does. The new one gets a session of its own; nobody waits."""
        pid = fork()
        if not pid:
            os.setsid()
            self._control.close()
            for fd in self._own_fds:
                os.close(fd)
            return 0
        for fd in fds:
            os.close(fd)
        return pid


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
