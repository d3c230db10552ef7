"""Whether a function can be an experiment: its parameters, and the fields of the models it takes and returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from scythe_cli.errors import RegistrationError
from scythe_cli.model.columns import (
    RESERVED_INPUT_FIELDS,
    columns_of,
    output_columns,
    output_files,
)
from scythe_cli.model.kinds import ColumnError
from scythe_cli.model.models import ExperimentInputSpec, ExperimentOutputSpec

__all__ = ["Signature", "check_input_model", "signature_of"]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function takes and returns.

    Attributes:
        input_type: The input model.
        output_type: The output model.
        accepts_tempdir: Whether it takes a `tempdir`.
    """

    input_type: type[Any]
    output_type: type[Any]
    accepts_tempdir: bool


def signature_of(fn: Callable[..., Any], where: str) -> Signature:
    """What a function takes and returns, when that is what an experiment may.

    Args:
        fn: A plain function.
        where: Its name for messages.

    Raises:
        RegistrationError: If its parameters or annotations are not those of an experiment, or its models have fields
            that cannot be columns.
    """
    if inspect.iscoroutinefunction(fn) or inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise RegistrationError(f"{where}: an experiment is an ordinary function, not async and not a generator")
    hints = _type_hints(fn, where)
    first, accepts_tempdir = _check_parameters(fn, hints, where)
    input_type = _model_of(hints, first, ExperimentInputSpec, f"{where}: parameter {first!r}")
    output_type = _model_of(hints, "return", ExperimentOutputSpec, f"{where}: the return value")
    check_input_model(input_type, where)
    _check_output_model(output_type, where)
    return Signature(input_type, output_type, accepts_tempdir)


def _type_hints(fn: Callable[..., Any], where: str) -> dict[str, Any]:
    try:
        return get_type_hints(fn, include_extras=True)
    except Exception as error:
        # an annotation is any expression
        raise RegistrationError(
            f"{where}: its annotations cannot be read: {error}",
            hint="Annotate with classes that are defined at the top of the module.",
        ) from error


def _check_parameters(fn: Callable[..., Any], hints: dict[str, Any], where: str) -> tuple[str, bool]:
    """Return the name of the first parameter, and whether there is a `tempdir`."""
    usage = (
        "An experiment looks like `def simulate(input_spec: MyInput) -> MyOutput`, with an optional `tempdir: Path`."
    )
    parameters = list(inspect.signature(fn).parameters.values())
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if not parameters or parameters[0].kind not in positional or parameters[0].name == "tempdir":
        raise RegistrationError(f"{where}: it takes no input spec", hint=usage)
    for parameter in parameters[1:]:
        optional = parameter.default is not parameter.empty or parameter.kind in (
            inspect.Parameter.VAR_KEYWORD,
            inspect.Parameter.VAR_POSITIONAL,
        )
        if parameter.name != "tempdir" and not optional:
            raise RegistrationError(f"{where}: it has a further parameter {parameter.name!r}", hint=usage)
    tempdir = next((p for p in parameters[1:] if p.name == "tempdir"), None)
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if tempdir is not None and (_unannotated(hints.get("tempdir", Path)) is not Path or tempdir.kind not in by_name):
        raise RegistrationError(f"{where}: the parameter 'tempdir' must be a pathlib.Path, passed by name", hint=usage)
    return parameters[0].name, tempdir is not None


def _model_of(hints: dict[str, Any], key: str, base: type[Any], what: str) -> type[Any]:
    model = _unannotated(hints.get(key))
    if model is None:
        raise RegistrationError(f"{what} has no annotation", hint=f"Annotate it with a subclass of {base.__name__}.")
    if not (inspect.isclass(model) and issubclass(model, base)):
        raise RegistrationError(
            f"{what} is annotated with {getattr(model, '__name__', model)}, which is not a subclass of {base.__name__}",
            hint="Write @scythe_cli.experiment above a function that takes and returns other things.",
        )
    return model


def _unannotated(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def check_input_model(model: type[ExperimentInputSpec], where: str, *, any_names: bool = False) -> None:
    """See that the fields of an input model can be columns, and have names that are free.

    Args:
        model: The model.
        where: The function, for messages.
        any_names: Whether a field may be called as an attribute of a spec is: of a model that nobody sees.

    Raises:
        RegistrationError: If one has not.
    """
    users = [cls for cls in model.__mro__ if cls not in ExperimentInputSpec.__mro__]
    for name in model.model_fields:
        if name in RESERVED_INPUT_FIELDS and any(name in vars(cls).get("__annotations__", {}) for cls in users):
            raise RegistrationError(
                f"{where}: the input field {model.__name__}.{name} has a reserved name",
                hint=f"Rename it; reserved names are {', '.join(sorted(RESERVED_INPUT_FIELDS))}.",
            )
        if not any_names:
            _check_field_name(model, name, ExperimentInputSpec, where)
    _check_columns(model, where)


def _check_output_model(output_type: type[ExperimentOutputSpec], where: str) -> None:
    _check_columns(output_type, where)
    for name in output_type.model_fields:
        _check_field_name(output_type, name, ExperimentOutputSpec, where)
    for column in (*output_columns(output_type), *output_files(output_type)):
        # one that has the name of an input field is called another in the final table, with a notice
        if column.name in RESERVED_INPUT_FIELDS and column.name in output_type.model_fields:
            raise RegistrationError(
                f"{where}: the output field {output_type.__name__}.{column.name} has a reserved name",
                hint="Both would be columns of the same table: rename one of them.",
            )


def _check_field_name(model: type[Any], name: str, base: type[Any], where: str) -> None:
    if hasattr(base, name):
        # pydantic takes what the base has there for the field's default
        raise RegistrationError(
            f"{where}: the field {model.__name__}.{name} has the name of an attribute of {base.__name__}",
            hint="Rename it.",
        )
    if not name.isidentifier() or len(name) > 128:
        raise RegistrationError(f"{where}: {model.__name__} has a field named {name!r}", hint="Use a Python name.")


def _check_columns(model: type[Any], where: str) -> None:
    try:
        columns_of(model)
    except ColumnError as error:
        raise RegistrationError(f"{where}: {error}") from None
