"""The command `scythe`: parses, calls the library, renders.

A command parses what it was called with, makes one call of a service, and renders the record that it returns: modules
of commands lie in `commands/` and `results/`, pictures of records in `render/`. Typer and Rich are imported only here,
and everything below may be imported from here, but in the bodies of commands, so that `scythe --help` loads nothing
but the command line itself. Nothing else in the package imports from here.
"""

from __future__ import annotations

from scythe_cli.cli.app import main

__all__ = ["main"]
