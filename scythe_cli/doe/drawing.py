"""A sampling table from an input model: which fields vary, how, and the rows of the design."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pyarrow as pa

from scythe_cli.doe.domains import Leaf, leaves_of
from scythe_cli.doe.joint.conditions import Conditions, Mask, read_conditions
from scythe_cli.doe.joint.correlation import read_correlation
from scythe_cli.doe.planning import Plan, plan_fields
from scythe_cli.doe.rows import RANDOM_DESIGNS, Rows, draw_rows
from scythe_cli.doe.scales import Unit, taken
from scythe_cli.doe.settings import FieldSettings, SampleOptions, read_settings
from scythe_cli.errors import UsageError
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.run.design_record import DesignName, DesignRecord, SampleQuality

if TYPE_CHECKING:
    from scythe_cli.doe.joint.population import DrawnRows, Population

__all__ = ["Drawn", "draw", "draw_settings", "only_rows", "population_of"]


_PROBED = 8


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sampling table, before it is checked and written.

    Attributes:
        table: A column for each field that varies or is fixed, dotted for nested models.
        record: How it was made.
        quality: How evenly it fills the space.
        notices: What the user should know.
    """

    table: pa.Table
    record: DesignRecord
    quality: SampleQuality
    notices: list[str]


def draw(
    model: type[ExperimentInputSpec],
    design: DesignName,
    *,
    n: int | None = None,
    seed: int | None = None,
    options: SampleOptions | None = None,
    experiment: str | None = None,
    from_folder: Path | None = None,
    to_folder: Path | None = None,
) -> Drawn:
    """Make a sampling table.

    Args:
        model: The input model of the experiment.
        design: `lhs`, `sobol`, `halton`, `random`, `saltelli`, `grid`, `oat` or `zip`.
        n: The number of rows; of `saltelli` the base points, whose rows are (d + 2) n for d fields that vary; of
            `grid` and `oat` the most rows that they may have; of `zip` not needed.
        seed: For designs that are random; drawn unless given.
        options: What is said of single fields.
        experiment: Its name, for the record.
        from_folder: Where relative paths of files start from in the options; the working directory unless given.
        to_folder: Where they start from in the table; likewise.

    Raises:
        UsageError: If a required field has no bounds, or what was asked for cannot be.
    """
    if design not in get_args(DesignName):
        raise UsageError(f"there is no design {design!r}", hint=f"Designs are {', '.join(get_args(DesignName))}.")
    options = options or SampleOptions()
    here = Path.cwd()
    leaves = leaves_of(model)
    to_folder = to_folder or here
    settings = read_settings(options, leaves, from_folder=from_folder or here, to_folder=to_folder)
    population = population_of(options, model, leaves, from_folder, to_folder, experiment)
    if options.per_stratum is not None and n is not None:
        raise UsageError("-n and --per-stratum exclude each other: rows in all, or of each stratum")
    return draw_settings(
        model,
        leaves,
        settings,
        design,
        n=n if options.per_stratum is None else options.per_stratum,
        seed=seed,
        options=options,
        experiment=experiment,
        population=population,
    )


def population_of(
    options: SampleOptions,
    model: type[ExperimentInputSpec],
    leaves: Sequence[Leaf],
    from_folder: Path | None,
    to_folder: Path,
    experiment: str | None,
) -> Population | None:
    """The population that the options name, read and checked; None where they name none."""
    options.check_population()
    if options.population is None:
        return None
    from scythe_cli.doe.joint.population import read_population

    file = str(options.population)
    return read_population(
        file if from_folder is None or "://" in file else from_folder / file,
        model,
        leaves,
        by=options.by,
        weights=options.weights,
        per_stratum=options.per_stratum is not None,
        ignore=options.ignore_columns,
        experiment=experiment,
        shown=file,
        to_folder=to_folder,
    )


