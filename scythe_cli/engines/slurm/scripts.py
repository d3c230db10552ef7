"""Batch scripts and the options of sbatch."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Sequence

from scythe_cli.config.slurm import SlurmConfig

__all__ = ["array_options", "batch_script", "closing_options", "common_options", "probe_options"]


_WARN_S = 120
_LONG_S = 900.0


def batch_script(module: str, text: str, setup: Sequence[str], python: str = sys.executable) -> str:
    """A script that runs a module of this package, with a text on its standard input.

    Args:
        module: The name of the module.
        text: One line.
        setup: Lines of the shell that come before.
        python: The interpreter, at the same place on the nodes.
    """
    # with exec, the signals that Slurm sends to the script reach the program
    command = f"exec {shlex.quote(python)} -m {module} <<'SCYTHE'"
    return "\n".join(["#!/bin/bash", *setup, command, text, "SCYTHE", ""])


def common_options(settings: SlurmConfig) -> list[str]:
    """Where jobs run, and who pays; `extra` comes later and wins."""
    named = {"partition": settings.partition, "account": settings.account, "qos": settings.qos}
    return [f"--{name}={value}" for name, value in named.items() if value is not None]


def array_options(settings: SlurmConfig, *, n_tasks: int, name: str, log: str) -> list[str]:
    """The options of an array of tasks."""
    limit = f"%{settings.array_limit}" if settings.array_limit is not None else ""
    options = [
        f"--array=0-{n_tasks - 1}{limit}",
        f"--job-name={name}",
        f"--output={log}",
        "--open-mode=append",  # a task that starts again goes on
        "--requeue",
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={settings.cpus}",
        *common_options(settings),
    ]
    if settings.memory is not None:
        options.append(f"--mem={math.ceil(settings.memory / 2**20)}M")
    if settings.gpus is not None:
        options.append(f"--gpus={settings.gpus}")
    if settings.time is not None:
        seconds = settings.time.total_seconds()
        options.append(f"--time={math.ceil(seconds / 60)}")
        # Slurm may send it a minute early, which would be most of a short task; those know their end by themselves
        if seconds >= _LONG_S:
            options.append(f"--signal=B:USR1@{_WARN_S}")
    return [*options, *settings.extra]


def closing_options(settings: SlurmConfig, *, after: str, name: str, log: str) -> list[str]:
    """The options of the job behind an array: it runs whatever has become of the tasks."""
    options = [
        f"--dependency=afterany:{after}",
        f"--job-name={name}",
        f"--output={log}",
        "--open-mode=append",
        "--requeue",
        "--nodes=1",
        "--ntasks=1",
        "--cpus-per-task=1",
        *common_options(settings),
    ]
    if settings.memory is not None:
        options.append(f"--mem={math.ceil(settings.memory / 2**20)}M")
    return [*options, *settings.extra]


def probe_options(settings: SlurmConfig, *, name: str) -> list[str]:
    """The options of a job of a second that tries a node out."""
    return [
        f"--job-name={name}",
        "--output=/dev/null",
        "--nodes=1",
        "--ntasks=1",
        "--cpus-per-task=1",
        "--time=5",
        *common_options(settings),
        *settings.extra,
    ]
