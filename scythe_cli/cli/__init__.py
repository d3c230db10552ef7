"""The command `scythe`: parses, calls the library, renders.

Typer and Rich are imported only below this package. What a command does is one call of the library, imported in the
command's body, so that `scythe --help` loads nothing but the command line itself.
"""

from __future__ import annotations

from scythe_cli.cli.app import app, main

__all__ = ["app", "main"]
