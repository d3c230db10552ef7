"""How many cores a process may use, whatever limits them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import scythe_cli
from scythe_cli.core import cores
from scythe_cli.core.cores import (
    THREAD_VARIABLES,
    Gpus,
    core_limits,
    share_of_cores,
    thread_settings,
    usable_cores,
    usable_gpus,
)

JOBS = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "NCPUS", "PBS_NP", "PBS_NUM_PPN", "LSB_DJOB_NUMPROC", "NSLOTS")


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 128 cores, all of them ours."""
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(128)), raising=False)
    monkeypatch.setattr(cores, "_read", lambda _: None)
    for name in (*JOBS, *THREAD_VARIABLES):
        monkeypatch.delenv(name, raising=False)


def test_all_of_them_where_nothing_says_less() -> None:
    assert usable_cores() == 128


def test_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 77})
    assert usable_cores() == 2
    assert min(core_limits(), key=lambda limit: limit.cores).source == "CPU affinity"


def test_a_system_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


@pytest.mark.parametrize("name", JOBS)
def test_what_a_batch_system_gives_the_job(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "4")
    assert usable_cores() == 4
    assert core_limits()[-1] == (name, 4)


@pytest.mark.parametrize("value", ["", "0", "-1", "4(x2)", "four", "9" * 30, "1.5"])
def test_a_value_that_is_no_number_says_nothing(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", value)
    assert usable_cores() == 128


def test_the_least_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NSLOTS", "64")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "16")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(24)))
    assert usable_cores() == 16


V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1 = "33 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct"
MEMORY = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"
GROUPS = {
    "a job of systemd or Slurm": ("0::/system.slice/job_7", V2, {"system.slice/job_7/cpu.max": "400000 100000"}, 4),
    "the group above has less": (
        "0::/a/b",
        V2,
        {"a/b/cpu.max": "800000 100000", "a/cpu.max": "200000 100000", "cpu.max": "max 100000"},
        2,
    ),
    "a container with its own name space": ("0::/", V2, {"cpu.max": "150000 100000"}, 2),
    "a container that cannot see its group": ("0::/docker/f00", V2, {"cpu.max": "50000 100000"}, 1),
    "a path above the mount": ("0::/../../x", V2, {"x/cpu.max": "300000 100000"}, 3),
    "no limit": ("0::/a", V2, {"a/cpu.max": "max 100000"}, 128),
    "a file that says nothing": ("0::/a", V2, {"a/cpu.max": "\n"}, 128),
    "version 1": (
        "4:memory:/m\n3:cpu,cpuacct:/job",
        f"{MEMORY}\n{V1}",
        {"cpu,cpuacct/job/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/job/cpu.cfs_period_us": "100000\n"},
        3,
    ),
    "version 1 without a limit": (
        "3:cpu,cpuacct:/",
        V1,
        {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
        128,
    ),
    "version 1, mounted from its group on": (
        "3:cpu,cpuacct:/docker/f00",
        V1.replace("0:29 / ", "0:29 /docker/f00 "),
        {"cpu,cpuacct/cpu.cfs_quota_us": "100000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
        1,
    ),
    "damaged": ("nonsense\n\n0:", "nonsense\n - cgroup2\n1 2 3 - cgroup2", {}, 128),
}


@pytest.mark.parametrize(("groups", "mounts", "files", "expected"), GROUPS.values(), ids=GROUPS)
def test_quotas_of_control_groups(
    groups: str, mounts: str, files: dict[str, str], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {f"/sys/fs/cgroup/{name}": text for name, text in files.items()}
    content |= {"/proc/self/cgroup": groups, "/proc/self/mountinfo": mounts}
    monkeypatch.setattr(cores, "_read", content.get)
    assert usable_cores() == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Gpus("CUDA_VISIBLE_DEVICES", (), "the machine")),
        ({"CUDA_VISIBLE_DEVICES": "2, 3"}, Gpus("CUDA_VISIBLE_DEVICES", ("2", "3"), "CUDA_VISIBLE_DEVICES")),
        (
            {"CUDA_VISIBLE_DEVICES": "GPU-8932f937-d72c,MIG-GPU-8932/1/0"},
            Gpus("CUDA_VISIBLE_DEVICES", ("GPU-8932f937-d72c", "MIG-GPU-8932/1/0"), "CUDA_VISIBLE_DEVICES"),
        ),
        ({"CUDA_VISIBLE_DEVICES": "0,-1,1"}, Gpus("CUDA_VISIBLE_DEVICES", ("0",), "CUDA_VISIBLE_DEVICES")),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, Gpus("CUDA_VISIBLE_DEVICES", (), "CUDA_VISIBLE_DEVICES")),
        ({"CUDA_VISIBLE_DEVICES": ""}, Gpus("CUDA_VISIBLE_DEVICES", (), "CUDA_VISIBLE_DEVICES")),
        ({"HIP_VISIBLE_DEVICES": "1"}, Gpus("HIP_VISIBLE_DEVICES", ("1",), "HIP_VISIBLE_DEVICES")),
        ({"ROCR_VISIBLE_DEVICES": "2,3"}, Gpus("HIP_VISIBLE_DEVICES", ("0", "1"), "ROCR_VISIBLE_DEVICES")),
    ],
)
def test_gpus_that_the_environment_names(
    environment: dict[str, str], expected: Gpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cores, "_names", lambda _: [])
    assert usable_gpus() == expected


