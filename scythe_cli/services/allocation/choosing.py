"""Which cases of a sampling file are taken: the first ones, random ones, and those that a run does not have yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import polars as pl
import pyarrow as pa

from scythe_cli.analysis.run import Run
from scythe_cli.arrow.build import numbers
from scythe_cli.arrow.seeds import REPETITION
from scythe_cli.errors import InvalidInputError, UsageError
from scythe_cli.model.columns import ENCODING_KEY, input_columns, outcome_schema
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.spec_rows import NOT_INPUT
from scythe_cli.run.specs_file import SpecFile
from scythe_cli.sampling.reading import SamplingTable
from scythe_cli.services.allocation.options import AllocateOptions
from scythe_cli.services.reuse.identity import KEYS, by_content, row_keys

__all__ = ["alike", "check_outputs", "chosen_rows", "same_cases", "with_rows"]

Rows = np.ndarray[Any, np.dtype[np.int64]]

_COUNT = "__count__"


def chosen_rows(rows: Rows, options: AllocateOptions) -> Rows:
    """The rows that `limit` or `sample` leave of some, in their order; the same seed gives the same ones."""
    if options.limit is not None:
        return rows[: options.limit]
    if options.sample is None or options.sample >= len(rows):
        return rows
    seed = 0 if options.seed == "new" else options.seed
    return np.sort(np.random.default_rng(seed).choice(rows, size=options.sample, replace=False))


def with_rows(table: SamplingTable, rows: Rows) -> SamplingTable:
    """Some cases of a file, under the names that the file gives them."""
    inputs = table.inputs
    if len(rows) == inputs.num_rows:
        return table
    label = table.row_label

    def chosen(row: int) -> str:
        return label(int(rows[row]))

    return replace(table, inputs=inputs.take(numbers(rows, pa.int64())), row_label=chosen)


def same_cases(
    old: pa.Table,
    old_hashes: Mapping[str, Mapping[str, str]],
    new: pa.Table,
    new_hashes: Mapping[str, Mapping[str, str]],
) -> Rows:
    """For each of some cases the position of the old one that is the same; −1 where there is none.

    Files count by their content; where it is not known, by the reference. Of cases that say the same, the first is like
    the first, the second like the second: a file that repeats a case more often than a run has further repetitions.

    Args:
        old: Input columns of the cases that there are, with the schema of the new ones.
        old_hashes: By file column, from each reference to the SHA-256 of the file.
        new: Input columns of the cases in question.
        new_hashes: The same for these.
    """
    names = new.column_names
    counted = [
        row_keys(by_content(table, hashes)[0], names).with_columns(pl.int_range(pl.len()).over(KEYS).alias(_COUNT))
        for table, hashes in ((new, new_hashes), (old, old_hashes))
    ]
    found = counted[0].join(counted[1].with_row_index("at"), on=[*KEYS, _COUNT], how="left", maintain_order="left")
    return cast("Rows", found["at"].cast(pl.Int64).fill_null(-1).to_numpy())


def check_outputs(specs: SpecFile, experiment: RegisteredExperiment[Any, Any], run: Run) -> None:
    """See that outcomes of an experiment fit the tables of a run.

    Raises:
        InvalidInputError: If its output model has changed.
    """
    then, now = specs.output_schema, outcome_schema(experiment.output_validator_type)
    if then == now:
        return
    differing = sorted(
        name.partition(":")[2]
        for name in {*then.names, *now.names}
        if then.get_field_index(name) < 0 or now.get_field_index(name) < 0 or then.field(name) != now.field(name)
    )
    raise InvalidInputError(
        f"the output model of {experiment.name!r} has changed since {run.experiment_id} was allocated: "
        f"{', '.join(differing) or 'the order of its fields'}",
        hint="The outcomes would not fit the same tables; allocate a new version.",
    )


def alike(
    old: pa.Table, new: pa.Table, experiment: RegisteredExperiment[Any, Any], run: Run
) -> tuple[pa.Table, pa.Table]:
    """Old and new inputs with the same columns: fields that are new have their default, what is no field is null.

    Args:
        old: Input columns of a run, and `REPETITION` if it has any.
        new: Those of new cases.
        experiment: The experiment as it is now.
        run: The run.

    Raises:
        InvalidInputError: If the input model has changed so that they cannot have.
    """
    model = experiment.input_validator_type
    columns = {column.name: column for column in input_columns(model)}
    if not set(new.column_names) - NOT_INPUT:
        raise UsageError(f"{experiment.name!r} has no inputs, so that all its cases are the same")
    changed = f"the input model of {experiment.name!r} has changed since {run.experiment_id} was allocated"
    for column in columns.values():
        if column.name not in old.column_names:
            if column.info.is_required():
                raise InvalidInputError(
                    f"{changed}: {column.name} is new and has no default",
                    hint="Give it one, or allocate a new version.",
                )
            value = column.array([column.info.get_default(call_default_factory=True)])
            filled: Any = value.take(numbers(np.zeros(old.num_rows, np.int64), pa.int64()))
            old = old.append_column(column.field, filled)
    for name in old.column_names:
        if name == REPETITION:
            continue
        here = old.schema.field(name)
        if name not in new.column_names:
            if name in columns or (here.metadata or {}).get(ENCODING_KEY) != b"json":
                raise InvalidInputError(f"{changed}: it has no field {name} now", hint="Allocate a new version.")
            new = new.append_column(here, pa.nulls(new.num_rows, here.type))
        elif here.type != new.schema.field(name).type:
            raise InvalidInputError(
                f"{changed}: {name} was {here.type} and is {new.schema.field(name).type}",
                hint="Allocate a new version.",
            )
    for name in new.column_names:
        if name not in old.column_names:
            old = old.append_column(new.schema.field(name), pa.nulls(old.num_rows, new.schema.field(name).type))
    wanted = [*new.column_names, *([REPETITION] if REPETITION in old.column_names else [])]
    return old.select(wanted), new
