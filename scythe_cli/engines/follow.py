"""How far a submission is, from the parts that it has written so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from scythe_cli.core.folders import owned_prefix
from scythe_cli.core.progress import Progress, RateMeter
from scythe_cli.core.records import StateCounts
from scythe_cli.core.states import State
from scythe_cli.engines.base import Job
from scythe_cli.engines.tally import FAILURE_COLUMNS, FirstFailures
from scythe_cli.errors import StorageError, WaitTimeoutError, first_line
from scythe_cli.run.ledger import POLARS_ERRORS
from scythe_cli.run.outcomes.effective import effective_outcomes, failing_outcomes
from scythe_cli.storage.base import MissingKeyError

__all__ = ["AS_IT_GOES_ON", "LEDGER_S", "Follower", "not_finished"]

AS_IT_GOES_ON = "the run continues; `scythe status` shows its progress, and `scythe cancel` stops it"
"""What is said to somebody who no longer waits for a run."""

LEDGER_S = 2.0
"""How long there is at least between two looks at the ledger."""

_MAX_LEDGER_S = 30.0


_COLUMNS = ["sort_index", "state", "attempt", "final"]


def not_finished(job: Job) -> WaitTimeoutError:
    """The error of a wait that is over before the run is."""
    return WaitTimeoutError(
        f"{job.run.experiment_id} is not finished yet; it continues", hint="`scythe status` shows its progress."
    )


@dataclass
class Follower:
    """Reads each part of a submission once.

    Attributes:
        job: The specs that are executed.
        session: What the names of the parts begin with.
        goes_on: Whether the run goes on when this process ends.
    """

    job: Job
    session: str
    goes_on: bool
    counts: StateCounts = field(init=False)
    finished: int = 0
    failures: int = 0
    _n_failing: int = 0
    _started_s: float = field(default_factory=time.monotonic)
    _due_s: float = 0.0
    _parts: dict[str, tuple[int, pl.DataFrame]] = field(default_factory=dict[str, tuple[int, pl.DataFrame]])
    _first: FirstFailures = field(default_factory=FirstFailures)
    _meter: RateMeter = field(default_factory=RateMeter)

    def __post_init__(self) -> None:
        self.counts = self.job.counts
        self._n_todo = self.job.n_specs if self.job.todo is None else self.job.todo.num_rows

    def look_if_due(self) -> None:
        """Read what is new, unless that was done a moment ago: the longer the run lasts, the less often.

        Raises:
            StorageError: If the ledger cannot be listed or read.
        """
        now_s = time.monotonic()
        if now_s < self._due_s:
            return
        self.look()
        # each look is a request to the store at least, and one for each new part
        self._due_s = time.monotonic() + min(max(LEDGER_S, (now_s - self._started_s) / 10), _MAX_LEDGER_S)

    def look(self) -> None:
        """Read what is new.

        Raises:
            StorageError: If the ledger cannot be listed or read.
        """
        storage, run = self.job.storage, self.job.run
        new = False
        for info in storage.list_files(run.outcomes, starting=self.session):
            if not info.name.endswith(".pq"):
                continue
            known = self._parts.get(info.name)
            # a replay writes the same part again
            if known is None or known[0] != info.size_bytes:
                frame = self._read(info.name)
                if frame is not None:
                    self._parts[info.name] = info.size_bytes, frame
                    new = True
        if new:
            self._count()

    def _read(self, name: str) -> pl.DataFrame | None:
        key = self.job.run.key("outcomes", name)
        columns = _COLUMNS if self._first.is_over else list({*_COLUMNS, *FAILURE_COLUMNS})
        local = self.job.storage.local_path(key)
        try:
            if local is not None:
                return self._noted(pl.read_parquet(local, columns=columns, glob=False))
            with TemporaryDirectory(prefix=owned_prefix("part")) as folder:
                copy = Path(folder) / name
                self.job.storage.get_file(key, copy)
                return self._noted(pl.read_parquet(copy, columns=columns, glob=False))
        except MissingKeyError:
            return None
        except (*POLARS_ERRORS, OSError) as error:
            raise StorageError(f"part {name} of the ledger cannot be read: {first_line(error)}") from error

    def _noted(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The columns that are counted, when the others have been looked at."""
        if not self._first.is_over:
            self._first.look(frame.to_arrow())
        return frame.select(_COLUMNS)

    def _count(self) -> None:
        everything = pl.concat([frame for _, frame in self._parts.values()])
        effective = effective_outcomes(everything)
        counts = {state: self.job.counts.of(state) for state in State}
        for state, n in effective["state"].value_counts().iter_rows():
            counts[State(state)] += int(n)
        counts[State.PENDING] -= effective.height
        self.counts = StateCounts(**{state.value: n for state, n in counts.items()})
        self._meter.add(effective.height - self.finished)
        self.finished = effective.height
        self._n_failing = failing_outcomes(everything, effective).height
        self.failures = self._n_failing + effective.filter(pl.col("state") != State.SUCCEEDED.value).height

    def ended(self, counts: StateCounts) -> Progress:
        """The last moment, when what the run has become is known."""
        self.counts = counts
        self.finished = self._n_todo
        return self.progress()

    def progress(self, detail: str | None = None) -> Progress:
        """This moment."""
        return Progress(
            phase="running",
            counts=self.counts,
            rate_per_s=self._meter.rate_per_s,
            # whoever waits for an engine or a worker cannot know for how long
            eta_s=self._meter.eta_s(self._n_todo - self.finished) if detail is None else None,
            elapsed_s=self._meter.elapsed_s,
            detail=detail,
            failing=self._n_failing,
            notice=self._first.notice,
            goes_on=self.goes_on,
        )
