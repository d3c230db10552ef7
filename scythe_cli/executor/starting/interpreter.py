"""Python interpreters in sessions of their own, and those that become templates.

One that becomes a template loads the libraries of this package first, and then the experiment that it is told. So it
can be started before that is known, while cases are still being read and checked.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from scythe_cli.core.cores import thread_settings
from scythe_cli.core.folders import owned_prefix
from scythe_cli.errors import EngineError

__all__ = ["MARK", "Interpreter", "can_fork", "start_python"]


MARK = "SCYTHE_PROCESSES"
"""The variable of the environment that tells to which pool a process belongs, whoever has started it."""

_EXIT_GRACE_S = 1.0
_OF_LIBRARIES = ("_RJEM_MALLOC_CONF",)
"""Variables that libraries set for themselves when they are loaded, as they do in each process: here, Polars."""


def can_fork() -> bool:
    """Whether processes can be forked from a template on this system: Linux, where the kernel tells of their ends."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open") and hasattr(os, "memfd_create")


def start_python(
    module: str,
    arguments: Sequence[object],
    fds: Sequence[int],
    *,
    output: int,
    cwd: str | None,
    threads: int,
    mark: str,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start an interpreter in a session of its own.

    Args:
        module: What it runs.
        arguments: What that is told.
        fds: Descriptors that it inherits.
        output: The descriptor of the file that it prints to.
        cwd: Its working directory; None for that of this process.
        threads: How many threads libraries should start in it, unless the user's environment says so.
        mark: A word in its environment, by which it is found, and what it has started.
        environment: Variables that it gets in place of this process's.

    Raises:
        EngineError: If it cannot be started.
    """
    try:
        return subprocess.Popen(
            # -P: a file of the user's named like a module of the standard library must not take its place here
            [sys.executable, "-P", "-m", module, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=fds,
            start_new_session=True,
            cwd=cwd,
            env={
                "PYTHONHASHSEED": "0",
                **os.environ,
                **thread_settings(threads, os.environ),
                **(environment or {}),
                MARK: mark,
            },
        )
    except OSError as error:
        raise EngineError(f"no process can be started: {error}") from error


class Interpreter:
    """A process that loads the libraries of this package, and then waits for an experiment to load.

    Args:
        threads: See `start_python`.

    Attributes:
        mark: See `start_python`.
        threads: See `start_python`.
        control: What it is told, and what it answers; see `child.template`.
        output: The file that it prints to.

    Raises:
        EngineError: If no process can be started.
    """

    def __init__(self, threads: int, mark: str | None = None) -> None:
        self.mark = mark or uuid4().hex
        self.threads = threads
        self._environment = _environment()
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as theirs:
            self._folder = Path(tempfile.mkdtemp(prefix=owned_prefix("template")))
            undo.callback(shutil.rmtree, self._folder, ignore_errors=True)
            self.control, their_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(self.control.close)
            theirs.callback(their_control.close)
            lifeline, self._lifeline = os.pipe()
            undo.callback(os.close, self._lifeline)
            theirs.callback(os.close, lifeline)
            self.output = self._folder / "output.txt"
            output = os.open(self.output, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            theirs.callback(os.close, output)
            fds = (their_control.fileno(), lifeline)
            self._process = start_python(
                "scythe_cli.executor.child.template",
                fds,
                fds,
                output=output,
                cwd=None,
                threads=threads,
                mark=self.mark,
            )
            undo.pop_all()
        self._is_closed = False

    def suits(self, threads: int) -> bool:
        """Whether it is as one would be that is started now, for so many threads: the environment may have changed."""
        return threads == self.threads and _environment() == self._environment

    def exit_code(self) -> int:
        """How it ended, once it has closed its end of `control`."""
        return self._process.wait()

    def close(self, *, is_in_order: bool = False) -> None:
        """End it, and with it all that were forked from it.

        Args:
            is_in_order: Whether it ends by itself soon, once nobody tells it anything any more: handlers that run at
                exit are the user's code, and may take a while.
        """
        if self._is_closed:
            return
        self._is_closed = True
        with contextlib.ExitStack() as steps:
            steps.callback(shutil.rmtree, self._folder, ignore_errors=True)
            steps.callback(os.close, self._lifeline)
            steps.callback(self._end)
            self.control.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_EXIT_GRACE_S if is_in_order else 0)

    def _end(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        self._process.wait()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _OF_LIBRARIES}
