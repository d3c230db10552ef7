"""`scythe results pack` and `unpack`: a run in one file, to publish it or to take it elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scythe_cli.cli.arguments import LatestOption, ResultsRunArgument, VersionOption
from scythe_cli.cli.framework import Session, command
from scythe_cli.cli.results.selection import find_run

__all__ = ["app", "pack", "unpack"]


app = typer.Typer()

_OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="The file to write [default: the run's name, with .zip].",
        show_default=False,
    ),
]
_IncludeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="PATH",
        help="Also pack this file or folder of the project, which the code reads; repeatable.",
        show_default=False,
    ),
]
_LicenseOption = Annotated[
    str | None,
    typer.Option(
        "--license",
        metavar="NAME",
        help="The license of the results, such as CC-BY-4.0, or its URL.",
        show_default=False,
    ),
]


@command(app, "pack")
def pack(
    session: Session,
    run: ResultsRunArgument = None,
    output: _OutputOption = None,
    latest: LatestOption = False,
    version: VersionOption = None,
    include: _IncludeOption = None,
    license_name: _LicenseOption = None,
    partial: Annotated[bool, typer.Option("--partial", help="Pack a run that is still running as it is now.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", "--force", help="Replace an existing file.")] = False,
) -> None:
    """Pack a run into one zip file, with its code.

    The file is an RO-Crate, which archives such as Zenodo understand: it holds the run, its source files, the versions
    of packages, and a checksum for each file. Unpack it with `scythe results unpack`; `scythe reproduce` re-runs cases.
    """
    from scythe_cli.cli.running import shown_files
    from scythe_cli.core.quantities import format_size

    stored = find_run(session, run, latest, version)
    target = output or Path(stored.experiment_id.replace("/", "-") + ".zip")
    with shown_files(session.output) as update:
        result = stored.pack(
            target,
            root=session.project().root,
            include=include or (),
            license=license_name,
            partial=partial,
            overwrite=overwrite,
            progress=update,
        )
    if session.options.json:
        session.output.document(result)
        return
    size = "" if session.options.quiet else f"  ({result.n_files:,} files, {format_size(result.size_bytes)})"
    session.output.print(f"{result.path}{size}")
    for notice in result.notices:
        session.output.note(notice)


@command(app, "unpack")
def unpack(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file written by `scythe results pack`.")],
) -> None:
    """Unpack a packed run into the storage.

    Compares every file with its checksum first. Never replaces a run. Code in the file is not unpacked.
    """
    from scythe_cli.cli.render.text import plural
    from scythe_cli.cli.running import shown_files
    from scythe_cli.core.quantities import format_size

    with shown_files(session.output) as update:
        result = session.project().unpack(file, progress=update)
    if session.options.json:
        session.output.document(result)
        return
    what = f"  ({plural(result.n_files, 'file')}, {format_size(result.size_bytes)}, all checksums right)"
    session.output.print(f"{result.experiment_id}{'' if session.options.quiet else what}")
