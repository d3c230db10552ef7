"""`scythe ui`: the runs of the project in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from scythe_cli.cli import complete
from scythe_cli.cli.framework import Session, command

if TYPE_CHECKING:
    from scythe_cli.ui.server import Served

__all__ = ["app", "ui"]


app = typer.Typer()


@command(app, "ui", panel="Results")
def ui(
    session: Session,
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="The run to show first: latest, <experiment>, <experiment>/<version>, or the start of a run's name.",
            show_default="the list of runs",
            autocompletion=complete.runs,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="The port; 0 takes a free one.")
    ] = 0,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="The address to listen on; other machines can reach some.")
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
) -> None:
    """Show runs in the browser: progress, cases, errors, differences, SQL.

    The page follows runs that are still going on, and changes nothing. Ctrl-C stops the server.
    """
    from scythe_cli.ui.server import serve

    project = session.project()
    shown = None if run is None else project.run(run).experiment_id

    def started(served: Served) -> None:
        if session.options.json:
            session.output.line({"url": served.url})
            return
        session.output.print(served.url)
        if served.is_open:
            session.output.note("other machines can reach this page: whoever has the address can read every run")
        session.output.note("Ctrl-C stops it")

    serve(
        project.storage,
        run=shown,
        host=host,
        port=port,
        browser=browser,
        options=session.options.as_words(),
        started=started,
    )
