"""The Python and the packages that a packed run is run again with."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

import scythe_cli
from scythe_cli.core.distribution import DISTRIBUTION, installed_version
from scythe_cli.core.records import Record
from scythe_cli.errors import EngineError

__all__ = ["PackageDifference", "differing_packages", "make_environment"]


_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)")
_TIMEOUT_S = 1800


class PackageDifference(Record):
    """A package, or Python itself, that is not the same here as when the run was allocated."""

    name: str
    packed: str = Field(description="the version that the run had")
    here: str | None = Field(description="the version here; null where it is not installed")


def differing_packages(requirements: str, scythe_version: str | None, python: str | None) -> list[PackageDifference]:
    """What of this environment is not what a run had.

    Args:
        requirements: The packages that the run needs, one a line as `name==version`.
        scythe_version: That of scythe; None where it is not known.
        python: That of Python; None where it is not known.
    """
    pins = {"Python": python, DISTRIBUTION: scythe_version}
    pins |= {match[1]: match[2] for line in requirements.splitlines() if (match := _PIN.fullmatch(line.strip()))}
    here = {name: _version_here(name) for name in pins}
    return [
        PackageDifference(name=name, packed=packed, here=here[name])
        for name, packed in pins.items()
        if packed and packed != here[name]
    ]


def _version_here(name: str) -> str | None:
    if name == "Python":
        return platform.python_version()
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def make_environment(folder: Path, requirements: Path, python: str | None) -> tuple[Path, list[str]]:
    """Make a virtual environment with the versions that a run had, and with this version of scythe.

    Args:
        folder: Where to; made by this.
        requirements: The packages, as pip reads them.
        python: The version of Python that the run had.

    Returns:
        Its Python, and what should be said of it.

    Raises:
        EngineError: If it cannot be made, as without a network.
    """
    uv = shutil.which("uv")
    wanted = ".".join((python or "").split(".")[:2])
    here = ".".join(platform.python_version_tuple()[:2])
    notices: list[str] = []
    executable = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if uv is not None and wanted and _succeeds([uv, "venv", "--quiet", "--python", wanted, str(folder)]):
        pass
    else:
        _run([sys.executable, "-m", "venv", *(["--without-pip"] if uv else []), str(folder)])
        if wanted and wanted != here:
            how = "" if uv else "; with uv on the PATH, another version can be had"
            notices.append(f"Python {wanted}, which the run had, is not here: it was run with {here}{how}")
    if uv is not None:
        _run([uv, "pip", "install", "--quiet", "--python", str(executable), "-r", str(requirements)])
    else:
        pip = [str(executable), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "-r", str(requirements)])
    _add_scythe(executable)
    return executable, notices


def _add_scythe(executable: Path) -> None:
    """Copy this version of scythe into an environment: one that may be on no index."""
    asked = [str(executable), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(_run(asked).strip())
    source = Path(scythe_cli.__file__).parent
    shutil.copytree(source, packages / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    described = importlib.metadata.distribution(DISTRIBUTION)
    info = packages / f"{DISTRIBUTION.replace('-', '_')}-{installed_version()}.dist-info"
    info.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        (info / name).write_text(described.read_text(name) or "", encoding="utf-8")


def _succeeds(command: Sequence[str]) -> bool:
    try:
        _run(command)
    except EngineError:
        return False
    return True


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"the environment cannot be made: {error}") from error
    if done.returncode:
        said = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise EngineError(f"the environment cannot be made: {said}", hint="Leave out `--environment new`.")
    return done.stdout
