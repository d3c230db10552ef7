"""Slurm's own commands: thin calls, with their errors in a few words.

They are called directly. submitit and executorlib submit one function each and keep its pickled result in a file of its
own, pysqa writes scripts from templates and knows no arrays, and simple-slurm has no closing job and no errors that can
be told apart: what is needed here is two calls of sbatch, with a dependency between them.

Accounting (sacct) is never needed: many small clusters run without it.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from scythe_cli.errors import ConfigError, EngineError, ScytheError

__all__ = ["Ran", "Slurm", "is_unreachable", "refusal"]


_TIMEOUT_S = 120.0
_KEPT = {"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT"}
_ON_LOGIN_NODE = "Slurm's commands are on the login nodes of a cluster; `module load slurm` may be needed."
_UNREACHABLE = re.compile(r"unable to contact slurm controller|connection refused|timed out|unexpected message", re.I)


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a command.

    Attributes:
        code: Its exit code.
        out: What it printed.
        err: What it printed on stderr.
    """

    code: int
    out: str
    err: str


Runner = Callable[[Sequence[str], str | None], Ran]


def run_command(command: Sequence[str], text: str | None = None) -> Ran:
    """Run a command of Slurm.

    Args:
        command: Its name and arguments.
        text: Its standard input.

    Raises:
        EngineError: If it is not installed, or does not answer.
    """
    # jobs inherit the environment: a closing job must not hand its own place on, and options that nobody sees stay out
    environment = {name: value for name, value in os.environ.items() if not _is_of_a_job(name)}
    try:
        ran = subprocess.run(
            list(command),
            input=text or "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
            env=environment,
        )
    except FileNotFoundError:
        raise EngineError(f"{command[0]} is not installed here", hint=_ON_LOGIN_NODE) from None
    except subprocess.TimeoutExpired:
        raise EngineError(f"{command[0]} has not answered for {_TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise EngineError(f"{command[0]} cannot be run: {error.strerror or error}") from None
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def _is_of_a_job(name: str) -> bool:
    return name.startswith(("SBATCH_", "SLURM_", "SLURMD_")) and name not in _KEPT


@dataclass
class Slurm:
    """The commands.

    Attributes:
        run: What runs them; another one in tests.
        n_submitted: How often sbatch was called.
    """

    run: Runner = field(default=run_command)
    n_submitted: int = 0

    def version(self) -> str:
        """The version of Slurm here, such as `22.05.8`.

        Raises:
            EngineError: If sbatch is not installed.
        """
        ran = self._checked(["sbatch", "--version"])
        return ran.split()[-1] if ran.split() else "unknown"

    def partitions(self) -> dict[str, str]:
        """The partitions that one may use, each with its time limit as Slurm writes it.

        Raises:
            EngineError: If the controller does not answer.
        """
        lines = self._checked(["sinfo", "--noheader", "--format=%R|%l"]).splitlines()
        return dict(line.split("|", 1) for line in lines if "|" in line)

    def limits(self) -> dict[str, str]:
        """The cluster's configuration, by name.

        Raises:
            EngineError: If the controller does not answer.
        """
        pairs = (line.partition("=") for line in self._checked(["scontrol", "show", "config"]).splitlines())
        return {name.strip(): value.strip() for name, equals, value in pairs if equals}

    def max_array_size(self) -> int:
        """How many tasks an array may have.

        Raises:
            EngineError: If the controller does not answer.
        """
        told = self.limits().get("MaxArraySize", "")
        return max(1, int(told) if told.isdecimal() else 1001)

    def submit(self, options: Sequence[str], script: str) -> str:
        """Submit a batch script; returns the id of the job.

        Raises:
            ConfigError: If what was asked for does not exist on this cluster.
            EngineError: If Slurm refuses it, or does not answer.
        """
        self.n_submitted += 1
        ran = self.run(["sbatch", "--parsable", *options], script)
        if ran.code:
            raise refusal(ran.err)
        # `--parsable` gives `job;cluster` on a cluster of several
        return ran.out.strip().splitlines()[-1].partition(";")[0]

    def queue(self, names: Sequence[str]) -> str:
        """The jobs of these names, those included that have just ended: a line for each task, as `queue.parse` reads.

        Raises:
            EngineError: If the controller does not answer.
        """
        command = [
            "squeue",
            "--noheader",
            "--array",
            "--states=all",
            f"--name={','.join(names)}",
            "--format=%i|%T|%r|%j",
        ]
        return self._checked(command)

    def time_left(self, job: str) -> str:
        """How long a job may still run, as Slurm writes it; empty when it does not say.

        Raises:
            EngineError: If the controller does not answer.
        """
        return self._checked(["squeue", "--noheader", f"--jobs={job}", "--format=%L"]).strip()

    def cancel(self, jobs: Sequence[str], *options: str) -> None:
        """Cancel jobs; what has ended already is none.

        Raises:
            EngineError: If the controller does not answer.
        """
        if jobs:
            ran = self.run(["scancel", *options, *jobs], None)
            if ran.code and is_unreachable(ran.err):
                raise refusal(ran.err)

    def _checked(self, command: Sequence[str]) -> str:
        ran = self.run(command, None)
        if ran.code:
            raise refusal(ran.err)
        return ran.out


def is_unreachable(text: str) -> bool:
    """Whether what a command or an error says means that the controller does not answer, which may pass."""
    return _UNREACHABLE.search(text) is not None


_REFUSALS: list[tuple[str, type[ScytheError], str, str | None]] = [
    ("invalid partition", ConfigError, "there is no such partition", "`sinfo` lists them."),
    ("invalid account", ConfigError, "the account may not be used here", "See [slurm] account; `sacctmgr show assoc`."),
    ("invalid qos", ConfigError, "there is no such quality of service", "See [slurm] qos."),
    ("time limit is invalid", ConfigError, "the time is longer than the partition allows", "Lower [slurm] time."),
    ("generic resource", ConfigError, "there are no such GPUs", "See [slurm] gpus; `sinfo -o %G` lists them."),
    ("invalid feature", ConfigError, "no node has such a feature", "See [slurm] extra."),
    ("memory specification", ConfigError, "no node has so much memory", "Lower [slurm] memory."),
    ("node configuration is not available", ConfigError, "no node has so many cores, memory or GPUs", "See [slurm]."),
    ("cpu count", ConfigError, "no node has so many cores", "Lower [slurm] cpus."),
    ("unrecognized option", ConfigError, "sbatch does not know an option", "See [slurm] extra."),
    ("invalid option", ConfigError, "sbatch does not know an option", "See [slurm] extra."),
    ("maxsubmit", EngineError, "your limit of submitted jobs is reached, or the job is larger than allowed",
     "Wait until jobs have ended, or make fewer tasks: raise [slurm] task_minutes."),
    ("accounting/qos policy", EngineError, "the job is more than your account or qos allows",
     "Ask for less time, memory or cores, or wait until jobs have ended."),
    ("invalid job array", EngineError, "the job array is too large", "Raise [slurm] task_minutes."),
    ("access/permission denied", EngineError, "you may not submit jobs here", None),
    ("unable to contact slurm controller", EngineError, "Slurm's controller does not answer", "`sinfo` tells more."),
]  # fmt: skip


def refusal(err: str) -> ScytheError:
    """What a command has printed on stderr, as an error."""
    lines = [line.split("error:", 1)[-1].strip() for line in err.splitlines() if line.strip()]
    said = lines[-1].removeprefix("Batch job submission failed:").strip() if lines else "it does not say why"
    lower = err.lower()
    for part, kind, what, hint in _REFUSALS:
        if part in lower:
            return kind(f"Slurm: {what} ({said[:200]})", hint=hint)
    return EngineError(f"Slurm refuses: {said[:200]}")
