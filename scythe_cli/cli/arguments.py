"""Arguments and options that several commands share, or that the program knows choices for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from scythe_cli.cli import complete

if TYPE_CHECKING:
    from datetime import datetime


__all__ = [
    "AggOption",
    "CasesArgument",
    "CheckedEngineOption",
    "EncodingOption",
    "EngineOption",
    "ExperimentOption",
    "FunctionOption",
    "GroupByOption",
    "IgnoreColumnsOption",
    "LatestOption",
    "MapOption",
    "MaxFailuresOption",
    "NameArgument",
    "OverwriteOption",
    "PartialOption",
    "RawCellsOption",
    "ResultsRunArgument",
    "RetryEngineOption",
    "RowOption",
    "RunArgument",
    "SomeTablesOption",
    "UnitsRowOption",
    "VersionOption",
    "WorkersOption",
    "column_option",
    "one_name",
    "parse_seed",
    "parse_since",
    "parse_timeout",
    "split_names",
    "table_option",
    "timeout_option",
]


_RUN_HELP = "latest, <experiment>, <experiment>/<version>, <experiment>/<version>/<timestamp>, or the start of one."

# what a command works on

CasesArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[FILE|RUN]",
        help="The sampling file, one case per row: CSV, Parquet, Arrow, JSON Lines or Excel; a path, a URL, or - . "
        "Or a run, whose rows become cases [default: the run that input_from names in experiments.toml].",
        show_default=False,
        autocompletion=complete.files_and_runs,
    ),
]

_SAMPLING_FILE = "The sampling file"

IgnoreColumnsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore-columns",
        metavar="NAMES",
        help="Ignore these columns: names separated by commas; * matches anything.",
        rich_help_panel=_SAMPLING_FILE,
        show_default=False,
    ),
]

EncodingOption = Annotated[
    str | None,
    typer.Option(
        "--encoding",
        metavar="NAME",
        help="The encoding of the file, such as cp1252 [default: detected, UTF-8 or UTF-16].",
        rich_help_panel=_SAMPLING_FILE,
        show_default=False,
    ),
]

UnitsRowOption = Annotated[
    bool,
    typer.Option("--units-row", help="Skip the row below the header: it holds units.", rich_help_panel=_SAMPLING_FILE),
]


_CHAIN = "Cases from a run"

MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="NEW=OLD",
        help="Take the input NEW from the input or output OLD of the run; repeatable. Others are matched by name.",
        rich_help_panel=_CHAIN,
        show_default=False,
    ),
]

GroupByOption = Annotated[
    list[str] | None,
    typer.Option(
        "--group-by",
        metavar="NAMES",
        help="Make one case of all rows with the same values of these, such as site; case: the replicates of a case.",
        rich_help_panel=_CHAIN,
        show_default=False,
    ),
]

AggOption = Annotated[
    list[str] | None,
    typer.Option(
        "--agg",
        metavar="NAME:HOW",
        help="Reduce an input or output of each group, such as annual_yield:mean: mean, sum, min, max, median, std, "
        "var, first, last, count, or a quantile such as q95; repeatable.",
        rich_help_panel=_CHAIN,
        show_default=False,
    ),
]

PartialOption = Annotated[
    bool,
    typer.Option(
        "--partial", help="Use the cases that have succeeded so far of an unfinished run.", rich_help_panel=_CHAIN
    ),
]


def split_names(names: list[str] | None) -> list[str]:
    """The names in an option that may be given again, and that takes several with commas between."""
    return [name.strip() for text in names or [] for name in text.split(",") if name.strip()]


FunctionOption = Annotated[
    str | None,
    typer.Option(
        "--function",
        metavar="MODULE:FUNCTION",
        help="Run this function, whose parameters are the columns, instead of an experiment from experiments.toml.",
        show_default=False,
    ),
]

NameArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]", help="Only this experiment.", show_default=False, autocompletion=complete.experiments
    ),
]

ExperimentOption = Annotated[
    str | None,
    typer.Option(
        "--experiment",
        "-e",
        metavar="NAME",
        help="The experiment [default: the only one].",
        show_default=False,
        autocompletion=complete.experiments,
    ),
]

RunArgument = Annotated[str, typer.Argument(metavar="[RUN]", help=_RUN_HELP, autocompletion=complete.runs)]

RowOption = Annotated[
    int, typer.Option("--row", metavar="N", min=0, help="The row, in place of ROW.", show_default=False)
]

# how specs run


def _engine(text: str) -> typer.models.OptionInfo:
    # an engine that is installed beside ours has a name of its own
    return typer.Option("--engine", metavar="local|hatchet|slurm", help=text, show_default=False)


EngineOption = Annotated[str | None, _engine("Where cases run [default: from experiments.toml].")]

RetryEngineOption = Annotated[str | None, _engine("Where cases run [default: as the run was allocated].")]

CheckedEngineOption = Annotated[str | None, _engine("Check this engine [default: from experiments.toml].")]

WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=1,
        max=1024,
        help="Worker processes [default: from experiments.toml, or one per core].",
    ),
]

MaxFailuresOption = Annotated[
    int | None,
    typer.Option(
        "--max-failures", metavar="N", min=1, help="Stop after N failed cases, counting those still to be retried."
    ),
]


def parse_seed(text: str) -> int | Literal["new"]:
    """The seed of a run: a number, or `new` for one that is drawn.

    Raises:
        UsageError: If it is neither.
    """
    from scythe_cli.errors import UsageError

    if text == "new":
        return "new"
    if not text.isdecimal():
        raise UsageError(f"--seed {text}: not a whole number, and not new", hint="Write --seed 7 or --seed new.")
    return int(text)


def parse_since(text: str | None, option: str = "--since") -> datetime | None:
    """The moment (UTC) that an option means: a date, with or without a time, or so long ago; None stays None.

    Raises:
        UsageError: If it is neither.
    """
    if text is None:
        return None
    from datetime import UTC, datetime

    from scythe_cli.core.quantities import parse_duration
    from scythe_cli.errors import UsageError

    try:
        moment = datetime.fromisoformat(text.strip().replace("_", "T"))
    except ValueError:
        pass
    else:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    try:
        return datetime.now(UTC) - parse_duration(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} {text}: not a date or a duration", hint=f"Write {option} 2026-11-29, {option} 2d or {option} 3h."
        ) from None


def one_name(argument: str | None, option: str | None) -> str | None:
    """The experiment that is named as an argument or by `--experiment`.

    Raises:
        UsageError: If both name one, and not the same.
    """
    if argument and option and argument != option:
        from scythe_cli.errors import UsageError

        raise UsageError(f"two experiments are named, {argument} and {option}", hint="Leave one of them out.")
    return argument or option


def timeout_option(text: str) -> typer.models.OptionInfo:
    """An option `--timeout DURATION`; `parse_timeout` reads what it takes."""
    return typer.Option("--timeout", metavar="DURATION", help=text, show_default=False)


def parse_timeout(text: str | None, option: str = "--timeout") -> float | None:
    """The seconds of a duration such as `30m`, which was given for an option; None stays None.

    Raises:
        UsageError: If it is no duration.
    """
    if text is None:
        return None
    from scythe_cli.core.quantities import parse_duration
    from scythe_cli.errors import UsageError

    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


# which results, and where they go

ResultsRunArgument = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help=_RUN_HELP, show_default="latest", autocompletion=complete.runs),
]

LatestOption = Annotated[bool, typer.Option("--latest", help="The latest matching run. This is the default.")]

VersionOption = Annotated[
    str | None,
    typer.Option(
        "--version",
        metavar="V",
        help="The latest run of this version.",
        show_default=False,
        autocompletion=complete.versions,
    ),
]

SomeTablesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--table",
        "-t",
        metavar="NAME",
        help="Only this table; repeatable.",
        show_default=False,
        autocompletion=complete.tables,
    ),
]


def table_option(text: str) -> typer.models.OptionInfo:
    """An option `--table NAME` that names one table."""
    return typer.Option("--table", "-t", metavar="NAME", help=text, show_default=False, autocompletion=complete.tables)


def column_option(*names: str, text: str, metavar: str = "COLUMN") -> typer.models.OptionInfo:
    """An option that names a column of the results."""
    return typer.Option(*names, metavar=metavar, help=text, show_default=False, autocompletion=complete.columns)


OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")]

RawCellsOption = Annotated[
    bool,
    typer.Option("--raw-cells", help="In CSV and Excel files, keep text that a spreadsheet would run as a formula."),
]
