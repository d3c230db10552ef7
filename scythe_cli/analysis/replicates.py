"""The replicates of each case of a design, wherever in the run they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from scythe_cli.errors import UsageError
from scythe_cli.run.extension import design_parts
from scythe_cli.run.specs_file import SpecFile

if TYPE_CHECKING:
    from scythe_cli.run.stored_run import StoredRun

__all__ = ["DesignCases", "cases_of_design"]


Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DesignCases:
    """Which rows of a run are of which case of its design.

    Attributes:
        of_row: For each row of the run the `sort_index` of the first replicate of its case; -1 where it is of none.
        replicates: How many rows each case has.
        n_others: How many rows of the run are of no case of the design.
    """

    of_row: Rows
    replicates: int
    n_others: int

    def means(self, frame: pl.DataFrame, outputs: Sequence[str], inputs: Sequence[str]) -> pl.DataFrame:
        """A row for each case: means of outputs over its replicates, NaN unless all of them have a finite value.

        Args:
            frame: The rows that succeeded, with `sort_index`, inputs and outputs.
            outputs: The outputs, as floats.
            inputs: The inputs, which are the same in all replicates.
        """
        cases = pl.Series("case", self.of_row)
        frame = frame.with_columns(cases.gather(frame["sort_index"]).alias("case")).filter(pl.col("case") >= 0)
        finite = [pl.col(name).is_finite().fill_null(value=False).sum() == self.replicates for name in outputs]
        means = [
            pl.when(is_whole).then(pl.col(name).mean()).otherwise(float("nan")).alias(name)
            for name, is_whole in zip(outputs, finite, strict=True)
        ]
        grouped = frame.group_by("case", maintain_order=True).agg(*(pl.col(name).first() for name in inputs), *means)
        return grouped.rename({"case": "sort_index"}).sort("sort_index")

    def notices(self, n_cases: int) -> list[str]:
        """What is to be said of the rows."""
        told = [f"the means of {self.replicates:,} replicates of each case"] if self.replicates > 1 else []
        if self.n_others:
            told.append(f"of the {n_cases:,} rows of the design, without the {self.n_others:,} added later")
        return told


def cases_of_design(run: StoredRun) -> DesignCases:
    """Find the replicates of each case of a run's design, those that were added later included.

    Raises:
        UsageError: If the run does not have the rows of its design, or its cases have different numbers of replicates.
    """
    manifest, parts = run.manifest, design_parts(run.manifest)
    n_specs = (manifest and manifest.n_specs) or 0
    rows_at = {extension.first_row: extension.rows for extension in (manifest and manifest.extensions) or []}
    rows_at[0] = n_specs - sum(rows_at.values())
    of_row = np.full(n_specs, -1, np.int64)
    for first, record in parts:
        replicates, rest = divmod(rows_at[first], max(record.cases, 1))
        if rest or not replicates:
            raise UsageError(f"{run.experiment_id}: it does not have the {record.rows:,} rows of its design")
        of_row[first : first + rows_at[first]] = np.tile(first + np.arange(record.cases), replicates)
    if (of_row < 0).any():
        _place_others(run, of_row)
    own = of_row[of_row >= 0]
    counts = np.bincount(own)[np.unique(own)]
    if len(counts) and counts.min() != counts.max():
        most = int(counts.max())
        raise UsageError(
            f"{run.experiment_id}: its cases have from {int(counts.min()):,} to {most:,} replicates, and this needs as "
            "many of each",
            hint=f"`scythe allocate FILE --replicates {most} --into {run.experiment_id}` adds what is missing.",
        )
    return DesignCases(of_row, int(counts.max(initial=1)), int((of_row < 0).sum()))


def _place_others(run: StoredRun, of_row: Rows) -> None:
    """Place replicates that were added later: rows that say the same as a case of the design."""
    with SpecFile.open(run.storage, run.layout) as specs:
        if not specs.has_replicates:
            return
    from scythe_cli.analysis.results.by_case import case_of_rows

    contents = case_of_rows(run)
    firsts = np.flatnonzero(of_row == np.arange(len(of_row)))
    design = pl.DataFrame({"content": contents[firsts], "case": firsts}).group_by("content").agg("case")
    others = np.flatnonzero(of_row < 0)
    # cases that say the same get the rows in turn
    turn = pl.int_range(pl.len()).over("content")
    placed = (
        pl.DataFrame({"content": contents[others], "row": others})
        .with_columns(turn.alias("turn"))
        .join(design, on="content", how="inner")
        .with_columns(pl.col("case").list.get(pl.col("turn") % pl.col("case").list.len()))
    )
    of_row[placed["row"].to_numpy()] = placed["case"].to_numpy()
