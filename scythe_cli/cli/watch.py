"""`scythe status --watch`: a run followed from outside, until it is done."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from scythe_cli.cli.arguments import parse_timeout
from scythe_cli.cli.framework import INTERRUPTED, Session
from scythe_cli.cli.output import Output, clean, live_console
from scythe_cli.cli.render.run import failure_line, progress_bar, queue_line, running_line, states_line, status_lines
from scythe_cli.cli.render.text import facts, heading
from scythe_cli.core.progress import Progress, progress_line
from scythe_cli.core.quantities import format_duration, format_rate
from scythe_cli.services.runs.watching import is_idle, seconds_ago

if TYPE_CHECKING:
    from scythe_cli.run.records import RunStatus


__all__ = ["PlainWatch", "show_moments", "watch_frame", "watch_run"]


_LEAST_GAP_S = 5.0
_WIDEST = 100


def watch_run(session: Session, reference: str, timeout: str | None) -> int:
    """Follow a run, with what changes on stderr and how it ended on stdout.

    Returns:
        The exit code: 0 when every spec succeeded, 1 when some did not or nothing is at work on them, 130 after Ctrl-C.
    """
    from scythe_cli.services.runs.watching import RunWatch

    project = session.project()
    run = project.run(reference)
    watch = RunWatch(run, timeout_s=parse_timeout(timeout), engine=project.engine_of(run))
    return show_moments(session.output, watch.moments())


def show_moments(output: Output, moments: Iterator[RunStatus]) -> int:
    """Show a run's moments until there are no more, and then how it ended.

    Returns:
        The exit code, as `watch_run` gives it.
    """
    remembered = _Remembered(moments)
    last_document: RunStatus | None = None
    try:
        with closing(_shown(output, remembered)) as shown:
            for status in shown:
                if output.as_json and (last_document is None or _tells_something(last_document, status)):
                    last_document = status
                    output.line(status)
    except KeyboardInterrupt:
        last = remembered.latest
        how = "" if last is None or is_idle(last) else "; the run goes on"
        output.note(f"no longer watching{how}")
        return INTERRUPTED
    last = remembered.latest
    if last is None:
        return 0
    if not output.as_json:
        output.print(*status_lines(last))
        if last.notice:
            output.note(last.notice)
    elif last is not last_document:
        output.line(last)
    return 0 if last.counts is None or last.counts.succeeded == last.counts.total else 1


class _Remembered:
    """The same moments, each kept before it is passed on.

    Ctrl-C may come at any time, also between showing a moment and going on to the next: what was shown is known then.

    Attributes:
        latest: The last moment that was passed on.
    """

    def __init__(self, moments: Iterator[RunStatus]) -> None:
        self.latest: RunStatus | None = None
        self._moments = moments

    def __iter__(self) -> Generator[RunStatus]:
        for status in self._moments:
            self.latest = status
            yield status


def _tells_something(before: RunStatus, now: RunStatus) -> bool:
    """Whether a moment differs from another in more than the time."""
    ignored = {"rate_per_s", "eta_s", "running"}
    return before.model_dump(exclude=ignored) != now.model_dump(exclude=ignored)


def _shown(output: Output, moments: Iterable[RunStatus]) -> Generator[RunStatus]:
    """The same moments, each shown on stderr."""
    console = live_console()
    if output.quiet:
        yield from moments
    elif console.is_terminal and not console.is_dumb_terminal:
        yield from _live(console, moments)
    else:
        show = PlainWatch(lambda line: print(line, file=sys.stderr, flush=True))
        for moment in moments:
            show(moment)
            yield moment


def _live(console: Console, moments: Iterable[RunStatus]) -> Generator[RunStatus]:
    latest: RunStatus | None = None

    def frame() -> RenderableType:
        # drawn twice a second, so that times go on between two looks
        return Text("looking …") if latest is None else watch_frame(latest, console.width)

    with Live(get_renderable=frame, console=console, transient=True, refresh_per_second=2) as live:
        for latest in moments:
            live.refresh()
            yield latest


def watch_frame(status: RunStatus, width: int) -> RenderableType:
    """A picture of a run that goes on, in as many columns."""
    width = min(width, _WIDEST)
    lines: list[RenderableType] = [heading(status.experiment_id)]
    counts = status.counts
    if counts is not None:
        done = counts.total - counts.pending
        # all done is said only when it is so
        share = f"{int(done / counts.total * 100) if counts.total else 100} %"
        said = f"  {done:,}/{counts.total:,}  {share}"
        lines += [
            Text.assemble(progress_bar(counts, max(width - len(said) - 1, 10)), said),
            states_line(counts, status.failing),
            "",
        ]
    eta_s = None if counts is None or not counts.pending or is_idle(status) else status.eta_s
    last = f"{format_duration(seconds_ago(status.last_outcome_at))} ago" if status.last_outcome_at else None
    pairs = [
        ("rate", format_rate(status.rate_per_s) if status.rate_per_s else None),
        ("time left", None if eta_s is None else f"about {format_duration(eta_s)}"),
        ("last case", last),
        ("at work", status.at_work),
        ("running", running_line(status.running) if status.running else None),
        ("workers", None if status.workers is None else ", ".join(status.workers) or "none"),
        ("tasks", None if status.queue is None else queue_line(status.queue)),
    ]
    lines.append(_cut(facts(pairs), width))
    if status.last_failures:
        failures = Text("\n").join(Text(f"  {failure_line(error)}") for error in status.last_failures)
        lines += ["", Text("last failures", style="bold"), _cut(failures, width)]
    if status.notice:
        lines += ["", Text.assemble(("note: ", "bold cyan"), clean(status.notice))]
    lines += ["", Text("Ctrl-C stops watching, not the run.", style="dim")]
    return Group(*lines)


def _cut(text: Text, width: int) -> Text:
    """Lines that do not fit end with an ellipsis."""
    lines = text.split("\n")
    for line in lines:
        line.truncate(width - 1, overflow="ellipsis")
    return Text("\n").join(lines)


class PlainWatch:
    """A line when something has changed, and not more often than every few seconds, for logs.

    Args:
        write: Takes a line.
        clock: Tells the seconds.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._next = clock()
        self._told: tuple[object, ...] | None = None
        self._notice: str | None = None
        self._failed = 0

    def __call__(self, status: RunStatus) -> None:
        """Write a line when it is time and there is something to tell."""
        counts = status.counts
        what = (counts, status.failing, status.notice, status.gathered)
        now = self._clock()
        if counts is None or what == self._told or now < self._next:
            return
        self._told = what
        self._next = now + _LEAST_GAP_S
        rate_per_s, eta_s = (None, None) if is_idle(status) else (status.rate_per_s, status.eta_s)
        line = progress_line(Progress("running", counts, rate_per_s, eta_s, failing=status.failing))
        parts = [f"{status.experiment_id}: {line}"]
        failed = counts.unsuccessful + status.failing
        if failed > self._failed and status.last_failures:
            parts.append(f"last failure: {failure_line(status.last_failures[0])}")
        self._failed = failed
        if status.notice and status.notice != self._notice:
            parts.append(clean(status.notice))
        self._notice = status.notice
        self._write("; ".join(parts))
