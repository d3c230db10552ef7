"""Makes the pictures of docs/ui.md from the real page, in Chromium.

python scripts/ui_pictures.py
"""

from __future__ import annotations

import json
import math
import random
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures" / "ui"
SCYTHE = [sys.executable, "-m", "scythe_cli.cli"]

MODULE = '''
from pydantic import Field

from scythe_cli import Input, Output, experiment


class Tank(Input):
    """A tank of hot water."""

    volume: float = Field(description="Volume [l]")
    insulation: float = Field(description="Thickness of the insulation [mm]")
    ambient: float = Field(description="Temperature of the room [degC]")
    material: str


class Losses(Output):
    loss: float = Field(description="Loss of heat at the start [W]")
    final_temperature: float = Field(description="Temperature after two days [degC]")


@experiment
def tank(case: Tank) -> Losses:
    """Loses heat for two days."""
    surface = 5.5 * (case.volume / 1000) ** (2 / 3)
    u_value = 0.035 / (case.insulation / 1000) + (0.4 if case.material == "steel" else 0.1)
    if u_value * surface > 4.4 and case.ambient < 8:
        raise ArithmeticError(f"the tank is cold after {60 / u_value / surface:.1f} hours")
    rate = u_value * surface / (case.volume * 4.19 / 3.6)
    final = case.ambient + (60 - case.ambient) * 2.718281828 ** (-rate * 48)
    return Losses(loss=u_value * surface * (60 - case.ambient), final_temperature=final)
'''


def main() -> None:
    """Run a small experiment and take its pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="scythe-pictures-") as name:
        folder = Path(name) / "tanks"
        _project(folder)
        subprocess.run([*SCYTHE, "allocate", "cases.csv", "--quiet"], cwd=folder, check=False)
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
    (folder / "experiments.toml").write_text('[experiments.tank]\nentrypoint = "tanks:tank"\n')
    (folder / "tanks.py").write_text(MODULE)
    draw = random.Random(3)
    rows = ["volume,insulation,ambient,material"]
    for _ in range(400):
        volume, insulation = draw.uniform(100, 1000), math.exp(draw.uniform(math.log(20), math.log(200)))
        rows.append(f"{volume:.0f},{insulation:.0f},{draw.uniform(0, 25):.1f},{draw.choice(['steel', 'polymer'])}")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")


def _take(browser: Browser, url: str, folder: Path) -> None:
    run = next((folder / "runs" / "tank" / "v1.0.0").iterdir()).relative_to(folder / "runs").as_posix()
    listed = subprocess.run(
        [*SCYTHE, "errors", "--json"], cwd=folder, check=False, capture_output=True, text=True
    ).stdout
    failed = json.loads(listed)["errors"][0]["sort_index"]
    cases = f"#cases?run={run}&c=%3Astate&w=%7B%22f%22%3A%7B%22insulation%22%3A%5B20%2C70%5D%7D%7D"
    for name, width, height, dark, place in (
        ("cases-1000", 1000, 1100, False, cases),
        ("cases-2000", 2000, 1100, False, cases),
        ("cases-400-dark", 400, 900, True, cases),
        ("case-1000", 1000, 900, False, f"#case?run={run}&row={failed}"),
        ("case-400", 400, 900, False, f"#case?run={run}&row={failed}"),
    ):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        page = context.new_page()
        page.goto(url + place)
        page.locator("main h1", has_text=run).wait_for()
        if place == cases:
            page.locator("table tbody tr").first.wait_for()
        page.wait_for_timeout(300)
        page.screenshot(path=PICTURES / f"{name}.png")
        context.close()


if __name__ == "__main__":
    main()
