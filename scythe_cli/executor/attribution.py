"""Why a process ended, which of its rows that is attributed to, and what becomes of the others.

All of it follows from what is known of the process: nothing here touches a process, a clock, a file or a table.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import Enum, auto

from scythe_cli.core.quantities import format_duration, format_size
from scythe_cli.core.states import State
from scythe_cli.executor.protocol import EXIT_BAD_DESCRIPTOR, Phase, Snapshot
from scythe_cli.executor.rows.failure import Failure

__all__ = [
    "Death",
    "Evidence",
    "Resolution",
    "Span",
    "Termination",
    "describe_exit",
    "evidence_of",
    "failure_of_exit",
    "failure_of_lateness",
    "is_start_hopeless",
    "over_memory",
    "over_time",
    "resolve",
]


_MAX_DEATHS = 3
# what the system does with a process whose code went wrong, as opposed to signals that somebody sends
_FAULTS = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS}


@dataclass(frozen=True, slots=True)
class Termination:
    """Why the parent ended a child.

    Attributes:
        snapshot: What the child was doing.
        state: What becomes of the spec.
        error_type: See `Failure`.
        message: See `Failure`.
    """

    snapshot: Snapshot
    state: State
    error_type: str
    message: str


def over_time(snapshot: Snapshot, execution_timeout_s: float) -> Termination:
    """End a child for the time that its spec takes."""
    late = failure_of_lateness(execution_timeout_s)
    return Termination(snapshot, late.state, late.error_type, late.message)


def failure_of_lateness(execution_timeout_s: float) -> Failure:
    """The failure of a row that has taken longer than it may."""
    return Failure(State.TIMEOUT, "Timeout", f"still running after {format_duration(execution_timeout_s)}")


def over_memory(snapshot: Snapshot, used_bytes: int, limit_bytes: int) -> Termination:
    """End a child for the memory that its spec uses."""
    message = f"used {format_size(used_bytes)}, the limit is {format_size(limit_bytes)}"
    return Termination(snapshot, State.CRASHED, "MemoryLimit", message)


def describe_exit(returncode: int) -> tuple[str, str]:
    """Name how a process ended: the kind, and a sentence."""
    if returncode == EXIT_BAD_DESCRIPTOR:
        return (
            "FileDescriptors",
            "the process was stopped: it closed or wrote to file descriptors that are not its own, or "
            "its temporary files were removed",
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
        return number.name, f"the process died from {number.name}"
    return number.name, f"the process was killed by {number.name}"


def failure_of_exit(returncode: int, termination: Termination | None, *, is_mute: bool, stack: str | None) -> Failure:
    """The failure of the row that ended a process, or for which it was ended.

    Args:
        returncode: How it ended.
        termination: Why the parent ended it; None where it did not.
        is_mute: Whether the parent ended it since it went on without its end of the channel.
        stack: Where the spec was.
    """
    if termination is not None:
        return Failure(termination.state, termination.error_type, termination.message, stack)
    error_type, message = describe_exit(EXIT_BAD_DESCRIPTOR if is_mute else returncode)
    return Failure(State.CRASHED, error_type, message, stack)


def is_start_hopeless(n_failed: int, *, has_started: bool) -> bool:
    """Whether no further process is tried after some have died before they had loaded the experiment.

    Args:
        n_failed: How many, without one that was ready between them.
        has_started: Whether any ever was ready.
    """
    return not has_started or n_failed >= _MAX_DEATHS


@dataclass(frozen=True, slots=True)
class Death:
    """A child that died while it had rows.

    Attributes:
        chunk: The serial number of the chunk that it had to run first.
        n_rows: The number of rows in it.
        n_done: How many of them are finished, and their outcomes received.
        snapshot: What the board says.
        is_mute: Whether it was ended because it went on without its end of the channel: what it did then counts for
            nothing.
        terminated_at: What the board said when the parent ended it for a limit; None where it did not.
    """

    chunk: int
    n_rows: int
    n_done: int
    snapshot: Snapshot
    is_mute: bool = False
    terminated_at: Snapshot | None = None


class Evidence(Enum):
    """What is known of the row that is the cause of a death."""

    SURVIVED = auto()  # the spec for which the child was ended had finished at that very moment
    RUNNING = auto()  # one row was at work
    BUILDING = auto()  # one of several whose specs were made
    BETWEEN = auto()  # it ended itself between rows, or could not say what became of them
    NONE = auto()  # it had not begun with these rows
    NONE_ALONE = auto()  # it had not begun with its only row


@dataclass(frozen=True, slots=True)
class Span:
    """Rows of a chunk that are run again.

    Attributes:
        start: The first.
        stop: The one after the last.
        alone: Whether each is run in a chunk of its own, so that the cause of a death shows.
        survived: Whether all were run before the death, so that only their outcomes are missing.
    """

    start: int
    stop: int
    alone: bool = False
    survived: bool = False


@dataclass(frozen=True, slots=True)
class Resolution:
    """What becomes of the rows of a chunk whose child died.

    Attributes:
        again: The unfinished rows that do not fail, in the order in which they are to be run.
        attributed: The position of the row that the death is attributed to; None where that is not known.
        has_begun: Whether it is known when this row began.
    """

    again: tuple[Span, ...]
    attributed: int | None = None
    has_begun: bool = True


def evidence_of(death: Death) -> Evidence:
    """Find out what is known of the cause of a death."""
    if death.terminated_at is not None and death.terminated_at != death.snapshot:
        return Evidence.SURVIVED
    if death.snapshot.chunk != death.chunk:
        return Evidence.NONE_ALONE if death.n_rows == 1 else Evidence.NONE
    if death.n_rows == 1:
        return Evidence.RUNNING
    if death.is_mute or death.snapshot.phase is Phase.IDLE:
        return Evidence.BETWEEN
    return Evidence.RUNNING if death.snapshot.phase is Phase.RUNNING else Evidence.BUILDING


def resolve(death: Death, evidence: Evidence, n_times: int) -> Resolution:
    """Tell what becomes of the rows.

    Args:
        death: What is known.
        evidence: See `evidence_of`.
        n_times: For `NONE`, how many deaths of a run have been of this kind, with this one; for `NONE_ALONE`, how many
            of the row. The first may have been by chance.
    """
    n, done, row = death.n_rows, death.n_done, death.snapshot.row
    attributed: int | None = None
    match evidence:
        case Evidence.SURVIVED:
            again = [Span(done, n)]
        case Evidence.RUNNING:
            attributed = 0 if n == 1 else row
            again = [Span(done, attributed, survived=True), Span(attributed + 1, n)]
        case Evidence.BUILDING:
            end = death.snapshot.end
            again = [Span(done, row), Span(row, end, alone=True), Span(end, n)]
        case Evidence.BETWEEN:
            seen = max(done, min(row + 1, n))
            again = [Span(done, seen, alone=True), Span(seen, n)]
        case Evidence.NONE:
            again = [Span(done, n, alone=n_times > 1)]
        case Evidence.NONE_ALONE if n_times < _MAX_DEATHS:
            again = [Span(0, 1, alone=True)]
        case Evidence.NONE_ALONE:
            again, attributed = [], 0
    spans = tuple(span for span in again if span.start < span.stop)
    return Resolution(spans, attributed, has_begun=evidence is not Evidence.NONE_ALONE)