def draw_settings(
    model: type[ExperimentInputSpec],
    leaves: Sequence[Leaf],
    settings: Mapping[str, FieldSettings],
    design: DesignName,
    *,
    n: int | None,
    seed: int | None,
    options: SampleOptions,
    experiment: str | None,
    before: Sequence[int] = (),
    population: Population | None = None,
) -> Drawn:
    """Make a sampling table from what was said of each field; see `draw`.

    Args:
        model: The input model of the experiment.
        leaves: Its fields.
        settings: What was said of each.
        design: The design.
        n: The number of rows.
        seed: For designs that are random; drawn unless given.
        options: Levels, conditions, and whether only those fields that were named vary.
        experiment: Its name, for the record.
        before: How many points each part of the same design has that comes before these rows.
        population: Where rows of some of the fields are drawn from.

    Raises:
        UsageError: If a required field has no bounds, or what was asked for cannot be.
    """
    own = [leaf for leaf in leaves if population is None or not population.gives(leaf)]
    plan = plan_fields(own, settings, design, only=options.only is not None)
    if population is not None:
        design = _design_beside(population, leaves, settings, plan, design, n)
    elif not plan.variables:
        raise UsageError(
            f"no field of {model.__name__} varies", hint="Let one vary: --set FIELD=LOW:HIGH, or --set FIELD=a,b,c."
        )
    seed, seed_notices = _seed_of(design, seed)
    plan.notices += seed_notices
    made = _made(plan, read_conditions(options.where, leaves), design, n, seed, options, before, population)
    about = {"design": design, "n": n, "seed": seed, "before": list(before), "experiment": experiment}
    record = _record(plan, made, own, where=list(options.where), **about)
    names = [leaf.name for leaf in leaves if leaf.name in made.columns]
    table = pa.table({name: made.columns[name] for name in dict.fromkeys([*names, *made.columns])})
    notices = [*plan.notices, *([] if made.whole is None else made.whole.notices), *made.rows.notices]
    drawn = Drawn(table, record, made.rows.quality, notices)
    is_left = bool(made.conditions) and made.rows.tried is None
    return _that_hold(drawn, made.conditions, made.columns) if is_left else drawn


@dataclass(frozen=True, slots=True)
class _Made:
    """The rows of a design.

    Attributes:
        columns: The cells of each field that is a column.
        rows: What is known of the fields that vary.
        whole: What is known of those of a population.
        conditions: The conditions that are no population's.
        correlation: The rank correlations that were asked for.
    """

    columns: dict[str, pa.Array[Any]]
    rows: Rows
    whole: DrawnRows | None
    conditions: Conditions
    correlation: dict[str, float]


def _made(
    plan: Plan,
    conditions: Conditions,
    design: DesignName,
    n: int | None,
    seed: int | None,
    options: SampleOptions,
    before: Sequence[int],
    population: Population | None,
) -> _Made:
    """Draw rows of the population, if there is one, and as many of the design; all meet the conditions."""
    whole: DrawnRows | None = None
    if population is not None and n is not None and seed is not None:
        whole, conditions = _whole_rows(population, conditions, plan, [*before, n], seed)
        before, n = whole.sizes[:-1], whole.sizes[-1]
    _check_conditions(conditions, plan, design)

    def holds(points: Unit) -> Mask:
        return conditions.hold(_columns_at(plan, conditions.names, points), len(points))

    correlation = read_correlation(options.correlation, plan.variables, design)
    if correlation is not None and conditions:
        raise UsageError(
            "--correlation does not go with --where: rearranged values need not meet the conditions any more",
            hint="State one of them: a correlation, or conditions.",
        )
    rows = Rows([], [], SampleQuality())
    if plan.variables:
        rows = draw_rows(
            design,
            plan.variables,
            n=n,
            seed=seed,
            levels=options.levels,
            all_levels=options.default_levels,
            before=before,
            holds=holds if conditions and design in RANDOM_DESIGNS else None,
            correlation=correlation,
        )
    columns = dict(zip([v.name for v in plan.variables], rows.columns, strict=True))
    columns |= {} if whole is None else whole.columns
    zeros = np.zeros(len(next(iter(columns.values()))), np.int64)
    columns |= {name: taken(chosen.cells, zeros) for name, chosen in plan.constants.items()}
    return _Made(columns, rows, whole, conditions, {} if correlation is None else correlation.pairs)


def _record(plan: Plan, made: _Made, leaves: Sequence[Leaf], **about: Any) -> DesignRecord:
    versions = {name: metadata.version(name) for name in ("scythe-experiments", "numpy", "scipy")}
    return DesignRecord(
        rows=len(next(iter(made.columns.values()))),
        fields=made.rows.fields,
        fixed={name: chosen.shown[0] for name, chosen in plan.constants.items()},
        defaults=[leaf.name for leaf in leaves if leaf.name not in made.columns],
        blocks=made.rows.blocks,
        tried=made.rows.tried,
        correlation=made.correlation,
        population=None if made.whole is None else made.whole.record,
        versions=versions,
        created_at=datetime.now(UTC).replace(microsecond=0),
        **about,
    )


