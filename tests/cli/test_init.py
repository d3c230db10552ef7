"""`scythe init`: what it writes runs as it is, wherever it is, and nothing is overwritten."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from .conftest import Run

FILES = ["experiments.toml", "experiments/__init__.py", "experiments/building.py"]
FILES += [".scythe/experiments.schema.json", "cases.csv", ".gitignore"]


@pytest.mark.parametrize("name", ["shop", "two words", "ünï [x] 'q'", "json", "-dash", "experiments", "a/b/c"])
def test_the_project_is_valid_in_any_folder(scythe: Run, odd: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    ran = scythe("--json", "init", "--", name)
    assert ran.code == 0
    assert list(ran.json["files"]) == FILES
    assert all((odd / name / file).is_file() for file in FILES)

    monkeypatch.chdir(odd / name)
    valid = scythe("validate", "cases.csv", "--json")
    assert valid.code == 0, valid.err
    assert valid.json["experiment"] == "heating"
    assert valid.json["n_specs"] == 36
    assert valid.json["defaulted"] == ["setpoint"]


def test_the_next_commands_can_be_pasted(scythe: Run, odd: Path) -> None:
    run_it = "scythe allocate cases.csv"
    assert scythe("init", "two words", "--json").json["next_commands"] == ["cd 'two words'", run_it]
    assert scythe("init", "--json", "--", "-x").json["next_commands"] == ["cd ./-x", run_it]
    assert scythe("init", "--json").json["next_commands"] == ["scythe allocate cases.csv"]


def test_it_writes_here_unless_told_otherwise(scythe: Run, odd: Path) -> None:
    ran = scythe("init")

    assert ran.code == 0
    assert str(odd) in ran.out
    assert "\nNext:\n  scythe allocate cases.csv\n" in ran.out
    assert (odd / ".gitignore").read_text().splitlines()[0] == "/runs/"


def test_nothing_is_overwritten(scythe: Run, odd: Path) -> None:
    (odd / "experiments").mkdir()
    (odd / "experiments/building.py").write_text("mine")
    (odd / "cases.csv").symlink_to("nowhere")

    ran = scythe("init")

    assert ran.code == 2
    assert "has these files already: experiments/building.py, cases.csv\n" in ran.err
    assert (odd / "experiments/building.py").read_text() == "mine"
    assert sorted(path.name for path in odd.iterdir()) == ["cases.csv", "experiments"]


def test_a_gitignore_is_kept(scythe: Run, odd: Path) -> None:
    (odd / ".gitignore").write_text("*.log\n")

    ran = scythe("init")

    assert ran.code == 0
    assert (odd / ".gitignore").read_text() == "*.log\n"
    assert "note: kept the .gitignore" in ran.err


def test_a_folder_that_is_a_file(scythe: Run, odd: Path) -> None:
    (odd / "taken").write_text("")

    ran = scythe("init", "taken")

    assert ran.code == 2
    assert "taken is a file, not a folder" in ran.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write anywhere")
def test_a_folder_that_cannot_be_written(scythe: Run, odd: Path) -> None:
    (odd / "locked").mkdir(mode=0o500)

    ran = scythe("init", "locked/inside")

    assert ran.code == 2
    assert "cannot be written" in ran.err


def test_the_cases_are_the_same_every_time_and_distinct(scythe: Run, odd: Path) -> None:
    scythe("init", "one")
    scythe("init", "two")

    text = (odd / "one/cases.csv").read_text()
    assert text == (odd / "two/cases.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert len({tuple(row.values()) for row in rows}) == 36
    assert {row["climate"] for row in rows} == {"cool", "mild", "warm"}
