"""The child processes of an executor, as the parent holds them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from scythe_cli.core.cores import usable_gpus
from scythe_cli.core.folders import Remover, owned_prefix, remove_folder
from scythe_cli.executor.attribution import Termination
from scythe_cli.executor.devices import Devices
from scythe_cli.executor.dispatch import Chunk
from scythe_cli.executor.ipc import to_ipc
from scythe_cli.executor.limits import Limits, descendants, tree_memory_bytes
from scythe_cli.executor.protocol import DUMP_SIGNAL, Board, Channel, Message, Snapshot, make_board_file
from scythe_cli.executor.rows.call import RunContext
from scythe_cli.executor.rows.capture import read_output
from scythe_cli.executor.rows.workdir import keep_files
from scythe_cli.executor.scheduling import ChildState, Overdue
from scythe_cli.executor.starting.launching import Forking, Launcher, Spawning
from scythe_cli.executor.starting.template import TemplateLostError, Templates, TemplateState
from scythe_cli.model.functions.reference import ExperimentTarget

__all__ = ["ChildProcess", "ChildProcesses"]


_EXIT_GRACE_S = 1.0


class ChildProcess:
    """A child process, with what connects it to this one.

    Args:
        launcher: Starts it.
        context: The run, as `RunContext.to_bytes` gives it.
        limits: What one spec may use.
        folder: A folder of its own, which it makes; gone when the child is closed.
        number: Its number, which no other one has.

    Attributes:
        number: See above.
        environment: Variables that say which GPUs it sees; None while nobody has said it.
        scratch: The folder that it keeps temporary files in.
        started_s: When it was started, on the monotonic clock as all times here.
        is_ready: Whether it has loaded the experiment.
        has_run: Whether it was given rows to run by itself, so that it is no longer as fresh as its template.
        chunks: The rows that it has, in the order in which it runs them.
        termination: Why it is about to die; None while it lives or dies by itself.
        overdue: The spec that is out of time, while it writes down where it is.
        last_message_s: When it last sent something.
        eof_s: When it closed its end of the channel; None while it is open.
        is_mute: Whether it was ended since it went on without its end of the channel, or what it had sent was gone.
        baseline_bytes: The memory that it used before its first spec.
        is_worn: Whether it has told that its memory is used up, and gets no more rows.
    """

    def __init__(self, launcher: Launcher, context: bytes, limits: Limits, folder: Path, number: int) -> None:
        self.number = number
        self.environment: dict[str, str] | None = None
        self.is_ready = False
        self.has_run = False
        self.chunks: deque[Chunk] = deque()
        self.termination: Termination | None = None
        self.overdue: Overdue | None = None
        self.started_s = self.last_message_s = time.monotonic()
        self.eof_s: float | None = None
        self.is_mute = False
        self.baseline_bytes = 0
        self.is_worn = False
        self._paused: tuple[Snapshot, float] | None = None
        self._folder = folder
        self._output, self.scratch = folder / "output.txt", folder / "scratch"
        with contextlib.ExitStack() as undo:
            undo.callback(shutil.rmtree, folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self._start(launcher, undo)
            fields = {
                "memory_limit_bytes": limits.memory_limit_bytes,
                "execution_timeout_s": limits.execution_timeout_s,
                "scratch": str(self.scratch),
                "working_directory": limits.working_directory,
                "keep_files": limits.keep_files,
                "retries": limits.retries,
                "retry_on": limits.retry_on,
                "startup_timeout_s": limits.startup_timeout_s,
                "row_folders": str(folder / "rows"),
            }
            self.channel.send(Message("start", fields, [context, *launcher.blobs]))
            undo.pop_all()

    def _start(self, launcher: Launcher, undo: contextlib.ExitStack) -> None:
        """Start the process; whatever is open for it afterwards is closed by `undo` too."""
        with contextlib.ExitStack() as theirs:
            our_socket, their_socket = socket.socketpair()
            undo.callback(our_socket.close)
            theirs.callback(their_socket.close)
            lifeline, self._lifeline = os.pipe()
            undo.callback(os.close, self._lifeline)
            theirs.callback(os.close, lifeline)
            board_fd = make_board_file()
            theirs.callback(os.close, board_fd)
            self.board = Board(board_fd)
            undo.callback(self.board.close)
            output = os.open(self._output, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            theirs.callback(os.close, output)
            self._process = launcher.launch((their_socket.fileno(), board_fd, lifeline), output)
            self.pid = self._process.pid
            undo.callback(self._end)
        self.channel = Channel(our_socket)
        self.pidfd = self._process.pidfd
        if self.pidfd is not None:
            undo.callback(os.close, self.pidfd)

    @property
    def n_remaining(self) -> int:
        """The number of rows that it has and that are not finished."""
        return sum(chunk.n_remaining for chunk in self.chunks)

    def state(self) -> ChildState:
        """What decisions about it need to know."""
        snapshot = self.board.snapshot()
        return ChildState(
            snapshot=snapshot,
            paused_s=self.paused_s(snapshot),
            is_ready=self.is_ready,
            is_overdue=self.overdue is not None,
            is_terminated=self.termination is not None,
            gives_back=self.board.give_back,
            is_polled=self.pidfd is None or self.eof_s is not None,
            n_chunks=len(self.chunks),
            n_remaining=self.n_remaining,
            last_message_s=self.last_message_s,
        )

    def give(self, chunk: Chunk, per_process: int = 0, *, forks: bool = False) -> None:
        """Send rows.

        Args:
            chunk: The rows.
            per_process: How many one process runs at most; 0 for any number.
            forks: Whether these are processes that this one forks.
        """
        self.has_run = self.has_run or not forks
        self.chunks.append(chunk)
        if len(self.chunks) == 1:
            self.last_message_s = time.monotonic()
        fields = {
            "chunk": chunk.serial,
            "per_process": per_process,
            "forks": forks,
            "environment": self.environment or {},
        }
        self.channel.send(Message("rows", fields, [to_ipc(chunk.rows)]))

    def snapshot(self) -> Snapshot:
        """What it is doing, or was doing when it died."""
        return self.board.snapshot()

    def add_pause(self, pause_s: float) -> None:
        """Take note that the machine stood still while the running spec ran."""
        snapshot = self.snapshot()
        self._paused = snapshot, self.paused_s(snapshot) + pause_s

    def paused_s(self, snapshot: Snapshot) -> float:
        """For how many seconds the machine has stood still during a spec."""
        return self._paused[1] if self._paused is not None and self._paused[0] == snapshot else 0.0

    def memory_bytes(self, limit_bytes: int) -> int:
        """The memory that it uses, or the process that it has forked for its row; see `tree_memory_bytes`."""
        return tree_memory_bytes(self.board.runner or self.pid, limit_bytes)

    def terminate(self, why: Termination) -> None:
        """End it for a limit that its spec has reached."""
        self.termination = why
        self.kill()

    def is_dead(self) -> bool:
        """Whether the process has ended; its remains are kept until `reap`."""
        return self._process.is_dead()

    def kill(self) -> None:
        """End the process and all that it started, at once."""
        if self._process.returncode is not None:
            return
        # those that have gone out of the group would live on
        strays = descendants(self.pid)
        for kill in (os.kill, os.killpg):  # one that has only just been forked is not yet in a group of its own
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(self.pid, signal.SIGKILL)
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
        return self._process.reap()

    def ask_for_stack(self, overdue: Overdue) -> None:
        """Make it write the stack of the running spec, which is out of time, to its output.

        A spec that has finished at this very moment is left alone, and so is the one after it.
        """
        self.board.mark_late(overdue.snapshot)
        if self.board.snapshot() != overdue.snapshot:
            return
        self.overdue = overdue
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.board.runner or self.pid, DUMP_SIGNAL)

    def output(self) -> str | None:
        """What its last spec has printed."""
        return read_output(self._output)

    def row_folder(self) -> Path | None:
        """The working directory of the spec that it has died of; None where specs have none of their own."""
        with contextlib.suppress(OSError):
            folders = sorted((self._folder / "rows").iterdir(), key=lambda path: path.stat().st_ctime_ns)
            return folders[-1] if folders else None
        return None

    def close(self, remove: Callable[[Path], object] = remove_folder, *, grace_s: float = 0.0) -> None:
        """End the process and let go of everything.

        Args:
            remove: Removes its folder.
            grace_s: How long it may take to end by itself: handlers that run at exit are the user's code.
        """
        with contextlib.ExitStack() as steps:
            # in the reverse of this order, and all of them, whatever interrupts one
            steps.callback(remove, self._folder)
            steps.callback(self.board.close)
            if self.pidfd is not None:
                steps.callback(os.close, self.pidfd)
            steps.callback(os.close, self._lifeline)
            steps.callback(self._end)
            self.channel.close()
            if grace_s:
                self._wait(grace_s)

    def _end(self) -> None:
        self.kill()
        self.reap()

    def _wait(self, timeout_s: float) -> None:
        end_s = time.monotonic() + timeout_s
        while not self.is_dead() and time.monotonic() < end_s:
            time.sleep(0.005)


class ChildProcesses:
    """Starts and ends the processes of one experiment and run.

    Args:
        target: The experiment.
        context: The run.
        limits: What one spec may use.
        workers: How many are to run rows at the same time.
        templates: Where the template comes from that processes are forked from; it may be shared.

    Attributes:
        all: The processes that there are, in the order in which they were started.
        removed: A file that some spec has written into its folder, and that was removed; None where there was none.
    """

    def __init__(
        self, target: ExperimentTarget, context: RunContext, limits: Limits, workers: int, templates: Templates
    ) -> None:
        self.target = target
        self.limits = limits
        self.workers = workers
        self.templates = templates
        self.all: list[ChildProcess] = []
        self.removed: str | None = None
        self._context = context
        self._spawning = Spawning(target, templates.threads, templates.mark)
        self._devices = Devices(usable_gpus()) if limits.needs.gpus else None
        self._scratch = Path(tempfile.mkdtemp(prefix=owned_prefix("executor")))
        self._remover = Remover()
        self._n_started = 0
        self._n_chunks = 0

    def start(self) -> ChildProcess | None:
        """Start a process; it is not ready yet. None while the template is not.

        Raises:
            EngineError: If it cannot be started.
        """
        template = self.templates.current()
        if template is not None and template.state is TemplateState.LOADING:
            return None
        self._n_started += 1
        number = self._n_started
        environment = self._environment_of_new(number) if template is None else None
        launcher = Forking(template) if template is not None else self._spawning.in_environment(environment or {})
        try:
            child = ChildProcess(
                launcher, self._context.to_bytes(), self.limits, self._scratch / f"child-{number}", number
            )
        except TemplateLostError:
            self.templates.lose()
            return None
        child.environment = environment
        self.all.append(child)
        return child

    def _environment_of_new(self, number: int) -> dict[str, str] | None:
        """What a process is to know from the start that loads the experiment itself, which may use a GPU then."""
        n = self.limits.needs.gpus
        if self._devices is None or not isinstance(n, int):
            return None
        idle = {child.number: child for child in self.all if child.is_ready and not child.chunks}
        if not self._devices.acquire(number, n):
            for other in self._devices.to_free(n, list(idle)):
                self.drop(idle[other])
            self._devices.acquire(number, n)
        return self._devices.setting(number)

    def equip(self, child: ChildProcess, rows: pa.RecordBatch) -> list[ChildProcess]:
        """Let a child have the GPUs that its next rows take.

        Args:
            child: One that may have rows.
            rows: Rows that take the same.

        Returns:
            The processes that must end before that: it itself where it may use other GPUs by now, or idle ones that
            hold what it lacks. None where it has what it needs.

        Raises:
            EngineError: If this machine has fewer.
        """
        devices = self._devices
        if devices is None:
            return []
        n = self.limits.needs.gpus_of(rows)
        if child.environment is not None and len(devices.held_by(child.number)) == n:
            return []
        if child.has_run:
            return [child]
        if devices.acquire(child.number, n):
            child.environment = devices.setting(child.number)
            return []
        idle = {each.number: each for each in self.all if each is not child and not each.chunks}
        return [idle[number] for number in devices.to_free(n - len(devices.held_by(child.number)), list(idle))]

    def new_serial(self) -> int:
        """A number for a chunk, which no other one of any run has: boards of processes outlive runs."""
        self._n_chunks += 1
        return self._n_chunks

    def keep_files(self, child: ChildProcess, sort_index: int) -> None:
        """Store what the spec that a child has died of had written into a folder of its own.

        Raises:
            StorageError: If it cannot be stored.
        """
        folder = child.row_folder()
        if folder is not None:
            keep_files(folder, Path(self.target.cwd), self._context, sort_index)

    def drop(self, child: ChildProcess) -> None:
        """End a process that is of no more use."""
        self.all.remove(child)
        child.close(self._remover.remove)
        if self._devices is not None:
            self._devices.release(child.number)

    def close(self) -> None:
        """End all processes, and remove what they have written."""
        children, self.all = self.all, []
        for child in children:
            child.channel.close()  # all of them come to their end at the same time
        until_s = time.monotonic() + _EXIT_GRACE_S
        with contextlib.ExitStack() as steps:
            steps.callback(remove_folder, self._scratch)
            steps.callback(self._remover.close)
            for child in reversed(children):
                steps.callback(_close_by, child, until_s)


def _close_by(child: ChildProcess, until_s: float) -> None:
    """Close a child; one that waits for rows has until then to end by itself."""
    is_idle = child.is_ready and not child.chunks
    child.close(grace_s=max(0.0, until_s - time.monotonic()) if is_idle else 0.0)
