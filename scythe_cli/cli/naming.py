"""Which run and row a command line names: as arguments, by `--experiment` and by `--row`.

Every command that takes a RUN takes `--experiment` as well, and one that takes a row takes it as an argument or as
`--row`: `scythe logs slow 3`, `scythe logs 3` and `scythe logs slow --row 3`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scythe_cli.cli import complete
from scythe_cli.errors import UsageError

if TYPE_CHECKING:
    from scythe_cli.cli.output import Output


__all__ = ["run_parameters"]


_EXPERIMENT = Annotated[
    str | None,
    typer.Option(
        "--experiment",
        "-e",
        metavar="NAME",
        help="The experiment, in place of RUN or before its version.",
        show_default=False,
        autocompletion=complete.experiments,
    ),
]
_VERSION = re.compile(r"v?\d+(\.\d+)*(/.*)?", re.ASCII)


def run_parameters(
    name: str, own: Sequence[inspect.Parameter]
) -> tuple[list[inspect.Parameter], Callable[[dict[str, Any], Output], None]]:
    """The parameters of a command, with those that name its run and row in other ways.

    Args:
        name: The command's name.
        own: The parameters of its function.

    Returns:
        All parameters; and what turns their values into those of `own`, and tells the output which run it is about.
    """
    known = {p.name: p for p in own}
    with_run = "run" in known
    with_experiment = with_run and "experiment" not in known
    with_row = with_run and "row" in known
    needs_row = with_row and known["row"].default is inspect.Parameter.empty
    row = Annotated[
        str | None,
        typer.Argument(metavar="ROW" if needs_row else "[ROW]", help="The row (its sort_index).", show_default=False),
    ]
    added = [inspect.Parameter("row_argument", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=row)]
    more: list[inspect.Parameter] = []
    for parameter in sorted(own, key=lambda p: p.name != "run") if with_row else own:
        more.append(parameter.replace(default=None) if with_row and parameter.name == "row" else parameter)
        if parameter.name == "run":
            more += added if with_row else []
    if with_experiment:
        option = inspect.Parameter("experiment", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_EXPERIMENT)
        more.append(option)

    def resolve(values: dict[str, Any], output: Output) -> None:
        if with_row:
            _resolve_row(name, values, needs_row=needs_row)
        if with_experiment:
            values["run"] = _named_run(values["run"], values.pop("experiment"))
        if with_run:
            output.reference = values["run"]

    return more, resolve


def _resolve_row(name: str, values: dict[str, Any], *, needs_row: bool) -> None:
    """Take the row out of the arguments; a number alone is a row of the latest run."""
    argument: str | None = values.pop("row_argument")
    if argument is None and values["row"] is None and str(values["run"]).isdecimal():
        argument, values["run"] = values["run"], "latest"
    if argument is not None and values["row"] is not None:
        raise UsageError("two rows are named", hint="Leave ROW or --row out.")
    if argument is not None:
        if not argument.isdecimal():
            hint = f"Rows count from 0: `scythe {name} {values['run']} 0`."
            raise UsageError(f"ROW {argument}: not a number", hint=hint)
        values["row"] = int(argument)
    if needs_row and values["row"] is None:
        run = "" if values["run"] == "latest" else f"{values['run']} "
        raise UsageError("no row is named", hint=f"Rows count from 0: `scythe {name} {run}0`.")


def _named_run(run: str | None, experiment: str | None) -> str | None:
    """The run that RUN and `--experiment` mean together."""
    if experiment is None or (run is not None and run.split("/")[0] == experiment):
        return run
    if run is None or run == "latest":
        return experiment
    if _VERSION.fullmatch(run):
        return f"{experiment}/{run}"
    raise UsageError(f"{run} is not a run of {experiment}", hint="Leave RUN or --experiment out.")
