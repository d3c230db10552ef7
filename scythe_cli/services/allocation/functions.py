"""Functions that are in no configuration, as experiments: what `scythe_cli.map` and `allocate --function` run."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

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
    columns = column_types(raw) if _needs_types(function) else {}
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


def _needs_types(function: Any) -> bool:
    """Whether a parameter has no annotation."""
    if isinstance(function, RegisteredExperiment):
        return False
    kinds = (inspect.Parameter.VAR_KEYWORD,)
    parameters = parameters_of(function).values()
    return any(each.annotation is each.empty or each.kind in kinds for each in parameters)


def column_types(raw: RawFile) -> dict[str, Any]:
    """The Python type of each column of a sampling file; of text, what all cells can be read as."""
    types: dict[str, Any] = {}
    for name, column in zip(raw.names, raw.columns, strict=True):
        type_ = _type_of_texts(column) if raw.is_text else column.type
        python = _python_type(type_)
        types[name] = _or_none(python) if column.null_count else python
    return types


def _type_of_texts(column: pa.ChunkedArray[Any]) -> pa.DataType:
    if not pa.types.is_string(column.type) or column.null_count == len(column):
        return column.type
    for type_ in (pa.int64(), pa.float64(), pa.bool_()):
        try:
            column.cast(type_)
        except (pa.ArrowException, ValueError):
            continue
        return type_
    return column.type


def _python_type(type_: pa.DataType) -> Any:
    types = pa.types
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
    )
    python = next((python for is_kind, python in kinds if is_kind(type_)), None)
    if python is not None:
        return python
    if types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_):
        return list[_python_type(type_.value_type)]
    return str if types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_) else Any
