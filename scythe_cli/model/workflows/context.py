"""What a task of a workflow gets beside its spec, where no server runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_jsonable_python

__all__ = ["Context", "written"]


class Context:
    """The part of a Hatchet `Context` that tasks use to get at each other's outputs.

    Attributes:
        workflow_run_id: The id of the execution.
        workflow_input: The spec, as JSON.
        retry_count: How often this task was run before.
    """

    def __init__(self, *, spec: Any, outputs: Mapping[str, Any], workflow_run_id: str, retry_count: int = 0) -> None:
        self.workflow_run_id = workflow_run_id
        self.retry_count = retry_count
        self._spec = spec
        self._outputs = outputs
        self.additional_metadata: dict[str, str] = {}
        self.lifespan: Any = None

    @property
    def workflow_input(self) -> Any:
        """The spec, as JSON."""
        return written(self._spec)

    @property
    def attempt_number(self) -> int:
        """Which attempt this is, from 1."""
        return self.retry_count + 1

    def task_output(self, task: Any) -> Any:
        """What a parent has returned, as its function says: a model is made again from what was written of it.

        Raises:
            ValueError: If that task has not run before.
        """
        if task.name not in self._outputs:
            raise ValueError(f"the task {task.name!r} has given no output: is it among the parents?")
        try:
            expected = get_type_hints(task.fn).get("return", Any)
        except (NameError, TypeError):
            expected = Any
        return TypeAdapter[Any](expected).validate_python(self._outputs[task.name])

    def was_skipped(self, task: Any) -> bool:
        """Whether a parent was skipped: here, none is."""
        del task
        return False

    def log(self, line: object, raise_on_error: bool = False) -> None:
        """Write a line to the spec's log."""
        del raise_on_error
        if hasattr(self._spec, "log"):
            self._spec.log(line)
        else:
            print(line)

    async def aio_log(self, line: object, raise_on_error: bool = False) -> None:
        """The same, to await."""
        self.log(line, raise_on_error)

    def done(self) -> bool:
        """Whether the task is to end: it is never told so here."""
        return False


def written(output: Any) -> Any:
    """What JSON holds of a task's output, as a server would keep it."""
    if isinstance(output, BaseModel):
        return output.model_dump(mode="json")
    return to_jsonable_python(output)
