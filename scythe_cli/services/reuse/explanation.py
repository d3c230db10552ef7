"""Why a spec of a run was not taken over from an earlier run: told from the folders of the runs alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
import pyarrow as pa
from pydantic import Field

from scythe_cli.analysis.run import Run
from scythe_cli.core.records import Record
from scythe_cli.core.states import State
from scythe_cli.errors import NotFoundError, StorageError, UsageError
from scythe_cli.model.outcome_schema import REUSED_FROM
from scythe_cli.run.input_files import read_listed_files
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import Ledger, read_part
from scythe_cli.run.manifest import RunManifest
from scythe_cli.run.outcomes.duplicates import read_duplicates
from scythe_cli.run.outcomes.effective import effective_outcomes
from scythe_cli.run.specs_file import SpecFile
from scythe_cli.services.chains.tracing import OriginStep, trace
from scythe_cli.services.reuse.copy import (
    Earlier,
    Models,
    earlier_runs,
)
from scythe_cli.services.reuse.identity import KEYS, by_content, row_keys
from scythe_cli.services.reuse.known import content_hashes
from scythe_cli.storage.base import Storage

__all__ = ["Explanation", "FieldDifference", "Reason", "explain_row"]


Reason = Literal[
    "reused",
    "duplicate",
    "no earlier run",
    "inputs",
    "state",
    "code",
    "models",
    "seed",
    "unknown file",
    "not asked",
    "gone",
]


class FieldDifference(Record):
    """A field that is not the same in two specs."""

    field: str
    value: Any = Field(description="in this spec; of a file its name and the beginning of its SHA-256")
    earlier: Any = Field(description="in the earlier one")
    is_file: bool = Field(description="whether the content of a file is compared")


class Explanation(Record):
    """Why a spec was taken over, or why not."""

    experiment_id: str
    sort_index: int
    reused: bool = Field(description="whether its outcome comes from another spec")
    reason: Reason
    text: str = Field(description="the reason, in a sentence")
    earlier_run: str | None = Field(default=None, description="the run of the same spec, or of the nearest one")
    earlier_index: int | None = Field(default=None, description="that spec's sort_index")
    earlier_state: State | None = None
    differences: list[FieldDifference] = Field(default=[], description="fields that differ from the nearest spec")
    code: list[str] = Field(default=[], description="source files that are not the same")
    upstream: list[OriginStep] = Field(
        default=[], description="of a run that was made from another one: the whole way of the inputs of the case"
    )


@dataclass(frozen=True, slots=True)
class _Like:
    """An earlier spec with the same inputs."""

    earlier: Earlier
    index: int
    state: State


@dataclass(frozen=True, slots=True)
class _Near:
    """The nearest earlier spec, and the fields that are not the same."""

    earlier: Earlier
    index: int
    state: State
    fields: list[str]


def explain_row(run: Run, row: int) -> Explanation:
    """Tell why a spec was taken over from an earlier run, or why it was not; and where its inputs came from.

    Args:
        run: The run.
        row: The spec's `sort_index`.

    Raises:
        UsageError: If it is an older run without a ledger.
        NotFoundError: If the run has no such row.
        StorageError: If the run cannot be read.
    """
    manifest = run.manifest
    if manifest is None or manifest.n_specs is None:
        raise UsageError(f"{run.experiment_id} is an older run, which kept too little about its cases")
    if not 0 <= row < manifest.n_specs:
        raise NotFoundError(f"{run.experiment_id} has no row {row}: it has rows 0 to {manifest.n_specs - 1}")
    with SpecFile.open(run.storage, run.layout) as specs:
        spec, models = specs.read(row, row + 1), Models.of_specs(specs)
    explained = _explained(run, row, manifest, spec, models)
    return explained.model_copy(update={"upstream": trace(run, [row])})


def _explained(run: Run, row: int, manifest: RunManifest, spec: pa.Table, models: Models) -> Explanation:
    files = manifest.file_fields or []
    known = _origin(run, row)
    if known is not None:
        return known
    earlier = earlier_runs(
        run.storage,
        run.layout.experiment,
        run.layout.version,
        None,
        code=manifest.code,
        models=models,
        seed=manifest.seed or 0,
        before=run.layout,
    )
    if not earlier:
        text = f"there is no earlier run of v{run.layout.version.major}.x to take it from"
        return _told(run, row, "no earlier run", text)
    hashes = content_hashes(run.storage, run.layout, files)
    canonical, unknown = by_content(spec, hashes)
    if unknown[0].as_py():
        elsewhere = [
            name for name in files if not str(canonical.column(name)[0].as_py() or "sha256:").startswith("sha256:")
        ]
        text = (
            f"{', '.join(elsewhere)} refers to a remote file whose content is not known; "
            "--copy-inputs copies such files into the run"
        )
        return _told(run, row, "unknown file", text)
    likes: list[_Like] = []
    nearest: _Near | None = None
    for each in earlier:
        found, near = _compare(run.storage, each, canonical, list(models.inputs), files)
        likes += found
        if near is not None and (nearest is None or len(near.fields) < len(nearest.fields)):
            nearest = near
    if likes:
        return _of_same_inputs(run, row, likes)
    if nearest is None:
        return _told(run, row, "models", "the inputs of earlier runs are other columns", code=[])
    return _of_nearest(run, row, nearest, spec, canonical, files)


def _told(run: Run, row: int, reason: Reason, text: str, **more: Any) -> Explanation:
    reused = reason in ("reused", "duplicate")
    return Explanation(experiment_id=run.experiment_id, sort_index=row, reused=reused, reason=reason, text=text, **more)


def _origin(run: Run, row: int) -> Explanation | None:
    """Where the outcome of a spec comes from, if it is not its own."""
    with Ledger.open(run.storage, run.layout) as ledger:
        effective = effective_outcomes(ledger.outcomes().filter(pl.col("sort_index") == row))
        if effective.height:
            part = ledger.parts[effective["part"][0]]
            if set(REUSED_FROM) <= set(part.schema.names):
                cells = read_part(part, REUSED_FROM).slice(effective["row"][0], 1).to_pylist()[0]
                source, index, attempt = (cells[name] for name in REUSED_FROM)
                if source == run.experiment_id:
                    text = f"row {index} of this run is the same, and its outcome was given to this one"
                    return _told(run, row, "duplicate", text, earlier_run=source, earlier_index=index)
                if source is not None:
                    text = f"its outcome was taken over from row {index} of {source}, attempt {attempt}"
                    return _told(
                        run,
                        row,
                        "reused",
                        text,
                        earlier_run=source,
                        earlier_index=index,
                        earlier_state=State(effective["state"][0]),
                    )
    same = read_duplicates(run.storage, run.layout).filter(pl.col("sort_index") == row)
    if same.height:
        index = int(same["same_as"][0])
        text = f"row {index} of this run is the same, and its outcome will be given to this one"
        return _told(run, row, "duplicate", text, earlier_run=run.experiment_id, earlier_index=index)
    return None


def _compare(
    storage: Storage, earlier: Earlier, spec: pa.Table, names: Sequence[str], files: Sequence[str]
) -> tuple[list[_Like], _Near | None]:
    """Look for a spec in an earlier run: those that are the same, or the nearest one."""
    try:
        with SpecFile.open(storage, earlier.run) as specs, Ledger.open(storage, earlier.run) as ledger:
            shared = [name for name in names if name in specs.input_names]
            canonical, _ = by_content(specs.read(0, specs.n_specs), content_hashes(storage, earlier.run, files))
            states = effective_outcomes(ledger.outcomes(specs.n_specs)).select("sort_index", "state")
            lacking = [name for name in {*names, *specs.input_names} if name not in shared]
    except StorageError:
        return [], None
    if not shared or not canonical.num_rows:
        return [], None
    same = {name: _equal(canonical, spec, name) for name in shared}
    n_same = pl.DataFrame(list(same.values())).sum_horizontal() if same else pl.Series([0])

    def state_of(index: int) -> State:
        state = states.filter(pl.col("sort_index") == index)["state"]
        return State(state[0]) if len(state) else State.PENDING

    if not lacking:
        exact = (n_same == len(shared)).arg_true().head(100)
        found = [_Like(earlier, int(i), state_of(int(i))) for i in exact]
        if found:
            return found, None
    index = _nearest_of(canonical, spec, shared, (n_same == n_same.max()).arg_true())
    fields = [name for name in shared if not same[name][index]] + sorted(lacking)
    return [], _Near(earlier, index, state_of(index), fields)


def _nearest_of(canonical: pa.Table, spec: pa.Table, names: Sequence[str], rows: pl.Series) -> int:
    """Of rows that have equally many values in common with a spec, the one whose numbers are nearest to its own."""
    distance = pl.Series(np.zeros(len(rows)))
    for name in names:
        if not (
            pa.types.is_integer(canonical.schema.field(name).type)
            or pa.types.is_floating(canonical.schema.field(name).type)
        ):
            continue
        own: Any = spec.column(name)[0].as_py()
        column: Any = pl.from_arrow(canonical.column(name).cast(pa.float64(), safe=False))
        low, high = column.min(), column.max()
        if own is None or low is None or not high > low:
            continue
        distance += ((column.gather(rows) - own).abs() / (high - low)).fill_nan(1.0).fill_null(1.0)
    return int(rows[int(distance.arg_min() or 0)])


def _equal(canonical: pa.Table, spec: pa.Table, name: str) -> pl.Series:
    """Which rows have the same value in a column."""
    if canonical.schema.field(name).type != spec.schema.field(name).type:
        return pl.Series(name, [False]).new_from_index(0, canonical.num_rows)
    theirs, ours = row_keys(canonical, [name]), row_keys(spec, [name])
    both = [theirs[key] == ours[key][0] for key in KEYS]
    return (both[0] & both[1]).alias(name)


def _of_same_inputs(run: Run, row: int, likes: Sequence[_Like]) -> Explanation:
    """There is an earlier spec with the same inputs: what else is it?"""
    reuse = run.manifest.reuse if run.manifest else None

    def rank(like: _Like) -> tuple[bool, bool, bool, bool]:
        earlier = like.earlier
        is_good = like.state is State.SUCCEEDED
        return (not is_good, not earlier.same_models, earlier.code != [], not earlier.same_seed)

    like = min(likes, key=rank)
    source = like.earlier.run.experiment_id
    what = f"row {like.index} of {source} has the same inputs"
    more: dict[str, Any] = {"earlier_run": source, "earlier_index": like.index, "earlier_state": like.state}
    if like.state is not State.SUCCEEDED:
        return _told(run, row, "state", f"{what}, but it is {like.state.value}", **more)
    if not like.earlier.same_models:
        return _told(run, row, "models", f"{what}, but the input or output model has changed since", **more)
    if like.earlier.code is None:
        return _told(run, row, "code", f"{what}, but the code of one of the two runs is not known", **more)
    if like.earlier.code and not (reuse and reuse.ignore_code):
        files = ", ".join(like.earlier.code)
        return _told(run, row, "code", f"{what}, but the code differs: {files}", code=like.earlier.code, **more)
    if not like.earlier.same_seed:
        return _told(run, row, "seed", f"{what}, but that run has another seed", **more)
    if reuse is None:
        return _told(run, row, "not asked", f"{what}, but this run was allocated without --reuse", **more)
    if source not in reuse.searched:
        return _told(run, row, "not asked", f"{what}, but that run was not considered (--reuse-from)", **more)
    return _told(
        run,
        row,
        "gone",
        f"{what}, but it had not succeeded yet, came from other code itself, was another repetition, "
        "or its output files are gone",
        **more,
    )


def _of_nearest(
    run: Run, row: int, near: _Near, spec: pa.Table, canonical: pa.Table, files: Sequence[str]
) -> Explanation:
    source = near.earlier.run
    with SpecFile.open(run.storage, source) as specs:
        other = specs.read(near.index, near.index + 1)
    theirs, _ = by_content(other, content_hashes(run.storage, source, files))
    names = (_source_names(run.storage, run.layout), _source_names(run.storage, source))
    differences: list[FieldDifference] = []
    for name in near.fields:
        pair = (_cell(canonical, name), _cell(theirs, name))
        is_file = any(isinstance(value, str) and value.startswith("sha256:") for value in pair)
        if is_file:
            pair = (_shown(pair[0], _cell(spec, name), names[0]), _shown(pair[1], _cell(other, name), names[1]))
        differences.append(FieldDifference(field=name, value=pair[0], earlier=pair[1], is_file=is_file))
    what = "1 field differs" if len(differences) == 1 else f"{len(differences)} fields differ"
    text = f"no earlier case is the same; from the nearest, row {near.index} of {source.experiment_id}, {what}"
    return _told(
        run,
        row,
        "inputs",
        text,
        earlier_run=source.experiment_id,
        earlier_index=near.index,
        earlier_state=near.state,
        differences=differences,
        code=near.earlier.code or [],
    )


def _cell(table: pa.Table, name: str) -> Any:
    return table.column(name)[0].as_py() if name in table.column_names else None


def _source_names(storage: Storage, run: RunLayout) -> dict[str, str]:
    """The names that input files were given under, by where they are."""
    try:
        return {file.uri: file.source_name for file in read_listed_files(storage, run) if file.source_name}
    except StorageError:
        return {}


def _shown(content: Any, uri: Any, names: Mapping[str, str]) -> Any:
    """A file as people know it: its name, and the beginning of its hash."""
    if not isinstance(content, str) or not content.startswith("sha256:"):
        return content
    name = names.get(str(uri), str(uri).rpartition("/")[2])
    return f"{name} (sha256 {content.removeprefix('sha256:')[:12]}…)"
