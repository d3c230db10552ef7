"""Which other Pythons the unit tests run with: those that a machine has, without a download."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts import versions


def interpreter(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_pythons_above_the_lowest_are_tried_and_the_next_one_may_fail() -> None:
    project = {
        "requires-python": ">=3.11",
        "classifiers": [f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)],
    }
    assert list(versions.versions(project)) == [("3.14", False), ("3.13", True), ("3.12", True)]


def test_pythons_are_looked_for_on_the_path_and_where_pyenv_and_uv_put_them(tmp_path: Path) -> None:
    pyenv = [tmp_path / ".pyenv" / "versions" / each for each in ("3.12.9", "3.12.1", "3.1.2")]
    managed = tmp_path / ".local" / "share" / "uv" / "python" / "cpython-3.12.7-linux-x86_64-gnu"
    for folder in (*pyenv, managed):
        folder.mkdir(parents=True)
    places = list(versions.places("3.12", {"PATH": "/usr/bin::/bin", "HOME": str(tmp_path)}))
    folders = [Path("/usr"), Path("/"), pyenv[0], pyenv[1], managed]
    assert places == [folder / "bin" / "python3.12" for folder in folders]


def test_a_bare_machine_has_none(tmp_path: Path) -> None:
    assert list(versions.places("3.12", {})) == []
    assert list(versions.places("3.12", {"HOME": str(tmp_path), "PATH": ""})) == []


def test_without_newer_pythons_that_is_said_and_all_is_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(versions, "found", lambda _version, _places: None)
    assert versions.newer_pythons(2, []) == 0
    assert "Python 3.12: not on this machine\n" in capsys.readouterr().out


def test_the_newest_ones_run_and_one_that_is_promised_may_not_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    bad: list[str] = []

    def failing(version: str, _python: Path, _arguments: object) -> bool:
        ran.append(version)
        return version in bad

    named = ["3.16", "3.15", "3.14", "3.13", "3.12"]
    monkeypatch.setattr(versions, "versions", lambda _project: ((each, each != "3.16") for each in named))
    monkeypatch.setattr(versions, "found", lambda version, _places: None if version == "3.15" else Path(version))
    monkeypatch.setattr(versions, "_locked_and_tested", failing)
    for version, code in (("none", 0), ("3.16", 0), ("3.14", 1)):
        ran.clear()
        bad[:] = [version]
        assert versions.newer_pythons(2, []) == code
        assert ran == ["3.16", "3.14"]
    assert capsys.readouterr().out.splitlines()[-5:] == [
        "Python 3.16: unit tests passed in 0 s",
        "Python 3.15: not on this machine",
        "Python 3.14: unit tests failed in 0 s",
        "Python 3.13: left out, 2 others were tried",
        "Python 3.12: left out, 2 others were tried",
    ]


@pytest.mark.processes
def test_shims_and_half_built_pythons_are_passed_over(tmp_path: Path) -> None:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    shim = interpreter(tmp_path / "shims" / "python", "echo 'pyenv: command not found' >&2; exit 127")
    other = interpreter(tmp_path / "other" / "python", "echo 3.99; echo 3.99.1")
    unfinished = interpreter(tmp_path / "unfinished" / "python", f"echo {version}; exit 1")
    broken = tmp_path / "broken" / "python"
    broken.parent.mkdir()
    broken.write_bytes(b"\x7fELF")
    broken.chmod(0o755)
    wrong = [tmp_path / "none", shim, other, unfinished, broken]
    assert versions.found(version, iter(wrong)) is None
    assert versions.found(version, iter([*wrong, Path(sys.executable)])) == Path(sys.executable)
