"""A project with a finished run and one that waits, the page of both, and Debian's Chromium to look at it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.watching import watch
from tests.commands import run_here

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

MODULE = '''
import time
from pathlib import Path

from scythe_cli import Input, Output, experiment


class Case(Input):
    width: float
    kind: str = "oak"


class Answer(Output):
    strength: float


@experiment
def beam(case: Case) -> Answer:
    """Waits for a file where it is told to."""
    while case.width > 20 and not Path(GO).exists():
        time.sleep(0.05)
    if case.width > 36:
        raise ValueError(f"<b>too wide</b>: {case.width}")
    return Answer(strength=case.width**2)
'''


@dataclass
class Served:
    """The page of a project.

    Attributes:
        url: Its address.
        folder: The project.
        going: The process that allocates the run that waits.
    """

    url: str
    folder: Path
    going: subprocess.Popen[bytes]

    def let_go(self) -> None:
        """Let the cases that wait go on, to the end of their run."""
        (self.folder / "go").touch()
        self.going.wait(60)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page, in a process of its own."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (`apt-get install chromium`)")
    folder = tmp_path_factory.mktemp("page")
    (folder / "experiments.toml").write_text('[scythe]\nworkers = 2\n[experiments.beam]\nentrypoint = "work:beam"\n')
    (folder / "work.py").write_text(MODULE.replace("GO", repr(str(folder / "go"))))
    rows = [f"{width},{'oak' if width % 2 else 'pine'}" for width in range(1, 41)]
    (folder / "few.csv").write_text("\n".join(["width,kind", *rows[:12]]))
    (folder / "all.csv").write_text("\n".join(["width,kind", *rows]))
    env = {"SCYTHE_CACHE_DIR": str(folder / "cache")}
    scythe = [sys.executable, "-m", "scythe_cli.cli"]
    quiet = {"cwd": folder, "env": {**os.environ, **env}, "stderr": subprocess.DEVNULL}
    # it starts while the first run is made
    page = subprocess.Popen([*scythe, "ui", "--no-browser"], stdout=subprocess.PIPE, **quiet)
    assert page.stdout is not None
    running = [page]
    try:
        assert run_here("allocate", "few.csv", "--quiet", cwd=folder, env=env).code == 0
        going = subprocess.Popen([*scythe, "allocate", "all.csv", "--quiet"], stdout=subprocess.DEVNULL, **quiet)
        running.append(going)
        yield Served(page.stdout.readline().decode().strip(), folder, going)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(30)
        page.stdout.close()


@pytest.fixture(scope="module")
def chromium() -> Generator[Browser]:
    """A browser without a window."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (`apt-get install chromium`)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser, served: Served) -> Generator[Page]:
    """A page that has said nothing to the console at the end, and asked no other machine."""
    context = chromium.new_context(viewport={"width": 1000, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    said, asked = watch(page)
    page.set_default_timeout(20_000)
    yield page
    context.close()
    # the browser tells each answer that refuses something
    assert not [text for text in said if "the server responded with a status of 4" not in text]
    origin = re.match(r"http://[^/]+/", served.url)
    assert origin is not None
    assert all(url.startswith((origin[0], "blob:")) for url in asked)
