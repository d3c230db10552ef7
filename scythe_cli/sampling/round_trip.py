"""Whether the values of specs survive being written and read again.

The process that runs a spec validates it again, from the stored columns. A validator that changes a value each time it
sees it (`degrees → radians`) would silently give the function another value than the one that was checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from scythe_cli.errors import SpecsError
from scythe_cli.model.columns import input_columns
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.model.spec_rows import spec_factory
from scythe_cli.sampling.problems import show_value
from scythe_cli.sampling.validate import encoded

__all__ = ["N_CHECKED", "check_round_trip", "round_trip_fault"]


N_CHECKED = 200
"""How many rows are tried."""


def check_round_trip(model: type[ExperimentInputSpec], inputs: pa.Table) -> None:
    """Check on the first rows that the model accepts its own values, and keeps them as they are.

    Args:
        model: The input model.
        inputs: Validated values, with the schema of `input_columns(model)`.

    Raises:
        SpecsError: If the model refuses or changes a value; the message names field and row.
    """
    fault = round_trip_fault(model, inputs.slice(0, N_CHECKED), lambda row: f"spec {row}")
    if fault is not None:
        raise SpecsError(fault, hint=ROUND_TRIP_HINT)


ROUND_TRIP_HINT = (
    "Each spec is validated again in the process that runs it: make the field's validator and type accept their own "
    "result and return it unchanged."
)


def round_trip_fault(model: type[ExperimentInputSpec], inputs: pa.Table, label: Callable[[int], str]) -> str | None:
    """Say what is wrong with the first value that does not survive; None if all do."""
    columns = [column for column in input_columns(model) if column.name in inputs.column_names]
    if not columns or inputs.num_rows == 0:
        return None
    batch = inputs.combine_chunks().to_batches()[0]
    build = spec_factory(model, batch.schema)
    for row in range(batch.num_rows):
        one = batch.slice(row, 1)
        try:
            spec = build(one)[0]
        except Exception as error:  # noqa: BLE001 - a validator of the user's can raise anything
            return f"{label(row)}: read again, the model fails: {type(error).__name__}: {error}"
        if isinstance(spec, ValidationError):
            return _refusal(spec, label(row), one)
        for column in columns:
            again, misfits = encoded(column, [getattr(spec, column.name)])
            before, after = one.column(column.name)[0].as_py(), again[0].as_py()
            # repr tells nan from nan and -0.0 from 0.0 the way that is wanted here
            if misfits or repr(before) != repr(after):
                return (
                    f"{label(row)}: read again, field {column.name!r} changes from {show_value(before)} "
                    f"to {show_value(getattr(spec, column.name) if misfits else after)}"
                )
    return None


def _refusal(error: ValidationError, label: str, row: pa.RecordBatch) -> str:
    detail = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(map(str, detail["loc"]))
    field = f" field {place!r}" if place else ""
    value: Any = detail.get("input")
    shown = f" {show_value(value)}" if place else ""
    return f"{label}: read again, the model refuses its own value{shown} of{field or ' the row'}: {detail['msg']}"


def rows_to_try(n_rows: int, first_missing: list[int]) -> pa.Array[Any]:
    """The first rows, and those where a default stands in for the first time."""
    rows = {*range(min(n_rows, N_CHECKED)), *(row for row in first_missing if 0 <= row < n_rows)}
    return pa.array(np.array(sorted(rows), dtype=np.int64))
