"""What others would use instead: each in a virtual environment under `bench/.venvs/`, made with uv on demand.

`concurrent.futures` and what else needs no package run in the environment of scythe itself.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

__all__ = ["OURS", "RIVALS", "RivalMissingError", "is_installed", "rival_python"]

REPOSITORY = Path(__file__).resolve().parents[1]
VENVS = REPOSITORY / "bench" / ".venvs"

OURS = Path(sys.executable)
"""The Python of scythe."""

# rivals get the releases of pydantic, Polars, pyarrow and pandas that scythe runs with: those are not compared
_SHARED = ("pydantic", "polars", "pyarrow", "pandas")

RIVALS: dict[str, tuple[str, ...]] = {
    "scythe-engine": ("scythe-engine==1.3.0", "requests"),
    "joblib": ("joblib==1.6.0", *_SHARED),
    "dask": ("dask[distributed]==2026.8.0", *_SHARED),
    "loky": ("loky==3.7.0", "s3fs", "numpy", *_SHARED),
    "pebble": ("pebble==5.2.3", "s3fs", "numpy", *_SHARED),
    # with the newest pandas that it can be imported with
    "pandarallel": ("pandarallel==1.6.5", "pandas==2.3.3", "pyarrow"),
    "ray": ("ray==2.60.0", *_SHARED),
    "submitit": ("submitit==1.5.4",),
    "executorlib": ("executorlib[cluster]==1.11.0", "h5py"),
    "smt": ("smt==2.15.0",),
    # with PyTorch, which is 3 GB
    "botorch": ("botorch==0.18.1",),
    "optuna": ("optuna==5.0.0",),
    "libensemble": ("libensemble==1.6.1",),
    "optuna-dashboard": ("optuna-dashboard==0.21.0", "optuna==5.0.0"),
    "snakemake": ("snakemake==9.27.1", "snakemake-executor-plugin-slurm==2.8.0"),
}
"""What is installed for each."""


class RivalMissingError(RuntimeError):
    """A rival is not there; the message says why, for a note in the report."""


def _requirements(name: str) -> list[str]:
    return [f"{package}=={metadata.version(package)}" if package in _SHARED else package for package in RIVALS[name]]


def _stamp(name: str) -> Path:
    return VENVS / name / "requirements.txt"


def is_installed(name: str) -> bool:
    """Whether the environment of a rival is there, with the packages that it should have."""
    stamp = _stamp(name)
    return stamp.exists() and stamp.read_text() == "\n".join(_requirements(name))


def rival_python(name: str, *, install: bool = True) -> Path:
    """The Python of a rival's environment, which is made where it is not there.

    Args:
        name: One of `RIVALS`.
        install: Whether it may be made now.

    Raises:
        RivalMissingError: If it is not there and may not, or cannot, be made.
    """
    python = VENVS / name / "bin" / "python"
    if is_installed(name):
        return python
    if not install:
        raise RivalMissingError(f"{name} is left out: it is not installed (a run without --quick installs it)")
    uv = str(REPOSITORY / "scripts" / "uv")
    version = ".".join(platform.python_version_tuple()[:2])
    commands = [
        [uv, "venv", "--quiet", "--clear", "--python", version, str(VENVS / name)],
        [uv, "pip", "install", "--quiet", "--python", str(python), *_requirements(name)],
    ]
    print(f"installing {name} into bench/.venvs/{name}", file=sys.stderr, flush=True)
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise RivalMissingError(f"{name} is left out: it cannot be installed here ({said})")
    _stamp(name).write_text("\n".join(_requirements(name)))
    return python
