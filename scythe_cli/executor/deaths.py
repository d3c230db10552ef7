"""What becomes of rows when the process that has them has ended, or one that it has forked for them."""

from __future__ import annotations

import time

from scythe_cli.executor.attribution import Death, failure_of_exit
from scythe_cli.executor.dispatch import Chunk, Dispatch
from scythe_cli.executor.process import ChildProcess
from scythe_cli.executor.protocol import Message, Phase, Snapshot
from scythe_cli.executor.rows.capture import split_fault

__all__ = ["settle_child", "settle_fork"]


def settle_child(child: ChildProcess, code: int, died_s: float, dispatch: Dispatch) -> int | None:
    """Attribute the end of a child to one of its rows, and take back the others.

    Args:
        child: One that has rows; all that it had sent was received.
        code: How it ended, negative for a signal.
        died_s: When that was noticed, on the monotonic clock.
        dispatch: The rows of the run.

    Returns:
        The `sort_index` of the row; None where it is not known.
    """
    output, stack = split_fault(child.output())
    chunk = child.chunks[0]
    death = Death(
        chunk=chunk.serial,
        n_rows=chunk.rows.num_rows,
        n_done=chunk.done,
        snapshot=child.snapshot(),
        is_mute=child.is_mute,
        terminated_at=None if child.termination is None else child.termination.snapshot,
    )
    failure = failure_of_exit(code, child.termination, is_mute=child.is_mute, stack=stack)
    return dispatch.settle(death, list(child.chunks), failure, died_s, output)


def settle_fork(chunk: Chunk, message: Message, dispatch: Dispatch) -> None:
    """Do the same for a process that a child had forked for its first rows; the child itself goes on.

    Args:
        chunk: What the child had to run first.
        message: `died`, of the child.
        dispatch: The rows of the run.
    """
    fields = message.fields
    output, stack = split_fault(bytes(message.blobs[0]).decode() or None)
    phase, *place = fields["snapshot"]
    death = Death(
        chunk=chunk.serial, n_rows=chunk.rows.num_rows, n_done=chunk.done, snapshot=Snapshot(Phase(phase), *place)
    )
    failure = failure_of_exit(fields["status"], None, is_mute=False, stack=stack)
    dispatch.settle(death, [chunk], failure, time.monotonic(), output)
