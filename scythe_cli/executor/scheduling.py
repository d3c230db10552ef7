"""Which process gets rows, which gives some back, whose time is over, and how long nothing is due.

All of it follows from the states of the processes: nothing here touches a process, a clock or a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from scythe_cli.core.states import Isolation
from scythe_cli.executor.protocol import Phase, Snapshot

__all__ = [
    "HEARTBEAT_S",
    "STACK_S",
    "ChildState",
    "Overdue",
    "TimeAction",
    "children_to_ask_back",
    "is_bloated",
    "is_stalled",
    "next_to_feed",
    "rows_per_process",
    "rows_to_start_for",
    "time_action",
    "wait_s",
]


HEARTBEAT_S = 0.5
"""How long a caller waits at most for something to come, if only an empty table."""

STACK_S = 0.5
"""How long a process that is out of time may take to write its stack."""

_STACK_POLL_S = 0.02
# a process for each row costs about two forks, which are to be less than a twentieth of the row's own time
_FORKS_IN_ROW = 40
_DESCRIPTOR_POLL_S = 0.05
_REBALANCE_S = 0.1


@dataclass(frozen=True, slots=True)
class ChildState:
    """A child at one moment.

    Attributes:
        snapshot: What it is doing.
        is_ready: Whether it has loaded the experiment.
        is_overdue: Whether its spec is out of time and writes down where it is.
        is_terminated: Whether it was ended, and is about to be dead.
        gives_back: Whether it was asked to give back the rows that it has not begun.
        is_polled: Whether its end must be asked for, since no descriptor tells of it.
        n_chunks: How many chunks of rows it has.
        n_remaining: How many of their rows are not finished.
        last_message_s: When it last sent something, on the monotonic clock.
        paused_s: For how long the machine has stood still during the running spec.
    """

    snapshot: Snapshot
    is_ready: bool = True
    is_overdue: bool = False
    is_terminated: bool = False
    gives_back: bool = False
    is_polled: bool = False
    n_chunks: int = 0
    n_remaining: int = 0
    last_message_s: float = 0.0
    paused_s: float = 0.0


def rows_per_process(
    isolation: Isolation,
    rows_per_process: int | None,
    *,
    fork_s: float | None,
    row_s: float | None,
    imports_s: float = 0.0,
) -> int:
    """How many rows one process runs at most; 0 for any number.

    Args:
        isolation: What was asked for.
        rows_per_process: What was asked for beside that; it wins.
        fork_s: What a fork takes, in seconds; None where processes are not forked.
        row_s: How long a row takes, in seconds; None while it is not known.
        imports_s: For how long the first row of a process imports modules, in seconds, beside that.
    """
    if rows_per_process is not None:
        return rows_per_process
    if isolation == "auto":
        if fork_s is None or row_s is None:
            return 0
        return int(row_s >= _FORKS_IN_ROW * (fork_s + imports_s / 2))
    return int(isolation == "row")


def rows_to_start_for(children: Sequence[ChildState], workers: int, *, keeps_spare: bool) -> int | None:
    """How many rows must wait for one more process to be worth its start; None where there are enough processes.

    Args:
        children: The processes that there are.
        workers: How many run rows at the same time.
        keeps_spare: Whether one more is to be ready, to take the place of the next that dies.
    """
    if len(children) >= workers + keeps_spare:
        return None
    # no more processes than rows
    return sum(not child.n_chunks for child in children) + 1


def next_to_feed(children: Sequence[ChildState], workers: int, *, is_fast: bool) -> int | None:
    """The position of the child that gets the next rows; None where none is to have more.

    Args:
        children: The processes that there are.
        workers: How many run rows at the same time.
        is_fast: Whether a child should have its next chunk before it asks.
    """
    able = [
        (position, child)
        for position, child in enumerate(children)
        if child.is_ready and not child.is_terminated and not child.is_overdue
    ]
    if sum(child.n_chunks > 0 for child in children) < workers:
        for position, child in able:
            if not child.n_chunks:
                return position
    if is_fast:
        for position, child in able:
            if child.n_chunks == 1 and not child.gives_back:
                return position
    return None


def children_to_ask_back(children: Sequence[ChildState], workers: int, now_s: float) -> list[int]:
    """The positions of busy children whose rows idle ones could run; rows differ in the time that they take."""
    if sum(child.n_chunks > 0 for child in children) >= min(workers, sum(child.is_ready for child in children)):
        return []
    return [
        position
        for position, child in enumerate(children)
        if child.n_remaining > 1 and now_s - child.last_message_s >= _REBALANCE_S
    ]


def is_bloated(used_bytes: int, baseline_bytes: int, limit_bytes: int) -> bool:
    """Whether earlier specs have left so much memory in an idle child that the next could reach the limit."""
    kept = used_bytes - baseline_bytes
    return kept != 0 and kept >= (limit_bytes - baseline_bytes) / 2


def wait_s(
    children: Sequence[ChildState], *, now_s: float, execution_timeout_s: float, memory_due_s: float | None
) -> float:
    """For how many seconds nothing is due, unless a message, a death or a stop comes.

    Args:
        children: The processes that there are.
        now_s: The time, on the monotonic clock as all times here.
        execution_timeout_s: How long one attempt may take.
        memory_due_s: When memory is measured next; None where there is no limit.
    """
    # a spec that begins while this waits ends no sooner than that
    until_s = now_s + min(HEARTBEAT_S, execution_timeout_s)
    for child in children:
        if child.is_overdue:
            until_s = min(until_s, now_s + _STACK_POLL_S)
        elif child.n_chunks:
            if child.snapshot.phase is not Phase.IDLE:
                until_s = min(until_s, child.snapshot.started_s + child.paused_s + execution_timeout_s)
            if memory_due_s is not None:
                until_s = min(until_s, memory_due_s)
            if len(children) > 1 and child.n_remaining > 1:
                until_s = min(until_s, max(now_s, child.last_message_s) + _REBALANCE_S)
        if child.is_polled:
            until_s = min(until_s, now_s + _DESCRIPTOR_POLL_S)
    return max(0.0, until_s - now_s)


@dataclass(frozen=True, slots=True)
class Overdue:
    """A spec that is out of time, while its process writes down where it is.

    Attributes:
        snapshot: The spec.
        until_s: When the time for that is over.
    """

    snapshot: Snapshot
    until_s: float


def is_stalled(children: Sequence[ChildState], *, has_rows: bool) -> bool:
    """Whether a run would wait for ever: rows wait, no process has any, and none is about to be ready or dead.

    Args:
        children: The processes that there are, after rows were given to them.
        has_rows: Whether rows wait that are to be run.
    """
    idle = all(child.is_ready and not child.n_chunks and not child.is_terminated for child in children)
    return has_rows and idle


class TimeAction(Enum):
    """What is due for a child, by its time."""

    NOTHING = auto()
    ASK_FOR_STACK = auto()
    FORGET = auto()  # the spec that was out of time has just finished
    TERMINATE = auto()


def time_action(
    snapshot: Snapshot,
    overdue: Overdue | None,
    *,
    now_s: float,
    execution_timeout_s: float,
    has_stack: bool,
    paused_s: float = 0.0,
) -> TimeAction:
    """What is due for a child, by its time.

    Args:
        snapshot: What it is doing.
        overdue: What it was doing when it was asked for its stack; None where it was not asked.
        now_s: The time.
        execution_timeout_s: How long one attempt may take.
        has_stack: Whether it has written the whole stack.
        paused_s: For how long the machine has stood still during the spec, which is not its time.
    """
    if overdue is not None:
        if overdue.snapshot != snapshot:
            return TimeAction.FORGET
        return TimeAction.TERMINATE if has_stack or now_s >= overdue.until_s else TimeAction.NOTHING
    if snapshot.phase is not Phase.IDLE and now_s - snapshot.started_s - paused_s >= execution_timeout_s:
        return TimeAction.ASK_FOR_STACK
    return TimeAction.NOTHING
