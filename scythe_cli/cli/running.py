"""How work that takes long is shown on stderr while it goes on, and what Ctrl-C does then."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Column

from scythe_cli.cli.framework import INTERRUPTED, Session
from scythe_cli.cli.output import Output, clean, live_console
from scythe_cli.cli.plain import written
from scythe_cli.cli.render.run import result_lines
from scythe_cli.cli.render.text import plural
from scythe_cli.core.processes import leave_terminal
from scythe_cli.core.progress import (
    Phase,
    PhaseCallback,
    Progress,
    ProgressCallback,
    progress_line,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from scythe_cli.analysis.packing.archive import ProgressOfFiles
    from scythe_cli.analysis.results.fetching import FetchProgress, ProgressOfFetch
    from scythe_cli.executor.limits import StopSignal
    from scythe_cli.services.allocation.plan import AllocationPlan
    from scythe_cli.services.records import AllocateResult
    from scythe_cli.services.study.records import StudyResult


__all__ = [
    "Interrupts",
    "LiveProgress",
    "PlainProgress",
    "Stop",
    "plan_and_show",
    "run_and_show",
    "show_result",
    "shown_fetch",
    "shown_files",
    "shown_progress",
    "watched",
]


_FIRST_LINE_AFTER_S = 2.0
_GROWTH = 1.6
_LONGEST_GAP_S = 300.0

_NARROW = 60
_LEAST_BAR = 6  # with the space on both sides

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

T = TypeVar("T")
ResultT = TypeVar("ResultT", "AllocateResult", "StudyResult")


def run_and_show(session: Session, run: Callable[[ProgressCallback, StopSignal], AllocateResult]) -> int:
    """Run specs with progress on stderr and Ctrl-C handled, and tell what came of it.

    Args:
        session: The command's session.
        run: What runs them.

    Returns:
        The exit code: 0 when every spec succeeded, 1 when some did not, 130 after Ctrl-C.
    """
    result, interrupts, told = watched(session.output, run)
    show_result(session, result, result_lines, told)
    if interrupts.stopped:
        how = f"; `scythe retry {result.experiment_id}` resumes it" if result.counts.pending else ""
        if not interrupts.goes_on:  # else a notice has said how to follow it
            session.output.note(f"interrupted; finished cases are kept{how}")
        return INTERRUPTED
    return 0 if result.ok else 1


def show_result(
    session: Session, result: ResultT, lines: Callable[[ResultT], list[RenderableType]], told: Collection[str]
) -> None:
    """Tell what came of a run, or of a study, in the form that was asked for.

    Args:
        session: The command's session.
        result: What came of it.
        lines: Makes what people read.
        told: The notices that were shown meanwhile, which are not shown again.
    """
    if session.options.json:
        session.output.document(result)
    elif session.options.quiet:
        session.output.print(result.experiment_id)
    else:
        session.output.print(*lines(result))
    for notice in result.notices:
        if notice not in told:
            session.output.note(notice)


def plan_and_show(session: Session, make: Callable[[ProgressCallback, StopSignal], AllocationPlan]) -> int:
    """Make a plan, with the progress of its pilot on stderr and Ctrl-C handled, and print it.

    Args:
        session: The command's session.
        make: What makes it.

    Returns:
        The exit code: 0, or 1 when rows of the pilot did not succeed, 130 after Ctrl-C.
    """
    plan, interrupts, _ = watched(session.output, make)
    if session.options.json:
        session.output.document(plan)
    else:
        from scythe_cli.cli.render.plan import plan_lines

        session.output.print(*plan_lines(plan))
    for notice in plan.notices:
        session.output.note(notice)
    if interrupts.stopped:
        return INTERRUPTED
    return 1 if plan.pilot is not None and plan.pilot.counts.unsuccessful else 0


def watched(output: Output, work: Callable[[ProgressCallback, StopSignal], T]) -> tuple[T, Interrupts, set[str]]:
    """Do work with its progress shown and Ctrl-C handled.

    Returns:
        What it returns, what the user has interrupted, and the notices that were shown meanwhile.
    """
    from scythe_cli.executor.limits import StopSignal

    stop = StopSignal()
    interrupts = Interrupts(stop, output)
    told: set[str] = set()
    with interrupts.handled(), shown_progress(output) as show:

        def progress(moment: Progress) -> None:
            interrupts.watch(moment)
            show(moment)
            if moment.notice is not None and moment.notice not in told:
                told.add(moment.notice)
                output.note(moment.notice)

        result = work(PhaseCallback(progress) if output.quiet else progress, stop)
    return result, interrupts, told


@contextmanager
def shown_progress(output: Output) -> Generator[ProgressCallback]:
    """Show progress while inside; yields what the library calls with it."""
    if output.quiet:
        yield _ignore
        return
    console = live_console()
    if console.is_terminal and not console.is_dumb_terminal:
        with LiveProgress(console).shown() as update:
            yield update
    else:
        yield PlainProgress(lambda line: print(line, file=sys.stderr, flush=True))


def _ignore(*progress: object) -> None:
    del progress


@contextmanager
def shown_fetch(output: Output) -> Generator[ProgressOfFetch]:
    """Show how many files are fetched while inside, on a terminal; yields what the library calls with it."""
    console = live_console()
    if output.quiet or not console.is_terminal or console.is_dumb_terminal:
        yield _ignore
        return
    with _bar(console, "{task.completed:,.0f}/{task.total:,.0f} files") as bar:
        task = bar.add_task("fetching", total=0)

        def update(progress: FetchProgress) -> None:
            bar.update(task, total=progress.total, completed=progress.done)

        yield update


@contextmanager
def shown_files(output: Output) -> Generator[ProgressOfFiles]:
    """The same for the files of a run that is packed or unpacked."""
    console = live_console()
    if output.quiet or not console.is_terminal or console.is_dumb_terminal:
        yield _ignore
        return
    with _bar(console, "{task.completed:,.0f}/{task.total:,.0f} files") as bar:
        task = bar.add_task("packing", total=0)

        def update(phase: str, _: str, number: int, total: int) -> None:
            bar.update(task, description=phase, total=total, completed=number)

        yield update


def _bar(console: Console, text: str) -> RichProgress:
    """A line with a bar and a text, which goes away at the end."""
    # what does not fit is cut and not marked: the mark is three columns wide in ASCII
    return RichProgress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="crop")),
        BarColumn(bar_width=None),
        TextColumn(text, markup=False, table_column=Column(no_wrap=True, overflow="crop")),
        console=console,
        transient=True,
        expand=True,
        refresh_per_second=8,
    )


class LiveProgress:
    """A line with a bar, which goes away at the end."""

    def __init__(self, console: Console) -> None:
        self._bar = _bar(console, "{task.fields[text]}")
        self._stream: Any = console.file  # and not sys.stderr, which is another while the bar is shown
        self._task: TaskID | None = None

    @contextmanager
    def shown(self) -> Generator[ProgressCallback]:
        """Show it while inside."""
        with self._bar:
            yield self.update

    def update(self, progress: Progress) -> None:
        """Show another moment."""
        counts = progress.counts
        running = progress.phase == "running"
        # phases without a count get a bar that only moves
        total = counts.total if running else None
        width = self._bar.console.width
        name = "" if running and width < _NARROW else progress.phase
        room = width - len(name) - _LEAST_BAR
        text = progress_line(progress, room) if running else written(clean(progress.detail or ""), self._stream)[:room]
        if self._task is None:
            self._task = self._bar.add_task(name, total=total, text=text)
        self._bar.update(
            self._task,
            description=name,
            total=total,
            completed=counts.total - counts.pending if running else 0,
            text=text,
        )


class PlainProgress:
    """A line now and then, at growing intervals, for logs.

    Args:
        write: Takes a line.
        clock: Tells the seconds.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._phase: Phase | None = None
        self._gap_s = _FIRST_LINE_AFTER_S
        self._next = clock() + self._gap_s

    def __call__(self, progress: Progress) -> None:
        """Write a line when the phase is a new one that is worth telling, or when it is time."""
        now = self._clock()
        starts = progress.phase == "running" and self._phase != "running"
        self._phase = progress.phase
        if starts:
            self._write(f"running {plural(progress.counts.total, 'case')}")
            self._next = now + self._gap_s
        elif now >= self._next:
            if progress.phase == "running":
                self._write(f"running: {progress_line(progress)}")
            else:
                self._write(f"{progress.phase}: {clean(progress.detail or '')}".rstrip(": "))
            self._gap_s = min(self._gap_s * _GROWTH, _LONGEST_GAP_S)
            self._next = now + self._gap_s


