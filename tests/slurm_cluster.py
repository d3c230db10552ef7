"""A real Slurm on this machine, on free ports: `scripts/slurm-cluster` starts and ends it.

Its daemons come from the system (`apt-get install slurm-wlm munge`), and need root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["SlurmCluster", "missing_accounting", "missing_slurm", "slurm_cluster"]

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "slurm-cluster"
_PROGRAMS = ("sbatch", "slurmctld", "slurmd", "munged")


def missing_slurm() -> str | None:
    """What is needed and not there, as a reason to skip; None when all is there."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in _PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        return f"{', '.join(missing)} not installed; `make servers` installs Slurm on Debian"
    return None if os.geteuid() == 0 else "a Slurm cluster of tests needs root"


def missing_accounting() -> str | None:
    """What limits of users need that is not there; None when all is there."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in ("slurmdbd", "mariadbd", "mysql_install_db") if shutil.which(name, path=path) is None]
    return f"{', '.join(missing)} not installed; see scripts/slurm-accounting" if missing else None


@dataclass(frozen=True)
class SlurmCluster:
    """Two nodes in the partition `main`, and one in `blind`.

    Attributes:
        folder: Where its configuration, logs and state are.
    """

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        """What a client needs in its environment."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    @property
    def hidden(self) -> Path:
        """A folder that the node of `blind` does not see."""
        return self.folder / "hidden"

    def do(self, what: str) -> None:
        """Start or end it: `up`, `down`, `stop-controller`, `start-controller`."""
        with (self.folder / f"{what}.out").open("wb") as out:  # no pipe: daemons would hold it open
            subprocess.run(
                [str(SCRIPT), what, str(self.folder)], stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                check=True, timeout=120,
            )  # fmt: skip

    @contextmanager
    def accounting(self) -> Generator[None]:
        """Limits of users, until the end of the cluster: a qos `small` lets one have 3 jobs."""
        script = SCRIPT.with_name("slurm-accounting")
        with (self.folder / "accounting.out").open("wb") as out:
            options: dict[str, Any] = {"stdout": out, "stderr": out, "stdin": subprocess.DEVNULL, "timeout": 180}
            try:
                subprocess.run([str(script), "up", str(self.folder)], check=True, **options)
                yield
            finally:
                subprocess.run([str(script), "down", str(self.folder)], check=True, **options)

    def run(self, *command: str) -> str:
        """Run a command of Slurm; returns what it printed."""
        environment = {**os.environ, **self.env}
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        return ran.stdout


@contextmanager
def slurm_cluster() -> Generator[SlurmCluster]:
    """A cluster, ended at the end with all that runs on it."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    cluster = SlurmCluster(folder)
    try:
        cluster.do("up")
        yield cluster
    finally:
        cluster.do("down")
        shutil.rmtree(folder, ignore_errors=True)
