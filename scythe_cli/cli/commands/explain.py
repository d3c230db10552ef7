"""`scythe explain`: why a spec was taken over from an earlier run, or why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from scythe_cli.cli.arguments import RunArgument
from scythe_cli.cli.options import Session, command

if TYPE_CHECKING:
    from scythe_cli.services.reuse.explanation import Explanation


__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""

    @command(app, "explain", panel="Follow runs")
    def explain(  # pyright: ignore[reportUnusedFunction]
        session: Session,
        row: Annotated[int, typer.Option("--row", metavar="N", min=0, help="The row (its sort_index).")],
        run: RunArgument = "latest",
    ) -> None:
        """Tell why a row was run, and not taken over from an earlier run.

        Names the fields and files that differ from the nearest earlier spec, or what else stood in the way.
        """
        explanation = session.project().explain(run, row)
        if session.options.json:
            session.output.document(explanation)
        else:
            _show(session, explanation)


def _show(session: Session, explanation: Explanation) -> None:
    from scythe_cli.cli.render.records import heading, plain_table

    what = "taken over" if explanation.reason == "reused" else "given by another row" if explanation.reused else "run"
    session.output.print(
        heading(f"{explanation.experiment_id}, row {explanation.sort_index}: {what}"), explanation.text
    )
    if explanation.differences:
        rows = [[each.field, each.value, each.earlier] for each in explanation.differences]
        session.output.print("", plain_table(["field", "here", "there"], rows))
    if explanation.reason == "inputs" and explanation.code:
        session.output.print("", f"The code differs as well: {', '.join(explanation.code)}")
