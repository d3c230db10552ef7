"""The cores, memory and GPUs that this process may use, which on a shared machine are fewer than it has.

And the threads that share the cores.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "THREAD_VARIABLES",
    "CoreLimit",
    "Gpus",
    "core_limits",
    "share_of_cores",
    "thread_settings",
    "usable_cores",
    "usable_gpus",
    "usable_memory_bytes",
]


_SCHEDULERS = (
    "SLURM_CPUS_PER_TASK",
    "SLURM_CPUS_ON_NODE",
    "NCPUS",  # PBS Professional, OpenPBS
    "PBS_NP",  # Torque
    "PBS_NUM_PPN",  # Torque: of one machine
    "LSB_DJOB_NUMPROC",  # LSF
    "NSLOTS",  # Grid Engine
)
"""What batch systems call the cores of a job; some count those on all of its machines, and affinity says less then."""

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "JULIA_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
"""What tells numerical libraries how many threads to start; most take one for each core of the machine otherwise."""

_INSTEAD = {
    "OPENBLAS_NUM_THREADS": "OMP_NUM_THREADS",
    "MKL_NUM_THREADS": "OMP_NUM_THREADS",
    "BLIS_NUM_THREADS": "OMP_NUM_THREADS",
    "NUMEXPR_NUM_THREADS": "OMP_NUM_THREADS",
    "NUMEXPR_MAX_THREADS": "NUMEXPR_NUM_THREADS",
}
"""Where a library looks when its own variable is not set: who has set that one means this library too."""


_GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
_KFD = "/sys/class/kfd/kfd/topology/nodes"


class CoreLimit(NamedTuple):
    """Something that says how many cores there are to use.

    Attributes:
        source: What says so: `the machine`, `CPU affinity`, `CPU quota`, or a variable of a batch system.
        cores: How many.
    """

    source: str
    cores: int


class Gpus(NamedTuple):
    """The GPUs that this process may use.

    Attributes:
        variable: The variable of the environment that says which of them a program uses.
        ids: What that calls them: numbers, or names such as `GPU-8932f937`.
        source: What says so: a variable, or `the machine`.
    """

    variable: str
    ids: tuple[str, ...]
    source: str

    def setting(self, ids: Sequence[str]) -> dict[str, str]:
        """The variable that lets a program see these and no others."""
        return {self.variable: ",".join(ids)}


def usable_gpus() -> Gpus:
    """The GPUs that this process may use: those that its environment names, else all of NVIDIA's or AMD's.

    A batch system names those of a job: https://docs.nvidia.com/cuda/cuda-c-programming-guide/#env-vars and
    https://rocm.docs.amd.com/en/latest/conceptual/gpu-isolation.html say how.
    """
    for variable in _GPU_VARIABLES:
        named = os.environ.get(variable)
        if named is not None:
            ids = tuple(takewhile(_is_gpu, (word.strip() for word in named.split(","))))
            if variable == "ROCR_VISIBLE_DEVICES":  # those above it count what it leaves
                return Gpus("HIP_VISIBLE_DEVICES", tuple(map(str, range(len(ids)))), variable)
            return Gpus(variable, ids, variable)
    n = sum(re.fullmatch(r"nvidia[0-9]+", name) is not None for name in _names("/dev"))
    if n:
        return Gpus("CUDA_VISIBLE_DEVICES", tuple(map(str, range(n))), "the machine")
    nodes = (_read(f"{_KFD}/{name}/properties") or "" for name in _names(_KFD))
    n = sum(re.search(r"^simd_count [1-9]", text, re.MULTILINE) is not None for text in nodes)
    return Gpus("HIP_VISIBLE_DEVICES" if n else "CUDA_VISIBLE_DEVICES", tuple(map(str, range(n))), "the machine")


def _is_gpu(word: str) -> bool:
    """Whether a word names a GPU; the first that does not ends the list, such as -1 or `NoDevFiles`."""
    return re.fullmatch(r"[0-9]+|(GPU|MIG)-[\w/-]+", word) is not None


def _names(folder: str) -> list[str]:
    try:
        return [path.name for path in Path(folder).iterdir()]
    except OSError:
        return []


def usable_cores() -> int:
    """The cores that this process may use: the least of what `core_limits` tells, and at least 1."""
    return min(limit.cores for limit in core_limits())


def core_limits() -> list[CoreLimit]:
    """All that limits the cores of this process, beginning with the machine itself.

    A quota of 2.5 cores counts as 3: with 2 processes, a fifth of it would not be used.
    """
    limits = [CoreLimit("the machine", os.cpu_count() or 1)]
    if hasattr(os, "sched_getaffinity"):
        limits.append(CoreLimit("CPU affinity", len(os.sched_getaffinity(0))))
    quota = _quota(_read)
    if quota is not None:
        limits.append(CoreLimit("CPU quota", quota))
    return limits + _limits_of_job(os.environ)


def share_of_cores(processes: int) -> int:
    """How many threads each of some processes should start that work at the same time: together one a core."""
    return max(1, usable_cores() // processes)


def usable_memory_bytes() -> int:
    """The memory that this process may use: that of the machine, or less where its control groups or Slurm say so."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    groups = (_read("/proc/self/cgroup") or "").splitlines()
    mounts = (_read("/proc/self/mountinfo") or "").splitlines()
    for folder, is_v2 in _folders(groups, mounts):
        text = (_read(f"{folder}/memory.max") or "").strip() if is_v2 else ""
        if text.isdecimal():
            limits.append(int(text))
    of_job = os.environ.get("SLURM_MEM_PER_NODE", "").strip()
    if of_job.isdecimal() and int(of_job):
        limits.append(int(of_job) * 2**20)
    return min(limits)


