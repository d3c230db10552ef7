"""`scythe_cli.map`: any function over any table of cases, without a configuration."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Mapping, Sequence, Set
from contextlib import contextmanager
from enum import Enum
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypedDict, cast
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from scythe_cli.analysis.notebook import notebook_progress
from scythe_cli.analysis.run import Run
from scythe_cli.arrow.plain import has_nanoseconds, holds_fine_times, in_microseconds
from scythe_cli.core.folders import owned_prefix
from scythe_cli.core.quantities import Duration, parse_duration, parse_size
from scythe_cli.core.semver import SemVer
from scythe_cli.errors import InvalidInputError, SamplingFileError, UsageError
from scythe_cli.model.functions.plain import function_name, parameters_of, parts_of
from scythe_cli.run.layout import RunLayout
from scythe_cli.sampling.reading import read_raw, read_sampling_file
from scythe_cli.services.allocation.functions import function_experiment
from scythe_cli.services.allocation.intake import Intake, allocate_intake
from scythe_cli.services.allocation.options import AllocateOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from scythe_cli.core.progress import ProgressCallback
    from scythe_cli.executor.limits import StopSignal
    from scythe_cli.run.records import ErrorGroup
    from scythe_cli.services.configured import ConfiguredProject

__all__ = ["MapOptions", "as_file", "map_cases"]


logger = logging.getLogger("scythe_cli")

_MAX_SAID = 3


class MapOptions(TypedDict, total=False):
    """What `map` takes beside function and cases; see `scythe_cli.map`."""

    name: str | None
    workers: int | None
    execution_timeout: Duration | None
    memory_limit: str | int | None
    retries: int | None
    seed: int | None
    reuse: bool | str
    progress: ProgressCallback | None
    stop: StopSignal | None


def map_cases(project: ConfiguredProject, function: Any, cases: Any, **options: Unpack[MapOptions]) -> Run:
    """Call a function for each case, and keep what it returns; see `scythe_cli.map`."""
    chosen = AllocateOptions(
        workers=options.get("workers"), seed=options.get("seed") or 0, reuse=options.get("reuse", False)
    )
    limits = _limits(options.get("execution_timeout"), options.get("memory_limit"), options.get("retries"))
    warmed_up = project.engine.warmed_up(chosen.workers or project.workers)
    with notebook_progress(options.get("progress")) as progress, warmed_up, as_file(cases, function) as file:
        raw = read_raw(file)
        experiment = function_experiment(project.engine, function, raw, name=options.get("name"), limits=limits)
        table = read_sampling_file(file, experiment.input_validator_type, experiment=experiment.name, raw=raw)
        intake = Intake(experiment.name, experiment, table)
        result = allocate_intake(project, intake, chosen, progress=progress, stop=options.get("stop"))
    for notice in result.notices:
        logger.info("%s", notice)
    if result.counts.unsuccessful or result.counts.pending:
        n_bad = result.n_specs - result.counts.succeeded
        logger.warning(
            "%s of %s cases did not succeed: `run.errors()` tells why (%s)",
            f"{n_bad:,}",
            f"{result.n_specs:,}",
            "; ".join(_in_a_line(group) for group in result.errors[:_MAX_SAID]),
        )
    layout = RunLayout(result.experiment, SemVer.FromString(result.version), result.timestamp)
    return Run(project.storage, layout)


def _limits(execution_timeout: Duration | None, memory_limit: str | int | None, retries: int | None) -> dict[str, Any]:
    """The options of the experiment; None for those that stay as they are.

    Raises:
        UsageError: If a time or size cannot be read.
    """
    try:
        return {
            "execution_timeout": None if execution_timeout is None else parse_duration(execution_timeout),
            "memory_limit_bytes": None if memory_limit is None else parse_size(memory_limit),
            "retries": retries,
        }
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from None


def _in_a_line(group: ErrorGroup) -> str:
    return f"{group.error_type}: {(group.message or '').partition(chr(10))[0]}"


@contextmanager
def as_file(cases: Any, function: Any = None) -> Generator[Path]:
    """Cases of any kind as a sampling file; a file is itself.

    Args:
        cases: A path; a table of pandas, Polars or Arrow; a sequence of dicts, dataclasses or NamedTuples; a dict of
            columns; or, for a function of one parameter, its values.
        function: The function, where the values have no names.

    Raises:
        InvalidInputError: If the cases are nothing of this.
    """
    if isinstance(cases, (str, PurePath)):
        yield Path(cases)
        return
    with TemporaryDirectory(prefix=owned_prefix("cases")) as folder:
        path = Path(folder) / "cases.pq"
        try:
            pq.write_table(_table_of(cases, function), path)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise InvalidInputError(
                f"the cases cannot be made a table: {str(error).partition(chr(10))[0]}",
                hint="A column holds values of one kind.",
            ) from error
        try:
            yield path
        except SamplingFileError as error:
            # who gave a table knows nothing of a file
            error.message = error.message.replace(str(path), "the cases")
            error.args = (error.message,)
            raise


def _table_of(cases: Any, function: Any) -> pa.Table:
    kind = f"{type(cases).__module__.partition('.')[0]}.{type(cases).__name__}"
    if isinstance(cases, pa.Table):
        table = cases
    elif kind == "pandas.DataFrame":
        table = _of_pandas(cases)
    elif kind == "polars.LazyFrame":
        table = cases.collect().to_arrow()
    elif kind == "polars.DataFrame":
        table = cases.to_arrow()
    elif isinstance(cases, Mapping):
        table = _of_columns(cast("Mapping[Any, Any]", cases))
    elif getattr(getattr(cases, "dtype", None), "names", None):
        table = _of_columns({name: cases[name] for name in cases.dtype.names})  # a structured array of NumPy
    elif isinstance(cases, pa.RecordBatch):
        table = pa.Table.from_batches([cases])
    elif isinstance(cases, Iterable):
        table = _of_rows(list(cast("Iterable[Any]", cases)), function)
    else:
        raise InvalidInputError(
            f"cases are a {type(cases).__name__}", hint="Give a table, a list of dicts, or the path of a file."
        )
    if not table.num_rows:
        raise InvalidInputError("there are no cases")
    if "" in table.column_names:
        raise InvalidInputError("a column of the cases has no name")
    _check_times(table)
    return table.replace_schema_metadata(None)


def _of_pandas(frame: Any) -> pa.Table:
    if len(frame) and not len(frame.columns):
        raise InvalidInputError("the cases have no columns")
    columns: dict[str, Any] = {}
    for position, label in enumerate(frame.columns):
        if _is_missing(label):
            raise InvalidInputError("a column of the cases has no name")
        if str(label) in columns:
            raise InvalidInputError(f"two columns of the cases are called {label!s}")
        columns[str(label)] = _of_series(str(label), frame.iloc[:, position])
    levels: dict[str, Any] = {}
    for position, label in enumerate(frame.index.names):
        if label is not None:
            level = _of_series(str(label), frame.index.get_level_values(position).to_series())
            if str(label) in levels or not columns.get(str(label), level).equals(level):
                raise InvalidInputError(f"two columns of the cases are called {label!s}; one is a level of the index")
            levels[str(label)] = level
    return pa.table({**levels, **columns})


def _of_series(name: str, series: Any) -> Any:
    dtype = str(series.dtype)
    if dtype.startswith("Sparse"):
        series = series.sparse.to_dense()
    if dtype.startswith(("period", "interval", "complex")):
        raise InvalidInputError(
            f"the column {name} is of type {dtype}, which no table of cases can hold",
            hint=f"Give it as text: `frame[{name!r}].astype(str)`; or as several columns.",
        )
    if series.dtype.kind == "f" and not hasattr(series.dtype, "na_value"):
        return pa.array(series.to_numpy())  # as it is: Arrow would make NaN a missing cell
    if series.dtype == object:
        return _array(name, [None if _is_missing(cell) else cell for cell in series])
    array = pa.Array.from_pandas(series)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _is_missing(cell: Any) -> bool:
    return cell is None or type(cell).__name__ in ("NaTType", "NAType") or (isinstance(cell, float) and cell != cell)


def _of_columns(columns: Mapping[Any, Any]) -> pa.Table:
    arrays: dict[str, Any] = {}
    for name, values in columns.items():
        if isinstance(values, (str, bytes, Set)) or not isinstance(values, Iterable):
            raise InvalidInputError(
                f"the column {name!s} of the cases is a {type(values).__name__}, not a list of values",
                hint="A dict of cases has a list for each column; for one case, give a list with one dict.",
            )
        # pandas' `to_dict()` has a dict for each column, by the index
        cells = values.values() if isinstance(values, Mapping) else values
        arrays[str(name)] = _array(str(name), list(cast("Iterable[Any]", cells)))
    return pa.table(arrays)


def _of_rows(rows: Sequence[Any], function: Any) -> pa.Table:
    dicts = [_fields_of(row) for row in rows]
    if all(each is None for each in dicts):
        names = list(parameters_of(function)) if callable(function) else []
        if not names:
            raise InvalidInputError("the cases have no names", hint="Give a table, or a list of dicts.")
        if len(names) == 1:
            return pa.table({names[0]: _array(names[0], rows)})
        if not all(isinstance(row, (tuple, list)) and len(row) <= len(names) for row in rows):
            raise InvalidInputError(
                f"the cases have no names, and {function_name(function)} has {len(names)} parameters",
                hint="Give a table, or a list of dicts.",
            )
        dicts = [dict(zip(names, row, strict=False)) for row in rows]
    if any(each is None for each in dicts):
        raise InvalidInputError("some cases are dicts and others are not")
    known = cast("list[dict[str, Any]]", dicts)
    names = list(dict.fromkeys(name for each in known for name in each))
    return pa.table({name: _array(name, [each.get(name) for each in known]) for name in names})


def _fields_of(row: Any) -> dict[str, Any] | None:
    if isinstance(row, BaseModel):
        return {name: getattr(row, name) for name in type(row).model_fields}
    if type(row).__name__ == "Series" and hasattr(row, "to_dict"):
        return {str(name): value for name, value in row.to_dict().items()}  # one of `frame.iterrows()`
    return parts_of(row)


_AS_THEY_ARE = frozenset({bool, int, float, str, bytes, type(None)})


def _array(name: str, values: Sequence[Any]) -> Any:
    kinds = set(map(type, values))
    return pa.array(values if kinds <= _AS_THEY_ARE else [_cell(name, value) for value in values])


def _cell(name: str, value: Any) -> Any:
    if isinstance(value, Enum):
        return _cell(name, value.value)
    if has_nanoseconds(value):
        raise InvalidInputError(_NANOSECONDS.format(name), hint=_ROUND)
    return str(value) if isinstance(value, (PurePath, UUID)) else value


_NANOSECONDS = "the column {} of the cases has times with nanoseconds; Python's times have microseconds"
_ROUND = "Round them, or give them as text or numbers."


def _check_times(table: pa.Table) -> None:
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not holds_fine_times(column.type):
            continue
        try:
            _, is_cut = in_microseconds(column)
        except pa.ArrowException:
            continue  # what reads the cases tells
        if is_cut:
            raise InvalidInputError(_NANOSECONDS.format(name), hint=_ROUND)
