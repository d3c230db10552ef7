"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scythe_cli.cli import complete

__all__ = [
    "RUN_HELP",
    "ExperimentOption",
    "FileArgument",
    "MaxFailuresOption",
    "NameArgument",
    "RunArgument",
    "WorkersOption",
]


RUN_HELP = "latest, <experiment>, <experiment>/<version>, <experiment>/<version>/<timestamp>, or a beginning of it."
"""What can name a run."""

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
        help=RUN_HELP,
        autocompletion=complete.runs,
    ),
]

NameArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]", help="Only this experiment.", show_default=False, autocompletion=complete.experiments
    ),
]

WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", min=1, max=1024, help="Processes. Else as configured, or one a core."),
]

MaxFailuresOption = Annotated[
    int | None,
    typer.Option("--max-failures", metavar="N", min=1, help="Stop once N specs have not succeeded."),
]
