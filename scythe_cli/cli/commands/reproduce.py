"""`scythe reproduce`: cases of a packed run, re-run from what was packed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from scythe_cli.cli.arguments import WorkersOption
from scythe_cli.cli.framework import Session, command

__all__ = ["app", "reproduce"]


app = typer.Typer()

_SeedOption = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", min=0, max=2**32 - 1, help="Choose the same cases again.", show_default=False),
]
_EnvironmentOption = Annotated[
    Literal["present", "new"],
    typer.Option(
        "--environment",
        help="Use the installed packages, or install the versions that the run had into a new environment.",
    ),
]


@command(app, "reproduce", panel="Results")
def reproduce(
    session: Session,
    crate: Annotated[Path, typer.Argument(metavar="FILE", help="A file written by `scythe results pack`.")],
    n: Annotated[int, typer.Option("--rows", "-n", metavar="N", min=1, help="The number of cases.")] = 20,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", metavar="N", min=0, max=2**32 - 1, help="Choose the same cases again.", show_default=False
        ),
    ] = None,
    environment: Annotated[
        Literal["present", "new"],
        typer.Option(
            "--environment",
            help="Use the installed packages, or install the versions that the run had into a new environment.",
        ),
    ] = "present",
    workers: WorkersOption = None,
) -> int:
    """Re-run random cases of a packed run and compare the results.

    Checks every checksum, unpacks the file into a temporary folder, and runs the code that was packed: use it only with
    files that you trust. Exits with 0 when every value is bit for bit what the file holds, with 1 when one differs.
    """
    from scythe_cli.cli.render.run import verify_lines
    from scythe_cli.cli.running import shown_files
    from scythe_cli.services.packing.reproduce import reproduce_run

    with shown_files(session.output) as update:
        result = reproduce_run(crate, n=n, seed=seed, environment=environment, workers=workers, progress=update)
    if session.options.json:
        session.output.document(result)
        return 0 if result.ok else 1
    session.output.print(*verify_lines(result))
    for notice in result.notices:
        session.output.note(notice)
    if result.packages:
        told = [f"{each.name} {each.packed}, here {each.here or 'missing'}" for each in result.packages[:5]]
        more = f", and {len(result.packages) - 5} more" if len(result.packages) > 5 else ""
        session.output.note(f"other versions than the run had: {'; '.join(told)}{more}")
    if not result.ok:
        session.output.note(f"--seed {result.seed} chooses the same cases again")
    return 0 if result.ok else 1
