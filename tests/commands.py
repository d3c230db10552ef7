"""Ways to run the command `scythe` in tests: in this process, which is quick, or in one of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
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
    path, modules = list(sys.path), loaded_modules()
    yield
    forget_modules_since(modules, Path(tempfile.gettempdir()))
    sys.path[:] = path


_last: tuple[int, str, frozenset[str]] = (0, "", frozenset())


def loaded_modules() -> frozenset[str]:
    """The names of all modules; the same set as the last time when none has come or gone, as there are thousands."""
    global _last
    n, newest = len(sys.modules), next(reversed(sys.modules))
    if _last[:2] != (n, newest):
        _last = n, newest, frozenset(sys.modules)
    return _last[2]


def forget_modules_since(known: frozenset[str], folder: Path) -> None:
    """Drop modules that a test made below a folder; others may hold state that cannot be loaded twice."""
    for name in () if known is loaded_modules() else loaded_modules() - known:
        module = sys.modules[name]
        # a folder without __init__.py is a package that has no file
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
        if any(place and Path(place).is_relative_to(folder) for place in places):
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


_SEVERAL = """
import json, os, sys
from scythe_cli.cli.app import app

folder, lines = sys.argv[1], json.loads(sys.argv[2])
for number, line in enumerate(lines):
    for descriptor, name in ((1, "out"), (2, "err")):
        file = os.open(f"{folder}/{number}.{name}", os.O_WRONLY | os.O_CREAT)
        os.dup2(file, descriptor)
        os.close(file)
    code = 0
    try:
        app(line)
    except SystemExit as ended:
        code = ended.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    with open(f"{folder}/{number}.code", "w") as file:
        file.write(str(code))
"""


def run_several_alone(
    *lines: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None, charset: str = "utf-8"
) -> list[Ran]:
    """Run command lines one after the other in one process, for what is true of each process; output is piped."""
    with tempfile.TemporaryDirectory(prefix="scythe-lines-") as folder:
        subprocess.run(
            [sys.executable, "-c", _SEVERAL, folder, json.dumps(lines)],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            check=True,
            timeout=300,
        )

        def of(number: int, what: str) -> str:
            return (Path(folder) / f"{number}.{what}").read_bytes().decode(charset)

        return [Ran(int(of(i, "code")), of(i, "out"), of(i, "err")) for i in range(len(lines))]
