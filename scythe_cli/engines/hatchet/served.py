"""A worker that a program puts together by itself: what is registered with it, and then it is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scythe_cli.engines.hatchet.payloads import NODE_NAME
from scythe_cli.model.experiment import RegisteredExperiment

__all__ = ["HandMadeWorker"]


class HandMadeWorker:
    """Serves what is registered with it, from `start` on."""

    def __init__(
        self,
        name: str,
        *,
        slots: int = 1,
        durable_slots: int = 1000,
        labels: Mapping[str, Any] | None = None,
        workflows: Sequence[Any] = (),
        **others: Any,
    ) -> None:
        del others  # what the SDK has beside
        self.name = name
        self.slots = slots
        self.durable_slots = durable_slots
        self.labels = dict(labels or {})
        self.registered: list[Any] = []
        self.register_workflows(workflows)

    def register_workflow(self, workflow: Any) -> None:
        """Serve an experiment, a workflow, or scatter/gather."""
        self.registered.append(workflow)

    def register_workflows(self, workflows: Sequence[Any]) -> None:
        """Serve several."""
        self.registered.extend(workflows)

    def start(self, **options: Any) -> None:
        """Serve until the process is told to end."""
        del options
        from scythe_cli.engines.hatchet.nodes.worker import WorkerOptions, serve

        experiments = {each.name: each for each in self.registered if isinstance(each, RegisteredExperiment)}
        nodes = [each for each in self.registered if each.name == NODE_NAME]
        workflows = [each for each in self.registered if each.name not in experiments and each not in nodes]
        options_of_worker = WorkerOptions(
            name=self.name,
            slots=self.slots,
            durable_slots=self.durable_slots,
            labels=self.labels,
            runs_nodes=bool(nodes),
            allow_mismatch=False,
            root=None,
            storage=None,
            embedded=None,
        )
        serve(options_of_worker, list(experiments.values()), workflows)
