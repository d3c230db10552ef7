"""How much each input accounts for of an output, where the design of the sampling file allows to say so.

Two designs of `scythe sample` do: `saltelli` gives Sobol indices, `oat` the change of an output that each field makes
by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from scythe_cli.analysis.replicates import DesignCases, cases_of_design
from scythe_cli.analysis.sobol import Floats, SobolEstimates, sobol_from_blocks
from scythe_cli.core.records import Record
from scythe_cli.errors import UsageError
from scythe_cli.run.extension import design_parts

if TYPE_CHECKING:
    import polars as pl

    from scythe_cli.run.design_record import DesignRecord
    from scythe_cli.run.stored_run import StoredRun


__all__ = [
    "FieldEffect",
    "FieldEffects",
    "SensitivityIndex",
    "SobolIndices",
    "field_effects",
    "sobol_indices",
]


class SensitivityIndex(Record):
    """The Sobol indices of one output with respect to one input; all None for an output that does not vary."""

    output: str
    input: str
    first: float | None = Field(description="share of the variance that the input explains by itself")
    first_low: float | None = Field(description="lower end of its confidence interval")
    first_high: float | None
    total: float | None = Field(description="share that it has a part in, with all of its interactions")
    total_low: float | None
    total_high: float | None


class SobolIndices(Record):
    """Sobol indices of a run."""

    experiment_id: str
    n_base: int = Field(description="base points of the design")
    n_used: int = Field(description="base points of which every row succeeded with finite outputs, at the least")
    confidence: float = Field(description="of the intervals, such as 0.95")
    indices: list[SensitivityIndex] = Field(description="by output, then by input in the order of the design")
    notices: list[str] = Field(default=[])


class FieldEffect(Record):
    """What one input does to one output while all others stay at the base; None where no such row succeeded."""

    output: str
    input: str
    base: float | None = Field(description="the output at the base")
    low: float | None = Field(description="the least of the output over the levels of the input, the base included")
    low_at: Any = Field(description="the input's value there")
    high: float | None
    high_at: Any


class FieldEffects(Record):
    """What each input does by itself, in a run of a one-at-a-time design."""

    experiment_id: str
    effects: list[FieldEffect] = Field(description="by output, then by input in the order of the design")
    notices: list[str] = Field(default=[])


def sobol_indices(
    run: StoredRun,
    outputs: Sequence[str] | None = None,
    *,
    confidence: float = 0.95,
    n_resamples: int = 200,
    seed: int = 0,
) -> SobolIndices:
    """First- and total-order Sobol indices of a run's scalar outputs.

    Args:
        run: A run of a sampling file that was made with `--design saltelli`.
        outputs: Which of its numeric scalar outputs; all unless named.
        confidence: Of the intervals.
        n_resamples: Resamples of the bootstrap that gives the intervals.
        seed: For the bootstrap.

    Returns:
        An index for each output and each field that varies. Of cases with replicates it is that of their means. Base
        points of which a row did not succeed, or has no finite value, are left out.

    Raises:
        UsageError: If the run is of another design, or its rows are not those of the design.
        NotFoundError: If there is no such output, or the run has no tables yet.
    """
    design = _design(run, "saltelli")
    fields = [field.name for field in design.fields]
    rows = _rows_of_blocks(run, len(fields) + 2)
    n_base = rows.shape[1]
    cases = cases_of_design(run)
    frame, inputs, names = _values(run, design, outputs, cases)
    _check_blocks(run, frame, inputs, rows)
    indices: list[SensitivityIndex] = []
    n_used = n_base
    for name in names:
        values = _by_row(frame, name, int(rows.max()) + 1)[rows]
        complete = np.isfinite(values).all(axis=0)
        used = int(complete.sum())
        n_used = min(n_used, used)
        estimates = None
        if used >= 2:
            kept = values[:, complete]
            estimates = sobol_from_blocks(
                kept[0], kept[1], kept[2:], confidence=confidence, n_resamples=n_resamples, seed=seed
            )
        indices += [_index(name, field, estimates, i) for i, field in enumerate(fields)]
    notices = cases.notices(rows.size)
    if n_used < n_base:
        notices.append(f"{n_base - n_used:,} of {n_base:,} base points have a row without a finite output")
    return SobolIndices(
        experiment_id=run.experiment_id,
        n_base=n_base,
        n_used=n_used,
        confidence=confidence,
        indices=indices,
        notices=notices,
    )


def _index(output: str, field: str, estimates: SobolEstimates | None, i: int) -> SensitivityIndex:
    def of(values: Floats | None) -> float | None:
        return None if values is None or not np.isfinite(values[i]) else float(values[i])

    low, high = (None, None) if estimates is None else estimates.first_interval
    total_low, total_high = (None, None) if estimates is None else estimates.total_interval
    return SensitivityIndex(
        output=output,
        input=field,
        first=of(estimates.first if estimates else None),
        first_low=of(low),
        first_high=of(high),
        total=of(estimates.total if estimates else None),
        total_low=of(total_low),
        total_high=of(total_high),
    )


def field_effects(run: StoredRun, outputs: Sequence[str] | None = None) -> FieldEffects:
    """How far each field by itself moves a run's scalar outputs from their values at the base.

    Args:
        run: A run of a sampling file that was made with `--design oat`.
        outputs: Which of its numeric scalar outputs; all unless named.

    Returns:
        An effect for each output and each field that varies.

    Raises:
        UsageError: If the run is of another design, or its rows are not those of the design.
        NotFoundError: If there is no such output, or the run has no tables yet.
    """
    design = _design(run, "oat")
    cases = cases_of_design(run)
    frame, inputs, names = _values(run, design, outputs, cases)
    rows = [design.blocks.get(name, 0) for name in ("base", *(field.name for field in design.fields))]
    if sum(rows) != design.cases:
        raise UsageError(f"{run.experiment_id}: its design does not have the blocks of an oat design")
    cells: dict[str, dict[int, Any]] = {
        name: dict(zip(frame["sort_index"].to_list(), frame[name].to_list(), strict=True)) for name in inputs
    }
    effects: list[FieldEffect] = []
    for output in names:
        values = _by_row(frame, output, design.cases)
        start = rows[0]
        for field, count in zip(design.fields, rows[1:], strict=True):
            own = [*range(rows[0]), *range(start, start + count)]
            effects.append(_effect(output, field.name, values, own, cells.get(field.name, {}), has_base=rows[0] == 1))
            start += count
    return FieldEffects(experiment_id=run.experiment_id, effects=effects, notices=cases.notices(design.cases))


def _effect(
    output: str, field: str, values: Floats, rows: Sequence[int], cells: dict[int, Any], *, has_base: bool
) -> FieldEffect:
    finite = [row for row in rows if np.isfinite(values[row])]
    low = min(finite, key=lambda row: values[row], default=None)
    high = max(finite, key=lambda row: values[row], default=None)
    return FieldEffect(
        output=output,
        input=field,
        base=float(values[0]) if has_base and np.isfinite(values[0]) else None,
        low=None if low is None else float(values[low]),
        low_at=None if low is None else cells.get(low),
        high=None if high is None else float(values[high]),
        high_at=None if high is None else cells.get(high),
    )


def _design(run: StoredRun, required: str) -> DesignRecord:
    design = run.manifest.design if run.manifest else None
    if design is None or design.design != required:
        actual = "its sampling file was not made by `scythe sample`" if design is None else f"it is {design.design}"
        raise UsageError(
            f"{run.experiment_id}: this needs a run with the design {required}, but {actual}",
            hint=f"Make its sampling file with `scythe sample --design {required}`.",
        )
    return design


def _rows_of_blocks(run: StoredRun, n_blocks: int) -> npt.NDArray[np.int64]:
    """The `sort_index` of each block of a Saltelli design (first axis) and base point, over all parts of the design.

    A design that was continued is that of one run of all its base points.
    """
    parts: list[npt.NDArray[np.int64]] = []
    for first, record in design_parts(run.manifest):
        n_base = record.blocks.get("A", 0)
        if not n_base or record.cases != n_base * n_blocks:
            raise UsageError(f"{run.experiment_id}: its design does not have the blocks of a saltelli design")
        parts.append(first + np.arange(record.cases).reshape(n_blocks, n_base))
    rows = np.concatenate(parts, axis=1)
    if rows.shape[1] < 2:
        raise UsageError(f"{run.experiment_id}: its design does not have the blocks of a saltelli design")
    return rows


def _values(
    run: StoredRun, design: DesignRecord, outputs: Sequence[str] | None, cases: DesignCases
) -> tuple[pl.DataFrame, list[str], list[str]]:
    """The cases of a design that succeeded, with the fields that vary and the outputs; the names of both."""
    import polars as pl

    from scythe_cli.analysis.results.tables import choose_columns
    from scythe_cli.analysis.results.tidy import tidy_frame

    tidy = tidy_frame(run)
    schema = tidy.frame.collect_schema()
    numeric = [name for name in tidy.outputs if schema[name].is_numeric() or schema[name] == pl.Boolean]
    names = choose_columns(outputs, numeric, "the numeric outputs") if outputs else numeric
    if not names:
        raise UsageError(f"{run.experiment_id}: it has no numeric scalar output")
    inputs = [field.name for field in design.fields if field.name in schema]
    frame = tidy.frame.select("sort_index", *inputs, pl.col(names).cast(pl.Float64)).collect()
    return cases.means(frame, names, inputs), inputs, names


def _by_row(frame: pl.DataFrame, name: str, rows: int) -> Floats:
    """An output by row of the sampling file; NaN where the spec did not succeed."""
    values = np.full(rows, np.nan)
    values[frame["sort_index"].to_numpy()] = frame[name].fill_null(float("nan")).to_numpy()
    return values


def _check_blocks(run: StoredRun, frame: pl.DataFrame, inputs: Sequence[str], rows: npt.NDArray[np.int64]) -> None:
    """Check that rows are those of the design: in the block AB_i, all fields but i are as in A, and i is as in B."""
    import polars as pl

    block, point = np.indices(rows.shape)
    places = pl.DataFrame({"sort_index": rows.ravel(), "block": block.ravel(), "point": point.ravel()})
    placed = frame.join(places, on="sort_index").select("block", "point", *inputs)
    a, b = placed.filter(pl.col("block") == 0), placed.filter(pl.col("block") == 1)
    for i, name in enumerate(field.name for field in _fields(run)):
        mixed = placed.filter(pl.col("block") == i + 2)
        for source, columns in ((a, [c for c in inputs if c != name]), (b, [c for c in inputs if c == name])):
            joined = mixed.join(source, on="point", suffix="_of_source")
            for column in columns:
                if not joined[column].equals(joined[f"{column}_of_source"], null_equal=True):
                    raise UsageError(f"{run.experiment_id}: its rows are not the rows of its design any more")


def _fields(run: StoredRun) -> Sequence[Any]:
    return run.manifest.design.fields if run.manifest and run.manifest.design else []
