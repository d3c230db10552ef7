"""The process that runs specs.

`python -m scythe_cli.executor.child.main SOCKET BOARD LIFELINE` (inherited descriptors), or one that `template` has
forked, which has loaded the experiment by then.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scythe_cli.core.states import RetryRule
from scythe_cli.errors import CodeChangedError, EntrypointError, ScytheError
from scythe_cli.executor.child.forking import adopt_orphans, kill_orphans
from scythe_cli.executor.child.place import Place
from scythe_cli.executor.child.server import Server
from scythe_cli.executor.code import check_sources
from scythe_cli.executor.limits import limit_own_memory
from scythe_cli.executor.protocol import DUMP_SIGNAL, EXIT_BAD_DESCRIPTOR, Board, Connection, Message
from scythe_cli.executor.rows.call import RunContext
from scythe_cli.executor.rows.capture import Capture
from scythe_cli.executor.rows.randomness import SharedGenerators
from scythe_cli.executor.rows.workdir import RowFolder
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.functions.loading import enter_worker, load_target, running_specs
from scythe_cli.model.functions.reference import ExperimentTarget

__all__ = ["Loaded", "broken", "end_with_pipe", "freeze", "load", "main", "run_forked"]


def main(arguments: list[str]) -> int:
    """Run specs until the parent has no more."""
    socket_fd, board_fd, lifeline_fd = (int(argument) for argument in arguments)
    for fd in (socket_fd, board_fd, lifeline_fd):
        os.set_inheritable(fd, False)
    end_with_pipe(lifeline_fd)
    _watch_parent(lifeline_fd)
    output_fd = os.dup(1)
    _write_stacks_to(output_fd)
    connection = Connection(socket.socket(fileno=socket_fd))
    capture = Capture(output_fd)
    start = connection.receive()
    if start is None:
        return 0
    try:
        loaded = load(bytes(start.blobs[1]), RunContext.from_bytes(bytes(start.blobs[0])).seed, capture)
    except ScytheError as error:
        connection.send(broken(error))
        return 1
    freeze()
    return _serve(connection, board_fd, loaded, start)


def run_forked(fds: Sequence[int], loaded: Loaded) -> int:
    """Run specs until the parent has no more, in a process that was forked for that just now.

    Args:
        fds: Socket, board, lifeline and output of this process.
        loaded: What it has been forked with.
    """
    socket_fd, board_fd, lifeline_fd, output_fd = fds
    end_with_pipe(lifeline_fd)
    for number in (1, 2):
        os.dup2(output_fd, number)
    _write_stacks_to(output_fd)
    loaded.capture.move_to(output_fd)
    connection = Connection(socket.socket(fileno=socket_fd))
    start = connection.receive()
    return 0 if start is None else _serve(connection, board_fd, loaded, start)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a process has once it has loaded the experiment.

    Attributes:
        experiment: What to call.
        generators: What gives `random` and `numpy.random` the seed of a row.
        capture: What takes the output of rows.
    """

    experiment: RegisteredExperiment[Any, Any]
    generators: SharedGenerators
    capture: Capture


def load(target: bytes, seed: int, capture: Capture) -> Loaded:
    """Load the experiment, as in a worker process.

    Args:
        target: What `ExperimentTarget.to_bytes` gave.
        seed: The run's.
        capture: What takes the output of this process.

    Raises:
        ScytheError: If it cannot be loaded.
    """
    enter_worker()
    generators = SharedGenerators(seed)
    generators.install()
    place = ExperimentTarget.from_bytes(target)
    check_sources(place)
    experiment = load_target(place)
    running_specs()
    capture.install_logging()
    capture.take()
    return Loaded(experiment, generators, capture)


def freeze() -> None:
    """Let the collector not look, again and again, at what stays loaded; nor copy its pages in a forked process."""
    gc.collect()
    gc.freeze()


def broken(error: ScytheError) -> Message:
    """The message of a process that cannot load the experiment."""
    if isinstance(error, EntrypointError):
        changed = isinstance(error, CodeChangedError)
        return Message("broken", {"message": error.message, "hint": error.hint, "changed": changed})
    return Message("broken", {"message": str(error), "hint": None, "changed": False})


def _write_stacks_to(output_fd: int) -> None:
    faulthandler.enable(output_fd, all_threads=False)
    faulthandler.register(DUMP_SIGNAL, output_fd, all_threads=False)


def _serve(
    connection: Connection,
    board_fd: int,
    loaded: Loaded,
    start: Message,
) -> int:
    adopt_orphans()
    board = Board(board_fd)
    os.close(board_fd)
    if start.fields["memory_limit_bytes"] is not None:
        limit_own_memory(start.fields["memory_limit_bytes"])
    folder: RowFolder | None = None
    match start.fields["working_directory"]:
        case "row":
            folder = RowFolder(Path.cwd(), Path(start.fields["row_folders"]))
        case "project":
            pass
        case directory:
            os.chdir(directory)
    context = RunContext.from_bytes(bytes(start.blobs[0]))
    server = Server(
        connection,
        board,
        loaded.capture,
        loaded.experiment,
        context,
        Path(start.fields["scratch"]),
        start.fields["execution_timeout_s"],
        loaded.generators,
        Place(folder, start.fields["keep_files"], loaded.capture, context),
        RetryRule(start.fields["retries"], tuple(start.fields["retry_on"])),
        start.fields["startup_timeout_s"],
    )
    connection.send(Message("ready", {}))
    try:
        server.serve()
        kill_orphans()  # what rows have started ends with their process
    except (BrokenPipeError, ConnectionResetError):
        return 0
    except OSError as error:
        if error.errno in (errno.EBADF, errno.ENOTSOCK):
            os._exit(EXIT_BAD_DESCRIPTOR)
        raise
    return 0


def end_with_pipe(fd: int) -> None:
    """End the process group when the other end of a pipe is closed, that is when the parent ends, however it does.

    The kernel itself sends the signal, even when a spec never lets another thread of Python run. Linux only.
    """
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpgrp())
            fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)


def _watch_parent(fd: int) -> None:
    """Do the same where the kernel does not, and where another process keeps the pipe open."""
    parent = os.getppid()

    def watch() -> None:
        import select

        while os.getppid() == parent:
            # a process that the parent forked may keep the other end open, hence the timeout
            if select.select([fd], [], [], 1.0)[0]:
                break
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="scythe-lifeline", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
