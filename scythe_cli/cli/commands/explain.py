"""`scythe explain`: why a spec was taken over from an earlier run, or why not, and where its inputs came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from scythe_cli.cli.arguments import RowOption, RunArgument
from scythe_cli.cli.framework import Session, command

if TYPE_CHECKING:
    from scythe_cli.services.reuse.explanation import Explanation


__all__ = ["app", "explain"]


app = typer.Typer()


@command(app, "explain", panel="Follow runs")
def explain(
    session: Session,
    row: RowOption,
    run: RunArgument = "latest",
) -> None:
    """Explain why a case ran instead of being reused, and where its inputs came from.

    Names the inputs and files that differ from the nearest earlier case, or what else prevented reuse. If the run was
    made from another one, shows the rows of that run, and of the runs before it.
    """
    explanation = session.project().explain(run, row)
    if session.options.json:
        session.output.document(explanation)
    else:
        _show(session, explanation)


def _show(session: Session, explanation: Explanation) -> None:
    from scythe_cli.cli.render.text import heading, plain_table

    what = "reused" if explanation.reason == "reused" else "same as another row" if explanation.reused else "run"
    session.output.print(
        heading(f"{explanation.experiment_id}, row {explanation.sort_index}: {what}"), explanation.text
    )
    if explanation.differences:
        rows = [[each.field, each.value, each.earlier] for each in explanation.differences]
        session.output.print("", plain_table(["field", "here", "there"], rows))
    if explanation.reason == "inputs" and explanation.code:
        session.output.print("", f"The code differs as well: {', '.join(explanation.code)}")
    if explanation.upstream:
        from scythe_cli.cli.render.cases import origin_lines

        session.output.print("", *origin_lines(explanation.upstream))
