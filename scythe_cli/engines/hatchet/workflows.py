"""Included workflows as experiments: several Hatchet tasks that together run one spec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from scythe_cli.errors import RegistrationError
from scythe_cli.model.experiment import ExperimentOptions, RegisteredExperiment
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.model.registration import WorkflowLike
from scythe_cli.model.workflows.declared import DeclaredWorkflow
from scythe_cli.model.workflows.running import output_type_of

__all__ = ["WorkflowExperiment", "real_workflows", "workflow_experiment"]


class WorkflowExperiment(RegisteredExperiment[Any, Any]):
    """A workflow in the form of an experiment; it can be run on Hatchet only."""

    def configured(self, *, name: str | None = None, options: ExperimentOptions | None = None) -> WorkflowExperiment:
        """The same workflow under other options; its name stays that under which workers serve it."""
        del name
        return WorkflowExperiment(
            self.fn,
            name=self.name,
            description=self.description,
            input_type=self.input_validator_type,
            output_type=self.output_validator_type,
            accepts_tempdir=False,
            options=options or self.options,
        )


def _not_here(input_spec: ExperimentInputSpec) -> NoReturn:
    raise RegistrationError(
        f"{type(input_spec).__name__} is the input of a workflow, which only the hatchet engine runs",
        hint="Use --engine hatchet.",
    )


def workflow_experiment(workflow: WorkflowLike, *, options: ExperimentOptions | None = None) -> WorkflowExperiment:
    """Put a workflow into the form of an experiment.

    Its scalar outputs are those of its last task that returns an `ExperimentOutputSpec`; what each has returned is
    in `task_outputs`.

    Args:
        workflow: A Hatchet `Workflow` or `Standalone`.
        options: What its specs run under.
    """
    return WorkflowExperiment(
        _not_here,
        name=workflow.name,
        description="",
        input_type=workflow.input_validator_type,
        output_type=output_type_of(getattr(workflow, "tasks", [])),
        accepts_tempdir=False,
        options=options or ExperimentOptions(retries=0),
    )


def real_workflows(workflows: Sequence[Any]) -> list[Any]:
    """Hatchet's own workflows, each once."""
    by_name = {workflow.name: workflow for workflow in workflows}
    return [w.real if isinstance(w, DeclaredWorkflow) else w for w in by_name.values()]