class Stop(Protocol):
    """What stops a run: a `StopSignal`."""

    def drain(self) -> None:
        """Start nothing more, and let finish what runs."""
        ...

    def kill(self) -> None:
        """Stop what runs as well."""
        ...


class Interrupts:
    """Turns Ctrl-C into what fits the phase of a run; also the signals that end a job, or come with the terminal's end.

    Before specs run, Ctrl-C ends the command. While they run, the first lets running specs finish and the second
    stops them, as the other signals do at once. While tables are written, the first waits for them. Any further one
    ends the command where it stands.

    Where a fleet runs the specs, the first signal of whatever kind ends the wait, and nothing else.

    Attributes:
        stopped: Whether the user has interrupted.
        goes_on: Whether the run goes on by itself.
    """

    def __init__(self, stop: Stop, output: Output) -> None:
        self.stopped = self.goes_on = False
        self._stop = stop
        self._output = output
        self._phase: Phase = "checking"
        self._count = 0

    def watch(self, progress: Progress) -> None:
        """Take note of the phase."""
        self._phase, self.goes_on = progress.phase, self.goes_on or progress.goes_on

    @contextmanager
    def handled(self) -> Generator[None]:
        """Handle SIGINT, SIGTERM and SIGHUP inside, but for those that this process was started to ignore, by `nohup`.

        Outside the main thread, where Python allows no handlers, do nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN)
        before = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGHUP:
            leave_terminal()
        self._count += 1
        self.stopped = True
        if self._phase in ("checking", "uploading") or self._count > 2:
            raise KeyboardInterrupt
        if self._phase == "gathering":
            if self._count > 1:
                raise KeyboardInterrupt
            self._output.note("writing the tables; Ctrl-C again stops at once")
        elif self.goes_on:
            self._stop.drain()
            self._output.note("no longer waiting for the run")
        elif number != signal.SIGINT or self._count == 2:
            self._stop.kill()
            self._output.note("stopping at once")
        else:
            self._stop.drain()
            self._output.note("finishing the running cases; Ctrl-C again stops at once")
