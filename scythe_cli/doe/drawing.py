"""A sampling table from an input model: which fields vary, how, and the rows of the design."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from scythe_cli.doe.domains import Leaf, NoDefault, Values, leaves_of
from scythe_cli.doe.joint.conditions import Conditions, Mask, read_conditions
from scythe_cli.doe.option_values import Chosen
from scythe_cli.doe.rows import RANDOM_DESIGNS, Rows, draw_rows
from scythe_cli.doe.scales import Numbers, Unit, taken
from scythe_cli.doe.settings import FieldSettings, SampleOptions, read_settings
from scythe_cli.doe.variables import Variable, variable_of
from scythe_cli.errors import UsageError
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.run.design_record import DesignName, DesignRecord, SampleQuality

__all__ = ["Drawn", "draw", "draw_settings", "only_rows"]


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
    settings = read_settings(options, leaves, from_folder=from_folder or here, to_folder=to_folder or here)
    return draw_settings(model, leaves, settings, design, n=n, seed=seed, options=options, experiment=experiment)


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
) -> Drawn:
    """Make a sampling table from what was said of each field; see `draw`.

    Args:
        model: The input model of the experiment.
        leaves: Its fields.
        settings: What was said of each.
        design: The design.
        n: The number of rows.
        seed: For designs that are random; drawn unless given.
        options: The levels of all fields, and whether only those that were named vary.
        experiment: Its name, for the record.
        before: How many points each part of the same design has that comes before these rows.

    Raises:
        UsageError: If a required field has no bounds, or what was asked for cannot be.
    """
    plan = _plan(leaves, settings, design, only=options.only is not None)
    if not plan.variables:
        raise UsageError(
            f"no field of {model.__name__} varies", hint="Let one vary: --set FIELD=LOW:HIGH, or --set FIELD=a,b,c."
        )
    seed, seed_notices = _seed_of(design, seed)
    plan.notices += seed_notices
    conditions = _conditions(options.where, leaves, plan, design)
    made = _rows(plan, conditions, design, n=n, seed=seed, options=options, before=before)
    columns = _columns(plan, made)
    record = DesignRecord(
        design=design,
        n=n,
        seed=seed,
        before=list(before),
        rows=len(made.columns[0]),
        experiment=experiment,
        fields=made.fields,
        fixed={name: chosen.shown[0] for name, chosen in plan.constants.items()},
        defaults=[leaf.name for leaf in leaves if leaf.name not in columns],
        blocks=made.blocks,
        where=list(options.where),
        tried=made.tried,
        **_program(),
    )
    table = pa.table({leaf.name: columns[leaf.name] for leaf in leaves if leaf.name in columns})
    drawn = Drawn(table, record, made.quality, [*plan.notices, *made.notices])
    return _that_hold(drawn, conditions, columns) if conditions and made.tried is None else drawn


def _rows(
    plan: _Plan,
    conditions: Conditions,
    design: DesignName,
    *,
    n: int | None,
    seed: int | None,
    options: SampleOptions,
    before: Sequence[int],
) -> Rows:
    """The rows of the fields that vary; those of a random design meet the conditions."""

    def holds(points: Unit) -> Mask:
        return conditions.hold(_columns_at(plan, conditions, points), len(points))

    return draw_rows(
        design,
        plan.variables,
        n=n,
        seed=seed,
        levels=options.levels,
        all_levels=options.default_levels,
        before=before,
        holds=holds if conditions and design in RANDOM_DESIGNS else None,
    )


def _columns(plan: _Plan, made: Rows) -> dict[str, pa.Array[Any]]:
    """The cells of each field that varies or is fixed."""
    rows = np.zeros(len(made.columns[0]), np.int64)
    constants = {name: taken(chosen.cells, rows) for name, chosen in plan.constants.items()}
    return {**dict(zip([v.name for v in plan.variables], made.columns, strict=True)), **constants}


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


def _conditions(texts: Sequence[str], leaves: Sequence[Leaf], plan: _Plan, design: DesignName) -> Conditions:
    """Read the conditions, and see that they can be evaluated and suit the design."""
    conditions = read_conditions(texts, leaves)
    if conditions and design == "saltelli":
        raise UsageError(
            "--where does not go with saltelli: its blocks exchange one field at a time, and rows that are left out "
            "would make Sobol indices wrong",
            hint="Choose lhs, sobol, halton or random.",
        )
    conditions.check(_columns_at(plan, conditions, np.random.default_rng(0).random((_PROBED, len(plan.variables)))))
    return conditions


def _columns_at(plan: _Plan, conditions: Conditions, points: Unit) -> dict[str, pa.Array[Any]]:
    """The cells of the fields that conditions name, at some points."""
    rows = np.zeros(len(points), np.int64)
    constants = {name: taken(c.cells, rows) for name, c in plan.constants.items() if name in conditions.names}
    varying = {v.name: v.at(points[:, i]) for i, v in enumerate(plan.variables) if v.name in conditions.names}
    return {**constants, **varying}


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


def _program() -> dict[str, Any]:
    """What drew a design, and when."""
    versions = {name: metadata.version(name) for name in ("scythe-experiments", "numpy", "scipy")}
    return {"versions": versions, "created_at": datetime.now(UTC).replace(microsecond=0)}


def _seed_of(design: DesignName, seed: int | None) -> tuple[int | None, list[str]]:
    """The seed that a design is drawn with, None if it is not random; and what the user should know of it."""
    if seed is not None and seed < 0:
        raise UsageError(f"the seed is {seed}; it must be 0 or more")
    if design in RANDOM_DESIGNS:
        return secrets.randbits(32) if seed is None else seed, []
    return None, [] if seed is None else [f"{design} is not random: the seed has no effect"]


@dataclass(slots=True)
class _Plan:
    """What becomes of the fields: some vary, some have one value, the others keep their default."""

    variables: list[Variable] = field(default_factory=list[Variable])
    constants: dict[str, Chosen] = field(default_factory=dict[str, Chosen])
    notices: list[str] = field(default_factory=list[str])


def _plan(leaves: Sequence[Leaf], settings: Mapping[str, FieldSettings], design: str, *, only: bool) -> _Plan:
    """Sort the fields.

    Args:
        leaves: The fields.
        settings: What was said of each.
        design: The design; `zip` takes only what was given.
        only: Whether only the fields that were named vary.
    """
    plan = _Plan()
    named = {name for name, each in settings.items() if each.varies or each.fix is not None}
    kept: list[Leaf] = []
    unbounded: list[Leaf] = []
    for leaf in leaves:
        each = settings[leaf.name]
        is_active = _is_active(leaf, named)
        if each.fix is not None:
            plan.constants[leaf.name] = each.fix
        elif (each.varies or (is_active and not only and design != "zip")) and _can_vary(leaf, each):
            plan.variables.append(variable_of(leaf, each))
            if leaf.note and each.set is None:
                plan.notices.append(f"{leaf.name}: {leaf.note}")
        elif each.varies or (is_active and leaf.required and isinstance(leaf.default, NoDefault)):
            unbounded.append(leaf)
        else:
            kept.append(leaf)
    if unbounded:
        raise _unbounded(unbounded, values_only=design == "zip" or only)
    if design != "zip":
        _fix_single_values(plan)
    _keep_models_whole(plan, leaves, kept, named)
    if not only and design != "zip":
        plan.notices += _kept_notice([leaf for leaf in kept if leaf.name not in plan.constants])
    return plan


def _fix_single_values(plan: _Plan) -> None:
    """Count fields of one value as fixed, as long as another one varies: they take no part in a design."""
    single = [variable for variable in plan.variables if variable.own_levels == 1]
    if len(single) == len(plan.variables):
        return
    for variable in single:
        cells, _ = variable.levels(None)
        shown = variable.describe().values or to_jsonable_python(cells.to_pylist(), fallback=str)
        plan.constants[variable.name] = Chosen(cells, shown)
    plan.variables = [variable for variable in plan.variables if variable.own_levels != 1]


def _is_active(leaf: Leaf, named: set[str]) -> bool:
    """Whether the nested models around a field are there: those that are absent by default only if they are named."""
    return all(
        branch.required or isinstance(branch.default, BaseModel) or any(n.startswith(f"{branch.name}.") for n in named)
        for branch in leaf.branches
    )


def _can_vary(leaf: Leaf, each: FieldSettings) -> bool:
    if each.set is not None or leaf.is_bounded:
        return True
    # a distribution needs no bounds
    return isinstance(leaf.domain, Numbers) and (each.normal is not None or each.triangular is not None)


def _unbounded(leaves: Sequence[Leaf], *, values_only: bool) -> UsageError:
    from scythe_cli.sampling.problems import listing

    first = leaves[0]
    many, one = _examples(first, values_only=values_only)
    noun = "1 field has" if len(leaves) == 1 else f"{len(leaves)} fields have"
    title = f"{noun} nothing to draw values from"
    lines = [f"{leaf.name}: {'no value was given' if values_only else leaf.lack}" for leaf in leaves]
    return UsageError(
        listing(title, lines, len(lines)),
        hint=(f"Give its range, as --set {first.name}={many}; or fix it, --fix {first.name}={one}."),
    )


def _examples(leaf: Leaf, *, values_only: bool) -> tuple[str, str]:
    """What could be said of a field: what it varies over, and one value."""
    if leaf.column.is_file:
        return "'weather/*.epw'", "weather.epw"
    domain = leaf.domain
    if isinstance(domain, Values):
        shown = [str(to_jsonable_python(value, fallback=str)) for value in domain.values[:2]]
        return ",".join(shown), shown[0]
    if domain is None:
        return "a,b", "a"
    if domain.scale.kind not in ("float", "int", "decimal"):
        return "2030-01-01..2030-12-31", "2030-01-01"
    low = 0 if domain.low is None and domain.high is None else domain.low
    high = domain.high
    if low is None:
        low = float(high or 0) - 10
    if high is None:
        high = float(low) + 10
    shown = [f"{float(end):g}" for end in (low, high)]
    middle = f"{float(low) / 2 + float(high) / 2:g}"
    return (",".join(shown) if values_only else ":".join(shown)), middle


def _keep_models_whole(plan: _Plan, leaves: Sequence[Leaf], kept: Sequence[Leaf], named: set[str]) -> None:
    """Write defaults where leaving a column out would change them, or leave out a model that must be there.

    With one part of a nested model in the file, the other parts have the defaults of their own fields, and no longer
    those of the instance that is the default of the whole.
    """
    for leaf in kept:
        present = {*plan.constants, *(variable.name for variable in plan.variables)}
        outer = next((branch for branch in leaf.branches if isinstance(branch.default, BaseModel)), None)
        is_cut = outer is not None and any(name.startswith(f"{outer.name}.") for name in present)
        is_missing = any(
            branch.required and not any(name.startswith(f"{branch.name}.") for name in present)
            for branch in leaf.branches
        )
        if (is_cut or is_missing) and _is_active(leaf, named) and not isinstance(leaf.default, NoDefault | None):
            plan.constants[leaf.name] = _default_of(leaf)


def _default_of(leaf: Leaf) -> Chosen:
    shown = to_jsonable_python(leaf.default, fallback=str)
    if leaf.column.is_scalar and not leaf.column.is_json:
        return Chosen(leaf.column.array([leaf.default]), [shown])
    return Chosen(pa.array([json.dumps(shown)], pa.string()), [shown])


def _kept_notice(kept: Sequence[Leaf]) -> list[str]:
    names: dict[str, None] = {}
    for leaf in kept:
        absent = next((branch.name for branch in leaf.branches if branch.default is None), None)
        if absent is not None or not leaf.is_bounded:
            names[absent or leaf.name] = None
    if not names:
        return []
    shown = ", ".join(list(names)[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    what = "no bounds: it keeps its default" if len(names) == 1 else "no bounds: they keep their defaults"
    return [f"{shown} {'has' if len(names) == 1 else 'have'} {what}, and --set lets one vary"]
