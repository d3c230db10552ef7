"""A worker of a Hatchet fleet, configured by `SCYTHE_WORKER_*`.

    ScytheWorkerConfig().start()

serves every registered experiment, and the nodes of scatter/gather. The names are those of scythe-engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from scythe_cli.core.cores import usable_cores
from scythe_cli.errors import UsageError
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.registration import ExperimentRegistry

if TYPE_CHECKING:
    from hatchet_sdk.labels import DesiredWorkerLabel

    from scythe_cli.services.project import Project


__all__ = ["SCATTER_GATHER", "ScytheWorkerConfig", "ScytheWorkerLabel", "Served", "WorkerNameConfig", "load_served"]


_DURABLE_SLOTS = 1000
SCATTER_GATHER = "scythe_scatter_gather"  # as `engines.hatchet.payloads` names it, which loads much


class ScytheWorkerLabel(StrEnum):
    """What a worker can have, and an experiment can ask for.

    @ExperimentRegistry.Register(desired_worker_labels=ScytheWorkerLabel.HAS_GPU.worker_label)
    """

    HIGH_MEMORY = "high_memory"
    HIGH_CPU = "high_cpu"
    HAS_GPU = "has_gpu"

    @property
    def yes(self) -> str:
        """The label's value on a worker that has it."""
        return "yes"

    @property
    def worker_label(self) -> dict[str, DesiredWorkerLabel]:
        """What an experiment that needs it passes as `desired_worker_labels`; several can be merged."""
        from hatchet_sdk.labels import DesiredWorkerLabel

        return {self.value: DesiredWorkerLabel(value=self.yes, required=True)}


class WorkerNameConfig(BaseSettings):
    """What the surroundings say about where a worker runs."""

    FLY_REGION: str | None = None
    AWS_BATCH_JOB_ARRAY_INDEX: int | None = None
    COPILOT_ENVIRONMENT_NAME: str | None = None

    @property
    def hosting_str(self) -> str:
        """The place, as part of a name."""
        if self.AWS_BATCH_JOB_ARRAY_INDEX is not None or self.COPILOT_ENVIRONMENT_NAME is not None:
            index = self.AWS_BATCH_JOB_ARRAY_INDEX
            batch = "" if index is None else f"Batch{index:04d}"
            copilot = "" if self.COPILOT_ENVIRONMENT_NAME is None else f"Copilot{self.COPILOT_ENVIRONMENT_NAME.upper()}"
            return f"AWS{batch}{copilot}"
        return f"Fly{self.FLY_REGION.upper()}" if self.FLY_REGION is not None else "Local"

    @property
    def name(self) -> str:
        """The name of a worker whose configuration has none."""
        return f"ScytheWorker--{self.hosting_str}"


@dataclass(frozen=True, slots=True)
class Served:
    """One thing that a worker serves.

    Attributes:
        name: The name of the Hatchet task.
        kind: `experiment`, `workflow` or `scatter/gather`.
        place: Where its code is.
    """

    name: str
    kind: str
    place: str


