"""`scythe workers`: who serves the queue of a fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from scythe_cli.cli.framework import Session, command

if TYPE_CHECKING:
    from scythe_cli.core.records import FleetWorker


__all__ = ["app", "workers"]


app = typer.Typer()


@command(app, "workers", panel="Follow runs")
def workers(
    session: Session,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine", metavar="NAME", help="The engine [default: from experiments.toml].", show_default=False
        ),
    ] = None,
) -> None:
    """List the workers of a fleet.

    Tells where they run, how busy they are, and whether they have this project's code.
    """
    from scythe_cli.services.runs.fleet import fleet_workers

    found = fleet_workers(session.project(engine=engine))
    if session.options.json:
        session.output.document(found)
    elif not found:
        session.output.print("no worker is there; `scythe worker` starts one")
    else:
        _show(session, found)


def _show(session: Session, found: list[FleetWorker]) -> None:
    from datetime import UTC, datetime

    from scythe_cli.cli.render.text import add_row, borderless_table
    from scythe_cli.core.quantities import format_duration

    table = borderless_table("worker", "host", "user", "busy", "seen", "serves", right=("busy", "seen"))
    now = datetime.now(UTC)
    for worker in found:
        seen = "" if worker.last_seen_at is None else format_duration((now - worker.last_seen_at).total_seconds())
        names = [f"{code.experiment}{_told(code.same)}" for code in worker.code]
        names += ["any code"] if worker.any_code else []
        names += ["scatter/gather"] if worker.scatter_gather else []
        slots = "" if worker.slots is None else f"{worker.busy}/{worker.slots}"
        add_row(table, worker.name, worker.host or "", worker.user or "", slots, seen, ", ".join(names))
    session.output.print(table)


def _told(same: bool | None) -> str:
    return "" if same is None else " (this code)" if same else " (other code)"
