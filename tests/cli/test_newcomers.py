"""What a newcomer gets wrong: each answer leads to a next command, and that command works."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from scythe_cli.core.distribution import DISTRIBUTION, EXTRAS
from tests.cli.conftest import write_squares
from tests.commands import run_here
from tests.core.test_extras import hide

BESIDE = ("two", "no runs", "broken", "no module", "cut short", "raises", "renamed", "bad toml", "typo in toml")
"""Variants of the project that have no runs."""

FAST = '\n[experiments.fast]\nentrypoint = "work:simulate"\n'


@dataclass(frozen=True)
class Mistake:
    """A command line that is wrong.

    Attributes:
        line: What is typed.
        code: The exit code.
        then: What the answer leads to: a command in backticks, or one whose new words are all in the answer.
        then_code: The exit code of that.
        where: The folder: of the project with two runs, with two experiments, an empty one, and so on.
        told: What else the answer says; enough where the mistake is in a text, and no command mends it.
        lacks: A module that is not installed; the answer says what to install, and then it is.
        path: The folder that comes first on PATH, in the place of the one of this program.
    """

    line: str
    code: int
    then: str
    then_code: int = 0
    where: str = "squares"
    told: str = ""
    lacks: str = ""
    path: str = ""


MISTAKES = [
    # the command
    Mistake("allocte good.csv", 2, "scythe allocate good.csv"),
    Mistake("validat good.csv", 2, "scythe validate good.csv"),
    Mistake("statsu", 2, "scythe status"),
    Mistake("frobnicate", 2, "scythe --help"),
    Mistake("results shwo", 2, "scythe results show"),
    Mistake("results frobnicate", 2, "scythe results --help"),
    Mistake("", 2, "scythe init new", told="scythe init DIR"),
    # an option
    Mistake("status --wach", 2, "scythe status --watch", then_code=1),
    Mistake("results show --tabel steps", 2, "scythe results show --table steps"),
    Mistake("allocate good.csv --workers many", 2, "scythe allocate --help", told="--workers: not a whole number"),
    Mistake("allocate good.csv --bump big", 2, "scythe allocate good.csv --bump major"),
    Mistake("runs --since yesterday", 2, "scythe runs --since 2d"),
    Mistake("results plot -x x -y square --log z", 2, "scythe results plot -x x -y square --log x"),
    Mistake("allocate good.csv --pilot 3", 2, "scythe allocate good.csv --plan --pilot 3"),
    Mistake("allocate good.csv --ignore-code", 2, "scythe allocate good.csv --ignore-code --reuse"),
    Mistake("sample -n 3", 2, "scythe sample --help", told="Missing option '--output'"),
    # the sampling file
    Mistake("allocate", 2, "scythe allocate --help", told="FILE"),
    Mistake("allocate goood.csv", 2, "scythe allocate goood.csv".replace("goood", "good")),
    Mistake("allocate good.parquet", 2, "scythe allocate good.csv"),
    Mistake("validate typo.csv", 3, "scythe experiments squares", told="did you mean 'mode'?"),
    Mistake("validate outside.csv", 3, "scythe validate good.csv", told="less than or equal to 100"),
    Mistake("validate words.csv", 3, "scythe validate good.csv", told="line 2, x: many: not a number"),
    Mistake("validate empty.csv", 3, "scythe validate empty.csv", then_code=3, told="A case is a row below the header"),
    # the experiment
    Mistake("validate good.csv -e square", 2, "scythe validate good.csv -e squares"),
    Mistake("experiments squars", 2, "scythe experiments squares"),
    Mistake("validate good.csv", 2, "scythe validate good.csv -e fast", where="two"),
    # the run
    Mistake("status squars", 2, "scythe status squares"),
    Mistake("status squares/v1.0.1", 2, "scythe status squares/v1.0.0"),
    Mistake("results show v1.0.0", 2, "scythe results show squares/v1.0.0"),
    Mistake("results diff v1.0.0 v9.0.0", 2, "scythe results diff v1.0.0 v1.1.0", then_code=1),
    Mistake("status slow -e squares", 2, "scythe status -e squares"),
    # a row
    Mistake("logs", 2, "scythe logs 0"),
    Mistake("logs squares", 2, "scythe logs squares 0"),
    Mistake("logs squares first", 2, "scythe logs squares 0"),
    Mistake("logs 99", 2, "scythe logs 3", told="rows 0 to 3"),
    Mistake("errors --row 0", 2, "scythe errors"),
    # a table or a column
    Mistake("results show -t step", 2, "scythe results show -t steps"),
    Mistake("results plot -x xx -y square", 2, "scythe results plot -x x -y square"),
    Mistake("results plot -x y", 2, "scythe results plot -x y --table steps"),
    Mistake(
        "results query 'select sqare from scalars'",
        2,
        "scythe results query 'select square from scalars'",
        told="'square'?",
    ),
    # where
    Mistake("status", 2, "scythe allocate good.csv", where="no runs"),
    *(
        Mistake(line, code, "scythe allocate good.csv", where="no runs")
        for line, code in (
            ("runs", 0),
            ("versions", 0),
            ("errors", 2),
            ("retry", 2),
            ("cancel", 2),
            ("verify", 2),
            ("logs 0", 2),
            ("rerun 0", 2),
            ("status --watch", 2),
            ("report -o report.html", 2),
            ("results show", 2),
            ("results plot", 2),
            ("results query 'select 1'", 2),
            ("results fetch -o here", 2),
            ("results diff v1.0.0 v1.1.0", 2),
            ("results show squares", 2),
        )
    ),
    Mistake("allocate good.csv", 3, "scythe init new", where="nothing", told="scythe init"),
    Mistake("experiments --config nowhere.toml", 3, "scythe init new", where="nothing"),
    Mistake("status --storage elsewhere", 2, "scythe runs --storage runs", told="no runs in"),
    # the module
    Mistake("validate good.csv", 3, "scythe doctor", then_code=3, where="broken"),
    Mistake("validate good.csv", 3, "scythe doctor", then_code=3, where="no module"),
    Mistake("validate good.csv", 3, "scythe doctor", then_code=3, where="cut short", told="work.py"),
    Mistake("validate good.csv", 3, "scythe doctor", then_code=3, where="raises", told="no licence"),
    Mistake("validate good.csv", 3, "scythe doctor", then_code=3, where="renamed", told="Did you mean 'simulated'?"),
    Mistake("validate good.csv", 3, "scythe doctor", then_code=3, where="bad toml", told="experiments.toml"),
    Mistake("experiments", 3, "scythe doctor", then_code=3, where="typo in toml", told="did you mean 'workers'?"),
    # what is not installed, until it is
    Mistake("results query 'select 1'", 2, "scythe results query 'select 1'", lacks="duckdb"),
    Mistake("results plot -o plot.svg", 2, "scythe results plot -o plot.svg", lacks="vl_convert"),
    Mistake("results fetch -o all.d --format xlsx", 2, "scythe results fetch -o b --format xlsx", lacks="xlsxwriter"),
    Mistake("sample -n 4 -o new.csv", 2, "scythe sample -n 4 -o new.csv", lacks="scipy"),
    Mistake("validate good.xlsx", 2, "scythe validate good.xlsx", lacks="fastexcel"),
    # another program
    Mistake("doctor", 3, "scythe doctor", path="another", told="another program"),
    Mistake("doctor", 3, "scythe doctor", path="tracker", told="pip uninstall scythe-cli"),
    # the file that is written
    Mistake("results export -o out.doc", 2, "scythe results export -o out.csv", told=".csv"),
    Mistake("results export -o good.csv", 2, "scythe results export -o good.csv --overwrite"),
]


TRIED: set[tuple[str, str]] = set()
"""The commands that answers have led to, with their folders; each is run once, as mistakes of a kind lead to one."""


@pytest.fixture(scope="module")
def folders(squares_with_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One project with runs, and variants of it that lack something."""
    root = tmp_path_factory.mktemp("newcomer")
    folders = {name: root / name for name in ("squares", "nothing", *BESIDE)}
    shutil.copytree(squares_with_runs, folders["squares"])
    for name in BESIDE:
        folders[name].mkdir()
        write_squares(folders[name])
        (folders[name] / "bad.csv").unlink()
        (folders[name] / "nan.csv").unlink()
    folders["nothing"].mkdir()
    (folders["nothing"] / "good.csv").write_text("x\n1\n")
    config = folders["two"] / "experiments.toml"
    config.write_text(config.read_text() + FAST)
    (folders["broken"] / "work.py").write_text("import no_such_package\n")
    (folders["no module"] / "work.py").unlink()
    (folders["cut short"] / "work.py").write_text("def simulate(\n")
    (folders["raises"] / "work.py").write_text("raise RuntimeError('no licence')\n")
    module = folders["renamed"] / "work.py"
    module.write_text(module.read_text().replace("def simulate(", "def simulated("))
    (folders["bad toml"] / "experiments.toml").write_text("[experiments.squares\n")
    config = folders["typo in toml"] / "experiments.toml"
    config.write_text("[scythe]\nworker = 2\n" + config.read_text().replace("[scythe]\n", ""))
    pl.DataFrame({"x": [1.0]}).write_excel(folders["squares"] / "good.xlsx")
    # a command of another program, and the distribution of one that has a package of the same name
    another = folders["squares"] / "another" / "scythe"
    another.parent.mkdir()
    another.write_text("#!/bin/sh\necho tracked\n")
    another.chmod(0o755)
    metadata = folders["squares"] / "tracker" / "scythe_cli-1.2.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: scythe-cli\nVersion: 1.2\n")
    for name, text in (("typo", "x,mod\n1,fine\n"), ("outside", "x\n101\n"), ("words", "x\nmany\n"), ("empty", "x\n")):
        (folders["squares"] / f"{name}.csv").write_text(text)
    return folders


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda each: f"{each.where}: {each.line}")
def test_a_mistake_leads_to_a_command_that_works(
    folders: dict[str, Path], mistake: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCYTHE_CACHE_DIR", str(tmp_path))
    folder = tmp_path / "here"
    shutil.copytree(folders[mistake.where], folder)
    words = shlex.split(mistake.line)

    with pytest.MonkeyPatch.context() as lacking:
        if mistake.lacks:
            hide(lacking, mistake.lacks)
        if mistake.path:
            lacking.setenv("PATH", f"{folder / mistake.path}{os.pathsep}{os.environ['PATH']}")
            lacking.syspath_prepend(folder / mistake.path)
        ran = run_here(*words, cwd=folder)

    answer = ran.err or ran.out
    assert ran.code == mistake.code, answer
    assert mistake.told in answer
    assert "Traceback" not in answer
    if mistake.lacks:
        installed = re.search(r"pip install '([\w-]+)\[(\w+)\]'", answer)
        assert installed is not None, answer
        assert (installed[1], mistake.lacks in EXTRAS[installed[2]]) == (DISTRIBUTION, True)
    commands = re.findall(r"`(scythe [^`]+)`", answer)
    if mistake.then not in commands:
        new = set(shlex.split(mistake.then)[1:]) - set(words)
        missing = [word for word in new if not any(part in answer for part in {word, word.rpartition("/")[2]})]
        assert not missing or commands or mistake.told, f"{missing} not in:\n{answer}"
    if (mistake.where, mistake.then) not in TRIED:
        then = run_here(*shlex.split(mistake.then)[1:], cwd=folder)
        assert then.code == mistake.then_code, then.err
        TRIED.add((mistake.where, mistake.then))


def test_without_a_terminal_nothing_moves(folders: dict[str, Path], tmp_path: Path) -> None:
    """Neither a cursor nor a question: the output of a job at night is read as text, and nobody answers."""
    folder = tmp_path / "here"
    shutil.copytree(folders["squares"], folder)
    for line, code in (("allocate good.csv", 0), ("status --watch", 0), ("retry squares", 0), ("results show", 0)):
        ran = run_here(*line.split(), cwd=folder, env={"SCYTHE_CACHE_DIR": str(tmp_path / "cache")})
        assert ran.code == code, ran.err
        assert not re.search(r"[\x1b\r\b]", ran.out + ran.err), line
