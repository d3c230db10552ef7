"""The page of a report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scythe_cli.analysis.files import check_target, write_whole
from scythe_cli.analysis.records import ReportResult, TableColumn
from scythe_cli.analysis.report.content import (
    Content,
    Influences,
    Picture,
    read_content,
)
from scythe_cli.analysis.report.markup import (
    Html,
    join,
    rows,
    tag,
)
from scythe_cli.analysis.report.pictures import natural_height, svg_of
from scythe_cli.core.quantities import format_duration, format_size
from scythe_cli.core.states import State
from scythe_cli.core.text import redact_uri
from scythe_cli.errors import UsageError

if TYPE_CHECKING:
    from scythe_cli.run.stored_run import StoredRun


__all__ = ["render_report", "write_report"]


_GENERATOR = "scythe report"
_MAX_GROUPS = 30
_MAX_MESSAGE = 2_000
_STATE_COLORS = {
    State.SUCCEEDED: "#2e9e5b",
    State.FAILED: "#d64545",
    State.TIMEOUT: "#d99a1c",
    State.CRASHED: "#b04fc0",
    State.CANCELLED: "#8a8f98",
    State.PENDING: "#4a9bd8",
}


def write_report(run: StoredRun, target: Path, *, overwrite: bool = False) -> ReportResult:
    """Write the report of a run; see `Run.report`."""
    _check(target, overwrite=overwrite)
    content = read_content(run)
    data = render_report(content).encode()
    write_whole(target, data)
    return ReportResult(
        experiment_id=run.experiment_id, path=str(target), size_bytes=len(data), notices=content.notices
    )


def _check(target: Path, *, overwrite: bool) -> None:
    if target.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{target}: a report is an HTML file", hint="Use the ending .html.")
    check_target(target, overwrite=overwrite or _is_report(target), expected="report")


def _is_report(path: Path) -> bool:
    """Whether a file is an earlier report, which a new one replaces."""
    try:
        with path.open("rb") as file:
            return f'<meta name="generator" content="{_GENERATOR}'.encode() in file.read(1000)
    except OSError:
        return False


def render_report(content: Content) -> str:
    """The page, as HTML."""
    pictures = count()
    main = join(
        _header(content),
        _summary(content),
        _notices(content),
        _failures(content),
        _fields("Outputs", content.outputs, content.output_pictures, pictures),
        _fields("Inputs", content.inputs, content.input_pictures, pictures),
        _depends(content.influences, content.scatters, pictures),
        _time(content, pictures),
        _tables(content),
        _provenance(content),
    )
    head = join(
        Html('<meta charset="utf-8">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta name="generator" content="{_GENERATOR} {version("scythe-cli")}">'),
        Html('<meta name="color-scheme" content="light dark">'),
        # whatever text of a run may hold: nothing is loaded, and nothing is run
        Html(
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">"
        ),
        tag("title", content.experiment_id),
        tag("style", Html(_STYLE)),
    )
    made = f"Made by scythe {version('scythe-cli')}, {_when(content.made_at)}."
    body = tag("body", tag("main", main), tag("footer", made))
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n{body}</html>\n'


def _when(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _number(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**12 else f"{value:.5g}"
    return str(value)


def _section(title: str, *children: object) -> Html:
    return tag("section", tag("h2", title), *children)


def _header(content: Content) -> Html:
    experiment, number, _ = content.experiment_id.split("/")
    created = content.status.timestamp
    return tag(
        "header",
        tag("h1", experiment, " ", tag("span", number, class_="version")),
        tag("p", f"Run of {_when(created)}", tag("br"), tag("code", content.experiment_id), class_="quiet"),
    )


def _summary(content: Content) -> Html:
    status, durations = content.status, content.durations
    cards: list[tuple[str, str]] = []
    if status.n_specs is not None:
        cards.append(("specs", f"{status.n_specs:,}"))
    elif content.tables:
        n_rows = next((table.n_rows for table in content.tables if table.name == "scalars"), None)
        cards.append(("specs with results", _number(n_rows)))
    if status.counts is not None and status.n_specs:
        share = status.counts.succeeded / status.n_specs
        # what is not all is never shown as all
        percent = "100 %" if share == 1 else f"{min(share * 100, 99.9):.1f} %"
        cards.append(("succeeded", percent))
    if durations is not None:
        if durations.span is not None:
            cards.append(("from first to last", format_duration(durations.span)))
        cards.append(("median of a spec", format_duration(durations.median)))
        cards.append(("longest spec", format_duration(durations.longest)))
        cards.append(("all specs together", format_duration(durations.total)))
    size = sum(table.size_bytes for table in content.tables)
    cards.append(("tables", format_size(size)))
    shown = [tag("div", tag("b", value), tag("span", name), class_="card") for name, value in cards]
    return tag("section", tag("div", *shown, class_="cards"), _states(content))


def _states(content: Content) -> Html | None:
    counts, n = content.status.counts, content.status.n_specs
    if counts is None or not n:
        return None
    parts: list[Html] = []
    keys: list[Html] = []
    for state in State:
        number = counts.of(state)
        if number:
            color = _STATE_COLORS[state]
            # something is never shown as nothing
            parts.append(tag("i", style=f"flex:{number / n:.6f} 0 3px;background:{color}"))
            keys.append(tag("span", tag("i", style=f"background:{color}"), f"{number:,} {state.value}"))
    return join(tag("div", *parts, class_="states"), tag("p", *keys, class_="keys"))


def _notices(content: Content) -> Html | None:
    if not content.notices:
        return None
    return tag("section", tag("ul", *(tag("li", notice) for notice in content.notices), class_="notices"))


def _failures(content: Content) -> Html | None:
    errors = content.errors
    if errors is None or not errors.groups:
        return None
    blocks: list[Html] = []
    for group in errors.groups[:_MAX_GROUPS]:
        message = group.message if len(group.message) <= _MAX_MESSAGE else group.message[:_MAX_MESSAGE] + " …"
        numbers = ", ".join(str(row) for row in group.rows[:12])
        more = group.count - len(group.rows[:12])
        color = _STATE_COLORS[group.state]
        blocks.append(
            tag(
                "article",
                tag(
                    "h3",
                    tag("i", class_="dot", style=f"background:{color}"),
                    f"{group.count:,} × {group.error_type} ",
                    tag("span", group.state.value, class_="quiet"),
                ),
                tag("pre", message) if message.strip() else None,
                tag(
                    "p",
                    *([f"at {group.place}", tag("br")] if group.place else []),
                    f"row{'s' if group.count > 1 else ''} {numbers}" + (f" and {more:,} more" if more > 0 else ""),
                    class_="quiet",
                ),
                class_="failure",
            )
        )
    rest = len(errors.groups) - _MAX_GROUPS
    if rest > 0:
        blocks.append(tag("p", f"and {rest:,} more kinds of failure: `scythe errors` lists them.", class_="quiet"))
    return _section("What went wrong", *blocks)


def _figure(picture: Picture, number: int, **size: int) -> Html:
    height = size.get("height") or natural_height(picture.shape)
    svg = svg_of(picture.shape, number, width=size.get("width", 250), height=height)
    caption = tag("figcaption", tag("b", picture.title), f" {picture.note}" if picture.note else None)
    return tag("figure", caption, svg)


def _fields(title: str, columns: Sequence[TableColumn], pictures: Sequence[Picture], numbers: Any) -> Html | None:
    if not columns and not pictures:
        return None
    figures = [_figure(picture, next(numbers)) for picture in pictures]
    estimated = any(column.estimated for column in columns)
    empty = any(column.n_null for column in columns)
    header = ["name", "unit", "min", "mean", "max", "distinct", *["empty"] * empty, "what it is"]
    body = [
        [
            column.name,
            column.unit,
            _about(column, "min"),
            _about(column, "mean"),
            _about(column, "max"),
            _about(column, "n_unique"),
            *[_about(column, "n_null") if column.n_null else ""] * empty,
            _described(column),
        ]
        for column in columns
    ]
    return _section(
        title,
        tag("div", *figures, class_="grid") if figures else None,
        rows(header, body, numeric=range(2, len(header) - 1)) if columns else None,
        tag("p", "~ estimated from a part of the rows.", class_="quiet") if estimated else None,
    )


def _about(column: TableColumn, what: str) -> str:
    text = _number(getattr(column, what))
    return f"~{text}" if text and what in column.estimated else text


def _described(column: TableColumn) -> str:
    return (column.description or "").removesuffix(f"[{column.unit}]").strip()


def _depends(influences: Influences | None, scatters: Sequence[Picture], numbers: Any) -> Html | None:
    if influences is None:
        return None
    body: list[list[object]] = []
    for name, values in zip(influences.inputs, influences.values, strict=True):
        body.append([tag("th", name, scope="row"), *(_correlation(value) for value in values)])
    note = (
        f"Spearman's rank correlations ({influences.note}): 1 and -1 where the output always rises or always falls "
        "with the input, near 0 where it does not follow it in one direction."
    )
    figures = [_figure(picture, next(numbers)) for picture in scatters]
    return _section(
        "What the outputs depend on",
        tag("p", note, class_="quiet"),
        rows(["", *influences.outputs], body, numeric=range(1, len(influences.outputs) + 1)),
        tag("div", *figures, class_="grid") if figures else None,
    )


def _correlation(value: float | None) -> Html:
    if value is None:
        return tag("td", "", class_="number")
    hue = "59,125,216" if value >= 0 else "224,123,57"
    return tag("td", f"{value:+.2f}", class_="number", style=f"background:rgba({hue},{abs(value) * 0.7:.2f})")


def _time(content: Content, numbers: Any) -> Html | None:
    durations = content.durations
    if durations is None:
        return None
    figures = [_figure(picture, next(numbers), width=380, height=150) for picture in durations.pictures]
    return _section("Time", tag("div", *figures, class_="grid wide"))


def _tables(content: Content) -> Html | None:
    if not content.tables:
        return None
    body = [
        [
            table.name,
            "" if table.n_rows is None else f"{table.n_rows:,}",
            "" if table.n_columns is None else table.n_columns,
            format_size(table.size_bytes),
        ]
        for table in content.tables
    ]
    return _section("Tables", rows(["table", "rows", "columns", "size"], body, numeric=(1, 2, 3)))


def _provenance(content: Content) -> Html:
    manifest = content.manifest
    facts: list[tuple[str, str | None]] = [("folder", redact_uri(content.uri))]
    packages: dict[str, str] = {}
    if manifest is not None:
        facts += [
            ("engine", manifest.engine),
            ("entrypoint", manifest.entrypoint),
            ("sampling file", manifest.sampling_file),
            ("design", _design(manifest)),
            ("hash of the specs", manifest.specs_sha256),
            ("retries", None if manifest.retries is None else str(manifest.retries)),
            ("time limit", format_duration(manifest.execution_timeout_s) if manifest.execution_timeout_s else None),
            ("memory limit", format_size(manifest.memory_limit_bytes) if manifest.memory_limit_bytes else None),
        ]
        if content.input_files:
            facts.append(("input files", f"{content.input_files:,}, {format_size(content.input_bytes)}"))
        origin = manifest.provenance
        if origin is not None:
            changed = " with uncommitted changes" if origin.git_dirty else ""
            facts += [
                ("git commit", f"{origin.git_commit}{changed}" if origin.git_commit else None),
                ("command", origin.command or None),
                ("Python", origin.python or None),
                ("platform", origin.platform or None),
            ]
            packages = origin.packages
    listed = [join(tag("dt", name), tag("dd", value)) for name, value in facts if value]
    named = ", ".join(f"{name} {number}" for name, number in packages.items())
    return _section(
        "Provenance",
        tag("dl", *listed),
        tag("details", tag("summary", f"{len(packages):,} packages"), tag("p", named)) if packages else None,
    )


def _design(manifest: Any) -> str | None:
    design = manifest.design
    if design is None:
        return None
    seed = f", seed {design.seed}" if design.seed is not None else ""
    return f"{design.design}, {design.rows:,} rows{seed}"


_STYLE = """
:root{--ink:#1c2430;--quiet:#667085;--paper:#fff;--card:#f5f7fa;--line:#dfe3e8}
@media (prefers-color-scheme:dark){:root{--ink:#e4e8ee;--quiet:#98a2b3;--paper:#14181f;--card:#1d232c;--line:#343c48}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
Helvetica,Arial,sans-serif}
main,footer{max-width:1120px;margin:0 auto;padding:0 20px}
footer{color:var(--quiet);font-size:13px;padding-bottom:32px}
header{padding-top:28px}
h1{font-size:28px;margin:0;overflow-wrap:anywhere}.version{color:var(--quiet);font-weight:400}
h2{font-size:19px;margin:36px 0 12px;border-bottom:1px solid var(--line);padding-bottom:4px}
h3{font-size:15px;margin:0 0 6px;overflow-wrap:anywhere}
p{margin:6px 0}.quiet{color:var(--quiet);font-size:13px;font-weight:400;overflow-wrap:anywhere}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:12.5px}
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:6px 0;max-height:22em;overflow:auto}
.cards{display:flex;flex-wrap:wrap;gap:10px;margin-top:16px}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:8px 14px;min-width:110px}
.card b{display:block;font-size:20px}.card span{color:var(--quiet);font-size:12.5px}
.states{display:flex;height:14px;border-radius:7px;overflow:hidden;margin:18px 0 6px;gap:1px}
.keys{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13.5px}
.keys i,.dot{display:inline-block;width:10px;height:10px;border-radius:50%;margin-right:6px}
.notices{background:var(--card);border-left:4px solid #d99a1c;margin:16px 0 0;padding:8px 12px 8px 30px}
.failure{border:1px solid var(--line);border-radius:8px;padding:10px 14px;margin:10px 0;background:var(--card)}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(310px,1fr));gap:14px;margin:12px 0}
.wide{grid-template-columns:repeat(auto-fill,minmax(450px,1fr))}
@media (max-width:520px){.grid,.wide{grid-template-columns:1fr}}
figure{margin:0;padding:8px 10px;border:1px solid var(--line);border-radius:8px;min-width:0}
figcaption{font-size:13px;color:var(--quiet);margin-bottom:4px;overflow-wrap:anywhere}figcaption b{color:var(--ink)}
svg{display:block;width:100%;height:auto;max-height:420px;color:var(--ink)}
.scroll{overflow-x:auto;margin:12px 0}
table{border-collapse:collapse;font-size:13.5px;min-width:40%}
th,td{text-align:left;padding:4px 12px 4px 6px;border-bottom:1px solid var(--line);vertical-align:top}
thead th{font-weight:600;color:var(--quiet);white-space:nowrap}tbody th{font-weight:400}
td{overflow-wrap:break-word;max-width:420px}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:0;font-size:13.5px}
dt{color:var(--quiet)}dd{margin:0;overflow-wrap:anywhere}
details{margin-top:10px;font-size:13px}details p{color:var(--quiet)}summary{cursor:pointer}
@media print{:root{--ink:#000;--quiet:#555;--paper:#fff;--card:#fff;--line:#ccc}body{font-size:11pt}
main,footer{max-width:none;padding:0}figure,.failure,.card,tr{break-inside:avoid}h2{break-after:avoid}
.scroll,pre{overflow:visible;max-height:none}.grid{grid-template-columns:1fr 1fr}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
