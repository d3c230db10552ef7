"""What a notebook shows: records as small tables, and the progress of a run.

The HTML has no colours, scripts or resources of its own, so that it fits every theme; all text in it is escaped.
IPython is never loaded from here: where there is a notebook, it is loaded already.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from scythe_cli.core.html import facts_html, safe_html
from scythe_cli.core.progress import Progress, ProgressCallback, progress_line
from scythe_cli.core.quantities import format_duration
from scythe_cli.core.records import StateCounts
from scythe_cli.errors import ScytheError

if TYPE_CHECKING:
    from scythe_cli.run.stored_run import StoredRun


__all__ = ["NotebookProgress", "in_notebook", "notebook_progress", "run_html"]


_EVERY_S = 0.25
_PLAIN_EVERY_S = 5.0


def run_html(run: StoredRun) -> str:
    """A run as a table: how its cases stand, and its final tables."""
    rows: list[tuple[str, Any]] = [("run", run.experiment_id), ("folder", run.uri)]
    try:
        status = run.status()
    except ScytheError as error:
        rows.append(("problem", error.message))
    else:
        cases = status.n_specs if status.counts is None else status.counts.told()
        rows += [("cases", cases), ("tables", status.tables), ("engine", status.engine)]
        rows += [("note", status.notice)] if status.notice else []
    return f"<div><b>Run</b>{facts_html(rows)}</div>"


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    module: Any = sys.modules.get("IPython")
    shell: Any = module.get_ipython() if module is not None and hasattr(module, "get_ipython") else None
    return shell is not None and getattr(shell, "kernel", None) is not None


@contextmanager
def notebook_progress(requested: ProgressCallback | None) -> Generator[ProgressCallback | None]:
    """Yield what to call with progress: what was requested, else in a notebook a display, else nothing."""
    if requested is not None or not in_notebook():
        yield requested
        return
    progress = NotebookProgress()
    try:
        yield progress
    except BaseException:
        progress.finish(stopped=True)
        raise
    progress.finish()


def _words(progress: Progress) -> str:
    if progress.phase == "running":
        return " · ".join(filter(None, [progress_line(progress), progress.notice]))
    return " ".join([progress.phase, progress.detail or ""]).strip()


class NotebookProgress:
    """Shows how far a run is: in a notebook a bar below the cell, elsewhere a line of text now and then.

        project.allocate("cases.csv", progress=NotebookProgress())

    Args:
        stream: Where lines go outside a notebook; stderr unless given.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._is_display = in_notebook()
        self._id: str | None = None
        self._shown: tuple[str, int, int] | None = None
        self._began_s = time.monotonic()
        self._due_s = 0.0
        self._counts = StateCounts()

    def __call__(self, progress: Progress) -> None:
        """Show a moment, when it is time; a new phase and the end are always shown."""
        now_s = time.monotonic()
        counts = progress.counts
        is_last = progress.phase == "running" and counts.total > 0 and counts.pending == 0
        what = progress.phase, counts.pending, progress.failing
        is_new = self._shown is None or self._shown[0] != progress.phase
        if (now_s < self._due_s and not is_new and not is_last) or what == self._shown:
            return
        self._shown = what
        self._due_s = now_s + (_EVERY_S if self._is_display else _PLAIN_EVERY_S)
        if self._is_display:
            self._display(progress)
        elif progress.phase == "running":
            print(_words(progress), file=self._stream or sys.stderr, flush=True)

    def finish(self, *, stopped: bool = False) -> None:
        """Leave in the notebook what came of it, in place of the bar; elsewhere nothing.

        Args:
            stopped: Whether it was stopped, or something went wrong.
        """
        if self._id is None:
            return
        counts, took = self._counts, format_duration(time.monotonic() - self._began_s)
        done = f"{counts.total - counts.pending:,}/{counts.total:,} cases" if counts.total else ""
        bad = f"{counts.unsuccessful:,} failed" if counts.unsuccessful else ""
        self._show("", " · ".join(filter(None, ["stopped" if stopped else "", done, bad, took])))

    def _display(self, progress: Progress) -> None:
        counts = progress.counts
        if progress.phase == "running":
            self._counts = counts  # the other phases do not tell
        done = self._counts.total - self._counts.pending
        value = f' value="{done}"' if progress.phase in ("running", "gathering") else ""
        bar = f'<progress max="{max(counts.total, 1)}"{value} style="width: 20em"></progress> '
        self._show(bar, _words(progress))

    def _show(self, bar: str, text: str) -> None:
        display: Any = sys.modules["IPython"].display
        bundle = {"text/html": f"<div>{bar}{safe_html(text)}</div>", "text/plain": text}
        if self._id is None:
            self._id = f"scythe-{id(self)}-{time.monotonic_ns()}"
            display.display(bundle, raw=True, display_id=self._id)
        else:
            display.update_display(bundle, raw=True, display_id=self._id)
