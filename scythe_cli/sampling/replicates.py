"""The column of a sampling file that tells which replicate of its case a row is."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from scythe_cli.arrow.seeds import repetitions
from scythe_cli.model.spec_rows import NOT_INPUT
from scythe_cli.sampling.file_columns import RawFile
from scythe_cli.sampling.problems import BadCellsError, CellProblem, show_value

__all__ = ["check_replicates", "replicate_numbers"]


_SHOWN = 20


def check_replicates(raw: RawFile, column: str, inputs: pa.Table) -> int:
    """See that a column numbers the replicates of each case as tables number them: from 0, in the order of the rows.

    Args:
        raw: The file.
        column: The column.
        inputs: What the rows say.

    Returns:
        How many replicates the case with the most has.

    Raises:
        BadCellsError: If it has other numbers.
    """
    cells: Any = pl.from_arrow(raw.columns[raw.names.index(column)])
    texts = cells.str.strip_chars() if cells.dtype == pl.String else cells
    expected = replicate_numbers(inputs)
    numbers = texts.cast(pl.Int64, strict=False).fill_null(-1).to_numpy()
    wrong = np.flatnonzero(numbers != expected)
    if len(wrong):
        problems = [
            CellProblem(
                raw.row_label(row),
                row,
                column,
                None if cells[row] is None else show_value(cells[row]),
                f"This row is replicate {expected[row]} of its case",
            )
            for row in map(int, wrong[:_SHOWN])
        ]
        hint = f"Rows that say the same are counted from 0. Without the column {column}, they are no replicates."
        raise BadCellsError(raw.path, problems, len(wrong), hint=hint)
    return int(expected.max(initial=0)) + 1


def replicate_numbers(inputs: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
    """How many rows before each say the same."""
    counted = repetitions(inputs, leave_out=NOT_INPUT, artifacts="")
    return np.zeros(inputs.num_rows, np.int64) if counted is None else counted.to_numpy().astype(np.int64)