def test_gpus_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cores, "_names", lambda _: ["null", "nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"])
    assert usable_gpus() == Gpus("CUDA_VISIBLE_DEVICES", ("0", "1"), "the machine")
    monkeypatch.setattr(cores, "_names", lambda folder: ["0", "1", "2"] if "kfd" in folder else ["kfd"])
    texts = {"0": "simd_count 0\n", "1": "cpu_cores_count 0\nsimd_count 256\n", "2": "simd_count 256\n"}
    monkeypatch.setattr(cores, "_read", lambda path: texts[path.split("/")[-2]])
    assert usable_gpus() == Gpus("HIP_VISIBLE_DEVICES", ("0", "1"), "the machine")
    assert usable_gpus().setting(("1",)) == {"HIP_VISIBLE_DEVICES": "1"}


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NSLOTS", "8")
    assert [share_of_cores(n) for n in (1, 2, 3, 8, 20)] == [8, 4, 2, 1, 1]


def test_every_library_is_told() -> None:
    assert thread_settings(2, {"PATH": "/bin"}) == dict.fromkeys(THREAD_VARIABLES, "2")


@pytest.mark.parametrize(
    ("own", "kept"),
    [
        ("RAYON_NUM_THREADS", {"RAYON_NUM_THREADS"}),
        ("NUMEXPR_NUM_THREADS", {"NUMEXPR_NUM_THREADS", "NUMEXPR_MAX_THREADS"}),
        # these look there when they have no variable of their own
        (
            "OMP_NUM_THREADS",
            {name for name in THREAD_VARIABLES if name.startswith(("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR"))},
        ),
    ],
)
def test_what_the_user_has_set_stays(own: str, kept: set[str]) -> None:
    assert set(THREAD_VARIABLES) - set(thread_settings(1, {own: "3"})) == kept


def test_nothing_else_counts_cores() -> None:
    package = Path(scythe_cli.__file__).parent
    places = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if re.search(r"cpu_count|sched_getaffinity|_NUM_THREADS", path.read_text())
    ]
    assert places == ["core/cores.py"]


@pytest.mark.processes
@pytest.mark.skipif(sys.platform != "linux", reason="there is no affinity elsewhere")
def test_a_process_that_is_bound_to_one_core_counts_one(monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
        import os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        from scythe_cli.core.cores import usable_cores
        print(usable_cores())
    """
    ran = subprocess.run([sys.executable, "-c", dedent(code)], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout == "1\n"
