"""Errors become a few lines on stderr, one JSON document, and an exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scythe_cli import errors
from scythe_cli.errors import EntrypointError, ScytheError
from scythe_cli.services import project

from .conftest import Run, RunSeveral

BRANCHES = [
    (error, error.exit_code)
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, ScytheError)
]


@pytest.mark.parametrize(
    ("said", "line"), [("a\nb", "a"), ("", "OSError"), ("\n\n", "OSError"), ("x" * 900, "x" * 200)]
)
def test_an_error_is_told_in_a_line(said: str, line: str) -> None:
    assert errors.first_line(OSError(said)) == line


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def open_project(*args: Any, **options: Any) -> Any:
        raise error

    monkeypatch.setattr(project, "open_project", open_project)


@pytest.mark.parametrize(("kind", "code"), BRANCHES)
def test_each_branch_has_its_exit_code(
    scythe: Run, monkeypatch: pytest.MonkeyPatch, kind: type[ScytheError], code: int
) -> None:
    fail_with(monkeypatch, kind("the disk is full", hint="Make room."))

    ran = scythe("status")
    hint = "Make room. `scythe doctor` checks the set-up." if kind is EntrypointError else "Make room."
    assert (ran.code, ran.out, ran.err) == (code, "", f"error: the disk is full\nhint: {hint}\n")

    as_json = scythe("status", "--json")
    assert as_json.code == code
    assert as_json.json == {
        "error": {"type": kind.__name__, "message": "the disk is full", "hint": hint, "exit_code": code}
    }
    assert as_json.err == ran.err


def test_an_interrupt_exits_with_130(scythe: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())

    ran = scythe("--json", "status")

    assert ran.code == 130
    assert ran.json["error"]["message"] == "interrupted"
    assert ran.err == "error: interrupted\n"


def test_an_unexpected_error_is_short_without_verbose(scythe: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, RuntimeError("[bold]boom[/]"))

    ran = scythe("status")
    assert ran.code == 1
    assert ran.err == (
        "error: unexpected error: RuntimeError: [bold]boom[/]\nhint: Run again with --verbose for the traceback.\n"
    )

    assert scythe("--json", "status").json["error"]["type"] == "RuntimeError"


@pytest.mark.parametrize("arguments", [["--verbose", "status"], ["status", "-v"]])
def test_verbose_shows_the_traceback(scythe: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    fail_with(monkeypatch, RuntimeError("boom"))

    ran = scythe(*arguments)

    assert "Traceback (most recent call last)" in ran.err
    assert ran.err.endswith("error: unexpected error: RuntimeError: boom\n")


def test_text_from_elsewhere_is_neither_markup_nor_sent_to_the_terminal(
    scythe: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(monkeypatch, ScytheError("[red]x[/red] [/] :smile: \x1b]0;title\x07 \udcff", hint="a\nb"))

    ran = scythe("status")

    assert ran.err == "error: [red]x[/red] [/] :smile: \\x1b]0;title\\x07 \\udcff\nhint: a\nb\n"
    assert "\x1b" not in scythe("--json", "status").out


def test_long_lines_are_not_wrapped(scythe: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path = "/a folder/" + "x" * 300 + "/file.csv"
    fail_with(monkeypatch, ScytheError(f"{path}: there is no such file"))

    assert scythe("status").err == f"error: {path}: there is no such file\n"


def test_a_broken_config_is_told_with_file_and_key(scythe: Run, odd: Path) -> None:
    (odd / "experiments.toml").write_text("[scythe]\nstorag = 1\n")

    ran = scythe("status")

    assert ran.code == 3
    assert "experiments.toml: unknown key 'scythe.storag'; did you mean 'storage'?" in ran.err


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, {"GITHUB_ACTIONS": "true"}])
def test_no_ansi_when_it_is_no_terminal(shells: RunSeveral, odd: Path, variables: dict[str, str]) -> None:
    for ran in shells(["--help"], ["nosuch"], ["runs"], ["doctor"], env=variables):
        assert "\x1b" not in ran.out + ran.err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_any_encoding_will_do(shells: RunSeveral, scaffolded: Path, encoding: str) -> None:
    ran, as_json = shells(
        ["doctor"],
        ["experiments", "heating", "--json"],
        env={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        charset=encoding,
    )
    assert "Traceback" not in ran.err
    assert as_json.code == 0
    assert as_json.json["inputs"][1]["bounds"] == "20 ≤ x ≤ 2000"
