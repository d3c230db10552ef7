"""Taking outcomes over from earlier runs, for specs that were run before with the same inputs, files and code.

Which earlier runs are looked at: those of the same experiment whose version has the same major part as the new run's,
or those of a version that was named. An outcome is taken over when

- the spec is the same: every input, and the content of every file that it refers to,
- both have the same seed: the runs have, and as many specs before each say the same,
- the earlier one succeeded,
- the experiment's code is the same, unless that was waived, and its models give the same columns.

It becomes an outcome of the new run, with its output files copied into it: a run stays a folder of its own. In the
ledger, three more columns say where it comes from; `started_at` is empty, since nothing was run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa

from scythe_cli.arrow.seeds import REPETITION
from scythe_cli.core.names import timed_name
from scythe_cli.core.semver import SemVer
from scythe_cli.core.states import State
from scythe_cli.errors import NotFoundError, StorageError, UsageError
from scythe_cli.executor.code import code_hash, differing_code
from scythe_cli.model.columns import input_columns, outcome_schema, schema_of
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.spec_rows import NOT_INPUT
from scythe_cli.run.catalog import find_run
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import Ledger, LedgerWriter, read_part
from scythe_cli.run.manifest import RunManifest, read_manifest
from scythe_cli.run.outcomes.duplicates import moved_outcomes
from scythe_cli.run.outcomes.effective import effective_outcomes
from scythe_cli.run.specs_file import SpecFile
from scythe_cli.run.versions import list_runs, list_versions
from scythe_cli.services.reuse.copied_files import with_copied_files
from scythe_cli.services.reuse.identity import KEYS, by_content, row_keys
from scythe_cli.services.reuse.known import succeeded_specs
from scythe_cli.storage.base import Storage

__all__ = [
    "Earlier",
    "Models",
    "Reusable",
    "ReuseRequest",
    "earlier_runs",
    "find_reusable",
    "take_over",
]


_MAX_RUNS = 100
_COUNTED = pl.int_range(pl.len(), dtype=pl.Int32)
_VERSION_LIKE = re.compile(r"v?[0-9.]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class ReuseRequest:
    """What is to be taken over.

    Attributes:
        source: A version, or a run; None for all runs of the same major version.
        ignore_code: Whether outcomes of other code are taken over as well.
    """

    source: str | None = None
    ignore_code: bool = False


@dataclass(frozen=True, slots=True)
class Models:
    """The columns that input and output are kept as.

    Attributes:
        inputs: The input columns, by name, in their order.
        outputs: The schema of outcomes.
    """

    inputs: dict[str, pa.DataType]
    outputs: pa.Schema

    @classmethod
    def of(cls, experiment: RegisteredExperiment[Any, Any]) -> Models:
        """Those of an experiment as it is now."""
        inputs = schema_of(input_columns(experiment.input_validator_type))
        return cls({f.name: f.type for f in inputs}, outcome_schema(experiment.output_validator_type))

    @classmethod
    def of_specs(cls, specs: SpecFile) -> Models:
        """Those that a run was allocated with."""
        return cls({name: specs.schema.field(name).type for name in specs.input_names}, specs.output_schema)

    def are_like(self, other: Models) -> bool:
        """Whether specs and outcomes of one fit the other."""
        same_inputs = list(self.inputs.items()) == list(other.inputs.items())
        return same_inputs and self.outputs == other.outputs


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier run, as far as its folder says how it compares.

    Attributes:
        run: The run.
        code: The source files that differ; empty where none does, None where the code of one is not known.
        same_models: Whether its inputs and outputs are the same columns.
        is_mixed: Whether it took over outcomes of other code than its own.
        same_seed: Whether its seed is that of the new run.
        own_code: The hash of the code that it was allocated with; None where that is not known.
    """

    run: RunLayout
    code: list[str] | None
    same_models: bool
    is_mixed: bool = False
    same_seed: bool = True
    own_code: str | None = None


