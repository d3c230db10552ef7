"""`scythe sample`: a sampling file from the bounds of an experiment's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from scythe_cli.cli import complete
from scythe_cli.cli.options import Session, command

if TYPE_CHECKING:
    from rich.table import Table

    from scythe_cli.run.design_record import DesignField, SampleResult


__all__ = ["add_to"]


_FIELDS = "Fields; each of these may be given again"

_NAMES = {
    "lhs": "Latin hypercube",
    "sobol": "scrambled Sobol sequence",
    "random": "independent random points",
    "grid": "full grid",
    "oat": "one at a time",
    "zip": "values side by side",
    "saltelli": "Saltelli's blocks for Sobol indices",
}


def _said_of_fields(name: str, metavar: str, text: str) -> typer.models.OptionInfo:
    return typer.Option(name, metavar=metavar, help=text, rich_help_panel=_FIELDS, show_default=False)


def add_to(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "sample", panel="Set up")
    def sample(  # pyright: ignore[reportUnusedFunction]
        session: Session,
        out: Annotated[
            Path, typer.Option("--out", "-o", metavar="FILE", help="The file to write: .csv, .parquet or .pq.")
        ],
        name: Annotated[
            str | None,
            typer.Argument(
                metavar="[NAME]",
                help="Which experiment. May be left out when there is one.",
                show_default=False,
                autocompletion=complete.experiments,
            ),
        ] = None,
        design: Annotated[
            Literal["lhs", "sobol", "random", "saltelli", "grid", "oat", "zip"],
            typer.Option("--design", "-d", help="How rows are chosen, see above."),
        ] = "lhs",
        n: Annotated[
            int | None,
            typer.Option(
                "--rows",
                "-n",
                metavar="N",
                min=1,
                help="Rows. Of saltelli the base points; of grid and oat the most rows.",
                show_default=False,
            ),
        ] = None,
        seed: Annotated[
            int | None,
            typer.Option("--seed", metavar="S", min=0, help="The same seed gives the same rows.", show_default=False),
        ] = None,
        set_: Annotated[
            list[str] | None,
            _said_of_fields(
                "--set",
                "FIELD=…",
                "What it varies over: a range LOW:HIGH (or LOW..HIGH), steps LOW:HIGH:STEP, values a,b,c, the lines of "
                "a file @FILE; for files, paths and patterns such as 'weather/*.epw'.",
            ),
        ] = None,
        fix: Annotated[list[str] | None, _said_of_fields("--fix", "FIELD=VALUE", "One value for all rows.")] = None,
        only: Annotated[
            list[str] | None,
            _said_of_fields("--only", "FIELD,…", "These vary; other fields keep their default or what --fix says."),
        ] = None,
        levels: Annotated[
            list[str] | None,
            _said_of_fields(
                "--levels",
                "[FIELD=]K",
                "Levels in grid and oat, of one field or of all continuous ones (5 unless given). Whole numbers and "
                "single values have their own.",
            ),
        ] = None,
        log: Annotated[
            list[str] | None, _said_of_fields("--log", "FIELD,…", "Spread evenly on a logarithmic scale.")
        ] = None,
        normal: Annotated[
            list[str] | None,
            _said_of_fields("--normal", "FIELD=MEAN:SD", "A normal distribution, cut to the field's bounds."),
        ] = None,
        triangular: Annotated[
            list[str] | None,
            _said_of_fields("--triangular", "FIELD=LOW:MODE:HIGH", "A triangular distribution, cut likewise."),
        ] = None,
        drop_refused: Annotated[
            bool,
            typer.Option("--drop-refused", help="Leave out rows that the model's validators refuse, not an error."),
        ] = False,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it is there.")] = False,
    ) -> None:
        """Make a sampling file from the bounds of an experiment's inputs.

        Every field that the model bounds varies between its bounds; a field without bounds keeps its default, and needs
        --set or --fix if it has none.

        Designs: lhs, a Latin hypercube; sobol, a scrambled Sobol sequence, best with N a power of two; random;
        saltelli, for Sobol indices, N × (fields + 2) rows; grid, all combinations of levels; oat, one field at a time
        from the defaults; zip, the values given by --set side by side.
        """
        every, single = _levels(levels or [])
        result = session.project().sample(
            out,
            name,
            design=design,
            n=n,
            seed=seed,
            overwrite=overwrite,
            drop_refused=drop_refused,
            set=_pairs("--set", set_ or []),
            fix=_pairs("--fix", fix or []),
            levels=single,
            default_levels=every,
            log=_names(log or []),
            normal=_pairs("--normal", normal or []),
            triangular=_pairs("--triangular", triangular or []),
            only=None if only is None else _names(only),
        )
        if session.options.json:
            session.output.document(result)
        else:
            _show(session, result)


def _pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    """`FIELD=VALUE` as a mapping; each field once."""
    from scythe_cli.errors import UsageError

    pairs: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UsageError(f"{option} {text}: there is no '='", hint=f"Write it as {option} FIELD=VALUE.")
        if name in pairs:
            raise UsageError(f"{option}: {name} is given twice")
        pairs[name] = value.strip()
    return pairs


def _names(given: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name.strip() for text in given for name in text.split(",") if name.strip()))


def _levels(given: Sequence[str]) -> tuple[int | None, dict[str, int]]:
    """`5` for all fields, `tilt=5` for one."""
    from scythe_cli.errors import UsageError

    every: int | None = None
    single: dict[str, int] = {}
    for text in given:
        name, equals, number = text.rpartition("=")
        try:
            count = int(number)
        except ValueError:
            raise UsageError(f"--levels {text}: {number!r} is no number", hint="Write --levels 5 or FIELD=5.") from None
        if not equals:
            every = count
        else:
            single[name.strip()] = count
    return every, single


def _show(session: Session, result: SampleResult) -> None:
    from scythe_cli.cli.render.records import (
        facts,
        heading,
        number,
        plural,
    )

    output, design, quality = session.output, result.design, result.quality
    if session.options.quiet:
        output.print(result.file)
        return
    seed = "" if design.seed is None else f", seed {design.seed}"
    output.print(
        heading(f"{result.file}: {plural(result.n_specs, 'spec')} for {result.experiment}"),
        facts([("design", f"{_NAMES[design.design]}{seed}")]),
        "",
        _fields_table(design.fields),
    )
    lines: list[tuple[str, str | None]] = [
        ("fixed", ", ".join(f"{name} = {number(value)}" for name, value in design.fixed.items())),
        ("defaults", ", ".join(design.defaults)),
    ]
    if quality.discrepancy is not None:
        of = "" if quality.discrepancy_rows == design.rows else f" of {quality.discrepancy_rows:,} rows"
        random = f"random points {quality.discrepancy_of_random:.3g}"
        lines.append(("discrepancy", f"{quality.discrepancy:.3g}{of} (CD², {random})"))
    if quality.max_correlation and quality.max_correlation_fields:
        pair = " and ".join(quality.max_correlation_fields)
        lines.append(("correlation", f"{quality.max_correlation:+.3f} at most, {pair}"))
    if any(value for _, value in lines):
        output.print("", facts(lines))
    output.print("", f"Next: scythe allocate {result.file}")
    for notice in result.notices:
        output.note(notice)


def _fields_table(fields: Sequence[DesignField]) -> Table:
    from scythe_cli.cli.render.records import number, plain_table

    rows: list[list[str]] = []
    for field in fields:
        if field.distribution == "values" or (field.values is not None and len(field.values) <= 4):
            shown = ", ".join(number(value) for value in (field.values or [])[:4])
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


def _how(field: DesignField) -> str:
    from scythe_cli.cli.render.records import number

    how = "" if field.distribution in ("values", "uniform") else field.distribution
    if field.distribution == "normal":
        how = f"normal, mean {number(field.mean)}, sd {number(field.sd)}"
    if field.distribution == "triangular":
        how = f"triangular, peak {number(field.mode)}"
    return f"{how}, multiples of {field.step}".lstrip(", ") if field.step else how
