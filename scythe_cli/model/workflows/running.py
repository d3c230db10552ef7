"""The tasks of a workflow, run one after the other in the process of a spec."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Protocol, get_type_hints

from pydantic import Field, create_model

from scythe_cli.core.quantities import parse_duration
from scythe_cli.errors import RegistrationError
from scythe_cli.model.experiment import ExperimentOptions, RegisteredExperiment
from scythe_cli.model.models import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.model.workflows.context import Context, written

__all__ = ["TASK_OUTPUTS", "experiment_of_tasks", "output_type_of"]


TASK_OUTPUTS = "task_outputs"
"""The output of a workflow that holds what each of its tasks has returned, by name."""

_TASK_TIMEOUT = timedelta(minutes=1)  # unless a task says otherwise, as on Hatchet


class Task(Protocol):
    """A declared task."""

    name: str
    fn: Callable[..., Any]
    kind: str
    parents: list[Any]
    options: dict[str, Any]

    def run(self, spec: Any, context: Any) -> Any:
        """Call the function with a spec."""
        ...


class Workflow(Protocol):
    """A declared workflow."""

    name: str
    description: str

    @property
    def tasks(self) -> Sequence[Task]:
        """Its tasks, each behind its parents."""
        ...

    @property
    def input_validator_type(self) -> Any:
        """The input model."""
        ...


def output_type_of(tasks: Any) -> type[ExperimentOutputSpec]:
    """The outputs of a workflow: those of its last task that returns an `ExperimentOutputSpec`, and `task_outputs`."""
    base: type[ExperimentOutputSpec] = ExperimentOutputSpec
    for task in reversed(list(tasks)):
        hint = _returned(task)
        if inspect.isclass(hint) and issubclass(hint, ExperimentOutputSpec):
            base = hint
            break
    if TASK_OUTPUTS in base.model_fields:
        return base
    described = Field(default_factory=dict, description="What each task has returned.")
    return create_model(
        base.__name__, __base__=base, __module__=base.__module__, task_outputs=(dict[str, Any], described)
    )


def _returned(task: Any) -> Any:
    try:
        return get_type_hints(task._fn).get("return")
    except (NameError, TypeError, AttributeError):
        return None


def experiment_of_tasks(workflow: Workflow) -> RegisteredExperiment[Any, Any]:
    """A workflow in the form of an experiment.

    Raises:
        RegistrationError: If it has no tasks, or its input is no `ExperimentInputSpec`.
    """
    input_type = workflow.input_validator_type
    if not workflow.tasks:
        raise RegistrationError(f"the workflow {workflow.name!r} has no tasks")
    if not (inspect.isclass(input_type) and issubclass(input_type, ExperimentInputSpec)):
        raise RegistrationError(f"the input model of the workflow {workflow.name!r} is not an ExperimentInputSpec")
    output_type = output_type_of(workflow.tasks)
    limits = [parse_duration(task.options.get("execution_timeout", _TASK_TIMEOUT)) for task in workflow.tasks]
    experiment = RegisteredExperiment[Any, Any](
        _function_of(workflow, output_type),
        name=workflow.name,
        description=workflow.description,
        input_type=input_type,
        output_type=output_type,
        accepts_tempdir=False,
        options=ExperimentOptions(
            retries=0,
            execution_timeout=sum(limits, timedelta()),
            # tasks allocate runs and name places from the project's folder, and get references as they are
            working_directory="project",
            auto_fetch_files=False,
        ),
    )
    experiment.fn.__dict__["workflow"] = workflow
    return experiment


def _function_of(workflow: Workflow, output_type: type[ExperimentOutputSpec]) -> Callable[[Any], Any]:
    """A function that runs the tasks with a spec; it counts as one of the module where they are."""

    def run_tasks(input_spec: ExperimentInputSpec) -> ExperimentOutputSpec:
        return _run(workflow, input_spec, output_type)

    first = workflow.tasks[0].fn
    run_tasks.__module__ = first.__module__
    run_tasks.__qualname__ = f"{first.__qualname__.rpartition('.')[0] or ''}{workflow.name}"
    run_tasks.__dict__["__wrapped__"] = first
    return run_tasks


def _run(
    workflow: Workflow, spec: ExperimentInputSpec, output_type: type[ExperimentOutputSpec]
) -> ExperimentOutputSpec:
    outputs: dict[str, Any] = {}
    results: dict[str, Any] = {}
    run_id = spec.workflow_run_id or f"{spec.sort_index:08d}"

    def run(kind: str) -> None:
        for task in workflow.tasks:
            if (task.kind if task.kind.startswith("on_") else "task") == kind:
                results[task.name] = _attempts(task, spec, outputs, run_id)
                outputs[task.name] = written(results[task.name])

    try:
        run("task")
    except Exception:
        run("on_failure_task")
        raise
    run("on_success_task")
    fields: dict[str, Any] = {}
    for result in results.values():
        if isinstance(result, ExperimentOutputSpec) and isinstance(result, output_type.__bases__):
            fields = {name: getattr(result, name) for name in type(result).model_fields}
    values: Any = {"dataframes": {}, **fields, TASK_OUTPUTS: outputs}
    return output_type.model_construct(**values)


def _attempts(task: Task, spec: ExperimentInputSpec, outputs: dict[str, Any], run_id: str) -> Any:
    """Run a task, again as often as it says when it fails."""
    retries = int(task.options.get("retries") or 0)
    parents = {parent.name for parent in task.parents}
    given = {name: output for name, output in outputs.items() if name in parents}
    for retry in range(retries + 1):
        context = Context(spec=spec, outputs=given, workflow_run_id=run_id, retry_count=retry)
        try:
            return task.run(spec, context)
        except Exception:
            if retry == retries:
                raise
    return None
