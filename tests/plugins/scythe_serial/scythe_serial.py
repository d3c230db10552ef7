"""An engine of another distribution: one process, and a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from scythe_cli.core.progress import ProgressCallback
from scythe_cli.engines.base import Engine, Execution, Job
from scythe_cli.engines.tally import Tally
from scythe_cli.errors import UsageError
from scythe_cli.executor.limits import StopSignal


class SerialEngine(Engine):
    """Executes specs one after the other, `rows` of them before the ledger is written."""

    name = "serial"

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(settings)
        self.rows = self.settings.get("rows", 10)
        if not isinstance(self.rows, int) or self.rows < 1:
            raise UsageError(f"[serial]: 'rows' is {self.rows!r}; it must be a whole number of at least 1")

    def execute(self, job: Job, *, stop: StopSignal, progress: ProgressCallback | None = None) -> Execution:
        writer, tally = job.writer(self.name), Tally(job)
        stopped = False
        with job.rows() as batches, replace(job, workers=1).executor() as executor:
            try:
                for outcomes in executor.run(self._pieces(batches), stop=stop):
                    if outcomes.num_rows:
                        writer.add(outcomes)
                        tally.add(outcomes)
                    else:
                        writer.flush_if_due()
                    if progress:
                        progress(tally.progress())
                    if tally.has_too_many_failures and not stopped:
                        stopped = True
                        stop.drain()
            finally:
                writer.flush()
        return Execution([tally.why_stopped()] if stopped else [])

    def _pieces(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for start in range(0, batch.num_rows, self.rows):
                yield batch.slice(start, self.rows)
