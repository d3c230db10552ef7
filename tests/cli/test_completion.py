"""What Tab offers, through the real command, as bash, zsh and fish ask for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scythe_cli.config.location import find_location
from scythe_cli.services.completions import (
    recall,
    remember_columns,
    remember_run,
    remember_runs,
)
from scythe_cli.storage.opening import open_storage
from tests.commands import run_alone, run_here

from .conftest import Ran, Run
from .test_startup import EVERYTHING, RUN, loaded

S3 = "s3://bucket/some/prefix"


@pytest.fixture
def remote(odd: Path) -> Path:
    """A project whose runs are in a bucket that cannot be reached, and what is known of it."""
    (odd / "experiments.toml").write_text(
        f'[scythe]\nstorage = "{S3}"\n[experiments.energy]\nentrypoint = "nosuch:f"\n'
        '[experiments.wind]\nentrypoint = "nosuch:g"\n'
    )
    remember_runs(
        S3,
        {
            "energy": {"v1.1.0": ["2026-02-01_00-00-00"], "v1.0.0": ["2026-01-02_00-00-00", "2026-01-01_00-00-00"]},
            "solar": {"v2.0.0": ["2025-01-01_00-00-00"]},
        },
        whole=True,
    )
    remember_columns(S3, "energy", "", ["area", "wall.u_value", "demand"])
    remember_columns(S3, "energy", "monthly", ["month", "kwh"])
    remember_columns(S3, "solar", "", ["tilt"])
    return odd


def asked(shell: str, line: str, *, alone: bool = False) -> Ran:
    """What the command answers when a shell asks how a line goes on; `alone` in a process of its own."""
    words = line.split(" ")
    variables = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    env = {**variables, "_SCYTHE_COMPLETE": f"complete_{shell}"}
    return run_alone(env=env) if alone else run_here(env=env)


def offered(shell: str, line: str, *, alone: bool = False) -> list[str]:
    done = asked(shell, line, alone=alone)
    assert done.err == ""
    if shell == "zsh":
        inside = done.out.partition("((")[2].rpartition("))")[0]
        return [each.strip('"') for each in inside.splitlines()]
    return done.out.split()


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("scythe status ", ["latest", "energy", "solar"]),
        ("scythe status energy/v1.0.0/", ["energy/v1.0.0/2026-01-02_00-00-00", "energy/v1.0.0/2026-01-01_00-00-00"]),
        ("scythe results plot energy -x wa", ["wall.u_value"]),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_names_that_are_known(remote: Path, shell: str, line: str, names: list[str]) -> None:
    assert offered(shell, line, alone=line == "scythe status ") == names


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("scythe allocate cases.csv -e ", ["energy", "wind", "solar"]),
        ("scythe results show energy --version v1.1", ["v1.1.0"]),
        ("scythe results plot energy --table monthly -y ", ["month", "kwh"]),
        (f"scythe --storage {S3}/other status ", ["latest"]),
    ],
)
def test_what_is_offered_fits_the_rest_of_the_line(remote: Path, line: str, names: list[str]) -> None:
    assert offered("bash", line) == names


def test_cases_are_those_of_files_and_of_runs(remote: Path) -> None:
    for name in ("solar.csv", "solar.pq", "solar.md", "data/solar.jsonl", ".solar.csv"):
        (remote / name).parent.mkdir(exist_ok=True)
        (remote / name).write_text("")
    assert offered("bash", "scythe allocate so") == ["solar.csv", "solar.pq", "solar", "solar/v2.0.0"]
    assert offered("bash", "scythe validate data/") == ["data/solar.jsonl"]
    assert offered("bash", "scythe allocate da") == ["data/"]
    assert offered("bash", "scythe allocate nowhere/") == []
    assert offered("bash", "scythe allocate solar/") == ["solar/v2.0.0"]
    assert offered("bash", "scythe allocate solar/v2") == ["solar/v2.0.0"]


def test_nothing_is_said_where_nothing_is_known(odd: Path) -> None:
    (odd / "experiments.toml").write_text("[scythe\nstorage = ")

    assert offered("bash", "scythe status e") == []
    (Path(os.environ["SCYTHE_CACHE_DIR"]) / "completions").mkdir(parents=True)
    (odd / "experiments.toml").write_text("")
    remember_run(find_location(), "energy/v1.0.0/2026-01-01_00-00-00")
    for file in (Path(os.environ["SCYTHE_CACHE_DIR"]) / "completions").iterdir():
        file.write_text('{"runs": 3}')
    assert offered("bash", "scythe status e") == []


def test_a_completion_loads_no_client_and_no_table(remote: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_WORDS", "scythe status e")
    monkeypatch.setenv("COMP_CWORD", "2")
    monkeypatch.setenv("_SCYTHE_COMPLETE", "complete_bash")

    assert loaded(RUN.format(arguments=[]), EVERYTHING | {"rich", "scythe_cli.services.project"}, remote) == []


def test_bash_completes_after_the_installation(remote: Path, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("scythe")
    if not program.exists():
        pytest.skip("the package is not installed as a command")
    home = tmp_path / "home"
    home.mkdir()
    env = {**os.environ, "HOME": str(home), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    # the shell is named, instead of the one that has started this process
    named = {**env, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    for shell, place in (("bash", ".bash_completions/scythe.sh"), ("zsh", ".zfunc/_scythe"), ("fish", None)):
        subprocess.run([program, "--install-completion", shell], env=named, check=True, capture_output=True)
        file = home / (place or ".config/fish/completions/scythe.fish")
        assert f"_SCYTHE_COMPLETE=complete_{shell}" in file.read_text()
    script = (
        "source ~/.bashrc; COMP_WORDS=(scythe results diff v); COMP_CWORD=3; _scythe_completion scythe; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], env=env, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["v1.1.0", "v1.0.0", "v2.0.0"]


# where the names come from


def test_commands_keep_the_names(scythe: Run, project: Path) -> None:
    scythe("allocate", "good.csv")
    runs, columns = recall(find_location())
    [stamp] = runs["squares"]["v1.0.0"]
    assert columns["squares"][""] == ["x", "mode", "square"]

    scythe("results", "show", "--table", "steps")
    assert {"x", "step", "y"} <= set(recall(find_location())[1]["squares"]["steps"])
    scythe("results", "ls")
    assert {"", "steps", "scalars", "errors"} <= recall(find_location())[1]["squares"].keys()
    assert recall(find_location())[1]["squares"]["steps"]

    (project / "runs" / "squares" / "v1.0.0" / stamp).rename(project / "gone")
    scythe("runs")
    assert recall(find_location())[0] == {"squares": {"v1.0.0": []}}


def test_runs_are_kept_newest_first() -> None:
    for name in ("v1.2.0/2026-01-01_00-00-00", "v1.10.0/2026-01-02_00-00-00", "v1.10.0/2026-01-03_00-00-00"):
        remember_run("place", f"energy/{name}")

    assert json.dumps(recall("place")[0]) == json.dumps(
        {"energy": {"v1.10.0": ["2026-01-03_00-00-00", "2026-01-02_00-00-00"], "v1.2.0": ["2026-01-01_00-00-00"]}}
    )
    remember_runs("place", {"solar": {"v1.0.0": ["s"]}}, whole=False)
    assert list(recall("place")[0]) == ["energy", "solar"]
    remember_runs("place", {"solar": {"v1.0.0": ["s"]}}, whole=True)
    assert list(recall("place")[0]) == ["solar"]


def test_a_cache_that_cannot_be_written_is_nobodys_problem(
    scythe: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "file").write_text("")
    monkeypatch.setenv("SCYTHE_CACHE_DIR", str(project / "file"))

    assert scythe("allocate", "good.csv").code == 0
    assert scythe("runs").code == 0
    assert recall(find_location()) == ({}, {})


@pytest.mark.parametrize("location", ["s3://bucket", "s3://bucket/a/b/", "runs", "../elsewhere"])
def test_a_place_is_known_by_the_name_of_its_storage(odd: Path, location: str) -> None:
    assert find_location(storage=location) == open_storage(location).location
