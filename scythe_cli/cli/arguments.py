"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scythe_cli.cli import complete

__all__ = ["ExperimentOption", "FileArgument", "NameArgument", "RunArgument"]

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The sampling file: CSV or Parquet, one case per row.")
]

ExperimentOption = Annotated[
    str | None,
    typer.Option(
        "--experiment",
        "-e",
        metavar="NAME",
        help="Which experiment. May be left out when there is one.",
        show_default=False,
        autocompletion=complete.experiments,
    ),
]

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="[RUN]",
        help="latest, <experiment>, <experiment>/<version>, <experiment>/<version>/<timestamp>, or a beginning of it.",
        autocompletion=complete.runs,
    ),
]

NameArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]", help="Only this experiment.", show_default=False, autocompletion=complete.experiments
    ),
]
