"""Following a run from outside: its folder is read repeatedly, each part of the ledger once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from scythe_cli.analysis.run import Run
from scythe_cli.core.progress import RateMeter
from scythe_cli.core.states import State
from scythe_cli.engines.base import Engine
from scythe_cli.engines.entry_points import needs_lease
from scythe_cli.errors import StorageError, WaitTimeoutError
from scythe_cli.run.extension import n_specs_now
from scythe_cli.run.ledger import Ledger, read_part
from scythe_cli.run.outcomes.error_groups import ERROR_COLUMNS
from scythe_cli.run.outcomes.part_list import list_parts
from scythe_cli.run.outcomes.standings import Standings
from scythe_cli.run.records import RunStatus, SpecError

if TYPE_CHECKING:
    from scythe_cli.run.layout import RunLayout
    from scythe_cli.storage.base import Storage


__all__ = ["LedgerReader", "RunWatch", "is_idle", "is_over", "seconds_ago"]


INTERVAL_S = 2.0
_MAX_SHARE = 0.1  # of the time is spent with reading
_LAST_FAILURES = 3
_WORKERS_S = 15.0
_DEAD_AFTER_S = 3.0


def is_over(status: RunStatus) -> bool:
    """Whether a run is done, and not being retried; or older than ledgers are."""
    return status.counts is None or (status.counts.pending == 0 and status.gathered and status.at_work is None)


def is_idle(status: RunStatus) -> bool:
    """Whether nothing will happen by itself: no process is at work on a run, or no job of it is in a queue.

    Of a fleet that is not known: a worker may start at any time.
    """
    if status.queue is not None:
        return status.queue.is_empty
    return needs_lease(status.engine) and status.at_work is None


@dataclass
class LedgerReader:
    """Reads what is new in a ledger.

    Attributes:
        storage: Where the run is kept.
        run: The run.
        damaged: Parts that cannot be read.
        failures: The last specs that did not succeed, the newest first; those as well that are to be tried again.
    """

    storage: Storage
    run: RunLayout
    damaged: list[str] = field(default_factory=list[str])
    failures: list[SpecError] = field(default_factory=list[SpecError])
    _sizes: dict[str, int] = field(default_factory=dict[str, int])
    _standings: Standings | None = None

    def standings(self, n_specs: int) -> Standings:
        """What has become of each spec.

        Args:
            n_specs: The number of specs of the run.

        Raises:
            StorageError: If the ledger cannot be listed or read.
        """
        sizes = {part.name: part.size_bytes for part in list_parts(self.storage, self.run)}
        # a retry has set parts aside, or a fleet has written one again: what they said cannot be taken back
        if self._standings is None or any(sizes.get(name) != size for name, size in self._sizes.items()):
            self._standings, self._sizes = Standings(n_specs), {}
        new = sorted(sizes.keys() - self._sizes.keys())
        if new:
            self._sizes.update({name: sizes[name] for name in self._read(new, self._standings)})
        others = {name for name in self.storage.list_others(self.run.outcomes) if name.endswith(".pq")}
        self.damaged = sorted(others | sizes.keys() - self._sizes.keys())
        # what a retry has brought to a better end is no failure any more
        bad = self._standings.are_bad([error.sort_index for error in self.failures])
        self.failures = [error for error, is_bad in zip(self.failures, bad, strict=True) if is_bad]
        return self._standings

    def forget(self) -> None:
        """Read all parts again the next time: of those of a run that has grown, only the known specs were read."""
        self._standings = None

    def _read(self, names: list[str], standings: Standings) -> list[str]:
        """Read parts; returns the names of those that can be read."""
        with Ledger.open(self.storage, self.run, names=names) as ledger:
            last: list[pl.DataFrame] = []
            read: list[str] = []
            for part, outcomes in ledger.pieces(standings.n_specs):
                read.append(part.name)
                standings.add(outcomes)
                last.append(_last_failures(outcomes))
            if last:
                self._keep_failures(ledger, _last_failures(pl.concat(last)))
            return read

    def _keep_failures(self, ledger: Ledger, last: pl.DataFrame) -> None:
        found: list[SpecError] = []
        for position, row in last.select("part", "row").iter_rows():
            try:
                # of a part of many rows one is read
                table = read_part(ledger.parts[position], ERROR_COLUMNS).slice(row, 1)
            except StorageError:
                continue
            found.append(SpecError.model_validate(table.to_pylist()[0]))
        again = {error.sort_index for error in found}
        before = [error for error in self.failures if error.sort_index not in again]
        self.failures = [*found, *before][:_LAST_FAILURES]


@dataclass
class RunWatch:
    """Follows a run until it is done, or until nothing is at work on it any more.

    Attributes:
        run: The run.
        timeout_s: How long to follow it at most.
        engine: The run's engine, which is asked for its workers; None where it is not known.
        dead: Whether it ended because nothing is at work on the run.
    """

    run: Run
    timeout_s: float | None = None
    engine: Engine | None = None
    dead: bool = False
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _meter: RateMeter | None = None
    _done: int = 0
    _workers: tuple[float, RunStatus] | None = None
    _reader: LedgerReader | None = None

    def now(self) -> RunStatus:
        """The run's status at this moment; parts of the ledger that were read before are not read again.

        Raises:
            StorageError: If the run cannot be read.
        """
        if self._reader is None:
            self._reader = LedgerReader(self.run.storage, self.run.layout)
        return self._look(self._reader)

    def moments(self) -> Iterator[RunStatus]:
        """The run's status, about every two seconds; the last one is how it ended.

        Raises:
            StorageError: If the run cannot be read.
            WaitTimeoutError: If it is not done in time.
        """
        begun = idle_since = self.clock()
        while True:
            before = self.clock()
            status = self.now()
            yield status
            if is_over(status):
                return
            now = self.clock()
            if not self._is_idle(status):
                idle_since = now
            elif now - idle_since >= _DEAD_AFTER_S:
                self.dead = True
                return
            left = None if self.timeout_s is None else self.timeout_s - (now - begun)
            if left is not None and left <= 0:
                raise WaitTimeoutError(
                    f"{self.run.experiment_id} is not finished in time: {_pending(status)} pending",
                    hint="It continues; `scythe status` shows its progress.",
                )
            pause = max(INTERVAL_S, (now - before) * (1 / _MAX_SHARE - 1))
            self.sleep(pause if left is None else min(pause, left))

    def _look(self, reader: LedgerReader) -> RunStatus:
        manifest = self.run.manifest
        known = None if manifest is None else manifest.n_specs
        if known is not None and (n_specs_now(self.run.storage, self.run.layout) or known) != known:
            manifest = None  # the run has got more cases
            reader.forget()
        if manifest is None or manifest.state == "allocating":
            self.run = Run(self.run.storage, self.run.layout)  # which has not read its manifest yet
            manifest = self.run.manifest
        if manifest is None or manifest.n_specs is None:
            return self.run.status()
        status = self.run.status_from(reader.standings(manifest.n_specs), reader.damaged)
        status = status.model_copy(update={"last_failures": reader.failures, **self._pace(status)})
        return self._with_workers(status)

    def _pace(self, status: RunStatus) -> dict[str, float | None]:
        """The rate of late, once it is known: that of the whole run counts the time in which nobody was at work."""
        assert status.counts is not None
        done = status.counts.total - status.counts.pending
        if self._meter is None:
            self._meter, self._done = RateMeter(), done
            return {}
        finished, self._done = max(done - self._done, 0), done
        if finished:
            self._meter.add(finished)
        rate = self._meter.rate_per_s
        if rate is None or is_idle(status):
            return {}
        return {"rate_per_s": rate, "eta_s": status.counts.pending / rate if status.counts.pending else None}

    def _with_workers(self, status: RunStatus) -> RunStatus:
        if self.engine is None or is_over(status):
            return status
        from scythe_cli.services.runs.fleet import with_workers

        now = self.clock()
        if self._workers is None or now - self._workers[0] >= _WORKERS_S:
            asked = with_workers(status.model_copy(update={"notice": None}), self.run, self.engine)
            self._workers = now, asked
        said = self._workers[1]
        return status.model_copy(
            update={"workers": said.workers, "queue": said.queue, "notice": status.notice or said.notice}
        )

    def _is_idle(self, status: RunStatus) -> bool:
        manifest = self.run.manifest
        return is_idle(status) and manifest is not None and manifest.state != "allocating"


def _last_failures(outcomes: pl.DataFrame) -> pl.DataFrame:
    ended = pl.col("started_at") + pl.duration(microseconds=pl.col("duration_s").fill_null(0) * 1_000_000)
    bad = outcomes.filter(pl.col("state") != State.SUCCEEDED.value)
    newest = bad.sort(ended, descending=True, nulls_last=True)
    return newest.unique("sort_index", keep="first", maintain_order=True).head(_LAST_FAILURES)


def _pending(status: RunStatus) -> str:
    return f"{status.counts.pending:,}" if status.counts else "?"


def seconds_ago(moment: datetime) -> float:
    """How long ago something was; not less than nothing, whatever the clocks say."""
    return max((datetime.now(UTC) - moment) / timedelta(seconds=1), 0.0)
