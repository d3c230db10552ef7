"""Random cases of a packed run, run again: `scythe reproduce`."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from pydantic import Field

from scythe_cli import errors
from scythe_cli.analysis.packing.archive import PROJECT_FOLDER, RUNS_FOLDER, ProgressOfFiles
from scythe_cli.core.distribution import DISTRIBUTION
from scythe_cli.core.folders import owned_prefix
from scythe_cli.errors import EngineError, NotFoundError, ScytheError, UsageError
from scythe_cli.run.manifest import RunManifest, read_manifest
from scythe_cli.services.packing.child import Request
from scythe_cli.services.packing.crate_file import CrateFile
from scythe_cli.services.packing.environments import PackageDifference, differing_packages, make_environment
from scythe_cli.services.runs.verify import VerifyResult
from scythe_cli.storage.opening import open_storage

__all__ = ["Environment", "ReproduceResult", "reproduce_run"]


Environment = Literal["present", "new"]

_CHILD = "scythe_cli.services.packing.child"
_OF_PROJECT = "SCYTHE_"


class ReproduceResult(VerifyResult):
    """What came of running some cases of a packed run again."""

    crate: str = Field(description="the packed run")
    seed: int = Field(description="chose the cases; the same ones again with --seed")
    environment: Environment = Field(description="whether it was run with the packages here, or with those of the run")
    packages: list[PackageDifference] = Field(description="what was not the same as when the run was allocated")


def reproduce_run(
    path: Path,
    *,
    n: int = 20,
    seed: int | None = None,
    environment: Environment = "present",
    workers: int | None = None,
    progress: ProgressOfFiles | None = None,
) -> ReproduceResult:
    """Run random cases of a packed run again, with the code that was packed, and compare the results bit by bit.

    This runs code of the file: it is for files of people whom you trust.

    Args:
        path: The packed run.
        n: How many cases, of those that succeeded.
        seed: Chooses them; drawn unless given.
        environment: `present` for this Python and the packages that are installed; `new` for an environment of its
            own with the versions that the run had, which takes a network.
        workers: How many processes; as many as there are cores unless given.
        progress: Called for each file that is checked or unpacked.

    Raises:
        MissingFileError: If there is no such file.
        PackedRunError: If it is damaged, or no packed run.
        NotFoundError: If its code was not packed, or no case succeeded.
        EngineError: If the cases cannot be run.
    """
    if n < 1:
        raise UsageError(f"n is {n}; it must be at least 1")
    seed = secrets.randbits(32) if seed is None else seed
    with TemporaryDirectory(prefix=owned_prefix("reproduce"), ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        with CrateFile.open(path) as crate:
            _extract(crate, folder, progress)
            run = crate.run
        project, runs = folder / PROJECT_FOLDER, folder / RUNS_FOLDER
        manifest = read_manifest(open_storage(str(runs)), run) or RunManifest.model_construct()
        _check_code(path, project, manifest)
        python, packages, notices = _python(environment, folder, manifest)
        request = Request(
            project=project, storage=runs, experiment_id=run.experiment_id, n=n, seed=seed, workers=workers
        )
        result = _answer(python, request, folder)
    return ReproduceResult(
        **result.model_dump(exclude={"ok", "notices"}),
        notices=[*notices, *result.notices],
        crate=str(path),
        seed=seed,
        environment=environment,
        packages=packages,
    )


def _python(
    environment: Environment, folder: Path, manifest: RunManifest
) -> tuple[Path, list[PackageDifference], list[str]]:
    """The Python that runs the cases, what differs of its packages, and what should be said of it."""
    origin = manifest.provenance
    python = None if origin is None else origin.python
    requirements = folder / PROJECT_FOLDER / "requirements.txt"
    if environment == "new":
        executable, notices = make_environment(folder / "environment", requirements, python)
        return executable, [], notices
    version = None if origin is None else origin.packages.get(DISTRIBUTION)
    return Path(sys.executable), differing_packages(requirements.read_text(), version, python), []


def _extract(crate: CrateFile, folder: Path, progress: ProgressOfFiles | None) -> None:
    names = list(crate.sums)
    for number, name in enumerate(names, 1):
        if progress is not None:
            progress("unpacking", name, number, len(names))
        crate.extract(name, folder / name)


def _check_code(path: Path, project: Path, manifest: RunManifest) -> None:
    """See that the code is there.

    Raises:
        NotFoundError: If it is not.
    """
    code = manifest.code
    missing = [name for name in code or () if not (project / name).is_file()]
    if code is None or missing:
        what = ", ".join(missing[:3]) or "its code"
        raise NotFoundError(
            f"{path} has not {what}, so its cases cannot be run again",
            hint="Pack the run where its code is still as it was; a function of a notebook cannot be packed.",
        )


def _answer(python: Path, request: Request, folder: Path) -> VerifyResult:
    """What a process of its own answers that has loaded nothing of this project.

    Raises:
        ScytheError: The same as there.
        EngineError: If it ended without an answer.
    """
    asked, answer = folder / "request.json", folder / "answer.json"
    asked.write_text(request.model_dump_json())
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OF_PROJECT)}
    environment.pop("PYTHONPATH", None)
    command = [str(python), "-m", _CHILD, str(asked), str(answer)]
    # what the experiment prints is not the answer of a command
    done = subprocess.run(command, cwd=request.project, env=environment, stdout=subprocess.DEVNULL, check=False)
    try:
        document: Any = json.loads(answer.read_bytes())
    except (OSError, ValueError):
        raise EngineError(f"the cases could not be run: the process ended with {done.returncode}") from None
    if "error" in document:
        error = document["error"]
        kind = getattr(errors, error["type"], ScytheError)
        raise kind(error["message"], hint=error["hint"])
    return VerifyResult.model_validate(document)
