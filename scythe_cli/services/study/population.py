"""A population: rows of a table, which are the only cases that there are, and of which some are run.

The first are drawn at random, as many of each stratum, so that rare ones are known as well as frequent ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from scythe_cli.analysis.surrogate.space import Dimension, Point, Space
from scythe_cli.arrow.build import numbers
from scythe_cli.errors import UsageError
from scythe_cli.sampling.reading import read_sampling_file
from scythe_cli.services.mapping import as_file

if TYPE_CHECKING:
    from scythe_cli.config.studies import StudyConfig
    from scythe_cli.model.experiment import RegisteredExperiment
    from scythe_cli.run.design_record import DesignRecord
    from scythe_cli.services.configured import ConfiguredProject

__all__ = ["FirstCases", "first_of_population", "rows_of"]


_INITIAL = 64
_EACH = 8


@dataclass(frozen=True)
class FirstCases:
    """The cases of the first round.

    Attributes:
        table: The cases, a column each.
        space: The fields that vary.
        design: How they were drawn; None where they come from a population.
        pool: The only cases that there are; None where any point of the space can be one.
        rows: The rows of the population that some keys of the space mean.
    """

    table: pa.Table
    space: Space
    design: DesignRecord | None = None
    pool: Sequence[Point] | None = None
    rows: Callable[[Sequence[tuple[Any, ...]]], pa.Table] | None = None


def first_of_population(
    project: ConfiguredProject,
    config: StudyConfig,
    experiment: RegisteredExperiment[Any, Any],
    folder: str,
    population: Any,
) -> FirstCases:
    """Draw the first cases from a population.

    Args:
        project: The project.
        config: The settings of the study.
        experiment: The experiment.
        folder: Its name.
        population: The population as a table; else the file that the settings name.

    Raises:
        SamplingFileError: If its rows are no cases of the experiment.
        UsageError: If settings do not fit, or nothing varies.
    """
    if config.set or config.only or config.fix:
        raise UsageError("a population has all fields: set, fix and only do not go with it")
    source = project.root / str(config.population) if population is None else population
    with as_file(source) as file:
        read = read_sampling_file(file, experiment.input_validator_type, experiment=folder)
    table = read.inputs
    dimensions = [d for field in table.schema if (d := _dimension(field, table.column(field.name), config)) is not None]
    if not dimensions:
        raise UsageError("nothing varies in the population")
    space = Space(tuple(dimensions))
    pool = rows_of(table, space.names)
    places: dict[tuple[Any, ...], int] = {}
    for row, point in enumerate(pool):
        places.setdefault(space.key(point), row)
    unique = sorted(places.values())
    pool = [pool[row] for row in unique]

    def rows(keys: Sequence[tuple[Any, ...]]) -> pa.Table:
        return table.take(numbers(np.array([places[key] for key in keys], np.int64), pa.int64()))

    strata = [tuple(point[name] for name in config.strata if name in point) for point in pool]
    initial = config.initial or max(_INITIAL, _EACH * len(set(strata)))
    chosen = _drawn(strata, initial, config.seed)
    return FirstCases(rows([space.key(pool[i]) for i in chosen]), space, None, pool, rows)


def _drawn(strata: Sequence[tuple[Any, ...]], n: int, seed: int) -> list[int]:
    """Random rows, as many of each stratum as can be; in the order of the draw."""
    draws = np.random.default_rng([seed, len(strata)])
    waiting: dict[tuple[Any, ...], list[int]] = {}
    for row in map(int, draws.permutation(len(strata))):
        waiting.setdefault(strata[row], []).append(row)
    order = sorted(waiting, key=repr)
    chosen: list[int] = []
    while len(chosen) < min(n, len(strata)):
        for stratum in order:
            if waiting[stratum] and len(chosen) < n:
                chosen.append(waiting[stratum].pop())
    return chosen


def _dimension(field: Any, column: Any, config: StudyConfig) -> Dimension | None:
    """A column of the population that varies; None for one that has one value."""
    cells: Any = pl.from_arrow(column)
    if cells.n_unique() < 2:
        return None
    if cells.dtype.is_numeric() and field.name not in config.strata:
        if cells.null_count():
            raise UsageError(f"the population has missing cells in {field.name}: a study needs a number in each")
        low, high = float(cells.min()), float(cells.max())
        return Dimension(field.name, low, high, field.name in config.log, None, cells.dtype.is_integer())
    if not (cells.dtype.is_numeric() or cells.dtype in (pl.String, pl.Boolean)):
        raise UsageError(f"{field.name}: a study learns from numbers and single values, not {field.type}")
    return Dimension(field.name, values=tuple(sorted(cells.drop_nulls().unique().to_list(), key=str)))


def rows_of(table: pa.Table, names: Sequence[str]) -> list[dict[str, Any]]:
    """The cells of some columns, which may be parts of nested models, a dict for each row."""
    columns: dict[str, list[Any]] = {}
    for name in names:
        first, *inner = name.split(".")
        column: Any = pl.from_arrow(table.column(first))
        for part in inner:
            column = column.struct.field(part)
        columns[name] = column.to_list()
    return [dict(zip(names, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
