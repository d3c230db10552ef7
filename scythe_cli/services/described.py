"""Experiments of a project in words; what is described can be completed by the shell from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scythe_cli.errors import ScytheError
from scythe_cli.model.describe import ExperimentRecord, describe_experiment
from scythe_cli.services.completions import remember_columns

if TYPE_CHECKING:
    from scythe_cli.services.configured import ConfiguredProject

__all__ = ["describe_all", "describe_one"]


def describe_one(project: ConfiguredProject, name: str) -> ExperimentRecord:
    """Describe an experiment with its fields.

    Raises:
        NotFoundError: If there is no such experiment.
        EntrypointError: If it cannot be loaded.
    """
    name, settings = project.settings_of(name)
    record = describe_experiment(name, settings.entrypoint, project.experiment(name)[1])
    names = [field.name for field in (*record.inputs, *record.outputs)]
    remember_columns(project.storage.location, record.name, "", names)
    return record


def describe_all(project: ConfiguredProject) -> list[ExperimentRecord]:
    """Describe all experiments; one that cannot be loaded is described with the problem.

    Raises:
        ConfigError: If there is no configuration.
    """
    if project.config_path is None:
        project.settings_of(None)  # raises: there is no configuration
    records: list[ExperimentRecord] = []
    for name, settings in project.config.experiments.items():
        try:
            records.append(describe_experiment(name, settings.entrypoint, project.experiment(name)[1]))
        except ScytheError as error:
            records.append(
                ExperimentRecord(
                    name=name,
                    entrypoint=settings.entrypoint,
                    description="",
                    kind="function",
                    execution_timeout_s=0.0,
                    retries=0,
                    problem=error.message,
                )
            )
    return records
