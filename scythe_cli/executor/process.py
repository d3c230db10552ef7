"""One child process, as the parent holds it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from scythe_cli.core.states import State
from scythe_cli.errors import EngineError
from scythe_cli.executor.board import Board, Sighting, make_board_file
from scythe_cli.executor.limits import Limits
from scythe_cli.executor.memory import descendants
from scythe_cli.executor.protocol import Channel, Message
from scythe_cli.executor.rows.capture import read_output
from scythe_cli.model.function_ref import ExperimentTarget

__all__ = ["DUMP_SIGNAL", "EXIT_BAD_DESCRIPTOR", "ChildProcess", "Chunk", "Sentence", "death_of"]


DUMP_SIGNAL = signal.SIGXCPU
"""Asks a child to write the stack of its spec, which is about to be killed for the time it takes; it says so."""

EXIT_BAD_DESCRIPTOR = 83
"""How a child ends that can no longer use what it was started with."""

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
# what the system does with a process whose code went wrong, as opposed to signals that somebody sends
_FAULTS = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS}


@dataclass(slots=True)
class Chunk:
    """Rows that a child has.

    Attributes:
        serial: Its number.
        rows: The rows.
        done: How many of them are finished, and their outcomes received.
    """

    serial: int
    rows: pa.RecordBatch
    done: int = 0

    @property
    def n_left(self) -> int:
        """The number of rows that are not finished."""
        return self.rows.num_rows - self.done


@dataclass(frozen=True, slots=True)
class Sentence:
    """Why the parent ended a child.

    Attributes:
        sighting: What the child was doing.
        state: What becomes of the spec.
        error_type: See `Failure`.
        message: See `Failure`.
    """

    sighting: Sighting
    state: State
    error_type: str
    message: str


def death_of(returncode: int) -> tuple[str, str]:
    """Name how a process ended: the kind, and a sentence."""
    if returncode == EXIT_BAD_DESCRIPTOR:
        return (
            "FileDescriptors",
            "the process was ended: file descriptors were closed or written to that are not its own",
        )
    if returncode >= 0:
        return "ProcessExit", f"the process exited with code {returncode} by itself"
    try:
        number = signal.Signals(-returncode)
    except ValueError:
        return "Signal", f"the process was killed by signal {-returncode}"
    if number is signal.SIGKILL:
        return number.name, "the process was killed by SIGKILL (from outside, or out of memory)"
    if number in _FAULTS:
        return number.name, f"the process died of {number.name}"
    return number.name, f"the process was killed by {number.name}"


class ChildProcess:
    """A child process, with what connects it to this one.

    Args:
        target: What it loads.
        context: The run, as `RunContext.to_bytes` gives it.
        limits: What one spec may use.
        folder: A folder of its own, which it makes; gone when the child is closed.
        threads: How many threads libraries should start in it, unless the user's environment says so.

    Attributes:
        is_ready: Whether it has loaded the experiment.
        chunks: The rows that it has, in the order in which it runs them.
        sentence: Why it is about to die; None while it lives or dies by itself.
        overdue: The spec that is out of time, while it writes down where it is.
        kill_at_s: When that time is over.
        last_message_s: When it last sent something.
        eof_s: When it closed its end of the channel; None while it is open.
        is_mute: Whether it was ended because it went on without its end of the channel.
        baseline_bytes: The memory that it used before its first spec.
    """

    def __init__(self, target: ExperimentTarget, context: bytes, limits: Limits, folder: Path, threads: int) -> None:
        self.is_ready = False
        self.chunks: deque[Chunk] = deque()
        self.sentence: Sentence | None = None
        self.overdue: Sighting | None = None
        self.kill_at_s = 0.0
        self.last_message_s = time.monotonic()
        self.eof_s: float | None = None
        self.is_mute = False
        self.baseline_bytes = 0
        self._folder = folder
        self._output = folder / "output.txt"
        folder.mkdir(parents=True)
        self._start(target, threads)
        fields = {"memory_limit_bytes": limits.memory_limit_bytes, "scratch": str(folder / "scratch")}
        self.channel.send(Message("start", fields, [target.to_bytes(), context]))

    def _start(self, target: ExperimentTarget, threads: int) -> None:
        ours, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        board_fd = make_board_file()
        output = os.open(self._output, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        fds = (theirs.fileno(), board_fd, lifeline)
        environment = {**{name: str(threads) for name in _THREAD_VARIABLES}, **os.environ}
        try:
            self._process = subprocess.Popen(
                # -P: a file of the user's named like a module of the standard library must not take its place here
                [sys.executable, "-P", "-m", "scythe_cli.executor.child", *map(str, fds)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=fds,
                start_new_session=True,
                cwd=target.cwd,
                env=environment,
            )
        except OSError as error:
            ours.close()
            os.close(self._lifeline)
            os.close(board_fd)
            raise EngineError(f"no process can be started: {error}") from error
        finally:
            theirs.close()
            os.close(output)
            os.close(lifeline)
        self.board = Board(board_fd)
        os.close(board_fd)
        self.channel = Channel(ours)
        self.pid = self._process.pid
        self.pidfd: int | None = None
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):
                self.pidfd = os.pidfd_open(self.pid)

    @property
    def n_left(self) -> int:
        """The number of rows that it has and that are not finished."""
        return sum(chunk.n_left for chunk in self.chunks)

    def give(self, chunk: Chunk, message: Message) -> None:
        """Send rows."""
        self.chunks.append(chunk)
        if len(self.chunks) == 1:
            self.last_message_s = time.monotonic()
        self.channel.send(message)

    def sighting(self) -> Sighting:
        """What it is doing, or was doing when it died."""
        return self.board.look()

    def is_dead(self) -> bool:
        """Whether the process has ended; its remains are kept until `reap`."""
        if self._process.returncode is not None:
            return True
        if hasattr(os, "waitid"):
            try:
                return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
            except ChildProcessError:
                return True
        return self._process.poll() is not None

    def kill(self) -> None:
        """End the process and all that it started, at once."""
        if self._process.returncode is not None:
            return
        # those that left the group would live on
        strays = descendants(self.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        for stray in strays:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(stray, signal.SIGKILL)

    def reap(self) -> int:
        """Wait for the end of a process that is dead or about to be, and return its exit code."""
        if self._process.returncode is not None:
            return self._process.returncode
        # as long as it is not waited for, its number belongs to no other group
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.is_dead():
                os.killpg(self.pid, signal.SIGKILL)
        return self._process.wait()

    def ask_for_stack(self, number: signal.Signals) -> None:
        """Make it write the stack of the running spec to its output."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def output(self) -> str | None:
        """What its last spec has printed."""
        return read_output(self._output)

    def close(self, *, grace_s: float = 0.0) -> None:
        """End the process and let go of everything.

        Args:
            grace_s: How long it may take to end by itself: handlers that run at exit are the user's code.
        """
        self.channel.close()
        if grace_s:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._wait(grace_s)
        self.kill()
        self.reap()
        os.close(self._lifeline)
        if self.pidfd is not None:
            os.close(self.pidfd)
        self.board.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait(self, timeout_s: float) -> None:
        end_s = time.monotonic() + timeout_s
        while not self.is_dead() and time.monotonic() < end_s:
            time.sleep(0.005)
