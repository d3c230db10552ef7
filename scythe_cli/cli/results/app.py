"""The group of commands `scythe results`, in the order of its help text."""

from __future__ import annotations

import typer

from scythe_cli.cli.framework import HelpfulGroup, group
from scythe_cli.cli.results import diff, fetch, pack, plot, query, show

__all__ = ["app"]


results = typer.Typer(cls=HelpfulGroup, no_args_is_help=True, help="Show, query, plot, compare and export results.")
group(results)
for _module in (show, fetch, query, diff, plot, pack):
    results.add_typer(_module.app)

app = typer.Typer()
app.add_typer(results, name="results", rich_help_panel="Results")