@dataclass(frozen=True, slots=True)
class Reusable:
    """What can be taken over.

    Attributes:
        matches: A row for each spec: `sort_index` of the new run, `source` (position in `runs`), `source_index`
            (`sort_index` there).
        runs: The runs that outcomes are taken from.
        searched: All runs that were looked at, newest first.
        changed: Runs that were left out, since their code or models are not the same.
        seeded: Runs that were left out, since their seed is another.
        unknown: Specs with a file whose content is not known.
    """

    matches: pl.DataFrame
    runs: list[RunLayout]
    searched: list[RunLayout]
    changed: list[RunLayout]
    unknown: int
    seeded: list[RunLayout] = field(default_factory=list[RunLayout])

    @property
    def n(self) -> int:
        """How many outcomes can be taken over."""
        return self.matches.height

    def notices(self, n_specs: int) -> list[str]:
        """What the user is told."""
        if self.n:
            names = [run.experiment_id for run in self.runs]
            where = names[0] if len(names) == 1 else f"{len(names)} earlier runs"
            told = [f"{self.n:,} of {n_specs:,} cases are taken over from {where}"]
        elif not self.searched:
            told = ["nothing can be taken over: there is no earlier run"]
        else:
            runs = "run" if len(self.searched) == 1 else "runs"
            told = [f"nothing can be taken over from {len(self.searched)} earlier {runs}; `scythe explain` says why"]
        if self.changed:
            runs = "1 earlier run is" if len(self.changed) == 1 else f"{len(self.changed)} earlier runs are"
            told.append(f"{runs} not used, because the code or the models have changed since")
        if self.seeded:
            runs = "1 earlier run is" if len(self.seeded) == 1 else f"{len(self.seeded)} earlier runs are"
            told.append(f"{runs} not used, because the seed is different; --seed sets it")
        if self.unknown:
            told.append(
                f"{self.unknown:,} cases refer to remote files whose content is not known, so they are run; "
                "--copy-inputs copies such files into the run"
            )
        return told


def earlier_runs(
    storage: Storage,
    folder: str,
    version: SemVer,
    source: str | None,
    *,
    code: dict[str, str] | None,
    models: Models,
    seed: int = 0,
    before: RunLayout | None = None,
) -> list[Earlier]:
    """The runs whose outcomes may be taken over, newest first.

    Args:
        storage: Where runs are kept.
        folder: The folder of the experiment.
        version: The version of the new run.
        source: A version or a run to look at instead of all of the same major version.
        code: The code of the new run, as `code_of` gives it.
        models: The models of the new run.
        seed: The seed of the new run.
        before: Only runs that were allocated before this one.

    Raises:
        UsageError: If `source` is no version or run.
    """
    found: list[Earlier] = []
    for run in _candidates(storage, folder, version, source):
        if before is not None and run.order() >= before.order():
            continue
        manifest = _manifest(storage, run)
        if manifest is None or manifest.n_specs is None or manifest.state != "allocated":
            continue  # an older run without a ledger, or one that is being allocated
        try:
            with SpecFile.open(storage, run) as specs:
                same = models.are_like(Models.of_specs(specs))
        except StorageError:
            continue  # damaged, or removed just now
        is_mixed = manifest.reuse is not None and manifest.reuse.ignore_code
        same_seed = (manifest.seed or 0) == seed
        own_code = None if manifest.code is None else code_hash(manifest.code)
        found.append(Earlier(run, differing_code(code, manifest.code), same, is_mixed, same_seed, own_code))
        if len(found) == _MAX_RUNS:
            break
    return found


def _candidates(storage: Storage, folder: str, version: SemVer, source: str | None) -> list[RunLayout]:
    if source is None:
        versions = [v for v in list_versions(storage, folder) if v.major == version.major]
    else:
        named = SemVer.parse(source if source.startswith("v") else f"v{source}")
        if named is None:
            if _VERSION_LIKE.fullmatch(source):
                raise UsageError(f"{source!r} is not a version", hint="A version looks like v1.2.0.")
            return [find_run(storage, source)]
        versions = [v for v in list_versions(storage, folder) if v == named]
        if not versions:
            there = ", ".join(str(v) for v in reversed(list_versions(storage, folder)[-5:]))
            raise NotFoundError(f"{folder} has no version {named}", hint=f"There are: {there}." if there else None)
    runs = [run for each in versions for run in list_runs(storage, folder, each)]
    return sorted(runs, key=RunLayout.order, reverse=True)


def _manifest(storage: Storage, run: RunLayout) -> RunManifest | None:
    try:
        return read_manifest(storage, run)
    except StorageError:
        return None


