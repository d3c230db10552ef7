"""Running specs that a program has made: from instances of a model to a run, and a reference to its execution."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from scythe_cli.compat.outcome import BatchResult, RunRef, output_of
from scythe_cli.core.recursion import RecursionMap
from scythe_cli.errors import InvalidInputError
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.run.layout import RunLayout

if TYPE_CHECKING:
    from scythe_cli.core.semver import Bump, SemVer
    from scythe_cli.engines.base import Engine
    from scythe_cli.services.allocation.submission import AllocationRequest
    from scythe_cli.services.project import Project
    from scythe_cli.services.records import AllocateResult

__all__ = ["Choices", "allocate_specs", "known_refs"]


logger = logging.getLogger(__name__)

known_refs: dict[str, RunRef] = {}
"""What this process has allocated, by the id of the execution."""


@dataclass(frozen=True, slots=True)
class Choices:
    """How specs are to be run.

    Attributes:
        folder: The experiment's folder.
        location: The storage; None for the project's.
        version: How to choose the version, or the version itself.
        shape: The shape of scatter/gather.
        single: Whether this is one spec given by itself.
        reuse: Whether, or from where, outcomes are taken over.
    """

    folder: str
    location: str | None
    version: Bump | SemVer
    shape: RecursionMap
    single: bool
    reuse: bool | str


def allocate_specs(runnable: Any, specs: Sequence[ExperimentInputSpec], choices: Choices) -> tuple[RunLayout, RunRef]:
    """Run specs; see `BaseExperiment.allocate`.

    Args:
        runnable: A registered experiment or a workflow.
        specs: Instances of its input model.
        choices: How.
    """
    from scythe_cli.model.functions.loading import stop_if_in_worker
    from scythe_cli.sampling.cells.changes import changes_of_specs
    from scythe_cli.services.allocation.submission import execute, submit
    from scythe_cli.services.project import open_project
    from scythe_cli.services.runs.fleet import submit_job

    stop_if_in_worker()
    project = open_project(storage=choices.location)
    experiment = _experiment(runnable, project.engine, choices.folder)
    request = _request(project, experiment, specs, choices)
    notices = changes_of_specs(experiment.input_validator_type, specs)
    submission = submit(request)
    layout = submission.job.run
    _number(specs, layout.experiment_id)
    for notice in notices:
        logger.warning("%s: %s", choices.folder, notice)

    def finish(result: AllocateResult) -> Any:
        from scythe_cli.analysis.run import Run

        return output_of(Run(project.storage, layout), experiment) if choices.single else BatchResult.of(result)

    if project.engine.outlives_client:
        submitted = submit_job(submission.job, project.engine)
        ref = RunRef(submitted.workflow_run_id, submitted.result, finish)
    else:
        result = execute(submission, request.engine, notices=notices)
        ref = RunRef(result.workflow_run_id, lambda timeout_s=None: result, finish)
    known_refs[ref.workflow_run_id] = ref
    return layout, ref


def _request(
    project: Project,
    experiment: RegisteredExperiment[Any, Any],
    specs: Sequence[ExperimentInputSpec],
    choices: Choices,
) -> AllocationRequest:
    """What is to be allocated, once the specs are known to survive being written and read again."""
    from scythe_cli.model.functions.entrypoints import entrypoint_of
    from scythe_cli.model.spec_rows import table_from_specs
    from scythe_cli.run.manifest import RecursionRecord
    from scythe_cli.sampling.field_values import check_round_trip
    from scythe_cli.services.allocation.options import AllocateOptions
    from scythe_cli.services.allocation.submission import AllocationRequest

    inputs = table_from_specs(specs, experiment.input_validator_type)
    check_round_trip(experiment.input_validator_type, inputs)
    return AllocationRequest(
        experiment=experiment,
        folder=choices.folder,
        inputs=inputs,
        storage=project.storage,
        engine=project.engine,
        version=choices.version,
        root=project.root if project.config_path else None,
        base_dir=Path.cwd(),
        single=choices.single,
        workers=min(project.workers, len(specs) or 1),
        recursion=RecursionRecord(factor=choices.shape.factor, max_depth=choices.shape.max_depth),
        entrypoint=entrypoint_of(experiment.fn),
        reuse=AllocateOptions(reuse=choices.reuse).reuse_request,
    )


def _experiment(runnable: Any, engine: Engine, name: str) -> RegisteredExperiment[Any, Any]:
    """What is to be called for each spec."""
    if isinstance(runnable, RegisteredExperiment):
        return cast("RegisteredExperiment[Any, Any]", runnable)
    workflow = engine.experiment_of(runnable)
    if workflow is not None:
        return workflow
    raise InvalidInputError(
        f"{name} is a workflow, which only the hatchet engine runs", hint="Set SCYTHE_ENGINE=hatchet."
    )


def _number(specs: Sequence[ExperimentInputSpec], experiment_id: str) -> None:
    """Tell the specs which they are, where their models allow it."""
    for position, spec in enumerate(specs):
        if type(spec).model_config.get("frozen"):
            break
        spec.experiment_id = experiment_id
        spec.sort_index = position
