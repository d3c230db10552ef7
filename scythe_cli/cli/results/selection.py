"""Which runs a command of results is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scythe_cli.analysis.run import Run
    from scythe_cli.cli.framework import Session


__all__ = ["find_run", "find_runs", "find_two_runs"]


def find_run(session: Session, run: str | None, latest: bool, version: str | None) -> Run:
    """The run that RUN, `--latest` and `--version` mean together.

    Raises:
        UsageError: If they cannot be combined.
        NotFoundError: If there is no such run.
    """
    from scythe_cli.core.names import parse_version
    from scythe_cli.errors import UsageError

    project = session.project()
    parts = [part for part in (run or "").strip("/").split("/") if part]
    if version is None:
        if latest and len(parts) > 2 and parse_version(parts[-2]):
            raise UsageError(f"--latest does not go with one run, {run}", hint="Leave one of them out.")
        return project.run("/".join(parts) or "latest")
    if latest:
        raise UsageError("--latest and --version cannot be combined", hint="Leave one of them out.")
    if any(part.startswith("v") and parse_version(part) for part in parts[-2:]):
        raise UsageError(f"--version does not go with {run}, which has a version", hint="Leave one of them out.")
    if not parts or parts == ["latest"]:
        names = project.experiment_names()
        if len(names) != 1:
            raise UsageError(
                "--version needs the name of an experiment", hint="Write `scythe results … NAME --version V`."
            )
        parts = names
    return project.run(f"{'/'.join(parts)}/{version if version.startswith('v') else 'v' + version}")


def find_two_runs(session: Session, a: str, b: str) -> tuple[Run, Run]:
    """Two runs; a version alone is one of the other's experiment, or of the only one.

    Raises:
        UsageError: If a version may be of several experiments.
        NotFoundError: If there is no such run.
    """
    from scythe_cli.core.semver import SemVer
    from scythe_cli.errors import UsageError

    project = session.project()
    versions = [text for text in (a, b) if SemVer.parse(text) is not None]
    if not versions:
        return project.run(a), project.run(b)
    others = [text for text in (a, b) if text not in versions]
    names = [project.run(others[0]).layout.experiment] if others else sorted({v.experiment for v in project.versions()})
    if not names:
        project.run("latest")  # tells that there are no runs, and what makes one
    if len(names) != 1:
        raise UsageError(
            f"{versions[0]} may be of several experiments",
            hint=f"Write it with its experiment, as {names[0]}/{versions[0]}.",
        )
    first, second = (f"{names[0]}/{text}" if text in versions else text for text in (a, b))
    return project.run(first), project.run(second)


def find_runs(session: Session, first: Run, also: list[str], all_versions: bool) -> list[Run]:
    """A run, and those of `--also` and `--all-versions`; each once.

    Raises:
        NotFoundError: If there is no such run.
    """
    project = session.project()
    references = list(also)
    if all_versions:
        name = first.layout.experiment
        references += [f"{name}/{v.version}" for v in project.versions(name) if v.n_runs]
    runs = {first.experiment_id: first}
    for reference in references:
        other = project.run(reference)
        # of the version that was asked for there is a run already
        if not (all_versions and reference not in also and other.layout.version == first.layout.version):
            runs.setdefault(other.experiment_id, other)
    return list(runs.values())
