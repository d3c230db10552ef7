"""Help, global options, usage errors: what needs no project."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import pytest
from typer.main import get_command

from scythe_cli.cli.app import ScytheGroup, app
from scythe_cli.core.semver import Bump

from .conftest import Run

COMMANDS = ["init", "experiments", "doctor", "validate", "allocate", "status", "errors", "runs", "versions", "results"]
# Typer itself loads pydantic to check options, and errors are printed with Rich
HEAVY = ("polars", "pandas", "pyarrow", "hatchet_sdk", "s3fs", "scythe_cli.services.project")


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", [[], *([c] for c in COMMANDS), ["results", "ls"], ["results", "fetch"]])
def test_help_fits_80_columns(scythe: Run, command: list[str], flag: str) -> None:
    ran = scythe(*command, flag)

    assert ran.code == 0
    assert ran.err == ""
    assert ran.out.startswith(f"Usage: {' '.join(['scythe', *command])}")
    assert "Global options" in ran.out
    assert "--storage" in ran.out
    assert max(map(len, ran.out.splitlines())) < 80
    assert "\x1b" not in ran.out


def test_help_lists_every_command(scythe: Run) -> None:
    out = scythe("--help").out

    assert all(f"\n  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "more", "ends_with"),
    [
        (["--help"], ["pydantic", "rich"], 0),
        (["--version"], ["pydantic", "rich"], 0),
        (["allocate", "-h"], ["rich"], 0),
        (["nosuch"], [], 2),
    ],
)
def test_the_command_line_itself_loads_nothing_heavy(arguments: list[str], more: list[str], ends_with: int) -> None:
    code = f"""
import sys
sys.argv = ["scythe", *{arguments!r}]
from scythe_cli.cli import main
try:
    main()
except SystemExit:
    pass
print(sorted({{*{HEAVY!r}, *{more!r}}} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == ends_with, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"


def test_no_arguments_print_the_help_and_count_as_wrong_usage(scythe: Run) -> None:
    ran = scythe()

    assert ran.code == 2
    assert ran.out.startswith("Usage: scythe COMMAND")
    assert "error" not in ran.err


@pytest.mark.parametrize("arguments", [["--version"], ["status", "--version"], ["results", "--version"]])
def test_version(scythe: Run, arguments: list[str]) -> None:
    assert scythe(*arguments).out == f"scythe {version('scythe-experiments')}\n"
    assert scythe("--json", *arguments).json == {"version": version("scythe-experiments")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stauts"], "Did you mean `scythe status`"),
        (["results", "shwo"], "Did you mean `scythe results show`?"),
        (["status", "--jsn"], "Did you mean --json?"),
        (["allocate", "a.csv", "b.csv"], "unexpected extra argument"),
        (["allocate", "a.csv", "--bump", "huge"], "--bump: 'huge'"),
        (["allocate", "a.csv", "--workers", "0"], "--workers: "),
        (["results", "fetch"], "Missing option '--output'"),
        (["status", "a", "b"], "unexpected extra argument"),
    ],
)
def test_a_wrong_command_line_exits_with_2(scythe: Run, arguments: list[str], message: str) -> None:
    ran = scythe(*arguments)

    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert message in ran.err
    assert "hint: Usage: scythe" in ran.err or "hint: Did you mean `scythe" in ran.err

    as_json = scythe("--json", *arguments)
    assert as_json.code == 2
    assert as_json.json["error"]["type"] == "UsageError"
    assert as_json.json["error"]["exit_code"] == 2
    error = as_json.json["error"]
    assert message in error["message"] or error["hint"].startswith("Did you mean `scythe --json ")


def test_json_after_two_dashes_is_no_option(scythe: Run, odd: Path) -> None:
    ran = scythe("runs", "--", "--json")

    assert ran.out == ""
    assert ran.err.startswith("error: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--json", "--storage", "elsewhere", "runs"],
        ["runs", "--json", "--storage", "elsewhere"],
        ["--json", "runs", "--storage=elsewhere"],
        ["--storage", "nowhere", "runs", "--json", "--storage", "elsewhere"],
    ],
)
def test_global_options_stand_before_and_after_the_command(scythe: Run, odd: Path, arguments: list[str]) -> None:
    (odd / "elsewhere/squares/v1.0.0/2026-01-01_00-00-00/final").mkdir(parents=True)

    ran = scythe(*arguments)

    assert ran.code == 0
    assert [run["experiment"] for run in ran.json] == ["squares"]


@pytest.mark.parametrize(
    "arguments", [["results", "--config", "none.toml", "ls"], ["results", "ls", "--config", "none.toml"]]
)
def test_a_group_takes_global_options_too(scythe: Run, odd: Path, arguments: list[str]) -> None:
    ran = scythe(*arguments)

    assert ran.code == 3
    assert "none.toml: there is no such file" in ran.err


def test_the_choices_of_bump_are_those_of_the_library(scythe: Run) -> None:
    assert f"--bump {'|'.join(get_args(Bump))}" in scythe("allocate", "--help").out


def test_outside_standalone_mode_the_exit_code_is_returned(capsys: pytest.CaptureFixture[str]) -> None:
    command = get_command(app)

    assert isinstance(command, ScytheGroup)
    assert command.main(["nosuch"], standalone_mode=False) == 2
    assert command.main(["--version"], standalone_mode=False) == 0


def test_commands_do_not_load_pandas(tmp_path: Path) -> None:
    """Not even through pyarrow, which imports it on its own when it can."""
    code = (
        "import sys; from scythe_cli.cli.framework import keep_pandas_out; keep_pandas_out();"
        "import pyarrow as pa; pa.array([1.5, None]);"
        "print('pandas' in sys.modules); import pandas; print(pandas.DataFrame({'a': [1]}).shape)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)

    assert done.stdout == "False\n(1, 1)\n", done.stderr
