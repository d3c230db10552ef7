"""Functions that are in no configuration, as experiments: what `scythe_cli.map` and `allocate --function` run."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import AwareDatetime

from scythe_cli.errors import UsageError
from scythe_cli.model.experiment import RegisteredExperiment, with_options
from scythe_cli.model.functions.entrypoints import load_function
from scythe_cli.model.functions.plain import experiment_of, function_name, parameters_of
from scythe_cli.run.specs_file import SpecFile

if TYPE_CHECKING:
    from pathlib import Path

    from scythe_cli.engines.base import Engine
    from scythe_cli.run.stored_run import StoredRun
    from scythe_cli.sampling.file_columns import RawFile

__all__ = ["column_types", "function_experiment", "function_of_run"]


def function_experiment(
    engine: Engine,
    function: Any,
    raw: RawFile,
    *,
    name: str | None = None,
    limits: Mapping[str, Any] | None = None,
) -> RegisteredExperiment[Any, Any]:
    """Make an experiment of a function that is in no configuration.

    Args:
        engine: What will run it.
        function: The function.
        raw: Its cases, from whose columns parameters without annotation have their types.
        name: The experiment's name; the function's unless given.
        limits: Options of the experiment; those that are None stay as they are.

    Raises:
        RegistrationError: If the function cannot be an experiment.
        UsageError: If the engine runs specs elsewhere, where the function is not.
    """
    if engine.outlives_client and not isinstance(function, RegisteredExperiment):
        raise UsageError(
            f"the {engine.label} engine runs cases elsewhere, where {function_name(function)} is not",
            hint="Put the function into a module and experiments.toml, so that `scythe worker` serves it.",
        )
    columns = column_types(raw, _typed_by_columns(function, raw.names))
    experiment = experiment_of(function, name=name, columns=columns)
    return experiment.configured(options=with_options(experiment.options, **(limits or {})))


def function_of_run(run: StoredRun, function: Any, root: Path) -> RegisteredExperiment[Any, Any]:
    """The experiment of a run that was allocated with a function that is in no configuration.

    Args:
        run: The run.
        function: The function, or `module:function`.
        root: The folder that modules are imported from first.

    Raises:
        EntrypointError: If the module cannot be imported, or has no such function.
        RegistrationError: If the function cannot be an experiment.
        StorageError: If the run cannot be read.
    """
    if isinstance(function, str):
        function = load_function(function, root)
    with SpecFile.open(run.storage, run.layout) as specs:
        schema = [specs.schema.field(name) for name in specs.input_names]
    columns = {field.name: _or_none(_python_type(field.type)) for field in schema}
    return experiment_of(function, name=run.layout.experiment, columns=columns)


def _or_none(python: Any) -> Any:
    return python if python is Any else python | None


def _typed_by_columns(function: Any, names: Sequence[str]) -> list[str]:
    """The columns from which parameters of a function have their types, since they are not annotated."""
    if isinstance(function, RegisteredExperiment):
        return []
    parameters = parameters_of(function)
    takes_more = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    return [
        name
        for name in names
        if (takes_more if name not in parameters else parameters[name].annotation is inspect.Parameter.empty)
    ]


def column_types(raw: RawFile, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The Python type of columns of a sampling file, all unless named; of text, what all cells can be read as."""
    types: dict[str, Any] = {}
    for name, column in zip(raw.names, raw.columns, strict=True):
        if names is None or name in names:
            type_ = _type_of_texts(column) if raw.is_text else column.type
            python = _python_type(type_)
            types[name] = _or_none(python) if column.null_count else python
    return types


_TYPES_OF_TEXTS = (pa.int64(), pa.float64(), pa.bool_())
_FIRST = 100


def _type_of_texts(column: pa.ChunkedArray[Any]) -> pa.DataType:
    if not pa.types.is_string(column.type) or column.null_count == len(column):
        return column.type
    # most columns show by their first cells what they are, and then all of it is read once
    first = column.drop_null().slice(0, _FIRST)
    likely = (type_ for type_ in _TYPES_OF_TEXTS if _can_be(first, type_))
    return next((type_ for type_ in likely if _can_be(column, type_)), column.type)


def _can_be(texts: pa.ChunkedArray[Any], type_: pa.DataType) -> bool:
    try:
        texts.cast(type_)
    except (pa.ArrowException, ValueError):
        return False
    return True


def _python_type(type_: pa.DataType) -> Any:
    types = pa.types
    if types.is_timestamp(type_) and type_.tz is not None:
        return AwareDatetime
    kinds: tuple[tuple[Any, Any], ...] = (
        (types.is_boolean, bool),
        (types.is_integer, int),
        (types.is_floating, float),
        (types.is_decimal, Decimal),
        (types.is_date, date),
        (types.is_timestamp, datetime),
        (types.is_time, time),
        (types.is_duration, timedelta),
        (types.is_struct, dict[str, Any]),
        (types.is_binary, bytes),
        (types.is_large_binary, bytes),
    )
    python = next((python for is_kind, python in kinds if is_kind(type_)), None)
    if python is not None:
        return python
    if types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_):
        return list[_python_type(type_.value_type)]
    return str if types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_) else Any
