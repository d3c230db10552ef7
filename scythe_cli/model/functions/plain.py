"""A plain function as an experiment: its parameters become the input model, and what it returns becomes columns.

    def yield_of(tilt: float, site: str = "Oslo") -> float: ...

| what it returns | what becomes of it |
| --- | --- |
| a number, text, a date, a list, `None`, … | the column `value` |
| a dict, dataclass, NamedTuple or model, or a pandas Series with text labels | a column for each name |
| a table of pandas, Polars or Arrow, or an array of two dimensions | the table `result` |
| a dict (or dataclass, …) with tables in it | these tables, under their names |
| a tuple of such things | all of them; those without a name are numbered: `value_0`, `result_1` |

A path to a file that the function wrote becomes an output file.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

from scythe_cli.core.names import is_experiment_name
from scythe_cli.errors import RegistrationError
from scythe_cli.model.columns import RESERVED_INPUT_FIELDS
from scythe_cli.model.experiment import (
    ExperimentOptions,
    RegisteredExperiment,
    experiment_from_function,
    first_paragraph,
    where_is,
)
from scythe_cli.model.file_refs import FileReference
from scythe_cli.model.functions.signature import check_input_model
from scythe_cli.model.models import ExperimentInputSpec, ExperimentOutputSpec

__all__ = [
    "PLAIN",
    "PlainInput",
    "PlainOutput",
    "experiment_of",
    "function_name",
    "output_of",
    "parameters_of",
    "parts_of",
    "plain_experiment",
]


PLAIN = "__scythe_plain__"
"""The attribute of an experiment's function that holds the plain function which it calls."""


class PlainInput(ExperimentInputSpec):
    """What the input models of plain functions have in common."""

    model_config = ConfigDict(protected_namespaces=())


class ShadowedInput(PlainInput):
    """The same where a parameter has the name of an attribute of a spec, such as `log`: each is what it is.

    The attribute is what the program needs; the parameter is in the instance's dictionary, where it is looked up.
    """

    def __getattribute__(self, name: str) -> Any:
        if name in _ATTRIBUTES:
            return object.__getattribute__(self, "__class__")._attribute(self, name)
        return super().__getattribute__(name)

    @classmethod
    def _attribute(cls, spec: ShadowedInput, name: str) -> Any:
        attribute = inspect.getattr_static(PlainInput, name)
        return attribute.__get__(spec, cls) if hasattr(attribute, "__get__") else attribute


_ATTRIBUTES = frozenset(name for name in dir(PlainInput) if not name.startswith("_"))


class PlainOutput(ExperimentOutputSpec):
    """What a plain function returned: its columns are the extra fields."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


def experiment_of(
    fn: Any,
    *,
    name: str | None = None,
    columns: Mapping[str, Any] | None = None,
    options: ExperimentOptions | None = None,
) -> RegisteredExperiment[Any, Any]:
    """A function as an experiment: a registered one, one with an input spec, or any other.

    Args:
        fn: The function.
        name: The experiment's name; that of the function unless given.
        columns: The types of the columns that there are, for parameters without annotation.
        options: What it runs under; a registered one keeps its own unless they are given.

    Raises:
        RegistrationError: If it cannot be an experiment.
    """
    if isinstance(fn, RegisteredExperiment):
        registered = cast("RegisteredExperiment[Any, Any]", fn)
        return registered.configured(name=name or function_name(registered.fn), options=options)
    if inspect.isfunction(fn) and _takes_spec(fn):
        return experiment_from_function(fn, name=name or function_name(fn), options=options)
    return plain_experiment(fn, name=name, columns=columns, options=options)


def function_name(fn: Callable[..., Any]) -> str:
    """A name for what a function does that can be that of an experiment: `<lambda>` is `lambda`."""
    inner = _without_partial(fn)
    name = str(getattr(inner, "__name__", None) or type(inner).__name__).strip("<>_") or "function"
    return name if is_experiment_name(name) else "function"


def _without_partial(fn: Callable[..., Any]) -> Any:
    """The function that a `functools.partial` calls; any other is itself."""
    while isinstance(fn, functools.partial):
        fn = cast("functools.partial[Any]", fn).func
    return fn


def _takes_spec(fn: Callable[..., Any]) -> bool:
    """Whether the first parameter is annotated with an input model."""
    first = next(iter(inspect.signature(fn).parameters), None)
    try:
        annotation = get_type_hints(fn).get(first or "")
    except Exception:  # noqa: BLE001 - an annotation is any expression; what is wrong is told where it is needed
        return False
    return inspect.isclass(annotation) and issubclass(annotation, ExperimentInputSpec)


def parameters_of(fn: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a function by name.

    Raises:
        RegistrationError: If Python does not know them, as of some functions that are written in C.
    """
    if not callable(fn):  # pyright: ignore[reportUnnecessaryComparison]
        raise RegistrationError(f"{fn!r} is a {type(fn).__name__}, not a function")
    try:
        return dict(inspect.signature(fn).parameters)
    except (ValueError, TypeError):
        name = function_name(fn)
        raise RegistrationError(
            f"Python cannot tell the parameters of {name}", hint=f"Name them: `lambda x: {name}(x)`."
        ) from None


