"""The main job: from checked inputs to a run with its final tables; one function a step.

Nothing is written before everything that can be checked has been checked; when a step after the claim fails, the
claimed folder is removed again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pyarrow as pa

from scythe_cli.core.progress import Progress, ProgressCallback
from scythe_cli.core.records import StateCounts
from scythe_cli.core.semver import Bump, SemVer
from scythe_cli.core.text import redact_uri
from scythe_cli.engines.base import Engine, Job, Priority
from scythe_cli.errors import ScytheError, SpecsError
from scythe_cli.executor.code import code_of, source_of
from scythe_cli.executor.limits import StopSignal
from scythe_cli.model.columns import input_columns
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.model.spec_rows import build_specs, with_meta
from scythe_cli.run.chain.lineage import write_lineage
from scythe_cli.run.chain.records import Upstream
from scythe_cli.run.design_record import DesignRecord, StudyRecord
from scythe_cli.run.input_files import ArtifactPlan, collect_artifacts, upload_artifacts
from scythe_cli.run.layout import RUN_FORMAT, RunLayout
from scythe_cli.run.manifest import (
    RecursionRecord,
    RunManifest,
    dump_yaml,
    provenance,
)
from scythe_cli.run.specs_file import specs_hash
from scythe_cli.run.versions import claim_run
from scythe_cli.services.allocation.execution import at_work, run_job
from scythe_cli.services.allocation.learning import what_was_learned
from scythe_cli.services.allocation.run_files import (
    artifact_list,
    hashes_of,
    io_schema,
    put_specs,
    rewritten,
    texts_of,
)
from scythe_cli.services.records import AllocateResult
from scythe_cli.services.reuse.copy import ReuseRequest
from scythe_cli.services.reuse.repeat import cases_hash, repeat_notice
from scythe_cli.services.reuse.savings import (
    Savings,
    WorkLeft,
    find_savings,
    work_left,
)
from scythe_cli.storage.base import Storage

__all__ = ["AllocationRequest", "Submission", "check_inputs", "execute", "savings_of", "submit"]


@dataclass(frozen=True, slots=True)
class AllocationRequest:
    """What is to be run.

    Attributes:
        experiment: The function, with the options that it runs under.
        folder: The experiment's folder in the storage.
        inputs: The input columns, checked, one row per spec.
        storage: Where the run is kept.
        engine: What executes it.
        version: How to choose the version, or the version itself.
        root: The project's folder, from which the experiment's module is imported.
        base_dir: The folder that relative paths among the inputs start from.
        row_label: Names a row for a person: 'line 18'.
        source: The name of the sampling file, for messages and the manifest.
        single: Whether this is one spec given by itself, which gets a `workflow_spec.yml`.
        copy_inputs: Whether files that lie elsewhere (S3, HTTP) are copied into the run as well.
        workers: The number of processes.
        recursion: The shape of scatter/gather.
        specs_per_task: Rows in one task of a fleet.
        entrypoint: `module:function`, for the manifest.
        max_failures: Stop when that many specs have ended without success.
        wait_timeout_s: How long to wait for a fleet.
        priority: What a fleet does first among what waits.
        design: How the sampling file was made, for the manifest.
        study: Which study chose the cases, for the manifest.
        reuse: What is taken over from earlier runs; None for nothing.
        dedupe: Whether specs that are the same are run once.
        seed: The seed of the run, from which those of rows follow.
        replicates: Whether cases are there several times, so that final tables tell which replicate a row is.
        upstream: The run that the cases were made from.
    """

    experiment: RegisteredExperiment[Any, Any]
    folder: str
    inputs: pa.Table
    storage: Storage
    engine: Engine
    version: Bump | SemVer = "minor"
    root: Path | None = None
    base_dir: Path = field(default_factory=Path.cwd)
    row_label: Callable[[int], str] = "spec {}".format
    source: str | None = None
    single: bool = False
    copy_inputs: bool = False
    workers: int = 1
    recursion: RecursionRecord = field(default_factory=lambda: RecursionRecord(factor=10, max_depth=1))
    specs_per_task: int | str = "auto"
    entrypoint: str | None = None
    max_failures: int | None = None
    wait_timeout_s: float | None = None
    priority: Priority | None = None
    design: DesignRecord | None = None
    study: StudyRecord | None = None
    reuse: ReuseRequest | None = None
    dedupe: bool = False
    seed: int = 0
    replicates: bool = False
    upstream: Upstream | None = None

    def with_cases(self, inputs: pa.Table, rows: Any) -> AllocationRequest:
        """The same for other cases: some of these, by their positions, int64."""
        upstream = None if self.upstream is None else self.upstream.taken(rows)
        return replace(self, inputs=inputs, upstream=upstream)


@dataclass(frozen=True, slots=True)
class Submission:
    """A run whose folder is complete and whose specs have not been executed.

    Attributes:
        job: What the engine gets.
        uri: The run's folder.
        left: What need not be run, and what is left.
    """

    job: Job
    uri: str
    left: WorkLeft


def check_inputs(request: AllocationRequest) -> ArtifactPlan:
    """Check the number of specs and every local input file; nothing is written.

    Returns:
        What is to be uploaded.

    Raises:
        SpecsError: If there are no specs, or files are missing.
    """
    if not request.inputs.num_rows:
        raise SpecsError("there are no cases to run")
    model: type[ExperimentInputSpec] = request.experiment.input_validator_type
    columns: dict[str, pl.Series] = {}
    for column in input_columns(model):
        if column.is_file:
            columns[column.name] = texts_of(column.name, request.inputs.column(column.name))
    stored = request.upstream.files if request.upstream else None
    plan = collect_artifacts(columns, request.base_dir, copy_inputs=request.copy_inputs, stored=stored)
    _check_needs(request)
    if plan.problems:
        lines: list[str] = []
        for problem in plan.problems[:20]:
            row = columns[problem.field].index_of(problem.value)
            label = request.row_label(row) if row is not None else "?"
            lines.append(f"  {label}, {problem.field}: {redact_uri(problem.value)}: {problem.reason}")
        if len(plan.problems) > 20:
            lines.append(f"  and {len(plan.problems) - 20} more")
        what = "1 input file" if len(plan.problems) == 1 else f"{len(plan.problems)} input files"
        prefix = f"{request.source}: " if request.source else ""
        raise SpecsError("\n".join([f"{prefix}{what} cannot be used", *lines]))
    return plan


def _check_needs(request: AllocationRequest) -> list[str]:
    """See that each case can get what it takes of a machine; returns what there is to tell."""
    experiment: Any = request.experiment
    if not isinstance(experiment, RegisteredExperiment) or experiment.options.needs.is_plain:
        return []
    engine, needs = request.engine.for_experiment(experiment.name), experiment.options.needs
    told = engine.check_needs(needs, request.inputs, workers=request.workers, row_label=request.row_label)
    return [*told, *what_was_learned(needs)]


def submit(request: AllocationRequest, progress: ProgressCallback | None = None) -> Submission:
    """Claim a run and write everything but outcomes to its folder.

    Raises:
        SpecsError: If there are no specs, or input files are missing; nothing was written.
        StorageError: If the storage cannot be written; what was written is removed.
    """
    plan = check_inputs(request)
    told = _check_needs(request)
    savings = savings_of(request, plan)
    pending = StateCounts(pending=request.inputs.num_rows)
    workflow_run_id = uuid4().hex
    manifest = _manifest(request, workflow_run_id, cases_hash(request.inputs, hashes_of(plan)))
    repeated = _repeated(request, manifest)
    if progress:
        progress(Progress("uploading", pending, detail="input files", notice=repeated))

    def first_manifest(run: RunLayout) -> bytes:
        return _of_run(manifest, request.storage, run).model_copy(update={"state": "allocating"}).to_yaml()

    run = claim_run(request.storage, request.folder, request.version, first_manifest)
    with _removed_on_failure(request.storage, run):
        uploaded = upload_artifacts(plan, request.storage, run.artifacts)
        inputs = rewritten(request.inputs, uploaded.uris)
        write_lineage(request.storage, run, request.upstream)
        put_specs(request.experiment, request.storage, run, inputs, workflow_run_id, replicates=request.replicates)
        request.storage.write_bytes(run.io_spec, dump_yaml(io_schema(request.experiment)))
        request.storage.write_bytes(run.input_artifacts, dump_yaml(artifact_list(uploaded.records)))
        if request.single:
            specs = with_meta(inputs, run.experiment_id, workflow_run_id)
            spec = build_specs(specs, request.experiment.input_validator_type)[0]
            request.storage.write_bytes(run.workflow_spec, dump_yaml(spec.model_dump(mode="json")))
        left = work_left(request.storage, run, workflow_run_id, savings)
        left.notices.extend([*told, *([repeated] if repeated else []), *_from_outside(plan, request.base_dir)])
        final = _of_run(manifest, request.storage, run).model_copy(
            update={
                "specs_sha256": specs_hash(inputs) if plan.files else manifest.cases_sha256,
                "reuse": left.reuse,
                "n_duplicates": left.n_duplicates if request.dedupe else None,
            }
        )
        request.storage.write_bytes(run.manifest, final.to_yaml())
    job = Job(
        storage=request.storage,
        run=run,
        experiment=request.experiment,
        root=request.root,
        workflow_run_id=workflow_run_id,
        n_specs=request.inputs.num_rows,
        todo=left.todo,
        counts=left.counts,
        workers=request.workers,
        max_failures=request.max_failures,
        wait_timeout_s=request.wait_timeout_s,
        priority=request.priority,
        seed=request.seed,
        code=manifest.code,
    )
    return Submission(job, request.storage.uri(run.experiment_id), left)


def _from_outside(plan: ArtifactPlan, folder: Path) -> list[str]:
    """That files were copied into the run which whoever got the sampling file from elsewhere may not know of."""
    outside = plan.outside(folder)
    if not outside:
        return []
    first = ", ".join(map(str, outside[:3])) + (f" and {len(outside) - 3:,} more" if len(outside) > 3 else "")
    return [f"copied into the run from outside {folder}: {first}"]


def _repeated(request: AllocationRequest, manifest: RunManifest) -> str | None:
    """That the run repeats an earlier one, unless outcomes are taken over anyway."""
    if request.reuse is not None:
        return None
    return repeat_notice(
        request.storage, request.folder, request.version, manifest.cases_sha256, manifest.code, request.seed
    )


def savings_of(request: AllocationRequest, plan: ArtifactPlan) -> Savings:
    """Find out what need not be run; nothing is written.

    Args:
        request: What is to be run.
        plan: Its input files, as `check_inputs` found them.

    Raises:
        NotFoundError: If the version or run to take outcomes from is not there.
        StorageError: If an earlier run cannot be read.
    """
    hashes = hashes_of(plan)
    return find_savings(
        request.storage,
        request.experiment,
        request.folder,
        request.version,
        request.inputs,
        hashes,
        request.root or Path.cwd(),
        seed=request.seed,
        reuse=request.reuse,
        dedupe=request.dedupe,
    )


def execute(
    submission: Submission,
    engine: Engine,
    *,
    stop: StopSignal | None = None,
    progress: ProgressCallback | None = None,
    notices: Sequence[str] = (),
) -> AllocateResult:
    """Execute a submitted run, and gather its tables.

    Raises:
        EntrypointError: If the experiment cannot be loaded in the processes that run it.
        StorageError: If outcomes or tables cannot be written.
        UsageError: If another process is at work on the run.
    """
    job = submission.job
    stop = stop or StopSignal()
    with at_work(job.storage, job.run, engine, stop):
        left = submission.left
        result = run_job(job, engine, stop=stop, progress=progress, notices=[*notices, *left.notices])
        return result.model_copy(update={"n_reused": left.n_reused, "n_duplicates": left.n_duplicates})


def _manifest(request: AllocationRequest, workflow_run_id: str, cases_sha256: str | None) -> RunManifest:
    """The manifest as far as it does not depend on the folder."""
    options = request.experiment.options
    return RunManifest(
        format=RUN_FORMAT,
        workflow_run_id=workflow_run_id,
        experiment_id="",
        experiment_name=request.experiment.name,
        experiment=request.folder,
        created_at=datetime.now(UTC).replace(microsecond=0),
        engine=request.engine.name,
        leased=request.engine.needs_lease,
        recursion=request.recursion,
        specs_per_task=request.specs_per_task,
        n_specs=request.inputs.num_rows,
        cases_sha256=cases_sha256,
        entrypoint=request.entrypoint,
        retries=options.retries,
        retry_on=list(options.retry_rule.states),
        execution_timeout_s=options.execution_timeout.total_seconds(),
        memory_limit_bytes=options.memory_limit_bytes,
        sampling_file=request.source,
        seed=request.seed,
        study=request.study,
        provenance=provenance(request.root or Path.cwd()),
        design=request.design,
        upstream=request.upstream.record if request.upstream else None,
        file_fields=[c.name for c in input_columns(request.experiment.input_validator_type) if c.is_file],
        code=code_of(request.experiment, request.root),
        function_source=None if request.entrypoint else source_of(request.experiment.fn),
    )


def _of_run(manifest: RunManifest, storage: Storage, run: RunLayout) -> RunManifest:
    return manifest.model_copy(
        update={
            "experiment_id": run.experiment_id,
            "version": str(run.version),
            "specs_uri": storage.uri(run.specs),
            "io_spec": storage.uri(run.io_spec),
            "input_artifacts": storage.uri(run.input_artifacts),
        }
    )


@contextmanager
def _removed_on_failure(storage: Storage, run: RunLayout) -> Generator[None]:
    try:
        yield
    except BaseException as error:
        try:
            storage.delete_tree(run.experiment_id)
        except ScytheError as second:
            error.add_note(f"what was written of {run.experiment_id} could not be removed: {second.message}")
        raise
