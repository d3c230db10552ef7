"""What has become of the cases of a study, as the parts of its run's ledger tell it, those read that are new."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import polars as pl
import pyarrow as pa

from scythe_cli.analysis.surrogate.space import Floats
from scythe_cli.core.states import State
from scythe_cli.errors import UsageError
from scythe_cli.model.outcome_schema import SCALAR
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import Ledger, read_part
from scythe_cli.run.outcomes.effective import effective_outcomes
from scythe_cli.run.outcomes.part_list import list_parts
from scythe_cli.storage.base import Storage

__all__ = ["CaseOutcomes"]


_COLUMNS = ["sort_index", "state", "attempt", "final", "started_at", "duration_s"]


class CaseOutcomes:
    """The states and outputs of cases.

    Args:
        storage: Where the run is kept.
        run: The run.
        outputs: The outputs to read.
    """

    def __init__(self, storage: Storage, run: RunLayout, outputs: Sequence[str]) -> None:
        self._storage, self._run, self._outputs = storage, run, list(outputs)
        self._read: set[str] = set()
        self._frames: list[pl.DataFrame] = []
        self._effective: pl.DataFrame | None = None

    def refresh(self) -> None:
        """Read the parts that have come since.

        Raises:
            StorageError: If one cannot be read.
        """
        names = {part.name for part in list_parts(self._storage, self._run)}
        new = sorted(names - self._read)
        if not new:
            return
        with Ledger.open(self._storage, self._run, names=new) as ledger:
            for part in ledger.parts:
                wanted = [SCALAR + name for name in self._outputs if SCALAR + name in part.schema.names]
                table = read_part(part, [*_COLUMNS, *wanted])
                plain = pa.Table.from_arrays(table.columns, names=table.column_names)
                frame = cast("pl.DataFrame", pl.from_arrow(plain))
                columns = [_numbers(frame, name, part.name) for name in self._outputs]
                self._frames.append(frame.select(*_COLUMNS, *columns))
        self._read |= names
        self._effective = None

    def _all(self) -> pl.DataFrame:
        if self._effective is None:
            if not self._frames:
                return pl.DataFrame(schema={"sort_index": pl.Int64, "state": pl.String})
            self._effective = effective_outcomes(pl.concat(self._frames, how="vertical_relaxed"))
        return self._effective

    def pending(self, n: int) -> list[int]:
        """Which of the first cases have no outcome."""
        known: set[int] = set(self._all()["sort_index"].to_list())
        return [row for row in range(n) if row not in known]

    def states(self, n: int) -> list[str]:
        """The state of each of the first cases."""
        states = [State.PENDING.value] * n
        for row, state in self._all().select("sort_index", "state").iter_rows():
            if row < n:
                states[row] = state
        return states

    def outputs(self, n: int) -> dict[str, Floats]:
        """The numbers of each output of the first cases; NaN where one did not succeed or has none."""
        frame = self._all()
        values = {name: np.full(n, np.nan) for name in self._outputs}
        if not frame.height:
            return values
        good = frame.filter((pl.col("state") == State.SUCCEEDED.value) & (pl.col("sort_index") < n))
        rows = good["sort_index"].to_numpy()
        for name, column in values.items():
            column[rows] = good[name].fill_null(float("nan")).to_numpy()
        return values


def _numbers(frame: pl.DataFrame, name: str, part: str) -> pl.Series:
    column: Any = frame.get_column(SCALAR + name, default=pl.Series([None] * frame.height, dtype=pl.Float64))
    if column.dtype == pl.Null:
        column = column.cast(pl.Float64)
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        raise UsageError(f"the output {name!r} is not a number (in {part}): a study cannot learn from it")
    return column.cast(pl.Float64).alias(name)