def plain_experiment(
    fn: Callable[..., Any],
    *,
    name: str | None = None,
    columns: Mapping[str, Any] | None = None,
    options: ExperimentOptions | None = None,
) -> RegisteredExperiment[Any, Any]:
    """Make an experiment of a function that takes its inputs one by one.

    Args:
        fn: A function, a lambda, a coroutine function, a `functools.partial`, or any other callable.
        name: The experiment's name; that of the function unless given.
        columns: Name to Python type of the columns that there are: the types of parameters without annotation, and the
            further inputs of a function with `**kwargs`.
        options: What it runs under.

    Returns:
        The experiment. Called with a spec, it is an experiment; called in any other way, it is the function.

    Raises:
        RegistrationError: If a parameter cannot be an input.
    """
    name = name or function_name(fn)
    where = where_is(fn) if inspect.isfunction(fn) else name
    inner = _without_partial(fn)
    called = inner if inspect.isroutine(inner) else type(inner).__call__
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        raise RegistrationError(f"{where}: it yields its results one by one", hint="Return all of them, as a list.")
    model, positional, named = _input_model(fn, columns or {}, where)

    def call(*args: Any, **kwargs: Any) -> Any:
        if len(args) != 1 or kwargs or not isinstance(args[0], model):
            return fn(*args, **kwargs)
        values = vars(args[0])
        returned = fn(*[values[each] for each in positional], **{each: values[each] for each in named})
        if type(returned) not in _PLAIN_VALUES and inspect.isawaitable(returned):
            returned = asyncio.run(_awaited(returned))
        return output_of(returned)

    functools.update_wrapper(call, inner)
    call.__name__ = getattr(inner, "__name__", name)
    call.__qualname__ = getattr(inner, "__qualname__", name)
    call.__module__ = getattr(inner, "__module__", None) or "__main__"
    setattr(call, PLAIN, fn)
    return RegisteredExperiment(
        call,
        name=name,
        description=first_paragraph(inner) if inspect.isroutine(inner) else "",
        input_type=model,
        output_type=PlainOutput,
        accepts_tempdir=False,
        options=options or ExperimentOptions(),
    )


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def _input_model(
    fn: Callable[..., Any], columns: Mapping[str, Any], where: str
) -> tuple[type[PlainInput], list[str], list[str]]:
    """The input model, and the names of what is passed by position and by name."""
    hints = _hints_of(fn, where)
    fields: dict[str, Any] = {}
    positional: list[str] = []
    named: list[str] = []
    takes_more = False
    for name, parameter in parameters_of(fn).items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_more = True
            continue
        has_default = parameter.default is not parameter.empty
        if name in hints:
            annotation = _with_files(hints[name])
        elif name in columns:
            annotation = columns[name]
        elif has_default and type(parameter.default) in (bool, int, float, str):
            annotation = type(parameter.default)
        elif has_default:
            continue  # the function's own default, whatever it is
        else:
            annotation = Any
        fields[name] = (annotation, parameter.default if has_default else ...)
        (positional if parameter.kind is parameter.POSITIONAL_ONLY else named).append(name)
    if takes_more:
        more = {name: (type_, ...) for name, type_ in columns.items() if name not in fields}
        fields |= more
        named += more
    for name in fields:
        if name in RESERVED_INPUT_FIELDS or name.startswith("_") or name == "model_config":
            raise RegistrationError(
                f"{where}: the parameter {name!r} has a name that scythe uses itself",
                hint=f"Rename it, or call the function in another one: `lambda {(new := name.strip('_') + '_')}: "
                f"f({name}={new})`.",
            )
    base = ShadowedInput if _ATTRIBUTES & fields.keys() else PlainInput
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Field name .* shadows an attribute", UserWarning)
        model = create_model(
            function_name(fn), __base__=base, __module__=getattr(fn, "__module__", None) or "__main__", **fields
        )
    check_input_model(model, where, any_names=True)
    return model, positional, named


