"""A sampling file as a person reads it: which fields vary, over what, and how evenly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from scythe_cli.cli.render.text import facts, heading, number, plain_table, plural

if TYPE_CHECKING:
    from rich.console import RenderableType

    from scythe_cli.run.design_record import DesignField, PopulationRecord, SampleResult


__all__ = ["sample_lines"]


_NAMES = {
    "lhs": "Latin hypercube",
    "sobol": "scrambled Sobol sequence",
    "halton": "scrambled Halton sequence",
    "random": "independent random points",
    "grid": "full grid",
    "oat": "one at a time",
    "zip": "values side by side",
    "saltelli": "Saltelli's blocks for Sobol indices",
}


def sample_lines(result: SampleResult) -> list[RenderableType]:
    """A sampling file that was written: what varies in it, and how evenly."""
    design, quality = result.design, result.quality
    seed = "" if design.seed is None else f", seed {design.seed}"
    part = f", continued after {sum(design.before):,} points" if design.before else ""
    size = plural(design.cases, "case")
    replicates = f", {design.replicates:,} replicates of each" if design.replicates > 1 else ""
    lines: list[RenderableType] = [
        heading(f"{result.file}: {size} for {result.experiment}{replicates}"),
        facts([("design", f"{_NAMES[design.design]}{seed}{part}")]),
        *(["", _fields_table(design.fields)] if design.fields else []),
    ]
    pairs: list[tuple[str, str | None]] = [
        ("fixed", ", ".join(f"{name} = {number(value)}" for name, value in design.fixed.items())),
        ("defaults", ", ".join(design.defaults)),
        ("where", "; ".join(design.where)),
        *([] if design.population is None else _population_facts(design.population, design.cases)),
    ]
    if quality.discrepancy is not None:
        of = "" if quality.discrepancy_rows == design.cases else f" of {quality.discrepancy_rows:,} rows"
        random = f"random points {quality.discrepancy_of_random:.3g}"
        pairs.append(("discrepancy", f"{quality.discrepancy:.3g}{of} (CD², {random})"))
    if quality.max_correlation and quality.max_correlation_fields:
        pair = " and ".join(quality.max_correlation_fields)
        pairs.append(("correlation", f"{quality.max_correlation:+.3f} at most, {pair}"))
    for names, asked in design.correlation.items():
        reached = quality.rank_correlation.get(names, 0.0)
        pairs.append(("ranks", f"{names.replace(',', ' and ')} {reached:+.3f}, asked for {asked:+g}"))
    if any(value for _, value in pairs):
        lines += ["", facts(pairs)]
    into = "" if result.continues is None else f" --into {result.continues}"
    return [*lines, "", f"Next: scythe allocate {result.file}{into}"]


def _population_facts(population: PopulationRecord, n: int) -> list[tuple[str, str | None]]:
    how = "with replacement" if population.replaced else "without replacement"
    weighted = f", weighted by {population.weights}" if population.weights else ""
    pairs: list[tuple[str, str | None]] = [
        ("population", f"{population.file}: {n:,} of {population.rows:,} rows, {how}{weighted}"),
        ("", ", ".join(population.fields)),
    ]
    if population.by:
        shown = ", ".join(f"{s.name} {s.drawn:,} of {s.rows:,}" for s in population.strata[:6])
        more = f", … ({len(population.strata):,})" if len(population.strata) > 6 else ""
        pairs.append(("strata", f"{shown}{more}"))
    return pairs


def _fields_table(fields: Sequence[DesignField]) -> Table:
    rows: list[list[str]] = []
    for field in fields:
        if field.distribution == "values" or (field.values is not None and len(field.values) <= 4):
            values = (field.values or [])[:4]
            shown = ", ".join(f"{number(value)}{share}" for value, share in zip(values, _percent(field), strict=False))
            n = field.n_values or 0
            span = f"{shown}, … ({n:,})" if n > 4 else shown
        else:
            low = "" if field.low is None else f"{number(field.low)} {'<' if field.low_excluded else '≤'} "
            high = "" if field.high is None else f" {'<' if field.high_excluded else '≤'} {number(field.high)}"
            span = f"{low}x{high}" if low or high else "no bounds"
            if field.n_values is not None:
                span += f", {field.n_values:,} levels"
        rows.append([field.name, span, _how(field)])
    if not any(how for _, _, how in rows):
        return plain_table(["varies", "over"], [row[:2] for row in rows])
    return plain_table(["varies", "over", "how"], rows)


def _percent(field: DesignField) -> Iterator[str]:
    """What follows each value: its probability, if it has one."""
    for i in range(len(field.values or [])):
        yield f" {field.probabilities[i] * 100:.3g} %" if field.probabilities else ""


def _how(field: DesignField) -> str:
    how = "" if field.distribution in ("values", "uniform") else field.distribution
    if field.distribution == "normal":
        how = f"normal, mean {number(field.mean)}, sd {number(field.sd)}"
    if field.distribution == "triangular":
        how = f"triangular, peak {number(field.mode)}"
    return f"{how}, multiples of {field.step}".lstrip(", ") if field.step else how
