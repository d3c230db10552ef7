"""`scythe doctor`: what is in order, and what to do about what is not."""

from __future__ import annotations

import typer

from scythe_cli.cli.arguments import CheckedEngineOption
from scythe_cli.cli.framework import Session, command

__all__ = ["app", "doctor"]


app = typer.Typer()


@command(app, "doctor", panel="Set up")
def doctor(session: Session, engine: CheckedEngineOption = None) -> int:
    """Check the set-up: configuration, experiments, storage and engine.

    Says what to do about each problem. The exit code is that of the worst problem.
    """
    from scythe_cli.services.doctor import diagnose

    checks = diagnose(session.options.config, session.options.storage, engine)
    failed = [check for check in checks if not check.ok]
    if session.options.json:
        session.output.document(checks)
    else:
        from scythe_cli.cli.render.project import checks_list
        from scythe_cli.cli.render.text import plural

        session.output.print(checks_list(checks, session.output.width))
        session.output.print("", f"{plural(len(failed), 'problem')}" if failed else "All is well.")
    return max((check.exit_code for check in failed), default=0)
