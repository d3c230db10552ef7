"""`hatchet`: what modules declare workflows with; it stands for the client, which is made when it is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scythe_cli.engines.hatchet.connection import get_hatchet, project_client
from scythe_cli.model.workflows.declared import DeclaredWorkflow

__all__ = ["hatchet"]


class _LazyHatchet:
    """Stands for the client, so that importing a module that declares workflows needs neither a token nor the SDK."""

    def workflow(self, **options: Any) -> DeclaredWorkflow:
        """Declare a workflow of several tasks; Hatchet's own is made when it is needed."""
        return DeclaredWorkflow(project_client(), "workflow", options)

    def task(self, **options: Any) -> Callable[[Callable[..., Any]], DeclaredWorkflow]:
        """Declare a task by itself."""
        return lambda fn: DeclaredWorkflow(project_client(), "task", options, fn)

    def durable_task(self, **options: Any) -> Callable[[Callable[..., Any]], DeclaredWorkflow]:
        """Declare a task by itself that may wait for long."""
        return lambda fn: DeclaredWorkflow(project_client(), "durable_task", options, fn)

    def worker(self, name: str, **options: Any) -> Any:
        """A worker that serves what is registered with it: experiments, workflows, and scatter/gather."""
        from scythe_cli.engines.hatchet.served import HandMadeWorker

        return HandMadeWorker(name, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(get_hatchet(), name)

    def __repr__(self) -> str:
        return "<the Hatchet client, made on first use>"


hatchet: Any = _LazyHatchet()
