"""What of a new run need not be run: specs that were run before, and specs that are the same as another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from scythe_cli.core.records import StateCounts
from scythe_cli.core.semver import Bump, SemVer, next_version
from scythe_cli.executor.code import code_of
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.spec_rows import NOT_INPUT
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.manifest import ReuseRecord
from scythe_cli.run.outcomes.duplicates import write_duplicates
from scythe_cli.run.versions import latest_run
from scythe_cli.services.reuse.copy import (
    Models,
    Reusable,
    ReuseRequest,
    earlier_runs,
    find_reusable,
    take_over,
)
from scythe_cli.services.reuse.duplicates import find_duplicates
from scythe_cli.storage.base import Storage

__all__ = ["Savings", "WorkLeft", "find_savings", "version_ahead", "work_left"]


@dataclass(frozen=True, slots=True)
class Savings:
    """What need not be run.

    Attributes:
        n_specs: The specs of the new run.
        reusable: What can be taken over; None where that was not asked for.
        ignore_code: Whether that includes outcomes of other code.
        duplicates: Which specs are the same as another one; None where that was not asked for.
    """

    n_specs: int
    reusable: Reusable | None = None
    ignore_code: bool = False
    duplicates: pl.DataFrame | None = None

    @property
    def n_reused(self) -> int:
        """How many outcomes can be taken over."""
        return self.reusable.n if self.reusable else 0

    @property
    def idle_duplicates(self) -> pl.DataFrame:
        """The duplicates that are not run themselves: those whose outcome is not taken over."""
        if self.duplicates is None:
            return pl.DataFrame(schema={"sort_index": pl.Int64, "same_as": pl.Int64})
        if self.reusable is None:
            return self.duplicates
        return self.duplicates.join(self.reusable.matches, on="sort_index", how="anti")

    @property
    def n_to_run(self) -> int:
        """How many specs are left to run."""
        return self.n_specs - self.n_reused - self.idle_duplicates.height

    def notices(self) -> list[str]:
        """What the user is told."""
        told = self.reusable.notices(self.n_specs) if self.reusable else []
        if self.duplicates is not None:
            n = self.idle_duplicates.height
            few = ["no two cases are the same", "1 case is the same as an earlier row and gets its outcome"]
            told.append(few[n] if n < 2 else f"{n:,} cases are the same as an earlier row and get its outcome")
        return told


@dataclass(frozen=True, slots=True)
class WorkLeft:
    """What is to be run of a new run.

    Attributes:
        todo: As of a `Job`; None for all specs.
        counts: The specs by state.
        n_reused: How many have an outcome already.
        n_duplicates: How many get that of another spec.
        reuse: For the manifest.
        notices: For the user.
    """

    todo: pa.Table | None
    counts: StateCounts
    n_reused: int = 0
    n_duplicates: int = 0
    reuse: ReuseRecord | None = None
    notices: list[str] = field(default_factory=list[str])


def version_ahead(storage: Storage, folder: str, version: Bump | SemVer) -> SemVer:
    """The version that a run gets, unless another allocation is faster."""
    if isinstance(version, SemVer):
        return version
    latest = latest_run(storage, folder)
    return next_version(latest.version if latest else None, version)


def find_savings(
    storage: Storage,
    experiment: RegisteredExperiment[Any, Any],
    folder: str,
    version: Bump | SemVer,
    inputs: pa.Table,
    hashes: Mapping[str, Mapping[str, str]],
    root: Path,
    *,
    seed: int = 0,
    reuse: ReuseRequest | None = None,
    dedupe: bool = False,
) -> Savings:
    """Find out what need not be run; nothing is written.

    Args:
        storage: Where runs are kept.
        experiment: The experiment.
        folder: Its folder.
        version: Of the new run.
        inputs: Its input columns.
        hashes: By file column, from each reference to the SHA-256 of the file.
        root: The project's folder.
        seed: The seed of the new run.
        reuse: What is to be taken over.
        dedupe: Whether specs that are the same are run once.

    Raises:
        NotFoundError: If the version or run to take outcomes from is not there.
        StorageError: If an earlier run cannot be read.
    """
    reusable: Reusable | None = None
    if reuse is not None:
        ahead = version_ahead(storage, folder, version)
        earlier = earlier_runs(
            storage,
            folder,
            ahead,
            reuse.source,
            code=code_of(experiment, root),
            models=Models.of(experiment),
            seed=seed,
        )
        reusable = find_reusable(storage, inputs, hashes, earlier, ignore_code=reuse.ignore_code, as_one=dedupe)
    names = [name for name in inputs.column_names if name not in NOT_INPUT]
    return Savings(
        n_specs=inputs.num_rows,
        reusable=reusable,
        ignore_code=reuse.ignore_code if reuse else False,
        duplicates=find_duplicates(inputs, names, hashes) if dedupe else None,
    )


def work_left(storage: Storage, run: RunLayout, workflow_run_id: str, savings: Savings) -> WorkLeft:
    """Write to a new run what need not be run, and tell what is left.

    Raises:
        StorageError: If an earlier run cannot be read or the new one cannot be written.
    """
    n_specs = savings.n_specs
    if savings.reusable is None and savings.duplicates is None:
        return WorkLeft(None, StateCounts(pending=n_specs))
    notices = savings.notices()
    done = pl.Series(dtype=pl.Int64)
    record: ReuseRecord | None = None
    if savings.reusable is not None:
        reusable = savings.reusable
        done = take_over(storage, run, workflow_run_id, reusable)
        if len(done) < reusable.n:
            notices.append(f"output files of {reusable.n - len(done):,} of them are gone, so they are run again")
        taken = reusable.matches.filter(pl.col("sort_index").is_in(done.implode()))
        numbers = dict(taken["source"].value_counts().iter_rows())
        record = ReuseRecord(
            n_reused=len(done),
            runs={each.experiment_id: int(numbers.get(i, 0)) for i, each in enumerate(reusable.runs)},
            searched=[each.experiment_id for each in reusable.searched],
            ignore_code=savings.ignore_code,
        )
    idle = savings.idle_duplicates
    if savings.duplicates is not None and idle.height:
        # the first of a kind may have been taken over while its likes were not, or the other way round
        write_duplicates(storage, run, idle)
    rows = pl.DataFrame({"sort_index": pl.int_range(0, n_specs, eager=True)})
    rows = rows.filter(~pl.col("sort_index").is_in(done.implode()))
    rows = rows.join(idle, on="sort_index", how="anti").sort("sort_index")
    todo = rows.with_columns(attempt=pl.lit(1, pl.Int32)).to_arrow()
    return WorkLeft(
        todo=todo,
        counts=StateCounts(succeeded=len(done), pending=n_specs - len(done)),
        n_reused=len(done),
        n_duplicates=idle.height,
        reuse=record,
        notices=notices,
    )
