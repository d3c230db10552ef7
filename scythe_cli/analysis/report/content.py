"""What a report tells, read from the run's folder alone, in memory that does not grow with the run's tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl

from scythe_cli.analysis.cases.frame import DURATION, STATE
from scythe_cli.analysis.plots.bins import histogram_of, rice_bins
from scythe_cli.analysis.plots.convergence import convergence_of
from scythe_cli.analysis.plots.figure import make_source
from scythe_cli.analysis.plots.reading import Source, read_histogram
from scythe_cli.analysis.plots.shapes import Axis, Curve, Histogram
from scythe_cli.analysis.records import TableColumn, TableRecord
from scythe_cli.analysis.report.cases import FAILED, STARTED, ShownCases, every_case, read_outcomes, read_shown
from scythe_cli.analysis.report.influence import Influences, Picture, read_influences, read_scatters
from scythe_cli.analysis.results.summary import summarise_table
from scythe_cli.analysis.results.tables import describe_tables
from scythe_cli.analysis.surrogate.history import StudyHistory, read_history
from scythe_cli.core.states import State
from scythe_cli.errors import NotFoundError, UsageError
from scythe_cli.run.input_files import read_listed_files
from scythe_cli.run.manifest import RunManifest
from scythe_cli.run.outcomes.verification import Verification, read_verification
from scythe_cli.run.records import RunErrors, RunStatus

if TYPE_CHECKING:
    from scythe_cli.run.stored_run import StoredRun


__all__ = ["Content", "Durations", "read_content", "spread_of"]


_MAX_FIELDS = 24
"""How many inputs, and how many outputs, are drawn; all are in the tables."""

_CURVE_POINTS = 120
_MAX_BINS = 30
_SPREAD = 50
"""How many times the shortest duration the longest is, where its axis is logarithmic."""
_MAX_FAILED = 1_000


@dataclass(frozen=True, slots=True)
class Durations:
    """How long specs took, in seconds."""

    n: int
    total: float
    mean: float
    median: float
    longest: float
    span: float | None  # from the first start to the last end
    pictures: list[Picture]


@dataclass(frozen=True, slots=True)
class Content:
    """All that a report tells."""

    experiment_id: str
    uri: str
    made_at: datetime
    manifest: RunManifest | None
    status: RunStatus
    tables: list[TableRecord]
    errors: RunErrors | None
    durations: Durations | None
    inputs: list[TableColumn]
    outputs: list[TableColumn]
    input_pictures: list[Picture]
    output_pictures: list[Picture]
    influences: Influences | None
    scatters: list[Picture]
    cases: ShownCases | None
    input_files: int
    input_bytes: int
    verification: Verification | None = None
    study: StudyHistory | None = None
    study_pictures: list[Picture] = field(default_factory=list[Picture])
    notices: list[str] = field(default_factory=list[str])


def read_content(run: StoredRun) -> Content:
    """Read what a report tells.

    Raises:
        StorageError: If the run cannot be read.
    """
    status = run.status()
    notices = [status.notice] if status.notice else []
    errors = run.errors(limit=_MAX_FAILED) if status.counts is not None else None
    source = None
    if "scalars" in status.tables:
        try:
            source = make_source(run)
        except NotFoundError:
            notices.append("the tables are being rebuilt")
    if source is not None and not status.gathered and status.n_specs is not None:
        notices.append("the tables are older than the newest outcomes: `scythe retry` rebuilds them")
    n_files, n_bytes = _input_files(run)
    study = read_history(run.storage, run.layout)
    outcomes = read_outcomes(run) if status.counts is not None else None
    every = every_case(run, outcomes)
    drawn = _Drawn() if source is None or not source.n_rows else _draw_fields(run, source, notices)
    drawn.input_pictures = _input_pictures(source, every, drawn.inputs, notices)
    return Content(
        experiment_id=run.experiment_id,
        uri=run.uri,
        made_at=datetime.now(UTC),
        manifest=run.manifest,
        status=status,
        tables=describe_tables(run),
        errors=errors,
        durations=None if outcomes is None else _durations(outcomes),
        inputs=drawn.inputs,
        outputs=drawn.outputs,
        input_pictures=drawn.input_pictures,
        output_pictures=drawn.output_pictures,
        influences=drawn.influences,
        scatters=drawn.scatters,
        cases=read_shown(run, source, outcomes),
        input_files=n_files,
        input_bytes=n_bytes,
        verification=read_verification(run.storage, run.layout),
        study=study,
        study_pictures=[] if study is None else _study_pictures(study),
        notices=notices,
    )


def _input_files(run: StoredRun) -> tuple[int, int]:
    """How many input files were uploaded, and how many bytes they are."""
    listed = read_listed_files(run.storage, run.layout)
    # that of an older program tells no sizes
    sizes = {file.uri: file.size_bytes for file in listed if file.size_bytes is not None}
    return len(sizes), sum(sizes.values())


def spread_of(seconds: pl.Series) -> Histogram:
    """How long specs took, in a unit in which that can be read."""
    longest_s = float(seconds.max() or 0.0)  # pyright: ignore[reportArgumentType]
    unit, per_s = ("s", 1.0) if longest_s >= 1 else ("ms", 1e3) if longest_s >= 1e-3 else ("µs", 1e6)
    values = seconds * per_s
    positive = values.filter(values > 0)
    # most cases would be in the first bin, beside a few that took very much longer
    is_log = positive.len() == values.len() and float(values.max() or 0) > _SPREAD * float(values.min() or 1)  # pyright: ignore[reportArgumentType]
    return histogram_of(values, Axis("duration", "number", unit, log=is_log), 40)


def _durations(outcomes: pl.DataFrame) -> Durations | None:
    ran = outcomes.filter(pl.col(DURATION).is_finite() & (pl.col(STATE) != State.CANCELLED.value))
    if not ran.height:
        return None
    seconds = ran[DURATION]
    ends = (
        ran.select(STARTED, DURATION)
        .drop_nulls()
        .select(
            pl.col(STARTED).dt.epoch("ms").alias("start"),
            (pl.col(STARTED).dt.epoch("ms") + pl.col(DURATION) * 1000).alias("end"),
        )
    )
    pictures = [Picture("Duration of a case", "", spread_of(seconds))]
    span = None
    if ends.height:
        first, last = (float(v) for v in ends.select(pl.col("start").min(), pl.col("end").max()).row(0))
        span = (last - first) / 1000
        finished = ends["end"].sort()
        # so many points of the curve as are seen, whatever the number of specs
        at = [round(i * (ends.height - 1) / (_CURVE_POINTS - 1)) for i in range(_CURVE_POINTS)]
        at = sorted(set(at))
        axes = Axis("time (UTC)", "time"), Axis("cases finished", "number")
        xs = [first, *(float(finished[i]) for i in at)]
        pictures.append(Picture("Progress", "", Curve(*axes, xs, [0.0, *(float(i + 1) for i in at)])))
    return Durations(
        n=seconds.len(),
        total=float(seconds.sum()),
        mean=float(seconds.sum()) / seconds.len(),
        median=float(seconds.quantile(0.5, "linear") or 0.0),
        longest=float(seconds.sort()[-1]),
        span=span,
        pictures=pictures,
    )


@dataclass(slots=True)
class _Drawn:
    """What there is to see of inputs and outputs."""

    inputs: list[TableColumn] = field(default_factory=list[TableColumn])
    outputs: list[TableColumn] = field(default_factory=list[TableColumn])
    input_pictures: list[Picture] = field(default_factory=list[Picture])
    output_pictures: list[Picture] = field(default_factory=list[Picture])
    influences: Influences | None = None
    scatters: list[Picture] = field(default_factory=list[Picture])


def _study_pictures(study: StudyHistory) -> list[Picture]:
    """How near each output came to its targets."""
    pictures: list[Picture] = []
    for output in study.targets:
        shape = convergence_of(study, output)
        if shape is not None:
            pictures.append(Picture(f"{output}: {', '.join(study.targets[output])}", "after each round", shape))
    return pictures


def _draw_fields(run: StoredRun, source: Source, notices: list[str]) -> _Drawn:
    tidy = source.tidy
    summary = {column.name: column for column in summarise_table(run, rows=0).columns}
    # nested models and lists are in no index, so that the table knows nothing of them
    drawn = _Drawn(
        inputs=[summary[name] for name in (*tidy.inputs, *tidy.features) if name in summary],
        outputs=[summary[name] for name in tidy.outputs if name in summary],
    )
    drawn.output_pictures = _histograms(source, tidy.outputs, summary, notices, "outputs")
    drawn.influences = read_influences(source)
    if drawn.influences is not None:
        drawn.scatters = read_scatters(source, drawn.influences)
    return drawn


def _input_pictures(
    source: Source | None, every: Source | None, columns: list[TableColumn], notices: list[str]
) -> list[Picture]:
    """The inputs of all cases, with those that failed; features, which only cases have that succeeded, come last."""
    summary = {column.name: column for column in columns}
    results = None if source is None or not source.n_rows else source.tidy
    if every is None:
        names = [] if results is None else [*results.inputs, *results.features]
        return [] if source is None else _histograms(source, names, summary, notices, "inputs")
    pictures = _histograms(every, every.tidy.inputs, {}, notices, "inputs", FAILED)
    if source is not None and results is not None:
        pictures += _histograms(source, results.features, summary, notices, "features")
    return pictures


def _histograms(
    source: Source,
    names: Sequence[str],
    summary: dict[str, TableColumn],
    notices: list[str],
    what: str,
    marked: str | None = None,
) -> list[Picture]:
    """A histogram for each column that varies."""
    varying = [name for name in names if name not in summary or summary[name].n_unique != 1]
    if len(varying) > _MAX_FIELDS:
        notices.append(f"the first {_MAX_FIELDS} of {len(varying)} {what} are drawn")
    pictures: list[Picture] = []
    for name in varying[:_MAX_FIELDS]:
        try:
            shape, notes = read_histogram(source, name, min(rice_bins(source.n_rows), _MAX_BINS), marked=marked)
        except UsageError:
            continue  # lists, and columns without any number
        if len(shape.counts) == 1 and name not in summary:
            continue  # the same in all cases
        # text that is another for nearly every spec, as names of files are, makes no picture
        if not (shape.labels and shape.omitted > 10 * len(shape.labels)):
            failed = [f"{sum(shape.marked):,} failed"] if any(shape.marked) else []
            pictures.append(Picture(name, "; ".join([*notes[1:], *failed]), _few_labels(shape)))
    return pictures


def _few_labels(shape: Histogram, most: int = 8) -> Histogram:
    if len(shape.labels) <= most:
        return shape
    rest = sum(shape.counts[most:])
    labels = [*shape.labels[:most], f"({len(shape.labels) - most + shape.omitted} others)"]
    marked = [*shape.marked[:most], sum(shape.marked[most:])] if shape.marked else []
    return Histogram(shape.x, [*shape.counts[:most], rest], labels=labels, omitted=shape.omitted, marked=marked)
