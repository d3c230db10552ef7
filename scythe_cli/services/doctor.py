"""What `scythe doctor` looks at: configuration, experiments, storage, engine and versions."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

from scythe_cli.core.cores import THREAD_VARIABLES, core_limits, share_of_cores, usable_gpus
from scythe_cli.core.distribution import DISTRIBUTION, FOREIGN
from scythe_cli.errors import ScytheError
from scythe_cli.services.project import Project, open_project
from scythe_cli.services.records import DoctorCheck

__all__ = ["diagnose"]


_PACKAGES = (DISTRIBUTION, "polars", "pyarrow", "pydantic", "pandas", "s3fs", "hatchet-sdk")


def diagnose(config: Path | None = None, storage: str | None = None, engine: str | None = None) -> list[DoctorCheck]:
    """Check everything that a run needs; nothing is left behind.

    Args:
        config: The configuration file; looked for from the working directory upwards unless given.
        storage: Instead of what the environment or the file says.
        engine: Instead of what the environment or the file says.

    Returns:
        One record a check, in the order in which they were made; a check that depends on a failed one is left out.
    """
    checks = [_versions(), _program()]
    try:
        project = open_project(config, storage=storage, engine=engine)
    except ScytheError as error:
        return [*checks, _failed("configuration", error)]
    checks.append(_configuration(project))
    checks += _experiments(project)
    checks += _storage(project)
    checks.append(_cores(project))
    checks += _gpus()
    asked = _engine(project)
    workers = _workers(project) if all(check.ok for check in asked) else []
    return [*checks, *asked, *workers]


def _versions() -> DoctorCheck:
    versions = [f"{name} {version}" for name in _PACKAGES if (version := _version(name))]
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    supported = sys.platform != "win32"
    return DoctorCheck(
        name="versions",
        ok=supported,
        detail=f"{python}; {', '.join(versions)}",
        remedy=None if supported else "The local engine needs Linux or macOS; on Windows use WSL.",
        exit_code=0 if supported else 4,
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None  # of an extra that is not installed


def _program() -> DoctorCheck:
    """Whether `scythe` and `scythe_cli` are this program: another one has a command and a package of these names."""
    command = shutil.which("scythe")
    ours = Path(sysconfig.get_path("scripts")) / "scythe"
    detail = f"scythe is {command or 'not on PATH'}"
    if command is not None and ours.exists() and not ours.samefile(command):
        if not _is_ours(Path(command)):
            return DoctorCheck(
                name="program",
                ok=False,
                detail=f"the first scythe on PATH is another program: {command}; this is {ours}",
                remedy=f"Put {ours.parent} first on PATH: `export PATH={shlex.quote(str(ours.parent))}:$PATH`.",
                exit_code=3,
            )
        detail += f"; this is {ours}"
    other = _version(FOREIGN)
    if other is None:
        return DoctorCheck(name="program", ok=True, detail=detail)
    return DoctorCheck(
        name="program",
        ok=False,
        detail=f"{FOREIGN} {other} is installed as well: another program, with a command and a package of these names",
        remedy=f"Run `pip uninstall {FOREIGN}`, then `pip install --force-reinstall {DISTRIBUTION}`.",
        exit_code=3,
    )


def _is_ours(command: Path) -> bool:
    """Whether a command is of this program, though of another environment: an installer writes a small script."""
    try:
        with command.open("rb") as file:
            return b"from scythe_cli.cli import main" in file.read(10_000)
    except OSError:
        return True  # it cannot be told


def _configuration(project: Project) -> DoctorCheck:
    if project.config_path is None:
        return DoctorCheck(
            name="configuration",
            ok=False,
            detail=f"there is no experiments.toml in {project.root} or above",
            remedy="`scythe init` makes a working project; --config names a file elsewhere.",
            exit_code=3,
        )
    n = len(project.config.experiments)
    return DoctorCheck(
        name="configuration",
        ok=n > 0,
        detail=f"{project.config_path}: {n} experiment{'' if n == 1 else 's'}",
        remedy=None if n else "Add a table [experiments.<name>] with entrypoint = 'module:function'.",
        exit_code=0 if n else 3,
    )


def _experiments(project: Project) -> list[DoctorCheck]:
    checks: list[DoctorCheck] = []
    for name in project.experiment_names():
        try:
            experiment = project.experiment(name)[1]
        except ScytheError as error:
            checks.append(_failed(f"experiment {name}", error))
            continue
        models = f"{experiment.input_validator_type.__name__} → {experiment.output_validator_type.__name__}"
        checks.append(DoctorCheck(name=f"experiment {name}", ok=True, detail=f"{models}; its module was imported"))
    return checks


def _storage(project: Project) -> list[DoctorCheck]:
    try:
        storage = project.storage
        details = storage.check()
    except ScytheError as error:
        return [_failed("storage", error)]
    return [
        DoctorCheck(
            name=f"storage: {check.name}",
            ok=check.ok,
            detail=check.detail,
            remedy=None if check.ok else check.remedy or _storage_remedy(storage.location),
            exit_code=0 if check.ok else 4,
        )
        for check in details
    ]


def _storage_remedy(location: str) -> str:
    if location.startswith("s3://"):
        return "Check that the bucket exists, and AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL."
    return "Check that the folder can be written and that the disk has room, or choose another with --storage."


def _cores(project: Project) -> DoctorCheck:
    """How many cores there are to use and why, and what each process gets of them."""
    limits = core_limits()
    machine, least = limits[0], min(limits, key=lambda limit: limit.cores)
    cores = f"{machine.cores}" if least is machine else f"{least.cores} of {machine.cores}, by {least.source}"
    share = share_of_cores(project.workers)
    threads = "1 thread" if share == 1 else f"{share} threads"
    own = [f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ]
    detail = f"{cores}; {threads} in each process"
    return DoctorCheck(name="cores", ok=True, detail=f"{detail} ({', '.join(own)} set)" if own else detail)


def _gpus() -> list[DoctorCheck]:
    """The GPUs that cases can have, where there are any or the environment speaks of them."""
    gpus = usable_gpus()
    if gpus.ids or gpus.source != "the machine":
        named = f"{', '.join(gpus.ids) or 'none'}, by {gpus.source}"
        return [DoctorCheck(name="GPUs", ok=True, detail=f"{len(gpus.ids)} ({named})" if gpus.ids else named)]
    return []


def _engine(project: Project) -> list[DoctorCheck]:
    try:
        known = project.engine.check()
        examined = project.engine.examine(project.storage)
    except ScytheError as error:
        return [_failed("engine", error)]
    workers = project.workers
    processes = "1 process" if workers == 1 else f"{workers} processes"
    first = DoctorCheck(name="engine", ok=True, detail=known or f"{project.engine_name}, {processes}")
    return [
        first,
        *(
            DoctorCheck(
                name=f"engine: {check.name}",
                ok=check.ok,
                detail=check.detail,
                remedy=None if check.ok else check.remedy,
                exit_code=0 if check.ok else 4,
            )
            for check in examined
        ),
    ]


def _workers(project: Project) -> list[DoctorCheck]:
    """Of a fleet that has workers: for which experiments none of them could work."""
    checks: list[DoctorCheck] = []
    for name in project.experiment_names():
        try:
            experiment = project.experiment(name)[1]
            if not project.engine.workers(experiment.name):
                continue  # none has been started
            problem = project.engine.unserved_experiment(experiment, project.root, project.location)
        except ScytheError:
            continue  # told before
        if problem is not None:
            remedy = "Update the project where they run, and start them again."
            checks.append(DoctorCheck(name=f"workers of {name}", ok=False, detail=problem, remedy=remedy, exit_code=4))
    return checks


def _failed(name: str, error: ScytheError) -> DoctorCheck:
    return DoctorCheck(name=name, ok=False, detail=error.message, remedy=error.hint, exit_code=error.exit_code)
