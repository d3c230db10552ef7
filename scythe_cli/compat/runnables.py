"""Fields that hold a registered experiment or a workflow, written as its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Generic, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from scythe_cli.errors import InvalidInputError
from scythe_cli.model.experiment import TInput, TOutput
from scythe_cli.model.registration import ExperimentRegistry

__all__ = ["Runnable", "SerializableRunnable"]


def _found(value: Any) -> Any:
    if isinstance(value, str):
        return ExperimentRegistry.get_runnable(value)
    if not hasattr(value, "input_validator_type"):
        raise InvalidInputError(
            f"{value!r} is not an experiment", hint="Decorate the function with @ExperimentRegistry.Register()."
        )
    return value


def _named(value: Any) -> str:
    return str(value.name)


Runnable = Annotated[Any, BeforeValidator(_found), PlainSerializer(_named, return_type=str)]
"""A registered experiment or a workflow, or its name."""


if TYPE_CHECKING:

    class Subscriptable(BaseModel, Generic[TInput, TOutput]):
        """A model whose types of input and output may be written behind it."""

else:

    class Subscriptable(BaseModel):
        """A model whose types of input and output may be written behind it, as in `BaseExperiment[Input, Output]`.

        They are for type checkers: at run time the model is the same.
        """

        def __class_getitem__(cls, types: Any) -> Any:
            """The model itself."""
            return cls


class SerializableRunnable(Subscriptable[TInput, TOutput]):
    """A model with a registered experiment or a workflow in it, which is written as its name.

    Attributes:
        runnable: The experiment or workflow, or its name.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    runnable: Runnable

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """A copy of all but the runnable, which both share."""
        memo = {} if memo is None else memo
        memo[id(self.runnable)] = self.runnable
        return super().__deepcopy__(memo)
