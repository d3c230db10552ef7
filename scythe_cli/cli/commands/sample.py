"""`scythe sample`: a sampling file from the bounds of an experiment's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import typer

from scythe_cli.cli import complete
from scythe_cli.cli.arguments import ExperimentOption, one_name
from scythe_cli.cli.framework import Session, command

if TYPE_CHECKING:
    from scythe_cli.doe.settings import SampleOptionsDict
    from scythe_cli.run.design_record import DesignName, SampleResult

__all__ = ["app", "sample"]


app = typer.Typer()

_FIELDS = "Fields; these are repeatable"
_POPULATION = "Rows of a population"


def _field_option(name: str, metavar: str, text: str) -> typer.models.OptionInfo:
    return typer.Option(name, metavar=metavar, help=text, rich_help_panel=_FIELDS, show_default=False)


def _population_option(name: str, metavar: str, text: str) -> typer.models.OptionInfo:
    return typer.Option(name, metavar=metavar, help=text, rich_help_panel=_POPULATION, show_default=False)


_OutOption = Annotated[
    Path, typer.Option("--output", "-o", "--out", metavar="FILE", help="The file to write: .csv, .parquet or .pq.")
]
_SampledName = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]",
        help="The experiment [default: the only one].",
        show_default=False,
        autocompletion=complete.experiments,
    ),
]
_DesignOption = Annotated[
    Literal["lhs", "sobol", "halton", "random", "saltelli", "grid", "oat", "zip"] | None,
    typer.Option("--design", "-d", help="How cases are chosen, see above [default: lhs].", show_default=False),
]
_RowsOption = Annotated[
    int | None,
    typer.Option(
        "--rows",
        "-n",
        metavar="N",
        min=1,
        help="The number of cases; base points for saltelli, an upper limit for grid and oat.",
        show_default=False,
    ),
]
_SeedOption = Annotated[
    int | None,
    typer.Option("--seed", metavar="S", min=0, help="The same seed gives the same cases.", show_default=False),
]
_ContinueOption = Annotated[
    str | None,
    typer.Option(
        "--continue",
        metavar="RUN",
        help="The next N points of this run's own design, to be added with `scythe allocate FILE --into RUN`.",
        autocompletion=complete.runs,
        show_default=False,
    ),
]
_SetOption = Annotated[
    list[str] | None,
    _field_option(
        "--set",
        "FIELD=…",
        "The values to vary over: a range LOW:HIGH (or LOW..HIGH), steps LOW:HIGH:STEP, values a,b,c, the lines of "
        "a file @FILE; values with probabilities a:70%,b:30%; for files, paths and patterns such as 'weather/*.epw'.",
    ),
]
_FixOption = Annotated[list[str] | None, _field_option("--fix", "FIELD=VALUE", "One value for all cases.")]
_OnlyOption = Annotated[
    list[str] | None,
    _field_option("--only", "FIELD,…", "Vary only these; other fields keep their default or the value of --fix."),
]
_LevelsOption = Annotated[
    list[str] | None,
    _field_option(
        "--levels",
        "[FIELD=]K",
        "The number of levels in grid and oat, for one field or for all continuous ones [default: 5]. Whole numbers "
        "and listed values have their own.",
    ),
]
_LogOption = Annotated[list[str] | None, _field_option("--log", "FIELD,…", "Spread evenly on a logarithmic scale.")]
_NormalOption = Annotated[
    list[str] | None,
    _field_option("--normal", "FIELD=MEAN:SD", "A normal distribution, truncated to the field's bounds."),
]
_TriangularOption = Annotated[
    list[str] | None,
    _field_option("--triangular", "FIELD=LOW:MODE:HIGH", "A triangular distribution, truncated likewise."),
]
_CorrelationOption = Annotated[
    list[str] | None,
    _field_option("--correlation", "A,B=R", "A rank correlation of two fields, from -1 to 1."),
]
_WhereOption = Annotated[
    list[str] | None,
    _field_option(
        "--where",
        "CONDITION",
        "Only cases that meet this, such as 'a2 > a1': a Polars SQL expression; nested fields stand in double quotes. "
        "Points are drawn until N of them hold.",
    ),
]
_ReplicatesOption = Annotated[
    int | None,
    typer.Option(
        "--replicates",
        metavar="N",
        min=1,
        help="Have each case N times, each with its own random numbers.",
        show_default=False,
    ),
]
_FromOption = Annotated[
    str | None,
    _population_option(
        "--from", "FILE", "A table whose rows are drawn whole, CSV or Parquet; the design gives the other fields."
    ),
]
_ByOption = Annotated[
    list[str] | None,
    _population_option("--by", "COLUMN,…", "Strata: each combination of values gets its share of the rows."),
]
_WeightsOption = Annotated[
    str | None, _population_option("--weights", "COLUMN", "Draw rows with probabilities in proportion to this column.")
]
_PerStratumOption = Annotated[
    int | None,
    typer.Option(
        "--per-stratum",
        metavar="N",
        min=1,
        help="With --by: N cases of each stratum, instead of -n.",
        rich_help_panel=_POPULATION,
        show_default=False,
    ),
]
_IgnoreOption = Annotated[
    list[str] | None,
    _population_option("--ignore-columns", "COLUMN,…", "Leave columns out, by name or pattern ('*' for anything)."),
]
_DropRefusedOption = Annotated[
    bool,
    typer.Option("--drop-refused", help="Leave out cases that the model rejects, instead of stopping."),
]
_ReplaceOption = Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it exists.")]


class _What(TypedDict):
    design: DesignName | None
    n: int | None
    seed: int | None
    continues: str | None


@command(app, "sample", panel="Set up")
def sample(
    session: Session,
    out: _OutOption,
    name: _SampledName = None,
    experiment: ExperimentOption = None,
    design: _DesignOption = None,
    n: _RowsOption = None,
    seed: _SeedOption = None,
    replicates: _ReplicatesOption = None,
    continue_: _ContinueOption = None,
    set_: _SetOption = None,
    fix: _FixOption = None,
    only: _OnlyOption = None,
    levels: _LevelsOption = None,
    log: _LogOption = None,
    normal: _NormalOption = None,
    triangular: _TriangularOption = None,
    correlation: _CorrelationOption = None,
    where: _WhereOption = None,
    from_: _FromOption = None,
    by: _ByOption = None,
    weights: _WeightsOption = None,
    per_stratum: _PerStratumOption = None,
    ignore_columns: _IgnoreOption = None,
    drop_refused: _DropRefusedOption = False,
    overwrite: _ReplaceOption = False,
) -> None:
    """Make a sampling file from the bounds of an experiment's inputs.

    Every field with bounds varies between them. A field without bounds keeps its default; if it has none, it needs
    --set or --fix.

    Designs: lhs, a Latin hypercube; sobol, a scrambled Sobol sequence, best with N a power of two; halton, even for
    any N; random; saltelli, for Sobol indices, N × (fields + 2) cases; grid, all combinations of levels; oat, one
    field at a time from the defaults; zip, the values of --set side by side.
    """
    name = one_name(name, experiment)
    every, single = _levels(levels or [])
    spread: SampleOptionsDict = {"normal": _pairs("--normal", normal), "triangular": _pairs("--triangular", triangular)}
    population: SampleOptionsDict = {"population": from_, "weights": weights, "per_stratum": per_stratum}
    options: SampleOptionsDict = {
        "set": _pairs("--set", set_),
        "fix": _pairs("--fix", fix),
        "levels": single,
        "default_levels": every,
        "log": _names(log),
        "replicates": replicates or 1,
        **spread,
        "only": None if only is None else _names(only),
        "correlation": _pairs("--correlation", correlation),
        "where": where or [],
        **population,
        "by": _names(by),
        "ignore_columns": _names(ignore_columns),
    }
    what: _What = {"design": design, "n": n, "seed": seed, "continues": continue_}
    make = session.project().sample
    result = make(out, name, **what, overwrite=overwrite, drop_refused=drop_refused, **options)
    _show(session, result)


def _show(session: Session, result: SampleResult) -> None:
    if session.options.json:
        session.output.document(result)
        return
    if session.options.quiet:
        session.output.print(result.file)
        return
    from scythe_cli.cli.render.design import sample_lines

    session.output.print(*sample_lines(result))
    for notice in result.notices:
        session.output.note(notice)


def _pairs(option: str, texts: Sequence[str] | None) -> dict[str, str]:
    """`FIELD=VALUE` as a mapping; each field once."""
    from scythe_cli.errors import UsageError

    pairs: dict[str, str] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UsageError(f"{option} {text}: there is no '='", hint=f"Write it as {option} FIELD=VALUE.")
        if name in pairs:
            raise UsageError(f"{option}: {name} is set twice", hint="Leave one of them out.")
        pairs[name] = value.strip()
    return pairs


def _names(texts: Sequence[str] | None) -> list[str]:
    return list(dict.fromkeys(name.strip() for text in texts or [] for name in text.split(",") if name.strip()))


def _levels(texts: Sequence[str]) -> tuple[int | None, dict[str, int]]:
    """`5` for all fields, `tilt=5` for one."""
    from scythe_cli.errors import UsageError

    every: int | None = None
    single: dict[str, int] = {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        try:
            count = int(number)
        except ValueError:
            raise UsageError(
                f"--levels {text}: {number!r} is not a number", hint="Write --levels 5 or FIELD=5."
            ) from None
        if not equals:
            every = count
        else:
            single[name.strip()] = count
    return every, single
