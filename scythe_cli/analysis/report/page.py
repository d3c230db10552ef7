"""The page of a report: `report.html`, with what it shows as text."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from scythe_cli.analysis.files import check_target, write_whole
from scythe_cli.analysis.records import ReportResult, TableColumn
from scythe_cli.analysis.report.cases import failed_cases
from scythe_cli.analysis.report.content import Content, read_content
from scythe_cli.analysis.report.pictures import natural_height, svg_of
from scythe_cli.core.distribution import DISTRIBUTION
from scythe_cli.core.quantities import format_duration, format_size
from scythe_cli.core.states import RetryOn, RetryRule, State
from scythe_cli.core.text import redact_uri, visible
from scythe_cli.errors import UsageError
from scythe_cli.run.manifest import RunManifest

if TYPE_CHECKING:
    import jinja2

    from scythe_cli.analysis.plots.shapes import Shape
    from scythe_cli.run.stored_run import StoredRun


__all__ = ["render_report", "templates", "write_report"]


_GENERATOR = "scythe report"
_MAX_GROUPS = 30
_MAX_MESSAGE = 2_000
_MAX_FAILED = 100
_MAX_TRACEBACK = 6_000
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
    check_target(target, overwrite=overwrite or _is_report(target), expected="a report")


def _is_report(path: Path) -> bool:
    """Whether a file is an earlier report, which a new one replaces."""
    try:
        with path.open("rb") as file:
            return f'<meta name="generator" content="{_GENERATOR}'.encode() in file.read(1000)
    except OSError:
        return False


@cache
def templates() -> jinja2.Environment:
    """The templates of this package: every value is escaped, and what cannot be seen in it is made visible."""
    import jinja2
    from markupsafe import Markup

    def shown(value: object) -> str:
        if value is None:
            return ""
        return value if isinstance(value, Markup) else visible(str(value))

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("scythe_cli.analysis.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "described": _described,
        "end": _end,
        "first_line": _first_line,
        "number": _number,
        "shortened": _shortened,
        "size": format_size,
        "when": _when,
    }
    return environment


def render_report(content: Content) -> str:
    """The page, as HTML."""
    from markupsafe import Markup

    pictures = count()

    def draw(shape: Shape, width: int, height: int | None) -> Markup:
        return Markup(svg_of(shape, next(pictures), width=width, height=height or natural_height(shape)))

    script = _script()
    experiment, experiment_version, _ = content.experiment_id.rsplit("/", 2)
    origin = content.manifest.provenance if content.manifest else None
    return (
        templates()
        .get_template("report.html")
        .render(
            content=content,
            experiment=experiment,
            experiment_version=experiment_version,
            cards=_cards(content),
            states=_states(content),
            facts=_facts(content),
            packages=origin.packages if origin else {},
            colors=_STATE_COLORS,
            max_groups=_MAX_GROUPS,
            generator=_GENERATOR,
            version=version(DISTRIBUTION),
            draw=draw,
            failed=failed_cases(content.errors, _MAX_FAILED),
            n_failed=_n_failed(content),
            # the page's own, and numbers and texts in which every `<` is written as an escape
            script=Markup(script),
            script_hash=f"sha256-{b64encode(sha256(script.encode()).digest()).decode()}",
            data=Markup(content.cases.document if content.cases else ""),
        )
    )


@cache
def _script() -> str:
    return Path(__file__).with_name("report.js").read_text(encoding="utf-8")


def _n_failed(content: Content) -> int:
    counts = content.status.counts
    return 0 if counts is None else counts.failed + counts.timeout + counts.crashed


def _first_line(message: str) -> str:
    first = message.strip().partition("\n")[0]
    return first if len(first) <= 160 else first[:160] + " …"


def _end(traceback: str) -> str:
    """Of a long traceback the end, which tells most."""
    return traceback if len(traceback) <= _MAX_TRACEBACK else "… " + traceback[-_MAX_TRACEBACK:]


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


def _cards(content: Content) -> list[tuple[str, str]]:
    """The figures at the top: name and value."""
    status, durations = content.status, content.durations
    cards: list[tuple[str, str]] = []
    if status.n_specs is not None:
        cards.append(("specs", f"{status.n_specs:,}"))
    elif content.tables:
        n_rows = next((table.n_rows for table in content.tables if table.name == "scalars"), None)
        cards.append(("cases with results", _number(n_rows)))
    if status.counts is not None and status.n_specs:
        share = status.counts.succeeded / status.n_specs
        # what is not all is never shown as all
        percent = "100 %" if share == 1 else f"{min(share * 100, 99.9):.1f} %"
        cards.append(("succeeded", percent))
    if durations is not None:
        if durations.span is not None:
            cards.append(("from first to last", format_duration(durations.span)))
        cards.append(("median of a case", format_duration(durations.median)))
        cards.append(("longest case", format_duration(durations.longest)))
        cards.append(("all cases together", format_duration(durations.total)))
    size = sum(table.size_bytes for table in content.tables)
    cards.append(("tables", format_size(size)))
    return cards


def _states(content: Content) -> list[dict[str, Any]]:
    """The states that specs are in, each with its color, count and share of the whole."""
    counts, n = content.status.counts, content.status.n_specs
    if counts is None or not n:
        return []
    numbers = {state: counts.of(state) for state in State if counts.of(state)}
    return [
        {"name": state.value, "color": _STATE_COLORS[state], "count": number, "share": number / n}
        for state, number in numbers.items()
    ]


def _shortened(message: str) -> str:
    return message if len(message) <= _MAX_MESSAGE else message[:_MAX_MESSAGE] + " …"


def _described(column: TableColumn) -> str:
    return (column.description or "").removesuffix(f"[{column.unit}]").strip()


def _retries(manifest: RunManifest) -> str | None:
    """How often specs were run again, and after what; None where it is not known, as of an older run."""
    if manifest.retry_on is None:
        return None if manifest.retries is None else str(manifest.retries)
    states = tuple(state for state in get_args(RetryOn) if state in manifest.retry_on)
    return RetryRule(1 if manifest.retries is None else manifest.retries, states).describe()


def _facts(content: Content) -> list[tuple[str, str | None]]:
    """Where the results come from: name and value, which is None where it is not known."""
    manifest = content.manifest
    facts: list[tuple[str, str | None]] = [("folder", redact_uri(content.uri))]
    if manifest is not None:
        facts += [
            ("engine", manifest.engine),
            ("entrypoint", manifest.entrypoint),
            ("sampling file", manifest.sampling_file),
            ("design", _design(manifest)),
            ("seed", None if manifest.seed is None else str(manifest.seed)),
            ("hash of the cases", manifest.specs_sha256),
            ("retries", _retries(manifest)),
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
    if (verification := content.verification) is not None:
        n, n_bad = len(verification.rows), verification.n_differing_rows
        found = f"{n_bad:,} of {n:,} rows differed" if n_bad else f"{n:,} rows gave the same, bit by bit"
        facts.append(("verified", f"{_when(verification.verified_at)}: {found}"))
    return facts


def _design(manifest: RunManifest) -> str | None:
    design = manifest.design
    if design is None:
        return None
    seed = f", seed {design.seed}" if design.seed is not None else ""
    more = [
        *(f"where {condition}" for condition in design.where),
        *(f"rank correlation {pair.replace(',', ' and ')} {value:g}" for pair, value in design.correlation.items()),
        *([f"rows of {design.population.file}"] if design.population else []),
        *([f"{design.replicates:,} replicates of each case"] if design.replicates > 1 else []),
    ]
    return "; ".join([f"{design.design}, {design.rows:,} rows{seed}", *more])
