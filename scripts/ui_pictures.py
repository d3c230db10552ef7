"""Makes the pictures of docs/ui.md from the real page, in Chromium.

uv run --no-sync --with pillow python scripts/ui_pictures.py
"""

from __future__ import annotations

import importlib
import io
import json
import math
import random
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures" / "ui"
SCYTHE = [sys.executable, "-m", "scythe_cli.cli"]

MODULE = '''
import time

from pydantic import Field

from scythe_cli import Input, Output, experiment


class Tank(Input):
    """A tank of hot water in a cellar somewhere in Europe."""

    volume: float = Field(ge=100, le=1000, description="Volume [l]")
    insulation: float = Field(ge=20, le=200, description="Thickness of the insulation [mm]")
    lon: float = Field(ge=-9, le=28, description="Longitude [deg]")
    lat: float = Field(ge=37, le=62, description="Latitude [deg]")
    material: str = "steel"


class Losses(Output):
    loss: float = Field(description="Loss of heat at the start [W]")
    final_temperature: float = Field(description="Temperature after two days [degC]")


@experiment
def tank(case: Tank) -> Losses:
    """Loses heat for two days."""
    ambient = 25 - 0.5 * (case.lat - 37) - 0.05 * (case.lon + 9)
    surface = 5.5 * (case.volume / 1000) ** (2 / 3)
    u_value = 0.035 / (case.insulation / 1000) + (0.4 if case.material == "steel" else 0.1)
    time.sleep(0.03 + 0.00005 * surface * case.volume ** 0.8)
    if u_value * surface > 4.4 and ambient < 16:
        raise ArithmeticError(f"the tank is cold after {60 / u_value / surface:.1f} hours")
    rate = u_value * surface / (case.volume * 4.19 / 3.6)
    final = ambient + (60 - ambient) * 2.718281828 ** (-rate * 48)
    return Losses(loss=u_value * surface * (60 - ambient), final_temperature=final)
'''

CONFIG = """
[experiments.tank]
entrypoint = "tanks:tank"

[studies.losses]
experiment = "tank"
set = { volume = "100:500", insulation = "80:200" }
fix = { lon = 5, lat = 45 }
initial = 8
batch = 4
targets = { loss = "rmse <= 1%", final_temperature = "rmse <= 0.2%" }
max_cases = 60
"""

WIDTHS = {400: 900, 1000: 1500, 2000: 1200}
"""Of pictures of cases, with the height; other pages are as high as what they hold, up to 900."""

_PLACES = """([folder, machine]) => {
  const texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode;
    text.data = text.data === machine ? "laptop" : text.data.replaceAll(folder, "/home/me/tanks");
  }
}"""
"""What is on the pictures is of no machine."""


def main() -> None:
    """Run a small experiment and take pictures of its pages, at three widths, in light and dark."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="scythe-pictures-") as name:
        folder = Path(name) / "tanks"
        _project(folder)
        for command in (["allocate", "cases.csv", "--experiment", "tank"], ["study", "losses"]):
            subprocess.run([*SCYTHE, *command, "--quiet"], cwd=folder, check=False)
        page = subprocess.Popen([*SCYTHE, "ui", "--no-browser"], cwd=folder, stdout=subprocess.PIPE)
        try:
            assert page.stdout is not None
            url = page.stdout.readline().decode().strip()
            with sync_playwright() as playwright:
                chromium = shutil.which("chromium") or shutil.which("google-chrome")
                browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                _take(browser, url, folder)
                browser.close()
        finally:
            page.terminate()
            page.wait()


def _project(folder: Path) -> None:
    folder.mkdir()
    (folder / "experiments.toml").write_text(CONFIG)
    (folder / "tanks.py").write_text(MODULE)
    draw = random.Random(3)
    rows = ["volume,insulation,lon,lat,material"]
    for _ in range(400):
        volume, insulation = draw.uniform(100, 1000), math.exp(draw.uniform(math.log(20), math.log(200)))
        place = f"{draw.uniform(-9, 28):.2f},{draw.uniform(37, 62):.2f}"
        rows.append(f"{volume:.0f},{insulation:.0f},{place},{draw.choice(['steel', 'polymer'])}")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")


def _take(browser: Browser, url: str, folder: Path) -> None:
    listed = subprocess.run([*SCYTHE, "runs", "--json"], cwd=folder, check=True, capture_output=True, text=True).stdout
    study, run = (each["experiment_id"] for each in json.loads(listed))
    told = subprocess.run(
        [*SCYTHE, "errors", run, "--json"], cwd=folder, check=False, capture_output=True, text=True
    ).stdout
    failed = json.loads(told)["errors"][0]["sort_index"]
    pages = {
        "cases": f"cases?run={run}&c=%3Astate&w=%7B%22f%22%3A%7B%22insulation%22%3A%5B20%2C70%5D%7D%7D",
        "case": f"case?run={run}&row={failed}",
        "sensitivity": f"sensitivity?run={run}",
        "study": f"study?run={study}",
        "runs": "runs",
    }
    for scheme in ("light", "dark"):
        for width, height in WIDTHS.items():
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            for name, place in pages.items():
                page.goto("about:blank")
                page.goto(f"{url}#{place}")
                page.locator("main h1").wait_for()
                page.locator("main table, main section .facts").first.wait_for()
                page.wait_for_timeout(500)  # what is drawn in the next frame
                page.evaluate(_PLACES, [str(folder), socket.gethostname()])
                shown = page.evaluate("document.querySelector('main').getBoundingClientRect().bottom")
                high = height if name == "cases" else min(900, math.ceil(shown) + 10)
                taken = page.screenshot(clip={"x": 0, "y": 0, "width": width, "height": min(high, height)})
                _keep(taken, PICTURES / f"{name}-{width}{'' if scheme == 'light' else '-dark'}.png")
            context.close()


def _keep(picture: bytes, path: Path) -> None:
    """Write a picture with a palette of 128 colors: a fifth of its size, and nobody sees the difference."""
    pillow: Any = importlib.import_module("PIL.Image")  # which nothing else here needs
    with pillow.open(io.BytesIO(picture)) as image:
        image.convert("RGB").quantize(128, dither=pillow.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
