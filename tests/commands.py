"""Ways to run the command `scythe` in tests: in this process, which is quick, or in one of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

Run = Callable[..., "Ran"]


@dataclass(frozen=True)
class Ran:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def run_here(*arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Ran:
    """Run a command line in this process, which saves the time that a new one takes to start."""
    from typer.testing import CliRunner

    from scythe_cli.cli.app import app

    folder = contextlib.nullcontext() if cwd is None else contextlib.chdir(cwd)
    with folder, mock.patch.dict(os.environ, env or {}), _no_module_stays():
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


@contextlib.contextmanager
def _no_module_stays() -> Generator[None]:
    """Let the modules of a project go with the command, as they do with its process; another may have such names."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(tempfile.gettempdir()):
            del sys.modules[name]


def run_alone(
    *arguments: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    charset: str = "utf-8",
    timeout_s: float = 300,
) -> Ran:
    """Run a command line in a process of its own; output is piped."""
    done = subprocess.run(
        [sys.executable, "-m", "scythe_cli.cli", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=timeout_s,
    )
    return Ran(done.returncode, done.stdout.decode(charset), done.stderr.decode(charset))
