"""The runs of studies: which one a study goes on with, and whether it can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scythe_cli.analysis.run import Run
from scythe_cli.errors import NotFoundError, UsageError
from scythe_cli.run.catalog import runs_by_version
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.manifest import UnreadableManifestError, read_manifest

if TYPE_CHECKING:
    from scythe_cli.services.study.settings import Study
    from scythe_cli.storage.base import Storage

__all__ = ["check_settings", "study_run_of"]


def study_run_of(storage: Storage, experiment: str, name: str) -> Run | None:
    """The latest run of a study; None where it has none.

    One whose allocation did not finish has no case that was run, and does not count.
    """
    from scythe_cli.core.semver import SemVer

    try:
        versions = runs_by_version(storage, experiment)
    except NotFoundError:
        return None
    layouts = [RunLayout(e, SemVer.FromString(v), stamp) for e, v, stamps in versions for stamp in stamps]
    for layout in sorted(layouts, key=RunLayout.order, reverse=True):
        try:
            manifest = read_manifest(storage, layout, brief=True)
        except UnreadableManifestError:
            continue
        if manifest is not None and manifest.study is not None and manifest.study.name == name:
            if manifest.state == "allocating":
                continue
            return Run(storage, layout)
    return None


def check_settings(study: Study, run: Run) -> None:
    """See that a study goes on with what it was begun with.

    Raises:
        UsageError: If other cases would have been chosen.
    """
    manifest = run.manifest
    begun = None if manifest is None or manifest.study is None else manifest.study.settings
    if begun is None or begun == study.begun_with:
        return
    now = study.begun_with
    names = [name for name in {**begun, **now} if begun.get(name) != now.get(name)]
    raise UsageError(
        f"the study {study.name!r} was begun with other settings: {', '.join(names)}",
        hint=f"Change back what was changed since {run.experiment_id}, or start a new run with --new.",
    )
