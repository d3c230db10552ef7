"""The two ways to start a process that runs specs: by itself, or forked from a template that has loaded all of it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Protocol

from scythe_cli.executor.starting.interpreter import start_python
from scythe_cli.executor.starting.template import Template
from scythe_cli.model.functions.reference import ExperimentTarget

__all__ = ["Forking", "Launched", "Launcher", "Spawning"]


class Launched(Protocol):
    """A process that was started.

    Attributes:
        pid: Its id.
        pidfd: A descriptor that is readable once it has ended; None where the system has none.
    """

    pid: int
    pidfd: int | None

    @property
    def returncode(self) -> int | None:
        """How it ended; None before `reap`."""
        ...

    def is_dead(self) -> bool:
        """Whether it has ended; its remains are kept until `reap`."""
        ...

    def reap(self) -> int:
        """Wait for its end, and return its exit code, negative for a signal."""
        ...


class Launcher(Protocol):
    """Starts processes.

    Attributes:
        blobs: What a process must be told beside the run.
    """

    @property
    def blobs(self) -> Sequence[bytes]:
        """See the class."""
        ...

    def launch(self, fds: Sequence[int], output: int) -> Launched:
        """Start one.

        Args:
            fds: Its socket, board and lifeline.
            output: The file that it prints to.
        """
        ...


class Spawning:
    """Starts an interpreter for each process, which loads the experiment by itself.

    Args:
        target: The experiment.
        threads: How many threads libraries should start, unless the user's environment says so.
        mark: See `start_python`.
        environment: Variables that they get beside those of this process.
    """

    def __init__(
        self, target: ExperimentTarget, threads: int, mark: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self._target = target
        self._threads = threads
        self._mark = mark
        self._environment = environment or {}
        self.blobs = (target.to_bytes(),)

    def in_environment(self, environment: Mapping[str, str]) -> Spawning:
        """The same with other variables."""
        return Spawning(self._target, self._threads, self._mark, environment)

    def launch(self, fds: Sequence[int], output: int) -> Launched:
        """Start one; see `Launcher`.

        Raises:
            EngineError: If it cannot be started.
        """
        return _Spawned(
            start_python(
                "scythe_cli.executor.child.main",
                fds,
                fds,
                output=output,
                cwd=self._target.cwd,
                threads=self._threads,
                mark=self._mark,
                environment=self._environment,
            )
        )


class _Spawned:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid
        self.pidfd: int | None = None
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):
                self.pidfd = os.pidfd_open(self.pid)

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def is_dead(self) -> bool:
        if self._process.returncode is not None:
            return True
        if hasattr(os, "waitid"):
            try:
                return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
            except ChildProcessError:
                return True
        return self._process.poll() is not None

    def reap(self) -> int:
        return self._process.wait()


class Forking:
    """Forks each process from a template.

    Args:
        template: The template, which is ready.
    """

    blobs: Sequence[bytes] = ()

    def __init__(self, template: Template) -> None:
        self._template = template

    def launch(self, fds: Sequence[int], output: int) -> Launched:
        """Start one; see `Launcher`.

        Raises:
            TemplateLostError: If the template is gone.
        """
        return _Forked(self._template.fork((*fds, output)), self._template)


class _Forked:
    def __init__(self, pid: int, template: Template) -> None:
        self._template = template
        self.pid = pid
        self.pidfd: int | None = os.pidfd_open(pid)
        self.returncode: int | None = None
        self._ends = select.poll()
        self._ends.register(self.pidfd, select.POLLIN)

    def is_dead(self) -> bool:
        return self.returncode is not None or bool(self._ends.poll(0))

    def reap(self) -> int:
        if self.returncode is None:
            self._ends.poll()
            code = self._template.reap(self.pid)
            # without the template nobody knows
            self.returncode = -signal.SIGKILL if code is None else code
        return self.returncode
