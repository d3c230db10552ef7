"""Writing the longer run: new cases behind those that a run has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from scythe_cli.arrow.build import numbers
from scythe_cli.arrow.seeds import REPETITION
from scythe_cli.model.columns import input_columns
from scythe_cli.model.spec_rows import artifacts_mark
from scythe_cli.run.chain.lineage import write_lineage
from scythe_cli.run.extension import Extension
from scythe_cli.run.manifest import ExtensionRecord, RecursionRecord, RunManifest, dump_yaml
from scythe_cli.run.specs_file import specs_hash
from scythe_cli.services.allocation.choosing import next_repetitions
from scythe_cli.services.allocation.run_files import add_files, io_schema, put_specs, rewritten
from scythe_cli.services.reuse.known import content_hashes
from scythe_cli.services.reuse.repeat import cases_hash

if TYPE_CHECKING:
    from scythe_cli.analysis.run import Run
    from scythe_cli.run.input_files import ArtifactPlan
    from scythe_cli.run.lease import Lease
    from scythe_cli.services.allocation.submission import AllocationRequest

__all__ = ["Extended", "extend_run"]


@dataclass(frozen=True, slots=True)
class Extended:
    """A run that has got cases.

    Attributes:
        manifest: Its manifest.
        inputs: The inputs of all its specs, and `REPETITION` where it has any.
    """

    manifest: RunManifest
    inputs: pa.Table


def extend_run(
    run: Run,
    manifest: RunManifest,
    request: AllocationRequest,
    old: pa.Table,
    plan: ArtifactPlan,
    record: ExtensionRecord,
    lease: Lease | None,
) -> Extended:
    """Write the longer run; `specs.pq` decides, and the manifest comes after it.

    Args:
        run: The run.
        manifest: Its manifest before.
        request: The cases that are added, all of them new.
        old: The inputs of the specs that it has, with the columns of the new ones, and `REPETITION` if it has any.
        plan: The input files of the new cases.
        record: What the manifest keeps of it.
        lease: What this process holds, if runs of the engine have one.
    """
    storage, layout = run.storage, run.layout
    inputs = rewritten(request.inputs, add_files(plan, storage, layout))
    whole = pa.concat_tables([old.select(inputs.column_names), inputs])
    model, specs_sha256 = request.experiment.input_validator_type, specs_hash(whole)
    extension = Extension(
        n_before=old.num_rows,
        n_specs=whole.num_rows,
        specs_sha256=specs_sha256,
        cases_sha256=(
            cases_hash(whole, content_hashes(storage, layout, list(plan.files))) if plan.files else specs_sha256
        ),
        file_fields=[c.name for c in input_columns(model) if c.is_file],
        recursion=_deeper(manifest.recursion, request.recursion),
        record=record,
    )
    if record.study is None:  # its models are those of the run
        schema = dump_yaml(io_schema(request.experiment))
        if not storage.exists(layout.io_spec) or storage.read_bytes(layout.io_spec) != schema:
            storage.write_bytes(layout.io_spec, schema)
    whole = _with_repetitions(whole, old, layout.experiment_id)
    if lease is not None:
        lease.confirm()
    write_lineage(storage, layout, request.upstream, first_row=old.num_rows)
    put_specs(
        request.experiment,
        storage,
        layout,
        whole,
        manifest.workflow_run_id,
        extension=extension.to_bytes(),
        replicates=request.replicates,
    )
    longer = extension.applied(manifest)
    storage.write_bytes(layout.manifest, longer.to_yaml())
    if manifest.n_specs == 1:
        storage.discard(layout.workflow_spec)
    return Extended(longer, whole)


def _deeper(before: RecursionRecord | None, now: RecursionRecord) -> RecursionRecord:
    """The shape of scatter/gather that serves more cases: a small run has no tree."""
    return now if before is None or now.max_depth > before.max_depth else before


def _with_repetitions(whole: pa.Table, old: pa.Table, experiment_id: str) -> pa.Table:
    """Count how many specs before each say the same, as they are counted when a run is allocated."""
    n_old = old.num_rows
    new = next_repetitions(old, whole.slice(n_old), artifacts_mark(experiment_id))
    if REPETITION in old.column_names:
        kept: Any = old.column(REPETITION).combine_chunks().cast(pa.int32())
    elif new.any():
        kept = numbers(np.zeros(n_old, np.int32), pa.int32())
    else:
        return whole
    return whole.append_column(REPETITION, pa.chunked_array([kept, numbers(new.astype(np.int32), pa.int32())]))
