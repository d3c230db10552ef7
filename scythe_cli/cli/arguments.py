"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    ),
]

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="[RUN]",
        help="latest, <experiment>, <experiment>/<version>, <experiment>/<version>/<timestamp>, or a beginning of it.",
    ),
]

NameArgument = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this experiment.", show_default=False)]
