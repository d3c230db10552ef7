"""The command `scythe`: parses the command line, calls one service, and renders the record that it returns.

Typer and Rich are imported only in this room, and services only in the bodies of commands, so that `scythe --help`
loads nothing but the command line itself. It may touch the terminal and the exit code; all else is done by services.
"""

from __future__ import annotations

from scythe_cli.cli.app import app, main

__all__ = ["app", "main"]
