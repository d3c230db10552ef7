"""What a notebook shows: records as small tables, and how far a run is.

The HTML has no colours, scripts or resources of its own, so that it fits every theme; all text in it is escaped.
IPython is never loaded from here: where there is a notebook, it is loaded already.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any, TextIO, cast

from pydantic import BaseModel

from scythe_cli.errors import ScytheError
from scythe_cli.progress import Progress, ProgressCallback, progress_line
from scythe_cli.quantities import format_duration, format_size
from scythe_cli.visible import visible

if TYPE_CHECKING:
    from scythe_cli.runs import Run

__all__ = ["NotebookProgress", "in_notebook", "notebook_progress", "record_html", "run_html"]

_MOST_ROWS = 20
_MOST_ITEMS = 12
_LONGEST = 300
_MOST_LINES = 12
_EVERY_S = 0.25
_PLAIN_EVERY_S = 5.0
_LEFT = 'style="text-align: left"'


# --- records ------------------------------------------------------------------------------------------------------


def record_html(record: BaseModel) -> str:
    """A record as a table of its fields."""
    rows = ((name, getattr(record, name)) for name in [*type(record).model_fields, *type(record).model_computed_fields])
    return f"<div><b>{_safe(type(record).__name__)}</b>{_facts(rows)}</div>"


def run_html(run: Run) -> str:
    """A run as a table: how its specs stand, and its final tables."""
    rows: list[tuple[str, Any]] = [("run", run.experiment_id), ("folder", run.uri)]
    try:
        status = run.status()
    except ScytheError as error:
        rows.append(("problem", error.message))
    else:
        counts = {} if status.counts is None else status.counts.model_dump()
        states = ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)
        rows += [("specs", status.n_specs), ("states", states), ("tables", status.tables), ("engine", status.engine)]
        rows += [("note", status.notice)] if status.notice else []
    return f"<div><b>Run</b>{_facts(rows)}</div>"


def _facts(rows: Iterable[tuple[str, Any]]) -> str:
    lines = [
        f"<tr><th {_LEFT}>{_safe(name)}</th><td {_LEFT}>{_cell(name, value)}</td></tr>"
        for name, value in rows
        if value is not None and value != "" and value != [] and value != {}
    ]
    return f"<table><tbody>{''.join(lines)}</tbody></table>"


def _cell(name: str, value: Any) -> str:
    """A value as HTML; lists of records or of rows as a table."""
    if isinstance(value, BaseModel):
        return _facts((field, getattr(value, field)) for field in type(value).model_fields)
    if isinstance(value, list) and value:
        items = cast("list[Any]", value)
        records = [_fields(item) for item in items[:_MOST_ROWS]]
        if all(record is not None for record in records):
            return _grid([record for record in records if record is not None], len(items))
        return _text(_some(items, ", "))
    if isinstance(value, Mapping):
        pairs = cast("Mapping[Any, Any]", value)
        return _text(_some([f"{key}: {_plain('', item)}" for key, item in pairs.items()], "\n"))
    return _text(_plain(name, value))


def _fields(item: Any) -> dict[str, Any] | None:
    if isinstance(item, BaseModel):
        return {name: getattr(item, name) for name in type(item).model_fields}
    return {str(key): value for key, value in cast("dict[Any, Any]", item).items()} if isinstance(item, dict) else None


def _grid(records: Sequence[Mapping[str, Any]], n: int) -> str:
    """A table with a row for each record; columns in which there is nothing are left out."""
    names = dict.fromkeys(key for record in records for key in record)
    shown = [name for name in names if any(record.get(name) not in (None, "", []) for record in records)]
    head = "".join(f"<th {_LEFT}>{_safe(name)}</th>" for name in shown)
    body = "".join(
        f"<tr>{''.join(f'<td {_LEFT}>{_text(_plain(name, record.get(name)))}</td>' for name in shown)}</tr>"
        for record in records
    )
    more = f"<div>and {n - len(records):,} more</div>" if n > len(records) else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _some(items: Sequence[Any], between: str) -> str:
    shown = between.join(_plain("", item) for item in items[:_MOST_ITEMS])
    return shown + (f"{between}and {len(items) - _MOST_ITEMS:,} more" if len(items) > _MOST_ITEMS else "")


def _plain(name: str, value: Any) -> str:
    """A value as a person writes it; durations and sizes are told by the name of their field."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and name.endswith("_s") and not name.endswith("_per_s"):
        return format_duration(value)
    if isinstance(value, int) and name.endswith("_bytes"):
        return format_size(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return str(value)


def _text(text: str) -> str:
    """Text, escaped and no longer than one wants to read in a table."""
    lines = text.splitlines() or [""]
    if len(lines) > _MOST_LINES:
        lines = ["…", *lines[1 - _MOST_LINES :]]  # of a traceback the end tells most
    return "<br>".join(_safe(line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…") for line in lines)


def _safe(text: str) -> str:
    return escape(visible(text))


# --- progress -----------------------------------------------------------------------------------------------------


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    module: Any = sys.modules.get("IPython")
    shell: Any = module.get_ipython() if module is not None and hasattr(module, "get_ipython") else None
    return shell is not None and getattr(shell, "kernel", None) is not None


def notebook_progress(given: ProgressCallback | None) -> ProgressCallback | None:
    """What to call with progress: what was given, else in a notebook a display, else nothing."""
    return NotebookProgress() if given is None and in_notebook() else given


def _words(progress: Progress) -> str:
    if progress.phase == "running":
        return progress_line(progress)
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
        self._shown: tuple[str, int] | None = None
        self._due_s = 0.0
        self._done = 0

    def __call__(self, progress: Progress) -> None:
        """Show a moment, when it is time; a new phase and the end are always shown."""
        now_s = time.monotonic()
        counts = progress.counts
        is_last = progress.phase == "running" and counts.total > 0 and counts.pending == 0
        what = progress.phase, counts.pending
        is_new = self._shown is None or self._shown[0] != progress.phase
        if (now_s < self._due_s and not is_new and not is_last) or what == self._shown:
            return
        self._shown = what
        self._due_s = now_s + (_EVERY_S if self._is_display else _PLAIN_EVERY_S)
        if self._is_display:
            self._display(progress)
        elif progress.phase == "running":
            print(_words(progress), file=self._stream or sys.stderr, flush=True)

    def _display(self, progress: Progress) -> None:
        display: Any = sys.modules["IPython"].display
        counts = progress.counts
        text = _words(progress)
        if progress.phase == "running":
            self._done = counts.total - counts.pending  # the other phases do not tell
        value = f' value="{self._done}"' if progress.phase in ("running", "gathering") else ""
        bar = f'<progress max="{max(counts.total, 1)}"{value} style="width: 20em"></progress>'
        bundle = {"text/html": f"<div>{bar} {_safe(text)}</div>", "text/plain": text}
        if self._id is None:
            self._id = f"scythe-{id(self)}-{time.monotonic_ns()}"
            display.display(bundle, raw=True, display_id=self._id)
        else:
            display.update_display(bundle, raw=True, display_id=self._id)
