"""The template process of a pool, as the parent holds it: loads the experiment once, and is forked for each process."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Sequence
from enum import Enum, auto
from typing import Any
from uuid import uuid4

from scythe_cli.core.states import StartMethod
from scythe_cli.executor.limits import kill_marked
from scythe_cli.executor.protocol import loading_error
from scythe_cli.executor.rows.capture import read_output
from scythe_cli.executor.starting.interpreter import MARK, Interpreter, can_fork
from scythe_cli.model.functions.reference import ExperimentTarget

__all__ = ["Template", "TemplateLostError", "TemplateState", "Templates"]


_ANSWER_S = 60.0
_MAX_LOST = 3
_MESSAGE_BYTES = 1 << 18


class TemplateLostError(Exception):
    """The template process has ended, or does not answer."""


class TemplateState(Enum):
    """What a template can do."""

    LOADING = auto()
    READY = auto()
    UNFIT = auto()  # the experiment can be loaded, and not be forked
    LOST = auto()  # it has ended before it was ready


class Template:
    """A process that has loaded the experiment; may be used by several threads.

    Args:
        interpreter: The process, which was told nothing yet; ended by `close`.
        target: What it loads.
        seed: The run's.
        needs_s3: Whether rows will use S3.
        is_forced: Whether it is forked even where that may do harm.

    Attributes:
        state: What it can do.
        unfit_reason: Why it cannot be forked, where that is so.
        fork_s: The time of the processor that a fork and the end of the new process take, in seconds.
        started_s: When it was told what to load, on the monotonic clock.
    """

    def __init__(
        self, interpreter: Interpreter, target: ExperimentTarget, seed: int, *, needs_s3: bool, is_forced: bool = False
    ) -> None:
        self.state = TemplateState.LOADING
        self.unfit_reason: str | None = None
        self.fork_s = 0.0
        self.started_s = time.monotonic()
        self._lock = threading.Lock()
        self._interpreter = interpreter
        self._control = interpreter.control
        self._control.settimeout(_ANSWER_S)
        order = {"cwd": target.cwd, "seed": seed, "needs_s3": needs_s3, "is_forced": is_forced}
        target_fd = _file_of(target.to_bytes())
        try:
            # one that has ended is noticed where its answer is read
            with contextlib.suppress(OSError):
                socket.send_fds(self._control, [json.dumps(order).encode()], [target_fd])
        finally:
            os.close(target_fd)

    def fileno(self) -> int:
        """Readable when it has loaded the experiment, or has failed to."""
        return self._control.fileno()

    def poll(self) -> TemplateState:
        """See whether it is ready.

        Raises:
            EntrypointError: If it cannot load the experiment.
        """
        with self._lock:
            if self.state is not TemplateState.LOADING:
                return self.state
            self._control.setblocking(False)
            try:
                answer = json.loads(self._control.recv(_MESSAGE_BYTES) or b"{}")
            except BlockingIOError:
                return self.state
            except OSError:
                answer = {}
            finally:
                self._control.settimeout(_ANSWER_S)
            if not answer:
                self.state = TemplateState.LOST
            elif "broken" in answer:
                raise loading_error(answer["broken"])
            else:
                self.fork_s = answer["fork_s"]
                self.unfit_reason = answer["unfit"]
                self.state = TemplateState.READY if self.unfit_reason is None else TemplateState.UNFIT
            return self.state

    def fork(self, fds: Sequence[int]) -> int:
        """Fork a process that runs specs, and return its id.

        Args:
            fds: Its socket, board, lifeline and output.

        Raises:
            TemplateLostError: If the template is gone.
        """
        return int(self._ask({"fork": True}, fds)["pid"])

    def reap(self, pid: int) -> int | None:
        """Wait for the end of a forked process that is dead or about to be; None where the template is gone.

        Returns:
            Its exit code, negative for a signal.
        """
        try:
            return int(self._ask({"reap": pid}, ())["code"])
        except TemplateLostError:
            return None

    def _ask(self, request: dict[str, Any], fds: Sequence[int]) -> dict[str, Any]:
        with self._lock:
            try:
                socket.send_fds(self._control, [json.dumps(request).encode()], fds)
                answer = self._control.recv(_MESSAGE_BYTES)
            except OSError as error:
                raise TemplateLostError from error
            if not answer:
                raise TemplateLostError
            return json.loads(answer)

    def exit_code(self) -> int:
        """How it ended, when it is `LOST`."""
        return self._interpreter.exit_code()

    def output(self) -> str | None:
        """What it has printed while it loaded the experiment."""
        return read_output(self._interpreter.output)

    def close(self) -> None:
        """End the process, and with it all that were forked from it."""
        self._interpreter.close(is_in_order=self.state is TemplateState.READY)


class Templates:
    """The template of one experiment and run: started when it is needed, and anew when it is lost.

    Args:
        target: The experiment.
        threads: See `start_python`.
        seed: The run's.
        needs_s3: Whether rows will use S3.
        start_method: `fork` or `spawn` by hand; `auto` for a fork wherever it does no harm.
        interpreter: One that was started ahead, for the first template if it suits it.

    Attributes:
        threads: See `start_python`.
        mark: See `start_python`.
        forks: Whether processes are forked, as far as it is known.
        fork_s: What a fork takes, in seconds; None where processes are not forked, or it is not known yet.
        notices: For the user: why processes are not forked.
    """

    def __init__(
        self,
        target: ExperimentTarget,
        threads: int,
        seed: int,
        *,
        needs_s3: bool,
        start_method: StartMethod,
        interpreter: Interpreter | None = None,
    ) -> None:
        self.threads = threads
        self.forks = start_method != "spawn" and can_fork()
        if interpreter is not None and not (self.forks and interpreter.suits(threads)):
            interpreter.close()
            interpreter = None
        self._ahead = interpreter
        self.mark = uuid4().hex if interpreter is None else interpreter.mark
        self.fork_s: float | None = None
        self.notices: list[str] = []
        self._target = target
        self._needs_s3 = needs_s3
        self._seed = seed
        self._is_forced = start_method == "fork"
        self._template: Template | None = None
        self._spent: list[Template] = []
        self._n_lost = 0
        self._lock = threading.Lock()

    def current(self) -> Template | None:
        """The template, which may still be loading; None where processes are started by themselves.

        Raises:
            EngineError: If no process can be started.
            EntrypointError: If the experiment cannot be loaded.
        """
        with self._lock:
            if not self.forks:
                return None
            if self._template is None:
                interpreter, self._ahead = self._ahead or Interpreter(self.threads, self.mark), None
                self._template = Template(
                    interpreter, self._target, self._seed, needs_s3=self._needs_s3, is_forced=self._is_forced
                )
            template = self._template
            match template.poll():
                case TemplateState.READY:
                    self.fork_s = template.fork_s
                case TemplateState.UNFIT:
                    self.forks = False
                    self.notices.append(
                        f"each process loads {self._target.describe()} itself instead of being forked: "
                        f'{template.unfit_reason}; `start_method = "fork"` forks anyway'
                    )
                    self._retire()
                    return None
                case TemplateState.LOADING | TemplateState.LOST:
                    pass
            return template

    def lose(self) -> None:
        """Do without the present template, which has ended; after some, processes are not forked."""
        with self._lock:
            self._n_lost += 1
            if self._n_lost >= _MAX_LOST:
                self.forks = False
            self._retire()

    def _retire(self) -> None:
        if self._template is not None:
            self._spent.append(self._template)  # those that were forked from it may live on
            self._template = None

    def close(self) -> None:
        """End the templates, when no process needs them any more, and what rows have left where none has seen to it."""
        with self._lock, contextlib.ExitStack() as steps:
            if self._n_lost or not self.forks:
                steps.callback(kill_marked, f"{MARK}={self.mark}")
            self._retire()
            for template in self._spent:
                steps.callback(template.close)
            self._spent = []
            if self._ahead is not None:
                steps.callback(self._ahead.close)


def _file_of(data: bytes) -> int:
    """A file without a name that holds this, and whose descriptor can be inherited."""
    fd = os.memfd_create("scythe-target")
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