def find_reusable(
    storage: Storage,
    inputs: pa.Table,
    hashes: Mapping[str, Mapping[str, str]],
    earlier: Sequence[Earlier],
    *,
    ignore_code: bool = False,
    as_one: bool = False,
) -> Reusable:
    """Find the specs that were run before.

    Args:
        storage: Where runs are kept.
        inputs: The input columns of the new run, files as they were given.
        hashes: By file column, from each reference to the SHA-256 of the file.
        earlier: Where to look, the preferred first.
        ignore_code: Whether runs of other code count.
        as_one: Whether all specs that say the same get one outcome, instead of that of the same repetition.
    """
    names = [name for name in inputs.column_names if name not in NOT_INPUT]
    canonical, unknown = by_content(inputs, hashes)
    wanted = (
        row_keys(canonical, names)
        .with_columns((pl.lit(0, pl.Int32) if as_one else _COUNTED.over(KEYS)).alias(REPETITION))
        .with_row_index("sort_index")
        .with_columns(pl.col("sort_index").cast(pl.Int64))
        .filter(~pl.Series(unknown))
    )
    matches: list[pl.DataFrame] = []
    runs: list[RunLayout] = []
    seeded = [each.run for each in earlier if not each.same_seed]
    changed = [each.run for each in earlier if each.same_seed and not _counts(each, ignore_code=ignore_code)]
    for each in earlier:
        if not wanted.height:
            break
        if not _counts(each, ignore_code=ignore_code):
            continue
        code = None if ignore_code else each.own_code
        known = succeeded_specs(
            storage, each.run, names, list(hashes), own_only=each.is_mixed and not ignore_code, code=code
        )
        if as_one:
            known = known.filter(pl.col(REPETITION) == 0)
        found = wanted.join(known, on=[*KEYS, REPETITION], how="inner")
        if found.height:
            source = pl.lit(len(runs), pl.UInt32).alias("source")
            matches.append(found.select("sort_index", source, "source_index"))
            runs.append(each.run)
            wanted = wanted.join(found, on="sort_index", how="anti")
    empty = pl.DataFrame(schema={"sort_index": pl.Int64, "source": pl.UInt32, "source_index": pl.Int64})
    return Reusable(
        matches=pl.concat([empty, *matches]).sort("sort_index"),
        runs=runs,
        searched=[each.run for each in earlier],
        changed=changed,
        unknown=int(pl.Series(unknown).sum()),
        seeded=seeded,
    )


def _counts(earlier: Earlier, *, ignore_code: bool) -> bool:
    return earlier.same_seed and earlier.same_models and (ignore_code or earlier.code == [])


def take_over(storage: Storage, run: RunLayout, workflow_run_id: str, reusable: Reusable) -> pl.Series:
    """Write outcomes of earlier runs to the ledger of a new one, with their output files.

    Args:
        storage: Where runs are kept.
        run: The new run.
        workflow_run_id: The id of its execution.
        reusable: What is taken over.

    Returns:
        The `sort_index` of each spec that has its outcome now, ascending. A spec whose output files have gone
        meanwhile is not among them.

    Raises:
        StorageError: If an earlier run cannot be read or the new one cannot be written.
    """
    writer = LedgerWriter(storage, run, timed_name("reused"))
    taken: list[pl.Series] = []
    for position, source in enumerate(reusable.runs):
        mine = reusable.matches.filter(pl.col("source") == position)
        with Ledger.open(storage, source) as ledger:
            effective = effective_outcomes(ledger.outcomes())
            chosen = effective.filter(pl.col("state") == State.SUCCEEDED.value).join(
                mine.select(new_index="sort_index", sort_index="source_index"), on="sort_index", how="inner"
            )
            for (part,), rows in chosen.sort("part", "row").group_by("part", maintain_order=True):
                whole = ledger.parts[int(str(part))]
                outcomes = read_part(whole, whole.schema.names).take(rows["row"].to_arrow())
                moved = moved_outcomes(outcomes, rows["new_index"], workflow_run_id, source.experiment_id)
                moved = with_copied_files(storage, run, source, moved)
                writer.add(moved)
                taken.append(pl.Series(moved.column("sort_index")))
    writer.flush()
    return pl.concat([pl.Series(dtype=pl.Int64), *taken]).sort()
