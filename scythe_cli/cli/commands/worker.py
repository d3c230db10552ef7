"""`scythe worker`, `workers` and `cancel`: serve the queue of a fleet, see who does, and stop a run that is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scythe_cli.cli import complete
from scythe_cli.cli.arguments import RunArgument, parse_timeout
from scythe_cli.cli.framework import Session, command

if TYPE_CHECKING:
    from scythe_cli.core.records import FleetWorker
    from scythe_cli.services.worker import Served


__all__ = ["app", "cancel", "worker", "workers"]


app = typer.Typer()


@command(app, "cancel", panel="Run")
def cancel(
    session: Session,
    run: RunArgument = "latest",
    grace: Annotated[
        str | None,
        typer.Option(
            "--grace",
            metavar="DURATION",
            help="How long running cases may take to finish before they are stopped. [default: 30s]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Stop a run on a fleet.

    Cancels the cases that have not run, lets running ones finish for a while, and keeps the results so far.
    `scythe retry` runs the rest.
    """
    options = {} if grace is None else {"grace_s": parse_timeout(grace, "--grace") or 0.0}
    result = session.project().cancel(run, **options)
    if session.options.json:
        session.output.document(result)
    else:
        from scythe_cli.cli.render.run import states_line
        from scythe_cli.cli.render.text import plural

        session.output.print(
            f"{result.experiment_id}: {plural(result.cancelled, 'case')} cancelled", states_line(result.counts)
        )


@command(app, "worker", panel="Run")
def worker(
    session: Session,
    experiment: Annotated[
        list[str] | None,
        typer.Option(
            "--experiment",
            "-e",
            metavar="NAME",
            help="Serve only this experiment; repeatable.",
            autocompletion=complete.experiments,
        ),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(
            "--slots", metavar="N", min=1, help="The number of cases to run at the same time [default: one per core]."
        ),
    ] = None,
    fan: Annotated[bool, typer.Option("--fan/--no-fan", help="Run the nodes of scatter/gather.")] = True,
    leaf: Annotated[bool, typer.Option("--leaf/--no-leaf", help="Run cases.")] = True,
    health_port: Annotated[
        int | None,
        typer.Option("--health-port", metavar="PORT", help="Serve /health, and /metrics for Prometheus, at this port."),
    ] = None,
    allow_mismatch: Annotated[
        bool, typer.Option("--allow-mismatch", help="Run cases of runs that were allocated with other code.")
    ] = False,
) -> None:
    """Serve a fleet: run cases that are allocated with --engine hatchet.

    Ctrl-C or SIGTERM finishes what is running and takes nothing new; a second one stops at once, and another worker
    re-runs what was interrupted. The HATCHET_CLIENT_* variables choose the engine; SCYTHE_WORKER_* set the rest.
    """
    from scythe_cli.services.records import ServedTask, WorkerStart
    from scythe_cli.services.worker import ScytheWorkerConfig, load_served

    settings = ScytheWorkerConfig()
    changes: dict[str, Any] = {
        "DOES_FAN": settings.DOES_FAN and fan,
        "DOES_LEAF": settings.DOES_LEAF and leaf,
        "ALLOW_MISMATCH": settings.ALLOW_MISMATCH or allow_mismatch,
    }
    options = {"HEALTH_PORT": health_port, "SLOTS": slots}
    settings = settings.model_copy(update=changes | {name: n for name, n in options.items() if n is not None})
    project = session.project()
    experiments, workflows = load_served(project, experiment)
    served = settings.served(experiments, workflows)
    if session.options.json:
        serves = [ServedTask(name=s.name, kind=s.kind, place=s.place) for s in served]
        session.output.document(WorkerStart(name=settings.computed_name, slots=settings.computed_slots, serves=serves))
    else:
        _show(session, settings.computed_name, settings.computed_slots, served)
    settings.serve(
        experiments,
        workflows=workflows,
        root=project.root,
        storage=project.location,
        embedded=project.config.hatchet.embedded,
        namespace=project.config.hatchet.namespace,
    )


def _show(session: Session, name: str, slots: int, served: list[Served]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("serves", "kind", "code"):
        table.add_column(title)
    for row in served:
        table.add_row(row.name, row.kind, row.place)
    session.output.print(f"{name}: {slots} slots", table)


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
        _show_workers(session, found)


def _show_workers(session: Session, found: list[FleetWorker]) -> None:
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
