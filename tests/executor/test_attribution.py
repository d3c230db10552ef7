"""Which row a death is attributed to, and what becomes of the others: no process is needed to tell."""

from __future__ import annotations

import itertools
import signal

import pytest

from scythe_cli.core.states import State
from scythe_cli.executor.attribution import (
    Death,
    Evidence,
    Resolution,
    Span,
    describe_exit,
    evidence_of,
    failure_of_exit,
    is_start_hopeless,
    over_memory,
    over_time,
    resolve,
)
from scythe_cli.executor.protocol import EXIT_BAD_DESCRIPTOR, Phase, Snapshot

CHUNK, OTHER = 7, 6


def at(phase: Phase, row: int = 0, end: int = 0, *, chunk: int = CHUNK, started_s: float = 1.0) -> Snapshot:
    return Snapshot(phase, chunk, row, end, started_s)


IDLE, BUILDING, RUNNING = Phase.IDLE, Phase.BUILDING, Phase.RUNNING
LATER = at(IDLE, 3, started_s=2.0)


@pytest.mark.parametrize(
    ("phase", "chunk", "n_rows", "is_mute", "evidence"),
    [
        (RUNNING, CHUNK, 10, False, Evidence.RUNNING),
        (RUNNING, CHUNK, 1, False, Evidence.RUNNING),
        (RUNNING, CHUNK, 10, True, Evidence.BETWEEN),
        (RUNNING, CHUNK, 1, True, Evidence.RUNNING),
        (BUILDING, CHUNK, 10, False, Evidence.BUILDING),
        (BUILDING, CHUNK, 1, False, Evidence.RUNNING),
        (BUILDING, CHUNK, 10, True, Evidence.BETWEEN),
        (BUILDING, CHUNK, 1, True, Evidence.RUNNING),
        (IDLE, CHUNK, 10, False, Evidence.BETWEEN),
        (IDLE, CHUNK, 1, False, Evidence.RUNNING),
        (IDLE, CHUNK, 10, True, Evidence.BETWEEN),
        (IDLE, CHUNK, 1, True, Evidence.RUNNING),
        *((phase, OTHER, 10, is_mute, Evidence.NONE) for phase in Phase for is_mute in (False, True)),
        *((phase, OTHER, 1, is_mute, Evidence.NONE_ALONE) for phase in Phase for is_mute in (False, True)),
    ],
)
def test_evidence(phase: Phase, chunk: int, n_rows: int, is_mute: bool, evidence: Evidence) -> None:
    row = 3 if n_rows > 1 else 0
    snapshot = at(phase, row, 5, chunk=chunk)
    death = Death(CHUNK, n_rows, 0, snapshot, is_mute)
    assert evidence_of(death) is evidence
    # a child that was ended for a limit, and did not go on after that, tells the same
    assert evidence_of(Death(CHUNK, n_rows, 0, snapshot, is_mute, terminated_at=snapshot)) is evidence
    # the spec that it was ended for has finished, whatever it did next
    assert evidence_of(Death(CHUNK, n_rows, 0, snapshot, is_mute, terminated_at=LATER)) is Evidence.SURVIVED


def alone(start: int, stop: int) -> Span:
    return Span(start, stop, alone=True)


def survived(start: int, stop: int) -> Span:
    return Span(start, stop, survived=True)


@pytest.mark.parametrize(
    ("n_rows", "n_done", "snapshot", "evidence", "n_times", "resolution"),
    [
        # in the middle of a chunk: one row fails, those before and after run again
        (10, 2, at(RUNNING, 5), Evidence.RUNNING, 1, Resolution((survived(2, 5), Span(6, 10)), 5)),
        (10, 5, at(RUNNING, 5), Evidence.RUNNING, 1, Resolution((Span(6, 10),), 5)),
        (10, 0, at(RUNNING, 0), Evidence.RUNNING, 1, Resolution((Span(1, 10),), 0)),
        (10, 2, at(RUNNING, 9), Evidence.RUNNING, 1, Resolution((survived(2, 9),), 9)),
        (10, 9, at(RUNNING, 9), Evidence.RUNNING, 1, Resolution((), 9)),
        # alone, it is the only one
        (1, 0, at(RUNNING, 0), Evidence.RUNNING, 1, Resolution((), 0)),
        (1, 0, at(BUILDING, 0, 1), Evidence.RUNNING, 1, Resolution((), 0)),
        (1, 0, at(IDLE, 0, 1), Evidence.RUNNING, 1, Resolution((), 0)),
        (1, 0, at(RUNNING, 50), Evidence.RUNNING, 1, Resolution((), 0)),
        # whichever of those being built it was, alone it will show
        (10, 0, at(BUILDING, 4, 8), Evidence.BUILDING, 1, Resolution((Span(0, 4), alone(4, 8), Span(8, 10)))),
        (10, 4, at(BUILDING, 4, 10), Evidence.BUILDING, 1, Resolution((alone(4, 10),))),
        (10, 0, at(BUILDING, 0, 10), Evidence.BUILDING, 1, Resolution((alone(0, 10),))),
        # between rows: those that were run and not sent, alone
        (10, 2, at(IDLE, 5), Evidence.BETWEEN, 1, Resolution((alone(2, 6), Span(6, 10)))),
        (10, 6, at(IDLE, 5), Evidence.BETWEEN, 1, Resolution((Span(6, 10),))),
        (10, 0, at(IDLE, 9), Evidence.BETWEEN, 1, Resolution((alone(0, 10),))),
        (10, 0, at(RUNNING, 5), Evidence.BETWEEN, 1, Resolution((alone(0, 6), Span(6, 10)))),
        # the board may tell of more rows than there are
        (10, 0, at(IDLE, 50), Evidence.BETWEEN, 1, Resolution((alone(0, 10),))),
        # the first death before any row may be by chance, the next is not
        (10, 0, at(IDLE, 5, chunk=OTHER), Evidence.NONE, 1, Resolution((Span(0, 10),))),
        (10, 0, at(IDLE, 5, chunk=OTHER), Evidence.NONE, 2, Resolution((alone(0, 10),))),
        (10, 0, at(IDLE, 5, chunk=OTHER), Evidence.NONE, 9, Resolution((alone(0, 10),))),
        (1, 0, at(IDLE, 5, chunk=OTHER), Evidence.NONE_ALONE, 1, Resolution((alone(0, 1),), has_begun=False)),
        (1, 0, at(IDLE, 5, chunk=OTHER), Evidence.NONE_ALONE, 2, Resolution((alone(0, 1),), has_begun=False)),
        (1, 0, at(IDLE, 5, chunk=OTHER), Evidence.NONE_ALONE, 3, Resolution((), 0, has_begun=False)),
        # ended for a spec that had just finished: nothing fails
        (10, 2, at(RUNNING, 5), Evidence.SURVIVED, 1, Resolution((Span(2, 10),))),
        (1, 0, at(IDLE, 0), Evidence.SURVIVED, 1, Resolution((Span(0, 1),))),
        (10, 10, at(IDLE, 9), Evidence.SURVIVED, 1, Resolution(())),
    ],
)
def test_resolution(
    n_rows: int, n_done: int, snapshot: Snapshot, evidence: Evidence, n_times: int, resolution: Resolution
) -> None:
    assert resolve(Death(CHUNK, n_rows, n_done, snapshot), evidence, n_times) == resolution


