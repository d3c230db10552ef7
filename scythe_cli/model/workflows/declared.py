"""Workflows and tasks as a module declares them: nothing is asked for until an engine needs its own objects."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_type_hints

from scythe_cli.model.workflows.context import Context, written

__all__ = ["DeclaredTask", "DeclaredWorkflow"]


class DeclaredTask:
    """A task of a workflow, or by itself.

    Attributes:
        name: Its name.
        fn: The function.
        parents: The tasks whose outputs it gets.
        kind: The method of the SDK that makes one, such as `task` or `durable_task`.
        options: What it was declared with.
    """

    def __init__(
        self, fn: Callable[..., Any], *, name: str | None, parents: Sequence[DeclaredTask], kind: str, options: Any
    ) -> None:
        self.fn = self._fn = fn
        self.name = name or fn.__name__
        self.parents = list(parents)
        self.kind = kind
        self.options: dict[str, Any] = dict(options)
        self.made: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.fn(*args, **kwargs)

    @property
    def output_type(self) -> Any:
        """What the function says that it returns; None for anything."""
        try:
            return get_type_hints(self.fn).get("return")
        except (NameError, TypeError):
            return None

    def run(self, spec: Any, context: Any) -> Any:
        """Call the function with a spec, and wait for it where it is asynchronous."""
        n = len(inspect.signature(self.fn).parameters)
        result = self.fn(*(spec, context)[:n])
        return asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result

    def mock_run(
        self,
        input: Any = None,  # noqa: A002 - the name that the SDK gave it
        *,
        parent_outputs: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> Any:
        """Call the function without any engine, for tests.

        Args:
            input: The spec.
            parent_outputs: What its parents gave, by their names.
            others: Accepted for compatibility, and not used.
        """
        del others
        outputs = {name: written(output) for name, output in (parent_outputs or {}).items()}
        return self.run(input, Context(spec=input, outputs=outputs, workflow_run_id="mock"))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "made" or self.made is None:
            raise AttributeError(name)
        return getattr(self.made, name)

    def __repr__(self) -> str:
        return f"<task {self.name!r}>"


async def _awaited(result: Any) -> Any:
    return await result


class DeclaredWorkflow:
    """A workflow of several tasks, or a task by itself, that an engine makes its own of when it needs one.

    Args:
        client: Gives the engine's client.
        single: The function of a task by itself; None for a workflow.
        kind: The client's method that makes such a thing.
        options: What it was declared with.
    """

    def __init__(
        self, client: Callable[[], Any], kind: str, options: Mapping[str, Any], single: Callable[..., Any] | None = None
    ) -> None:
        self._client = client
        self._kind = kind
        self._options = dict(options)
        self._real: Any = None
        self._experiment: Any = None
        self.tasks: list[DeclaredTask] = []
        if single is not None:
            self.tasks.append(DeclaredTask(single, name=self._options.get("name"), parents=(), kind=kind, options={}))
        self._single = single
        self.name = str(self._options.get("name") or getattr(single, "__name__", ""))
        self.description = str(self._options.get("description") or "")

    @property
    def input_validator_type(self) -> Any:
        """The input model."""
        return self._options.get("input_validator")

    def task(self, name: str | None = None, **options: Any) -> Callable[[Callable[..., Any]], DeclaredTask]:
        """Declare a task; `parents` are those whose outputs it gets."""
        return self._declaring("task", name, options)

    def durable_task(self, name: str | None = None, **options: Any) -> Callable[[Callable[..., Any]], DeclaredTask]:
        """Declare a task that may wait for long."""
        return self._declaring("durable_task", name, options)

    def on_failure_task(self, name: str | None = None, **options: Any) -> Callable[[Callable[..., Any]], DeclaredTask]:
        """Declare what is run when a task has failed."""
        return self._declaring("on_failure_task", name, options)

    def on_success_task(self, name: str | None = None, **options: Any) -> Callable[[Callable[..., Any]], DeclaredTask]:
        """Declare what is run when all tasks have succeeded."""
        return self._declaring("on_success_task", name, options)

    def _declaring(
        self, kind: str, name: str | None, options: dict[str, Any]
    ) -> Callable[[Callable[..., Any]], DeclaredTask]:
        def declare(fn: Callable[..., Any]) -> DeclaredTask:
            task = DeclaredTask(fn, name=name, parents=options.pop("parents", ()), kind=kind, options=options)
            self.tasks.append(task)
            self._real = None
            return task

        return declare

    @property
    def real(self) -> Any:
        """The engine's own workflow.

        Raises:
            EngineError: If the engine's client cannot be made.
        """
        if self._real is None:
            make = getattr(self._client(), self._kind)
            self._real = (
                self._made(make(**self._options)) if self._single is None else make(**self._options)(self._single)
            )
        return self._real

    def _made(self, workflow: Any) -> Any:
        made: dict[int, Any] = {}
        for task in self.tasks:
            options = dict(task.options)
            if task.parents:
                options["parents"] = [made.get(id(parent), parent) for parent in task.parents]
            task.made = made[id(task)] = getattr(workflow, task.kind)(name=task.name, **options)(task.fn)
        return workflow

    def as_experiment(self) -> Any:
        """The workflow in the form of an experiment that runs its tasks in one process; always the same one."""
        if self._experiment is None:
            from scythe_cli.model.workflows.running import experiment_of_tasks

            self._experiment = experiment_of_tasks(self)
        return self._experiment

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function of a task by itself."""
        if self._single is None:
            raise TypeError(f"{self!r} is not a function")
        return self._single(*args, **kwargs)

    def __copy__(self) -> DeclaredWorkflow:
        """Itself: a workflow is one thing, as a function is."""
        return self

    def __deepcopy__(self, memo: object) -> DeclaredWorkflow:
        """Itself."""
        del memo
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.real, name)

    def __repr__(self) -> str:
        return f"<workflow {self.name!r}>"
