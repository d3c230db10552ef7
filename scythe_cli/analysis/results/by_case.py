"""Replicates of each case in brief: mean, standard deviation, confidence interval and quantiles of each output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from scythe_cli.analysis.records import CasesSummary
from scythe_cli.analysis.results.tables import choose_columns
from scythe_cli.analysis.results.tidy import tidy_frame
from scythe_cli.arrow.content import row_contents
from scythe_cli.core.distribution import needs_extra
from scythe_cli.errors import UsageError
from scythe_cli.model.spec_rows import NOT_INPUT, artifacts_mark
from scythe_cli.run.specs_file import SpecFile

if TYPE_CHECKING:
    from scythe_cli.run.stored_run import StoredRun

__all__ = ["ByCase", "case_of_rows", "cases_summary", "replicates_by_case", "t_quantiles"]

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True, slots=True)
class ByCase:
    """Replicates by case.

    Attributes:
        frame: A row for each case, in the order in which they came: `case`, the `sort_index` of its first replicate;
            its inputs; `replicates`, those that succeeded; `missing`, those that did not; and for each output `y`
            `y.mean`, `y.sd`, `y.half_width`, `y.low` and `y.high` of the confidence interval of the mean, and
            quantiles such as `y.q05`. What takes two replicates is null where there is one.
        inputs: The inputs.
        outputs: The outputs.
    """

    frame: pl.DataFrame
    inputs: list[str]
    outputs: list[str]


def replicates_by_case(
    run: StoredRun,
    outputs: Sequence[str] | None = None,
    *,
    confidence: float = 0.95,
    quantiles: Sequence[float] = _QUANTILES,
) -> ByCase:
    """Bring the replicates of each case together: rows whose inputs are the same, files by their content.

    Args:
        run: A run that has tables.
        outputs: Which of its numeric scalar outputs; all unless named.
        confidence: Of the interval of the mean, which is that of Student's t distribution.
        quantiles: Of the replicates, from 0 to 1; between two replicates by linear interpolation.

    Raises:
        UsageError: If a number is none that it can be, or the run has no numeric output.
        NotFoundError: If there is no such output, or the run has no tables yet.
    """
    if not 0 < confidence < 1:
        raise UsageError(f"the confidence is {confidence:g}; it must be between 0 and 1")
    if not all(0 <= q <= 1 for q in quantiles):
        raise UsageError("quantiles are numbers from 0 to 1")
    tidy = tidy_frame(run)
    schema = tidy.frame.collect_schema()
    numeric = [name for name in tidy.outputs if schema[name].is_numeric() or schema[name] == pl.Boolean]
    names = choose_columns(outputs, numeric, "the numeric outputs") if outputs else numeric
    if not names:
        raise UsageError(f"{run.experiment_id}: it has no numeric scalar output")
    cases = case_of_rows(run)
    own = pl.DataFrame({"sort_index": np.arange(len(cases), dtype=np.int64), "case": cases})
    frame = tidy.frame.select("sort_index", *tidy.inputs, pl.col(names).cast(pl.Float64)).collect()
    frame = own.join(frame, on="sort_index", how="inner", maintain_order="left")
    aggregates = [pl.len().cast(pl.Int64).alias("replicates"), *(pl.col(name).first() for name in tidy.inputs)]
    for name in names:
        column = pl.col(name)
        aggregates += [
            column.mean().alias(f"{name}.mean"),
            column.std(ddof=1).alias(f"{name}.sd"),
            column.count().alias(f"{name}.n"),
            *(column.quantile(q, "linear").alias(f"{name}.{_q(q)}") for q in quantiles),
        ]
    grouped = frame.group_by("case").agg(aggregates)
    counted = own.group_by("case").agg(pl.len().cast(pl.Int64).alias("rows"))
    grouped = grouped.join(counted, on="case").with_columns(missing=pl.col("rows") - pl.col("replicates"))
    grouped = grouped.sort("case")
    for name in names:
        n = grouped[f"{name}.n"].to_numpy().astype(np.float64)
        half = t_quantiles(n - 1, confidence) / np.sqrt(np.maximum(n, 1))
        width = pl.Series(f"{name}.half_width", half) * grouped[f"{name}.sd"]
        mean = grouped[f"{name}.mean"]
        grouped = grouped.with_columns(width, (mean - width).alias(f"{name}.low"), (mean + width).alias(f"{name}.high"))
    own_columns = ("mean", "sd", "half_width", "low", "high", *map(_q, quantiles))
    columns = [f"{name}.{what}" for name in names for what in own_columns]
    return ByCase(grouped.select("case", *tidy.inputs, "replicates", "missing", *columns), tidy.inputs, names)


def cases_summary(run: StoredRun, rows: int, *, confidence: float = 0.95) -> CasesSummary:
    """The replicates of the first cases; see `replicates_by_case`."""
    told = replicates_by_case(run, confidence=confidence)
    return CasesSummary(
        experiment_id=run.experiment_id,
        confidence=confidence,
        inputs=told.inputs,
        outputs=told.outputs,
        n_cases=told.frame.height,
        rows=told.frame.head(rows).to_dicts(),
    )


def _q(quantile: float) -> str:
    percent = f"{quantile * 100:g}"
    return f"q{percent.zfill(2)}"


def t_quantiles(degrees: Floats, confidence: float) -> Floats:
    """Two-sided quantiles of Student's t distribution; NaN for no degree of freedom."""
    with needs_extra("sample", "a confidence interval"):
        from scipy.special import stdtrit

    known, which = np.unique(degrees, return_inverse=True)
    values: Any = stdtrit(np.where(known > 0, known, np.nan), (1 + confidence) / 2)
    return values[which]


def case_of_rows(run: StoredRun) -> Rows:
    """For each row of a run the first row that says the same."""
    with SpecFile.open(run.storage, run.layout) as specs:
        table = specs.read(0, specs.n_specs)
    contents = row_contents(table, leave_out=NOT_INPUT, artifacts=artifacts_mark(run.experiment_id))
    rows = pl.DataFrame({"content": contents}).with_row_index("row")
    return rows.select(pl.col("row").min().over("content").cast(pl.Int64))["row"].to_numpy()