def _design_beside(
    population: Population,
    leaves: Sequence[Leaf],
    settings: Mapping[str, FieldSettings],
    plan: Plan,
    design: DesignName,
    n: int | None,
) -> DesignName:
    """The design of the fields that a population does not give; where none of them varies, that is of no account.

    Raises:
        UsageError: If it cannot have as many rows as are drawn, or a field is given twice.
    """
    if design not in RANDOM_DESIGNS or design == "saltelli":
        raise UsageError(
            f"--from does not go with {design}, whose rows are not as many as are wanted",
            hint="Choose lhs, sobol, halton or random.",
        )
    for leaf in leaves:
        if population.gives(leaf) and (settings[leaf.name].varies or settings[leaf.name].fix is not None):
            raise UsageError(
                f"{leaf.name} comes from the population, and another option gives it values",
                hint=f"Leave the column out with --ignore-columns {leaf.name}, or leave out that option.",
            )
    if n is None:
        raise UsageError("--from needs a number of rows", hint="Give it with -n, or with --by and --per-stratum.")
    return design if plan.variables else "random"


def _whole_rows(
    population: Population, conditions: Conditions, plan: Plan, parts: Sequence[int], seed: int
) -> tuple[DrawnRows, Conditions]:
    """Rows of a population that meet the conditions for its fields; and the other conditions."""
    own, others = conditions.apart(population.columns, [variable.name for variable in plan.variables])
    if own:
        n = len(population.strata)
        zeros = np.zeros(n, np.int64)
        cells = {name: taken(c.cells, zeros) for name, c in plan.constants.items() if name in own.names}
        cells |= population.columns
        own.check({name: each.slice(0, _PROBED) for name, each in cells.items()})
        population = population.only(own.hold(cells, n))
    return population.draw(parts, seed), others


def only_rows(drawn: Drawn, accepted: Mask, **told: Any) -> Drawn:
    """Some rows of a table, with what its record says of them.

    Args:
        drawn: The table.
        accepted: Which rows.
        told: What else the record says.
    """
    blocks = drawn.record.blocks
    parts = np.split(accepted, np.cumsum(list(blocks.values()))[:-1]) if blocks else []
    kept_of_blocks = {name: int(part.sum()) for name, part in zip(blocks, parts, strict=True)}
    table = drawn.table.filter(pa.array(accepted))
    record = drawn.record.model_copy(update={"rows": table.num_rows, "blocks": kept_of_blocks, **told})
    return replace(drawn, table=table, record=record)


def _check_conditions(conditions: Conditions, plan: Plan, design: DesignName) -> None:
    """See that conditions can be evaluated, and suit the design."""
    if conditions and design == "saltelli":
        raise UsageError(
            "--where does not go with saltelli: its blocks exchange one field at a time, and rows that are left out "
            "would make Sobol indices wrong",
            hint="Choose lhs, sobol, halton or random.",
        )
    probe = np.random.default_rng(0).random((_PROBED, len(plan.variables)))
    conditions.check(_columns_at(plan, conditions.names, probe))


def _columns_at(plan: Plan, names: Collection[str], points: Unit) -> dict[str, pa.Array[Any]]:
    """The cells of some fields at some points."""
    zeros = np.zeros(len(points), np.int64)
    constants = {name: taken(chosen.cells, zeros) for name, chosen in plan.constants.items() if name in names}
    return {**constants, **{v.name: v.at(points[:, i]) for i, v in enumerate(plan.variables) if v.name in names}}


def _that_hold(drawn: Drawn, conditions: Conditions, columns: Mapping[str, pa.Array[Any]]) -> Drawn:
    """The rows of a grid, or of another design of fixed rows, that meet conditions."""
    accepted, n = conditions.hold(columns, drawn.table.num_rows), drawn.table.num_rows
    kept = only_rows(drawn, accepted, tried=n)
    if not kept.table.num_rows:
        raise UsageError(f"none of the {n:,} rows of the {drawn.record.design} design meets --where")
    left_out = n - kept.table.num_rows
    notices = [*drawn.notices, f"{left_out:,} of {n:,} rows are left out, because they do not meet --where"]
    if drawn.record.design == "oat" and not accepted[0]:
        notices.append("the base, around which the others vary, is one of them")
    return replace(kept, quality=SampleQuality(), notices=notices if left_out else drawn.notices)


def _seed_of(design: DesignName, seed: int | None) -> tuple[int | None, list[str]]:
    """The seed that a design is drawn with, None if it is not random; and what the user should know of it."""
    if seed is not None and seed < 0:
        raise UsageError(f"the seed is {seed}; it must be 0 or more")
    if design in RANDOM_DESIGNS:
        return secrets.randbits(32) if seed is None else seed, []
    return None, [] if seed is None else [f"{design} is not random: the seed has no effect"]
