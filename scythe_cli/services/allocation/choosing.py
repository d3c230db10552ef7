"""Which cases of a sampling file are taken: the first ones, random ones, and those that a run does not have yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import polars as pl
import pyarrow as pa

from scythe_cli.analysis.run import Run
from scythe_cli.arrow.build import numbers
from scythe_cli.arrow.seeds import REPETITION, repetitions
from scythe_cli.errors import InvalidInputError, UsageError
from scythe_cli.model.columns import ENCODING_KEY, input_columns, outcome_schema
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.spec_rows import NOT_INPUT
from scythe_cli.run.design_record import DesignRecord
from scythe_cli.run.extension import design_parts
from scythe_cli.run.manifest import RunManifest
from scythe_cli.run.specs_file import SpecFile
from scythe_cli.sampling.reading import SamplingTable
from scythe_cli.services.allocation.options import AllocateOptions
from scythe_cli.services.reuse.identity import KEYS, by_content, row_keys

__all__ = ["alike", "check_outputs", "chosen_rows", "next_repetitions", "of_design", "same_cases", "with_rows"]

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
    """Some cases of a file, in their order."""
    return table if len(rows) == table.inputs.num_rows else table.taken(rows)


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
    count = pl.int_range(pl.len()).over(KEYS).alias(_COUNT)
    wanted = row_keys(by_content(new, new_hashes)[0], names)
    known = row_keys(by_content(old, old_hashes)[0], names).with_row_index("at")
    # most old cases are like no new one, and need not be counted
    known = known.join(wanted, on=KEYS, how="semi").sort("at").with_columns(count)
    found = wanted.with_columns(count).join(known, on=[*KEYS, _COUNT], how="left", maintain_order="left")
    return cast("Rows", found["at"].cast(pl.Int64).fill_null(-1).to_numpy())


def of_design(manifest: RunManifest, design: DesignRecord | None, options: AllocateOptions, n: int) -> Rows | None:
    """What `same_cases` says of a file that holds the next points of a run's own design, or points that it has.

    Cases of a design count by their place in it, since points of fields with few values can be equal.

    Args:
        manifest: The run.
        design: How the file was made.
        options: Whether all of the file is taken.
        n: The cases of the file.

    Returns:
        None where the file is none of these, or only a part of it is taken.
    """
    parts = design_parts(manifest)
    if design is None or not design.before or not parts or design.rows != n:
        return None
    if not design.is_of(parts[0][1]):
        return None
    for first, part in parts[1:]:
        if (part.before, part.n, part.rows) == (design.before, design.n, n):
            return np.arange(first, first + n, dtype=np.int64)
    last = parts[-1][1]
    if options.limit is not None or options.sample is not None or design.before != [*last.before, last.n]:
        return None
    return np.full(n, -1, np.int64)


def next_repetitions(old: pa.Table, new: pa.Table, artifacts: str) -> Rows:
    """How many cases before each new one say the same, old ones and new ones, as `arrow.seeds.repetitions` counts.

    Args:
        old: Input columns of the cases that there are.
        new: Input columns of new cases, with the same schema.
        artifacts: See `arrow.content.row_contents`.
    """
    alike = np.ones(old.num_rows, np.bool_)
    for name in new.column_names:
        if pa.types.is_integer(old.schema.field(name).type) or pa.types.is_floating(old.schema.field(name).type):
            column: Any = pl.from_arrow(old.column(name))
            values: Any = pl.from_arrow(new.column(name))
            # the two zeros say the same; what has no value is looked at more closely below
            is_value = (column == column) & column.is_not_null()
            alike &= (column + 0).is_in((values + 0).implode()).fill_null(value=True).to_numpy() | ~is_value.to_numpy()
    chosen = old.select(new.column_names).take(numbers(np.flatnonzero(alike).astype(np.int64), pa.int64()))
    counted = repetitions(pa.concat_tables([chosen, new]), leave_out=NOT_INPUT, artifacts=artifacts)
    if counted is None:
        return np.zeros(new.num_rows, np.int64)
    return counted.to_numpy()[chosen.num_rows :].astype(np.int64)


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
