"""`scythe experiments`: what is registered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from scythe_cli.cli.arguments import ExperimentOption, NameArgument, one_name
from scythe_cli.cli.framework import Session, command

if TYPE_CHECKING:
    from scythe_cli.model.describe import ExperimentRecord


__all__ = ["app", "experiments"]


app = typer.Typer()

_INVALID = 3


@command(app, "experiments", panel="Set up")
def experiments(session: Session, name: NameArgument = None, experiment: ExperimentOption = None) -> int:
    """List the experiments, or the inputs and outputs of one.

    With NAME, shows types, bounds, units and defaults.
    """
    name = one_name(name, experiment)
    project = session.project()
    records = project.describe(name)
    broken = [record for record in records if record.problem]
    if session.options.json:
        session.output.document(records if name is None else records[0])
    elif name is not None:
        _show_one(session, records[0])
    elif records:
        _show_all(session, records)
    else:
        where = project.config_path or project.root
        session.output.note(f"{where} has no experiments; `scythe init DIR` writes a project with one")
    for record in broken if name is None else []:
        session.output.error(f"{record.name}: {record.problem}")
    return _INVALID if broken else 0


def _show_all(session: Session, records: list[ExperimentRecord]) -> None:
    from scythe_cli.cli.render.project import experiments_table

    session.output.print(experiments_table(records))
    if not session.options.quiet:
        session.output.print("", f"Next: scythe experiments {records[0].name}")


def _show_one(session: Session, record: ExperimentRecord) -> None:
    from scythe_cli.cli.render.project import fields_table
    from scythe_cli.cli.render.text import facts, heading
    from scythe_cli.core.quantities import format_duration, format_size
    from scythe_cli.core.states import RetryRule

    retries = RetryRule(1 if record.retries is None else record.retries, tuple(record.retry_on)).describe()
    session.output.print(heading(record.name))
    if record.description:
        session.output.print(record.description)
    session.output.print(
        facts(
            [
                ("entrypoint", record.entrypoint),
                ("time limit", f"{format_duration(record.execution_timeout_s)} per case"),
                ("memory", f"{format_size(record.memory_limit_bytes)} per case" if record.memory_limit_bytes else None),
                ("retries", retries),
            ]
        ),
    )
    for title, fields in (("Inputs", record.inputs), ("Outputs", record.outputs)):
        if fields:
            session.output.print("", heading(title), fields_table(fields, are_inputs=title == "Inputs"))