def thread_settings(threads: int, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that let numerical libraries start so many threads, without those that the user has set."""
    return {name: str(threads) for name in THREAD_VARIABLES if not _is_set(name, environment)}


def _is_set(name: str, environment: Mapping[str, str]) -> bool:
    other = _INSTEAD.get(name)
    return name in environment or (other is not None and _is_set(other, environment))


def _limits_of_job(environment: Mapping[str, str]) -> list[CoreLimit]:
    """What a batch system says; a value that is no number above 0 says nothing."""
    values = ((name, environment.get(name, "").strip()) for name in _SCHEDULERS)
    return [CoreLimit(name, int(value)) for name, value in values if re.fullmatch(r"0*[1-9][0-9]{0,6}", value)]


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except (OSError, ValueError):
        return None


def _quota(read: Callable[[str], str | None]) -> int | None:
    """The cores that the control groups of this process may use together, rounded up; None without such a limit.

    Args:
        read: Gives the content of a file, None where there is none.
    """
    groups = (read("/proc/self/cgroup") or "").splitlines()
    mounts = (read("/proc/self/mountinfo") or "").splitlines()
    quotas: list[int] = []
    for folder, is_v2 in _folders(groups, mounts):
        if is_v2:
            words = (read(f"{folder}/cpu.max") or "").split()
        else:
            words = [(read(f"{folder}/cpu.cfs_{name}_us") or "").strip() for name in ("quota", "period")]
        # v2 says "max" and v1 -1 where there is none
        if len(words) == 2 and all(word.isdecimal() and int(word) for word in words):
            quotas.append(-(-int(words[0]) // int(words[1])))
    return min(quotas, default=None)


def _folders(groups: list[str], mounts: list[str]) -> Iterator[tuple[str, bool]]:
    """The folders of this process's control groups and of those above them, and whether they are of version 2."""
    paths: dict[str, str] = {}
    for line in groups:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        paths |= dict.fromkeys(controllers.split(","), path)
    for line in mounts:
        ours, _, theirs = line.partition(" - ")
        fields, (kind, _, options) = ours.split(), [*theirs.split(), "", "", ""][:3]
        is_v2 = kind == "cgroup2"
        if len(fields) < 5 or not (is_v2 or (kind == "cgroup" and "cpu" in options.split(","))):
            continue
        root, mount = fields[3], fields[4].rstrip("/")
        path = paths.get("" if is_v2 else "cpu", "/")
        # inside a container the mount shows the group from `root` on, or the path is one that cannot be seen here
        inner = path.removeprefix(root.rstrip("/")) if path.startswith(root) else path
        names = [name for name in inner.split("/") if name not in ("", "..")]
        for n in range(len(names) + 1):
            yield "/".join([mount, *names[:n]]), is_v2
