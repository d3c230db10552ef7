"""Specs as a table: the content of `specs.pq`, from model instances and back to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from scythe_cli.arrow.build import array_of, integer_cells, numbers, repeated, texts_of_width
from scythe_cli.arrow.seeds import HIDDEN
from scythe_cli.errors import SpecsError
from scythe_cli.model.columns import Column, columns_of, decoder_of, extra_column, input_columns, schema_of, values_of
from scythe_cli.model.kinds import ColumnError, Convert, keys_of
from scythe_cli.model.models import ExperimentInputSpec

__all__ = [
    "META_SCHEMA",
    "NOT_INPUT",
    "artifacts_mark",
    "build_specs",
    "list_validator",
    "spec_factory",
    "specs_schema",
    "table_from_specs",
    "with_meta",
    "workflow_run_id",
    "workflow_run_ids",
]


_DIGITS = 8

META_SCHEMA = pa.schema(
    [
        pa.field("experiment_id", pa.string()),
        pa.field("sort_index", pa.int64()),
        pa.field("workflow_run_id", pa.string()),
        pa.field("root_workflow_run_id", pa.string()),
    ]
)
"""The first columns of `specs.pq`; the names are `SPEC_LEVELS`."""

NOT_INPUT = frozenset({*META_SCHEMA.names, *HIDDEN})
"""The columns of `specs.pq` that are no input of a spec."""


def specs_schema(model: type[ExperimentInputSpec]) -> pa.Schema:
    """The schema of `specs.pq`: `META_SCHEMA`, then a column per input field."""
    return pa.unify_schemas([META_SCHEMA, schema_of(input_columns(model))])


def table_from_specs(specs: Sequence[ExperimentInputSpec], model: type[ExperimentInputSpec]) -> pa.Table:
    """Make the input columns of instances; values beyond the model's fields become columns of JSON text.

    Args:
        specs: Instances of `model`.
        model: The input model.

    Returns:
        A table of `len(specs)` rows with the schema of `input_columns(model)`, and a column for each extra name.

    Raises:
        SpecsError: If a spec is of another type, or holds a value that a column cannot hold.
    """
    for position, spec in enumerate(specs):
        if not isinstance(spec, model):
            raise SpecsError(f"spec {position} is a {type(spec).__name__}; expected {model.__name__}")
    arrays: list[pa.Array[Any]] = []
    fields: list[pa.Field[Any]] = []
    for column in input_columns(model):
        arrays.append(_array(column, values_of(specs, column.name)))
        fields.append(column.field)
    extra_names = dict.fromkeys(name for spec in specs for name in spec.model_extra or {})
    for name in extra_names:
        column = extra_column(name)
        arrays.append(_array(column, [(spec.model_extra or {}).get(name) for spec in specs]))
        fields.append(column.field)
    if not arrays:
        # a table without columns forgets how many rows it has
        return pa.table({"sort_index": pa.array(range(len(specs)), pa.int64())})
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _array(column: Column, values: list[Any]) -> pa.Array[Any]:
    try:
        return column.array(values)
    except ColumnError as error:
        raise SpecsError(str(error)) from error


def with_meta(
    inputs: pa.Table, experiment_id: str, root_workflow_run_id: str | None, *, first_row: int = 0
) -> pa.Table:
    """Put the meta columns before the input columns; `sort_index` counts the rows from `first_row`."""
    n = inputs.num_rows
    root = pa.nulls(n, pa.string()) if root_workflow_run_id is None else repeated(root_workflow_run_id, n)
    meta = pa.table(
        [
            repeated(experiment_id, n),
            numbers(np.arange(first_row, first_row + n, dtype=np.int64), pa.int64()),
            pa.nulls(n, pa.string()),
            root,
        ],
        schema=META_SCHEMA,
    )
    for field, column in zip(inputs.schema, inputs.columns, strict=True):
        if field.name not in META_SCHEMA.names:
            meta = meta.append_column(field, column)
    return meta


def spec_factory(
    model: type[ExperimentInputSpec], schema: pa.Schema
) -> Callable[[pa.RecordBatch], list[ExperimentInputSpec | ValidationError]]:
    """Compile a function that turns rows of `specs.pq` into instances of the model.

    A row that the model refuses becomes the `ValidationError`, in its place. Cells were checked when they were
    written, and some types are written as another, so a strict model takes them too. A column that is no field of the
    model is left out of the rows where it is null.
    """
    known = columns_of(model)
    shown = [field for field in schema if field.name not in HIDDEN]
    decoders = [_decoder(known.get(field.name), field) for field in shown]
    keys = keys_of(model)
    names = [keys.get(field.name, field.name) for field in shown]
    fields = {keys[name] for name in known}
    validate = model.__pydantic_validator__.validate_python
    validate_all = list_validator(model)

    def dicts(cells: list[list[Any]]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = [{} for _ in cells[0]]
        # column by column, which takes a quarter of the time of a `dict(zip(…))` for each row
        for name, values in zip(names, cells, strict=True):
            if name in fields:
                for row, value in zip(rows, values, strict=True):
                    row[name] = value
            else:
                for row, value in zip(rows, values, strict=True):
                    if value is not None:
                        row[name] = value
        return rows

    def build(batch: pa.RecordBatch) -> list[ExperimentInputSpec | ValidationError]:
        cells: list[list[Any]] = []
        for field, decode in zip(shown, decoders, strict=True):
            values = batch.column(field.name).to_pylist()
            cells.append(values if decode is None else [None if v is None else _decoded(v, decode) for v in values])
        try:
            # one call for all is faster than one for each
            return validate_all(dicts(cells), strict=False, by_alias=True, by_name=True)
        except ValidationError:
            specs: list[ExperimentInputSpec | ValidationError] = []
        for values in dicts(cells):  # made anew: a validator may have changed those above
            try:
                specs.append(validate(values, strict=False, by_alias=True, by_name=True))
            except ValidationError as error:
                specs.append(error)
        return specs

    return build


def list_validator(model: type[ExperimentInputSpec]) -> Callable[..., list[Any]]:
    """The function that makes many specs at once.

    It is compiled once for a model: processes that are forked afterwards begin sooner.
    """
    return _list_validator(model, model.__pydantic_validator__)


@lru_cache(maxsize=64)
def _list_validator(model: type[ExperimentInputSpec], _compiled: object) -> Callable[..., list[Any]]:
    # a model that was rebuilt has another `_compiled`
    return TypeAdapter[Any](list[model]).validator.validate_python  # pyright: ignore[reportInvalidTypeForm]


def _decoder(column: Column | None, field: pa.Field[Any]) -> Convert | None:
    stored = decoder_of(field)
    if column is None:
        return stored
    # an earlier release wrote more types as JSON
    return stored if stored is not None and not column.is_json else column.decode


def _decoded(cell: Any, decode: Convert) -> Any:
    """The value of a cell; if the model has changed since it was written, the cell itself, for the model to refuse."""
    try:
        return decode(cell)
    except (ValueError, TypeError, LookupError, AttributeError):
        return cell


def build_specs(table: pa.Table, model: type[ExperimentInputSpec]) -> list[ExperimentInputSpec]:
    """Turn a table of specs into instances.

    Raises:
        ValidationError: If the model refuses a row.
    """
    build = spec_factory(model, table.schema)
    specs: list[ExperimentInputSpec] = []
    for batch in table.to_batches():
        for spec in build(batch):
            if isinstance(spec, ValidationError):
                raise spec
            specs.append(spec)
    return specs


def artifacts_mark(experiment_id: str) -> str:
    """What a reference to a file that was uploaded to a run has before the hash of the file, for seeds of rows."""
    return f"{experiment_id}/artifacts/"


def workflow_run_id(root_workflow_run_id: str, sort_index: int) -> str:
    """The id of the execution of one spec where the engine gives none; the same for each attempt."""
    return f"{root_workflow_run_id}-{sort_index:0{_DIGITS}d}"


def workflow_run_ids(root_workflow_run_id: str, sort_indices: pa.Array[Any]) -> pa.Array[Any]:
    """What `workflow_run_id` gives for each of many specs.

    Args:
        root_workflow_run_id: The id of the execution as a whole.
        sort_indices: int64, without nulls.
    """
    left = integer_cells(sort_indices)
    n = len(left)
    if n == 0 or int(left.max()) >= 10**_DIGITS:
        return array_of([workflow_run_id(root_workflow_run_id, int(index)) for index in left], pa.string())
    root = np.frombuffer(f"{root_workflow_run_id}-".encode(), np.uint8)
    characters = np.empty((n, len(root) + _DIGITS), np.uint8)
    characters[:, : len(root)] = root
    for place in range(characters.shape[1] - 1, len(root) - 1, -1):
        left, digit = np.divmod(left, 10)
        characters[:, place] = digit + ord("0")
    return texts_of_width(characters, n, characters.shape[1])