def _hints_of(fn: Callable[..., Any], where: str) -> dict[str, Any]:
    inner = _without_partial(fn)
    if not inspect.isroutine(inner) and not inspect.isclass(inner):
        inner = type(inner).__call__
    try:
        return get_type_hints(inner, include_extras=True)
    except (TypeError, AttributeError):
        return {}  # it has none: a function that is written in C
    except Exception as error:
        # an annotation is any expression
        raise RegistrationError(
            f"{where}: its annotations cannot be read: {error}",
            hint="Annotate with classes that are defined where the function is.",
        ) from error


def _with_files(annotation: Any) -> Any:
    """The same annotation, with a reference to a file in the place of a path."""
    if annotation is Path:
        return FileReference
    if get_origin(annotation) in (Union, UnionType) and Path in get_args(annotation):
        return Union[tuple(FileReference if each is Path else each for each in get_args(annotation))]  # noqa: UP007
    if get_origin(annotation) is Annotated and get_args(annotation)[0] is Path:
        return Annotated[(FileReference, *get_args(annotation)[1:])]  # pyright: ignore[reportInvalidTypeForm]
    return annotation


def output_of(returned: object) -> PlainOutput:
    """What a function returned, as columns and tables; see the table at the top."""
    if type(returned) in _PLAIN_VALUES:  # most functions: what follows would take longer than these do
        return _output({"value": returned}, {})
    values: dict[str, Any] = {}
    frames: dict[str, Any] = {}
    parts = list(cast("tuple[Any, ...]", returned)) if type(returned) is tuple else [returned]
    for position, part in enumerate(parts):
        end = f"_{position}" if type(returned) is tuple else ""
        fields = _fields_of(part)
        if fields is None:
            fields = {("result" if _is_table(part) else "value") + end: part}
        for name, value in fields.items():
            into = frames if _is_table(value) else values
            into[_free(name, into, end)] = value
    return _output(values, frames)


_PLAIN_VALUES = frozenset({bool, int, float, str, NoneType})


def _output(values: dict[str, Any], frames: dict[str, Any]) -> PlainOutput:
    """An output as `model_construct` makes it, in a tenth of its time.

    It is not validated, which knows some names already: any name and any value is right.
    """
    output = PlainOutput.__new__(PlainOutput)
    object.__setattr__(output, "__dict__", {"dataframes": frames})
    object.__setattr__(output, "__pydantic_fields_set__", {"dataframes"})
    object.__setattr__(output, "__pydantic_extra__", values)
    object.__setattr__(output, "__pydantic_private__", None)
    return output


def _free(name: str, taken: Mapping[str, Any], end: str) -> str:
    while name in taken:
        name = f"{name}{end or '_'}"
    return name


def _fields_of(part: object) -> dict[str, Any] | None:
    """The names and values that something consists of; None where it is one thing."""
    if type(part) is dict and all(type(name) is str for name in cast("dict[Any, Any]", part)):
        return cast("dict[str, Any]", part)
    if isinstance(part, ExperimentOutputSpec):
        return {**_values_of(part), **part.dataframes}
    if isinstance(part, BaseModel):
        return _values_of(part)
    parts = parts_of(part)
    if parts is not None:
        return parts
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(part, pandas.Series):
        series: Any = part
        if len(series) and all(isinstance(label, str) for label in series.index):
            return dict(series.items())
    return None


def parts_of(value: object) -> dict[str, Any] | None:
    """The names and values of a dict, dataclass, NamedTuple or class of attrs; None for anything else."""
    if isinstance(value, Mapping):
        return {str(name): item for name, item in cast("Mapping[Any, Any]", value).items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return dict(cast("Any", value)._asdict())
    if hasattr(type(value), "__attrs_attrs__"):
        return {each.name: getattr(value, each.name) for each in cast("Any", type(value)).__attrs_attrs__}
    return None


def _values_of(model: BaseModel) -> dict[str, Any]:
    names = [*type(model).model_fields, *type(model).model_computed_fields]
    values = {name: getattr(model, name) for name in names if name != "dataframes"}
    return {**values, **(model.model_extra or {})}


_TABLES = (
    ("pandas", "DataFrame"),
    ("pandas", "Series"),
    ("polars", "DataFrame"),
    ("polars", "LazyFrame"),
    ("polars", "Series"),
    ("pyarrow", "Table"),
    ("pyarrow", "RecordBatch"),
)


def _is_table(value: object) -> bool:
    if type(value) in _PLAIN_VALUES or isinstance(value, (int, float, str)):
        return False
    # a table can only come from a library that is loaded already
    if any(isinstance(value, getattr(sys.modules.get(module), name, ())) for module, name in _TABLES):
        return True
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray) and cast("Any", value).ndim > 1
