"""The rows of a run that have succeeded, with exact types: from its specs and its ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from scythe_cli.analysis.results.output_files import key_in_run
from scythe_cli.analysis.run import Run
from scythe_cli.arrow.build import numbers
from scythe_cli.arrow.seeds import REPETITION
from scythe_cli.arrow.unify import convert_column
from scythe_cli.core.folders import owned_prefix
from scythe_cli.core.states import State
from scythe_cli.errors import SpecsError, StorageError, UsageError
from scythe_cli.model.kinds import ENCODING_KEY
from scythe_cli.model.outcome_schema import FEATURE, FILE, SCALAR
from scythe_cli.run.chain.files import StoredFile
from scythe_cli.run.final.merge import ranges_of
from scythe_cli.run.final.sources import Columns
from scythe_cli.run.input_files import read_listed_files
from scythe_cli.run.lease import read_owner
from scythe_cli.run.ledger import Ledger
from scythe_cli.run.manifest import RunManifest
from scythe_cli.run.specs_file import REPLICATE, SpecFile, input_file_names
from scythe_cli.services.chains.offer import Offer, OfferedColumn, Rows

__all__ = ["RunRows", "read_rows"]


_AT_ONCE = 262_144


@dataclass(frozen=True, slots=True)
class RunRows:
    """The rows of a run that have succeeded.

    Attributes:
        offer: What they have.
        sort_index: Which they are.
        n_specs: How many rows the run has.
        not_succeeded: How many did not succeed, by state.
        manifest: The run's.
    """

    offer: Offer
    sort_index: Rows
    n_specs: int
    not_succeeded: dict[str, int]
    manifest: RunManifest

    def notices(self) -> list[str]:
        """What there is to tell of rows that are left out."""
        n = sum(self.not_succeeded.values())
        if not n:
            return []
        told = ", ".join(f"{count:,} {state}" for state, count in self.not_succeeded.items())
        return [f"{n:,} of {self.n_specs:,} cases of {self.offer.run} did not succeed and are left out: {told}"]


@dataclass(frozen=True, slots=True)
class _RowLabel:
    """`row 17`, as the run counts."""

    sort_index: Rows

    def __call__(self, row: int) -> str:
        return f"row {int(self.sort_index[row])}"


def read_rows(run: Run, *, unfinished: bool = False) -> RunRows:
    """Read what has succeeded of a run.

    Args:
        run: The run.
        unfinished: Whether it may be unfinished.

    Raises:
        UsageError: If it is unfinished, and may not be; or an older run.
        SpecsError: If none of its rows has succeeded.
        StorageError: If it cannot be read.
    """
    manifest = run.manifest
    if manifest is None or manifest.n_specs is None:
        raise UsageError(f"{run.experiment_id} is an older run, which kept too little about its cases")
    if manifest.state == "allocating":
        raise StorageError(f"the allocation of {run.experiment_id} did not finish", hint="Allocate it again.")
    at_work = not unfinished and manifest.needs_lease and read_owner(run.storage, run.layout) is not None
    with (
        Ledger.open(run.storage, run.layout) as ledger,
        SpecFile.open(run.storage, run.layout) as specs,  # later: it has the spec of each outcome
        TemporaryDirectory(prefix=owned_prefix("chain")) as scratch,
    ):
        columns = replace(Columns.of(ledger.parts), frames=pa.schema([]))
        counts: Counter[str] = Counter()
        pieces: list[pl.DataFrame] = []
        with closing(ranges_of(ledger.parts, columns, specs.n_specs, _AT_ONCE, Path(scratch))) as ranges:
            for each in ranges:
                pieces.append(each.good)
                counts.update(each.bad["state"].drop_nulls().to_list())
        good = pl.concat(pieces)
        if n_pending := specs.n_specs - good.height - counts.total():
            counts[State.PENDING.value] = n_pending
        _check(run, specs.n_specs, good.height, counts, unfinished=unfinished, at_work=at_work)
        sort_index: Rows = good["sort_index"].to_numpy().astype(np.int64)
        offered = [*_inputs(run, specs, sort_index), *_outputs(run, specs, good)]
    n = len(sort_index)
    offsets: Any = numbers(np.arange(n + 1, dtype=np.int32), pa.int32())
    own = pa.ListArray.from_arrays(offsets, numbers(sort_index, pa.int64()))
    label = _RowLabel(sort_index)
    offer = Offer(run.experiment_id, tuple(offered), n, own, label)
    states = {state.value: counts[state.value] for state in State if counts[state.value]}
    return RunRows(offer, sort_index, specs.n_specs, states, manifest)


def _check(run: Run, n: int, n_good: int, counts: Counter[str], *, unfinished: bool, at_work: bool) -> None:
    n_pending = counts[State.PENDING.value]
    if not unfinished and (at_work or n_pending):
        what = f"{n_pending:,} of {n:,} cases are pending" if n_pending else "cases of it run again"
        doing = "is still running" if at_work else "is not finished"
        raise UsageError(
            f"{run.experiment_id} {doing}: {what}",
            hint=f"`scythe status {run.experiment_id}` shows its progress; --partial takes the cases that have "
            "succeeded so far.",
        )
    if not n_good:
        raise SpecsError(
            f"none of the {n:,} cases of {run.experiment_id} has succeeded",
            hint=f"`scythe errors {run.experiment_id}` shows what went wrong.",
        )


def _inputs(run: Run, specs: SpecFile, sort_index: Rows) -> list[OfferedColumn]:
    table = specs.read(0, specs.n_specs)
    if len(sort_index) < table.num_rows:
        table = table.take(numbers(sort_index, pa.int64()))
    files = set(input_file_names(specs.schema))
    offered = [
        OfferedColumn(
            name,
            "input",
            table.column(name),
            _is_json(specs.schema.field(name)),
            partial(_input_files, run) if name in files else None,
        )
        for name in specs.input_names
    ]
    if specs.has_replicates:
        offered.append(OfferedColumn(REPLICATE, "feature", table.column(REPETITION)))
    return offered


def _outputs(run: Run, specs: SpecFile, good: pl.DataFrame) -> list[OfferedColumn]:
    declared = specs.output_schema
    inputs = set(specs.input_names)
    table = good.to_arrow(compat_level=pl.CompatLevel.oldest())
    offered: list[OfferedColumn] = []
    for column in table.column_names:
        start, colon, name = column.partition(":")
        prefix, cells = f"{start}{colon}", table.column(column)
        if prefix not in (SCALAR, FILE, FEATURE) or (prefix == FEATURE and name in inputs):
            continue
        at = declared.get_field_index(column)
        is_json = at >= 0 and _is_json(declared.field(at))
        cells = convert_column(cells, declared.field(at).type) if at >= 0 else _plain(cells)
        side = "feature" if prefix == FEATURE else "output"
        files = partial(_output_files, run, name) if prefix == FILE else None
        offered.append(OfferedColumn(name, side, cells, is_json, files))
    order = {name: position for position, name in enumerate(declared.names)}  # as the model has them
    return sorted(offered, key=lambda c: order.get((FILE if c.is_file else SCALAR) + c.name, len(order)))


def _plain(cells: Any) -> Any:
    """Texts as Polars gives them, in the type that the checks know."""
    return cells.cast(pa.string()) if pa.types.is_large_string(cells.type) else cells


def _is_json(field: pa.Field[Any]) -> bool:
    return (field.metadata or {}).get(ENCODING_KEY) == b"json"


def _output_files(run: Run, name: str, uris: Sequence[str]) -> dict[str, StoredFile]:
    keys = {uri: key_in_run(run.storage, run.layout, uri, "results") for uri in uris}
    return {
        uri: StoredFile(run.storage, key, f"{name}{PurePosixPath(key).suffix}")
        for uri, key in keys.items()
        if key is not None
    }


def _input_files(run: Run, uris: Sequence[str]) -> dict[str, StoredFile]:
    listed = {file.uri: file for file in read_listed_files(run.storage, run.layout)}
    found: dict[str, StoredFile] = {}
    for uri in uris:
        key = key_in_run(run.storage, run.layout, uri, "artifacts")
        if key is not None:
            file = listed.get(uri)
            name = (file.source_name if file else None) or PurePosixPath(key).name
            found[uri] = StoredFile(run.storage, key, name, file.sha256 if file else None)
    return found
