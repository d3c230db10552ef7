"""Draws the picture of the front page with the real program: `python -m scripts.make_front`; `make docs` does.

It runs `examples/throw` as README.md and docs/index.md say, in a folder that is thrown away.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.made_files import ROOT

EXAMPLE = ROOT / "examples" / "throw"
PICTURE = ROOT / "docs" / "images" / "flight.svg"
PAGES = (ROOT / "README.md", ROOT / "docs" / "index.md")

_COMMANDS = (
    "allocate cases.csv --function flight:throw",
    f"results plot --x angle --y distance --color ball -o {PICTURE.name}",
)


def main() -> int:
    """Run the example, and write the picture where it is another."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        missing = [command for command in _COMMANDS if f"$ scythe {command}\n" not in text]
        if missing or (EXAMPLE / "flight.py").read_text(encoding="utf-8") not in text:
            print(f"{page.relative_to(ROOT)} does not show what {EXAMPLE.relative_to(ROOT)} does", file=sys.stderr)
            return 1
    with tempfile.TemporaryDirectory(prefix="scythe-front-") as name:
        folder = Path(name) / "throw"
        shutil.copytree(EXAMPLE, folder)
        for command in _COMMANDS:
            subprocess.run(
                [sys.executable, "-m", "scythe_cli.cli", "--quiet", *command.split()], cwd=folder, check=True
            )
        drawn = _without_time((folder / PICTURE.name).read_text(encoding="utf-8"))
    if not PICTURE.exists() or PICTURE.read_text(encoding="utf-8") != drawn:
        PICTURE.write_text(drawn, encoding="utf-8")
    print(f"{PICTURE.relative_to(ROOT)}, from {EXAMPLE.relative_to(ROOT)}")
    return 0


def _without_time(svg: str) -> str:
    """The picture without the time of the run, so that the same program draws the same picture."""
    return re.sub(r"(throw/v1\.0\.0)/\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", r"\1", svg)


if __name__ == "__main__":
    sys.exit(main())
