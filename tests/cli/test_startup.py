"""What a command must not load: each of these takes longer to import than a listing takes altogether."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from scythe_cli.cli.app import (
    COMMANDS,
    ScytheGroup,
    _needed,
    app,
)
from tests.commands import run_here

from .conftest import Run

CLIENTS = {"hatchet_sdk", "grpc", "s3fs", "fsspec", "aiobotocore", "boto3", "aiohttp", "httpx"}
SCIENCE = {"pandas", "scipy", "duckdb", "altair", "matplotlib"}
TABLES = {"polars", "pyarrow", "numpy"}
MODELS = {"pydantic", "pydantic_settings", "yaml"}
EVERYTHING = CLIENTS | SCIENCE | TABLES | MODELS | {"asyncio", "multiprocessing", "concurrent.futures"}

RUN = """
import sys
sys.argv = ["scythe", *{arguments!r}]
from scythe_cli.cli import main
try:
    main()
except SystemExit as exit:
    assert not exit.code, exit.code
"""


def loaded(code: str, forbidden: Iterable[str], folder: Path) -> list[str]:
    """Which of some modules a program has loaded at its end."""
    code += f"\nimport sys\nprint(*sorted({set(forbidden)!r} & sys.modules.keys()), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()[-1].split() if done.stderr.strip() else []


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["--help"], EVERYTHING | {"rich", "scythe_cli.services.project"}),
        (["--version"], EVERYTHING | {"rich", "scythe_cli.services.project"}),
        (["allocate", "--help"], EVERYTHING | {"rich", "scythe_cli.services.project"}),
        (["versions"], EVERYTHING | {"scythe_cli.services.project", "scythe_cli.core.records"}),
        (["versions", "squares"], EVERYTHING | {"scythe_cli.services.project", "scythe_cli.core.records"}),
        (["runs"], (EVERYTHING | {"scythe_cli.services.project"}) - {"pydantic", "yaml"}),
        (["experiments"], CLIENTS | SCIENCE),
        (["status"], CLIENTS | SCIENCE),
    ],
)
def test_a_command_loads_only_what_it_needs(with_runs: Path, arguments: list[str], forbidden: set[str]) -> None:
    assert loaded(RUN.format(arguments=arguments), forbidden, with_runs) == []


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("scythe_cli", EVERYTHING | {"rich", "typer"}),
        ("scythe_cli.base", CLIENTS | SCIENCE | {"polars", "yaml", "rich", "typer"}),
        ("scythe_cli.registry", CLIENTS | SCIENCE | {"polars", "yaml", "rich", "typer"}),
        ("scythe_cli.services.project", CLIENTS | SCIENCE | TABLES | {"pydantic_settings", "yaml", "rich", "typer"}),
        ("scythe_cli.experiments", CLIENTS | SCIENCE | {"polars", "rich", "typer"}),
    ],
)
def test_a_module_loads_only_what_it_needs(tmp_path: Path, module: str, forbidden: set[str]) -> None:
    assert loaded(f"import {module}", forbidden, tmp_path) == []


def test_values_of_options_are_what_typer_makes_of_them(scythe: Run, with_runs: Path) -> None:
    """Only values that need no conversion skip it."""
    assert [run["version"] for run in scythe("runs", "--json").json] == ["v1.1.0", "v1.0.0"]
    assert [run["version"] for run in scythe("runs", "--json", "--limit", "1").json] == ["v1.1.0"]
    assert len(scythe("runs", "squares", "--json", "--limit=2").json) == 2
    for wrong, message in (
        ("0", "greater than or equal to 1"),
        ("x", "not a whole number"),
        ("", "not a whole number"),
    ):
        ran = scythe("runs", "--limit", wrong)
        assert ran.code == 2
        assert "--limit" in ran.err
        assert message in ran.err


def test_every_module_is_known_by_its_commands() -> None:
    """A command that is not listed is found all the same, but not quickly."""
    for module, names in COMMANDS.items():
        alone = typer.Typer(cls=ScytheGroup)
        alone.add_typer(importlib.import_module(f"scythe_cli.cli.{module}").app)
        alone.callback()(lambda: None)
        command = get_command(alone)
        assert isinstance(command, ScytheGroup)
        assert sorted(command.commands) == sorted(names), module
    whole = get_command(app)
    assert isinstance(whole, ScytheGroup)
    assert sorted(whole.commands) == sorted(name for names in COMMANDS.values() for name in names)


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (["versions"], ["commands.runs"]),
        (["--json", "--storage", "results", "versions", "sample"], ["commands.runs"]),
        (["--config=x", "results", "ls"], ["results.app"]),
        (["allocate", "--help"], ["commands.allocate"]),
        (["--help"], list(COMMANDS)),
        ([], list(COMMANDS)),
        (["vresions"], list(COMMANDS)),
        (["--storage"], list(COMMANDS)),
    ],
)
def test_only_the_module_of_the_command_is_loaded(arguments: list[str], needed: list[str]) -> None:
    assert list(_needed(arguments)) == needed


def test_a_shell_that_completes_sees_all_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_SCYTHE_COMPLETE", "complete_bash")

    assert list(_needed(["versions"])) == list(COMMANDS)


ENDING = """
import atexit, sys, tempfile, threading, time
from scythe_cli.cli.app import QuickEnd

class Loaded:
    def __del__(self):
        print("taken apart")

end = QuickEnd()
loaded = Loaded()
folder = tempfile.TemporaryDirectory(dir=sys.argv[1])
atexit.register(print, "registered")
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
print("x" * 100_000)
end.code = {code}
"""


@pytest.mark.parametrize("code", [0, 7, None])
def test_a_quick_end_does_all_but_take_apart_what_is_loaded(tmp_path: Path, code: int | None) -> None:
    command = [sys.executable, "-c", ENDING.format(code=code), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == (code or 0), done.stderr
    lines = ["x" * 100_000, "thread", "registered", *(["taken apart"] if code is None else [])]
    assert done.stdout.splitlines() == lines
    assert not list(tmp_path.iterdir())


def test_a_process_that_a_command_forked_ends_as_python_ends_it() -> None:
    program = (
        "import os, sys\nfrom scythe_cli.cli.app import QuickEnd\n"
        "end = QuickEnd()\nend.code = 3\nif os.fork() == 0: sys.exit(5)\nend.code = os.waitpid(-1, 0)[1] >> 8\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 5


def test_too_few_addresses_are_said_before_a_library_aborts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scythe_cli.core.processes.address_space", lambda: 1_500_000_000)
    ran = run_here("status", cwd=tmp_path)
    assert ran.code == 4
    assert ran.err.startswith("error: processes may have 1.5 GB of addresses here (`ulimit -v`), and need 4.0 GB")
    assert "ulimit -v unlimited" in ran.err
