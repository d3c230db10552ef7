"""Somebody who does what a page says: its blocks are run, parsed or applied, in order."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shlex
import shutil
import textwrap
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from scythe_cli.cli.app import app
from scythe_cli.config.schema import load_config
from scythe_cli.registry import ExperimentRegistry

from .blocks import Block
from .expected import difference
from .setups import forget_modules
from .terminal import run_app_at_terminal, run_at_terminal

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])

AT_A_TERMINAL = {"README.md", "tutorial.md"}
"""Pages that show what a terminal shows; of others, tables are as wide as they are."""

DONE = {"python3 -m venv .venv", ". .venv/bin/activate", "pip install scythe-experiments"}
"""Commands that set up what is there when tests run."""


class Reader:
    """Somebody who does what a page says, from its beginning to its end."""

    def __init__(self, page: Path, names: dict[str, object]) -> None:
        self.page = page
        self.names = names

    def read(self, block: Block) -> None:
        """Do what one block says."""
        kinds: dict[str, Callable[[Block], None]] = {
            "python": self._python,
            "console": self._console,
            "bash": self._bash,
            "toml": self._toml,
            "yaml": self._yaml,
            "json": self._json,
            "csv": self._csv,
            "diff": self._diff,
            "text": self._text,
        }
        if block.language not in kinds:
            pytest.fail(f"the language {block.language!r} of a block is none of {', '.join(kinds)}")
        kinds[block.language](block)

    def _python(self, block: Block) -> None:
        if block.title:
            _write(block)
            return
        ExperimentRegistry.clear()
        forget_modules()
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(textwrap.dedent(block.text), f"{self.page.name}:{block.line}", "exec"), self.names)

    def _console(self, block: Block) -> None:
        for line, expected in block.commands:
            words = shlex.split(line, comments=True)
            if " ".join(words) in DONE:
                continue
            if words[0] == "cd":
                os.chdir(words[1])
            elif words[0] == "make":
                assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line
            elif words[:2] == ["pip", "install"]:
                self._known_extra(words[2])
            elif words[:4] == ["uv", "run", "python", "-m"]:
                assert list(ROOT.glob(words[4].replace(".", "/") + "*")), line
            else:
                self._run(line, expected if block.compared else [])

    def _run(self, line: str, expected: list[str]) -> None:
        at_terminal = self.page.name in AT_A_TERMINAL
        code, out = _run(line, at_terminal=at_terminal)
        # 1 is the answer of a run with failures, and of a diff that differs
        assert code in (0, 1), f"{line}\ngave code {code}\n{out}"
        if any(text.strip() for text in expected):
            wrong = difference(expected, out, strict=at_terminal)
            assert wrong is None, f"$ {line}\n{wrong}"
        elif " diff " not in line:
            assert code == 0, f"{line}\ngave code {code}\n{out}"

    def _bash(self, block: Block) -> None:
        shown = run_at_terminal(f"set -eu\n{block.text}", cwd=Path.cwd(), env=os.environ)
        assert shown.code == 0, f"{shown.out}{shown.err}"

    def _toml(self, block: Block) -> None:
        if block.title:
            _write(block)
        tomllib.loads(block.text)
        checked = Path("page.toml")
        checked.write_text(block.text, encoding="utf-8")
        load_config(checked)
        checked.unlink()

    def _yaml(self, block: Block) -> None:
        assert yaml.safe_load(block.text) is not None

    def _json(self, block: Block) -> None:
        json.loads(block.text)

    def _csv(self, block: Block) -> None:
        rows = list(csv.reader(block.text.splitlines()))
        assert {len(row) for row in rows} == {len(rows[0])}
        if block.title:
            _write(block)

    def _text(self, block: Block) -> None:
        if block.title:
            _write(block)

    def _diff(self, block: Block) -> None:
        if block.title is None:
            return
        lines = block.text.splitlines()
        before, after = ("".join(f"{line[1:]}\n" for line in lines if not line.startswith(sign)) for sign in ("+", "-"))
        file = Path(block.title)
        text = file.read_text(encoding="utf-8")
        assert text.count(before) == 1, f"{file} does not have these lines once:\n{before}"
        file.write_text(text.replace(before, after), encoding="utf-8")

    def _known_extra(self, requirement: str) -> None:
        found = re.fullmatch(r"(?:scythe-experiments|\.)\[(\w+)\]", requirement)
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert found, requirement
        assert found[1] in extras, requirement


def _without_missing_programs(line: str) -> str:
    """A pipe up to the first program that this machine does not have, such as jq."""
    words = shlex.split(line, comments=True)
    for at, word in enumerate(words):
        if word == "|" and shutil.which(words[at + 1]) is None:
            return shlex.join(words[:at])
    return line


def _screen(code: int, out: str, err: str) -> str:
    """What stays on the screen: progress does not, notes do."""
    notes = [line for line in err.splitlines(keepends=True) if line.startswith(("note: ", "warning: "))]
    return out + "".join(notes) if code == 0 or (code == 1 and out) else out + err


def _run(line: str, *, at_terminal: bool) -> tuple[int, str]:
    """Run a command line of `scythe` in this process, which saves the time of a start; anything else in a shell."""
    line = _without_missing_programs(line)
    words = shlex.split(line, comments=True)
    if words[0] != "scythe" or {"|", ">", "&&", ";"} & set(words):
        shown = run_at_terminal(line, cwd=Path.cwd(), env=os.environ)
        return shown.code, _screen(shown.code, shown.out, shown.err)
    ExperimentRegistry.clear()
    forget_modules()
    if at_terminal:
        shown = run_app_at_terminal(words[1:])
        return shown.code, _screen(shown.code, shown.out, shown.err)
    result = CliRunner().invoke(app, words[1:])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, _screen(result.exit_code, result.stdout, result.stderr)


def _write(block: Block) -> None:
    assert block.title is not None
    path = Path(block.title)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text, encoding="utf-8")