class ScytheWorkerConfig(BaseSettings):
    """The configuration of a worker."""

    model_config = SettingsConfigDict(env_prefix="SCYTHE_WORKER_")

    NAME: str | None = Field(default=None, description="The worker's name.")
    SLOTS: int | None = Field(default=None, ge=1, description="How many specs run at the same time.")
    DURABLE_SLOTS: int | None = Field(default=None, ge=1, description="How many scatter/gather nodes are kept.")
    HIGH_MEMORY: bool = Field(default=False, description="Whether the worker has much memory.")
    HIGH_CPU: bool = Field(default=False, description="Whether the worker has many cores.")
    HAS_GPU: bool = Field(default=False, description="Whether the worker has a GPU.")
    WORKER_NAME_CONFIG: WorkerNameConfig = Field(default_factory=WorkerNameConfig)
    DOES_FAN: bool = Field(default=True, description="Whether it runs the nodes of scatter/gather.")
    DOES_LEAF: bool = Field(default=True, description="Whether it runs specs.")
    HEALTH_PORT: int | None = Field(
        default=None, ge=1, le=65535, description="Where it tells its health and its metrics; nowhere unless set."
    )
    ALLOW_MISMATCH: bool = Field(
        default=False, description="Whether it runs specs of runs that another version of the code allocated."
    )

    @property
    def labels(self) -> dict[str, str | int]:
        """The labels that experiments can ask for."""
        has = {
            ScytheWorkerLabel.HIGH_MEMORY: self.HIGH_MEMORY,
            ScytheWorkerLabel.HIGH_CPU: self.HIGH_CPU,
            ScytheWorkerLabel.HAS_GPU: self.HAS_GPU,
        }
        return {label.value: label.yes for label, is_so in has.items() if is_so}

    @property
    def computed_slots(self) -> int:
        """The number of specs that run at the same time: one a core, less one on a large machine."""
        if self.SLOTS is not None:
            return self.SLOTS
        cores = usable_cores()
        return cores if cores < 8 else cores - 1

    @property
    def computed_durable_slots(self) -> int:
        """The number of scatter/gather nodes that are kept; one that waits costs little."""
        return self.DURABLE_SLOTS if self.DURABLE_SLOTS is not None else _DURABLE_SLOTS

    @property
    def computed_name(self) -> str:
        """The worker's name."""
        return self.NAME or self.WORKER_NAME_CONFIG.name

    def served(
        self,
        experiments: Sequence[RegisteredExperiment[Any, Any]],
        workflows: Sequence[Any] = (),
    ) -> list[Served]:
        """What a worker with this configuration serves."""
        from scythe_cli.model.experiment import where_is

        rows = [Served(SCATTER_GATHER, "scatter/gather", "")] if self.DOES_FAN else []
        if self.DOES_LEAF:
            rows += [Served(e.name, "experiment", where_is(e.fn)) for e in experiments]
            rows += [Served(w.name, "workflow", "") for w in workflows]
        return rows

    def start(
        self,
        experiments: Sequence[Any] | None = None,
        additional_workflows: Sequence[Any] | None = None,
    ) -> None:
        """Serve registered experiments until the process is told to end; the first signal drains.

        Args:
            experiments: Functions to register before.
            additional_workflows: Hatchet workflows to serve as well; those that are served anyway are served once.

        Raises:
            EngineError: If the engine cannot be reached.
        """
        for experiment in experiments or []:
            if not isinstance(experiment, RegisteredExperiment):
                ExperimentRegistry.Register()(experiment)
        served = {each.name: each for each in ExperimentRegistry.experiments()}
        included = {each.name: each for each in ExperimentRegistry.workflows()} if self.DOES_LEAF else {}
        others: list[Any] = []
        for each in additional_workflows or ():
            if isinstance(each, RegisteredExperiment):
                served.setdefault(each.name, each)
            elif each.name not in included and each.name != SCATTER_GATHER:
                others.append(each)
        self.serve(list(served.values()), workflows=list(included.values()), others=others)

    def serve(
        self,
        experiments: Sequence[RegisteredExperiment[Any, Any]],
        *,
        workflows: Sequence[Any] = (),
        others: Sequence[Any] = (),
        root: Path | None = None,
        storage: str | None = None,
        embedded: bool | None = None,
        namespace: str | None = None,
    ) -> None:
        """Serve these experiments until the process is told to end.

        Args:
            experiments: Under the names that they have.
            workflows: Included workflows.
            others: Further Hatchet workflows, which are served whatever `DOES_LEAF` says.
            root: The project's folder, from which modules are imported.
            storage: Where output files go of specs that were triggered by hand; each run says where its own go.
            embedded: Whether the engine is one that lives beside this process; what this process was started for
                unless given.
            namespace: What its tasks are named under, unless HATCHET_CLIENT_NAMESPACE says it.

        Raises:
            UsageError: If there is nothing to serve.
            EngineError: If the engine cannot be reached.
            StoppedError: If the process was told to end for a second time.
        """
        from scythe_cli.model.functions.loading import stop_if_in_worker

        stop_if_in_worker()
        if not self.served(experiments, workflows) and not others:
            raise UsageError("there is nothing to serve", hint="Leave out --no-fan or --no-leaf.")

        from scythe_cli.engines.hatchet.nodes.worker import WorkerOptions, serve

        options = WorkerOptions(
            name=self.computed_name,
            slots=self.computed_slots,
            durable_slots=self.computed_durable_slots,
            labels=self.labels,
            runs_nodes=self.DOES_FAN,
            allow_mismatch=self.ALLOW_MISMATCH,
            health_port=self.HEALTH_PORT,
            root=root,
            storage=storage,
            embedded=embedded,
            namespace=namespace,
        )
        serve(
            options,
            experiments if self.DOES_LEAF else (),
            [*(workflows if self.DOES_LEAF else ()), *others],
        )


def load_served(
    project: Project, names: Sequence[str] | None = None
) -> tuple[list[RegisteredExperiment[Any, Any]], list[Any]]:
    """Load what a worker of a project serves.

    Args:
        project: The project.
        names: Experiments of its configuration; None for all of them.

    Returns:
        Its functions, under the names and with the options of the configuration; and its workflows.

    Raises:
        NotFoundError: If there is no experiment of a name.
        EntrypointError: If the module of one cannot be imported, or its function is not right.
    """
    from scythe_cli.model.functions.entrypoints import load_entrypoint

    experiments: list[RegisteredExperiment[Any, Any]] = []
    workflows: list[Any] = []
    for name in dict.fromkeys(names or project.experiment_names()):
        settings = project.config.experiments.get(name)
        loaded = None if settings is None else load_entrypoint(settings.entrypoint, project.root)
        if loaded is None or isinstance(loaded, RegisteredExperiment):
            experiments.append(project.experiment(name)[1])
        else:
            workflows.append(loaded)
    return experiments, workflows