def test_no_row_is_lost_or_run_twice() -> None:
    sizes = [(n, done, row) for n in (1, 2, 5) for done in range(n) for row in range(done, n)]
    others = itertools.product(Phase, (CHUNK, OTHER), (False, True), (None, LATER), (1, 2, 3))
    for (n, done, row), (phase, chunk, is_mute, terminated_at, n_times) in itertools.product(sizes, list(others)):
        death = Death(CHUNK, n, done, at(phase, row, n, chunk=chunk), is_mute, terminated_at)
        resolution = resolve(death, evidence_of(death), n_times)
        rows = [position for span in resolution.again for position in range(span.start, span.stop)]
        assert rows == sorted(rows)
        if resolution.attributed is not None:
            rows.append(resolution.attributed)
        assert sorted(rows) == list(range(done, n)), death


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (0, "ProcessExit", "the process exited with code 0 by itself"),
        (3, "ProcessExit", "the process exited with code 3 by itself"),
        (-signal.SIGABRT, "SIGABRT", "the process died from SIGABRT"),
        (-signal.SIGSEGV, "SIGSEGV", "the process died from SIGSEGV"),
        (-signal.SIGBUS, "SIGBUS", "the process died from SIGBUS"),
        (-signal.SIGTERM, "SIGTERM", "the process was killed by SIGTERM"),
        (-signal.SIGKILL, "SIGKILL", "the process was killed by SIGKILL (from outside, or out of memory)"),
        (-200, "Signal", "the process was killed by signal 200"),
        (
            EXIT_BAD_DESCRIPTOR,
            "FileDescriptors",
            "the process was stopped: it closed or wrote to file descriptors that are not its own, or "
            "its temporary files were removed",
        ),
    ],
)
def test_how_a_process_ended(code: int, kind: str, message: str) -> None:
    assert describe_exit(code) == (kind, message)
    failure = failure_of_exit(code, None, is_mute=False, stack="here")
    assert (failure.state, failure.error_type, failure.message, failure.traceback) == (
        State.CRASHED,
        kind,
        message,
        "here",
    )


def test_why_the_parent_ended_a_process() -> None:
    mute = failure_of_exit(-signal.SIGKILL, None, is_mute=True, stack=None)
    assert (mute.state, mute.error_type) == (State.CRASHED, "FileDescriptors")
    slow = failure_of_exit(-signal.SIGKILL, over_time(at(RUNNING), 0.6), is_mute=True, stack="here")
    assert (slow.state, slow.error_type, slow.message) == (State.TIMEOUT, "Timeout", "still running after 600 ms")
    assert slow.traceback == "here"
    # when it has gone on to another row meanwhile, that one is not to blame
    assert over_time(at(RUNNING, 4), 0.6).snapshot == over_memory(at(RUNNING, 4), 2, 1).snapshot == at(RUNNING, 4)
    large = failure_of_exit(-signal.SIGKILL, over_memory(at(RUNNING), 1_234_000_000, 10**9), is_mute=False, stack=None)
    assert (large.state, large.error_type) == (State.CRASHED, "MemoryLimit")
    assert large.message == "used 1.2 GB, the limit is 1.0 GB"


@pytest.mark.parametrize(
    ("n_failed", "has_started", "hopeless"),
    [(1, False, True), (1, True, False), (2, True, False), (3, True, True), (4, True, True)],
)
def test_when_no_further_process_is_tried(n_failed: int, has_started: bool, hopeless: bool) -> None:
    assert is_start_hopeless(n_failed, has_started=has_started) == hopeless
