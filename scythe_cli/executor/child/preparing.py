"""From the rows that the parent sends to specs that can be run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from scythe_cli.arrow.build import array_of
from scythe_cli.executor.protocol import ATTEMPT, TRIES_REMAINING, Board, Phase
from scythe_cli.executor.rows.attempts import Attempts
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.model.spec_rows import spec_factory, workflow_run_id, workflow_run_ids

__all__ = ["Preparation", "Rows"]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a chunk, ready to be run.

    Attributes:
        chunk: Its number.
        rows: The specs' own columns.
        attempts: What their outcomes tell of them.
        run_ids: By row, the id of its execution.
        tries: By row, how many more attempts there may be.
    """

    chunk: int
    rows: pa.RecordBatch
    attempts: Attempts
    run_ids: list[Any]
    tries: list[int]

    @property
    def n(self) -> int:
        """The number of rows."""
        return self.rows.num_rows


class Preparation:
    """Makes specs of rows.

    Args:
        model: The input model.
        root_workflow_run_id: That of the run.
        board: Where the parent sees that specs are made.
    """

    def __init__(self, model: type[ExperimentInputSpec], root_workflow_run_id: str, board: Board) -> None:
        self._model = model
        self._root = root_workflow_run_id
        self._board = board
        self._schema: pa.Schema | None = None
        self._build: Any = None

    def rows_of(self, chunk: int, table: pa.Table) -> Rows:
        """Take the rows of a chunk apart."""
        tries: list[Any] = table.column(TRIES_REMAINING).to_pylist()
        attempts = self._attempts_of(table)
        rows = table.drop_columns([ATTEMPT, TRIES_REMAINING]).combine_chunks().to_batches()[0]
        if self._schema is None or not self._schema.equals(rows.schema):
            self._schema = rows.schema
            self._build = spec_factory(self._model, rows.schema)
        return Rows(chunk, rows, attempts, attempts.workflow_run_id.to_pylist(), tries)

    def _attempts_of(self, table: pa.Table) -> Attempts:
        sort_index, attempt, own_ids = (
            table.column(name).combine_chunks() for name in ("sort_index", ATTEMPT, "workflow_run_id")
        )
        if own_ids.null_count == len(own_ids):
            run_ids = workflow_run_ids(self._root, sort_index)
        else:
            indices: list[Any] = sort_index.to_pylist()
            pairs = zip(own_ids.to_pylist(), indices, strict=True)
            run_ids = array_of([own or workflow_run_id(self._root, index) for own, index in pairs], pa.string())
        return Attempts(sort_index, attempt, run_ids)

    def specs_of(self, rows: pa.RecordBatch, first: int, end: int) -> list[Any]:
        """Make the specs of some rows; a row that the model refuses becomes the error."""
        board = self._board
        board.clock[0] = time.monotonic()
        board.words[Board.ROW], board.words[Board.END] = first, end
        board.words[Board.PHASE] = Phase.BUILDING
        try:
            specs: list[Any] = self._build(rows.slice(first, end - first))
        except BaseException as error:  # noqa: BLE001 - validators are the user's code
            if end - first == 1:
                specs = [error]
            else:
                specs = [spec for row in range(first, end) for spec in self.specs_of(rows, row, row + 1)]
        board.words[Board.PHASE] = Phase.IDLE
        return specs
