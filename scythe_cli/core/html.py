"""What a notebook shows of records and lists of them, as small tables of HTML, and offers after a dot.

No colors, scripts or resources of its own, so that it fits every theme; all text in it is escaped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar, cast

from scythe_cli.core.quantities import format_duration, format_size
from scythe_cli.core.text import visible

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["RecordList", "facts_html", "list_html", "offered", "record_html", "safe_html"]

_T = TypeVar("_T")

_MOST_ROWS = 20
_MOST_ITEMS = 12
_LONGEST = 300
_MOST_LINES = 12
_ALIGNED = 'style="text-align: left"'


def offered(thing: object, names: Iterable[str], hidden: Iterable[str] = ()) -> list[str]:
    """What the Tab key offers after a dot: the public names but those for the program itself, and the usual others."""
    public = {name for name in names if not name.startswith("_")} - {*hidden}
    return sorted(public | {name for name in object.__dir__(thing) if name.startswith("_")})


class RecordList(list[_T]):
    """A list of records, which a notebook shows as a table."""

    def _repr_html_(self) -> str:
        return list_html(self)


def record_html(record: BaseModel) -> str:
    """A record as a table of its fields."""
    rows = ((name, getattr(record, name)) for name in [*type(record).model_fields, *type(record).model_computed_fields])
    return f"<div><b>{safe_html(type(record).__name__)}</b>{facts_html(rows)}</div>"


def facts_html(rows: Iterable[tuple[str, Any]]) -> str:
    """A table of two columns: names, and what they stand for."""
    lines = [
        f"<tr><th {_ALIGNED}>{safe_html(name)}</th><td {_ALIGNED}>{_cell(name, value)}</td></tr>"
        for name, value in rows
        if value is not None and value != "" and value != [] and value != {}
    ]
    return f"<table><tbody>{''.join(lines)}</tbody></table>"


def list_html(items: Sequence[Any]) -> str:
    """A list of records as a table with a row for each."""
    return f"<div>{_cell('', list(items))}</div>" if items else "<div>none</div>"


def _cell(name: str, value: Any) -> str:
    """A value as HTML; lists of records or of rows as a table."""
    from pydantic import BaseModel  # a list in a command does without

    if isinstance(value, BaseModel):
        return facts_html((field, getattr(value, field)) for field in type(value).model_fields)
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
    from pydantic import BaseModel

    if isinstance(item, BaseModel):
        return {name: getattr(item, name) for name in type(item).model_fields}
    if dataclasses.is_dataclass(item):
        return {each.name: getattr(item, each.name) for each in dataclasses.fields(item)}
    return {str(key): value for key, value in cast("dict[Any, Any]", item).items()} if isinstance(item, dict) else None


def _grid(records: Sequence[Mapping[str, Any]], n: int) -> str:
    """A table with a row for each record; columns in which there is nothing are left out."""
    names = dict.fromkeys(key for record in records for key in record)
    shown = [name for name in names if any(record.get(name) not in (None, "", []) for record in records)]
    head = "".join(f"<th {_ALIGNED}>{safe_html(name)}</th>" for name in shown)
    body = "".join(
        f"<tr>{''.join(f'<td {_ALIGNED}>{_text(_plain(name, record.get(name)))}</td>' for name in shown)}</tr>"
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
    if isinstance(value, list):
        return ", ".join(_plain("", item) for item in cast("list[Any]", value))
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return str(value)


def _text(text: str) -> str:
    """Text, escaped and no longer than one wants to read in a table."""
    lines = text.splitlines() or [""]
    if len(lines) > _MOST_LINES:
        lines = ["…", *lines[1 - _MOST_LINES :]]  # of a traceback the end tells most
    return "<br>".join(safe_html(line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…") for line in lines)


def safe_html(text: str) -> str:
    """Text as HTML: escaped, and what would not be seen is shown."""
    return escape(visible(text))
