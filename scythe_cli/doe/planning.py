"""Which fields of a design vary, which have one value, and which keep their default."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from scythe_cli.doe.domains import Leaf, NoDefault, Values
from scythe_cli.doe.option_values import Chosen
from scythe_cli.doe.scales import Numbers
from scythe_cli.doe.settings import FieldSettings
from scythe_cli.doe.variables import Variable, variable_of
from scythe_cli.errors import UsageError

__all__ = ["Plan", "plan_fields"]


@dataclass(slots=True)
class Plan:
    """What becomes of the fields: some vary, some have one value, the others keep their default."""

    variables: list[Variable] = field(default_factory=list[Variable])
    constants: dict[str, Chosen] = field(default_factory=dict[str, Chosen])
    notices: list[str] = field(default_factory=list[str])


def plan_fields(leaves: Sequence[Leaf], settings: Mapping[str, FieldSettings], design: str, *, only: bool) -> Plan:
    """Sort the fields.

    Args:
        leaves: The fields.
        settings: What was said of each.
        design: The design; `zip` takes only what was given.
        only: Whether only the fields that were named vary.
    """
    plan = Plan()
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
            if isinstance(each.set, Chosen) and each.set.probabilities and design in ("grid", "oat", "zip"):
                plan.notices.append(f"{leaf.name}: {design} takes each value, whatever its probability")
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


def _fix_single_values(plan: Plan) -> None:
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


def _keep_models_whole(plan: Plan, leaves: Sequence[Leaf], kept: Sequence[Leaf], named: set[str]) -> None:
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
