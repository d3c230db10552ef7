"""What is printed fits the terminal, in any width and locale, and commands in it can be pasted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from scythe_cli.cli.app import COMMANDS
from scythe_cli.cli.output import wrapped
from scythe_cli.cli.plain import PLAIN
from tests.cli.conftest import write_squares
from tests.commands import run_here

RESULTS = ("ls", "show", "fetch", "query", "diff", "plot", "export")
HELP = [
    ["--help"],
    *([command, "--help"] for commands in COMMANDS.values() for command in commands),
    *(["results", command, "--help"] for command in RESULTS),
]
SCREENS = [
    ["runs"],
    ["versions"],
    ["status"],
    ["errors"],
    ["errors", "1"],
    ["logs", "3"],
    ["explain", "3"],
    ["experiments"],
    ["experiments", "squares"],
    ["validate", "good.csv"],
    ["allocate", "good.csv", "--plan"],
    ["sample", "-n", "4", "-o", "new.csv", "--seed", "1", "--overwrite"],
    ["doctor"],
    ["results", "ls"],
    ["results", "show"],
    ["results", "show", "-t", "steps"],
    ["results", "plot"],
    ["results", "plot", "-x", "x"],
    ["results", "plot", "-x", "x", "-y", "square", "--log", "x,y"],
    ["results", "query", "select * from scalars"],
    ["results", "diff", "v1.0.0", "v1.1.0"],
    ["statsu"],
    ["status", "squars", "--storage", "runs"],
    ["logs", "99"],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two runs, in a folder with a plain name: what users wrote stays as it is."""
    folder = tmp_path_factory.mktemp("plain") / "here"
    folder.mkdir()
    write_squares(folder)
    for file in ("good.csv", "bad.csv"):
        run_here("allocate", file, "--quiet", cwd=folder, env={"SCYTHE_CACHE_DIR": str(folder.parent / "cache")})
    return folder


def screen(line: Sequence[str], folder: Path, width: int, locale: str) -> str:
    """What a command shows on a terminal of so many columns, without colors."""
    terminal = {"COLUMNS": str(width), "FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm"}
    cache = {"SCYTHE_CACHE_DIR": str(folder.parent / "cache")}
    ran = run_here(*line, cwd=folder, env={**terminal, **cache, "LC_ALL": locale})
    return re.sub(r"\x1b\[[0-9;]*[a-zA-Z]", "", ran.out + ran.err)


@pytest.mark.parametrize("locale", ["C.UTF-8", "POSIX"])
@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("lines", [HELP, SCREENS], ids=["help", "screens"])
def test_every_screen_fits(folder: Path, lines: Sequence[Sequence[str]], width: int, locale: str) -> None:
    for line in lines:
        shown = screen(line, folder, width, locale)
        assert shown.strip(), line
        for text in shown.splitlines():
            # one word is never cut: it may be a path; and a command is pasted as one line
            is_whole = max(map(len, text.split()), default=0) > width // 2 or "scythe " in text
            is_whole = is_whole or text.startswith(("error: ", "hint: ", "note: "))
            assert len(text) <= width or is_whole, (line, text)
        if locale == "POSIX":
            assert shown.isascii(), (line, [text for text in shown.splitlines() if not text.isascii()])
        for command in re.findall(r"`(scythe[^`]*)`", shown) if "--help" not in line else ():
            assert "\n" not in command, (line, command)
            assert "…" not in command, (line, command)


@pytest.mark.parametrize("locale", ["C.UTF-8", "POSIX"])
def test_counts_of_states_are_whole_on_the_narrowest_screen(folder: Path, locale: str) -> None:
    shown = screen(["status"], folder, 40, locale)
    assert re.search(r"^succeeded +\d+ .* \d+\.\d %$", shown, re.MULTILINE), shown
    assert re.search(r"^total +\d+", shown, re.MULTILINE), shown


def test_help_is_as_wide_as_the_terminal_up_to_100_columns(folder: Path) -> None:
    widths = [max(map(len, screen(["sample", "--help"], folder, n, "C.UTF-8").splitlines())) for n in (40, 80, 300)]
    assert widths[0] < 40 < widths[1] < 80 < widths[2] < 100


def test_global_options_are_listed_once(folder: Path) -> None:
    assert "--storage LOCATION" in screen(["--help"], folder, 80, "C.UTF-8")
    shown = screen(["status", "--help"], folder, 80, "C.UTF-8")
    assert shown.splitlines()[-1] == "Global options: --config --storage --json -q -v -h; see `scythe --help`."


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("short", ["short"]),
        ("one two three four five", ["one two", "three four", "five"]),
        ("folder  runs/squares/v1.0.0/stamp", ["folder", "runs/squares/v1.0.0/stamp"]),
        ("runs/squares/v1.0.0/stamp and more", ["runs/squares/v1.0.0/stamp", "and more"]),
        ("", [""]),
        ("  indented text\nnext", ["  indented", "  text", "next"]),
        ("    at /my own/tank.py:36 in simulate", ["    at /my own/tank.py:36 in simulate"]),
    ],
)
def test_words_are_never_cut(text: str, lines: list[str]) -> None:
    assert wrapped(text, 12).plain.split("\n") == lines


def test_signs_of_bars_and_frames_are_as_wide_as_before() -> None:
    assert all(len(plain) == 1 for sign, plain in PLAIN.items() if "\u2500" <= sign <= "\u259f")
    assert all(plain.isascii() for plain in PLAIN.values())


def test_what_users_wrote_stays_as_it_is_in_a_pipe(with_runs: Path) -> None:
    ran = run_here("results", "fetch", "--quiet", "-o", "ç", "-t", "scalars", env={"LC_ALL": "POSIX"})
    assert ran.out == "ç/scalars.pq\n"
