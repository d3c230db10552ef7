"""How long it takes from an empty folder to a first picture: `python scripts/first_minutes.py [--with pip]`.

The wheel is at hand, and so are the packages that it needs, in the cache of uv or pip: of two runs, the second counts.
It makes an environment, installs `[all]`, and runs `scythe init`, `scythe allocate` and `scythe results plot`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = ROOT / "scripts" / "uv"
LIMIT_S = 120


def main() -> int:
    """Do each step, and say how long it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("--with", dest="installer", choices=["uv", "pip"], default="uv")
    options = parser.parse_args()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("SCYTHE_", "PYTHON"))}
    with tempfile.TemporaryDirectory(prefix="scythe-first-") as name:
        folder = Path(name)
        _run(UV, "build", "--quiet", "--wheel", "--out-dir", folder / "wheel", ROOT, cwd=folder, environ=environ)
        (wheel,) = (folder / "wheel").glob("*.whl")
        empty = folder / "empty"
        empty.mkdir()
        python, scythe = empty / ".venv" / "bin" / "python", empty / ".venv" / "bin" / "scythe"
        if options.installer == "uv":
            make = [UV, "venv", "--quiet", "--python", sys.executable, ".venv"]
            install = [UV, "pip", "install", "--quiet", "--python", python, f"{wheel}[all]"]
        else:
            make = [sys.executable, "-m", "venv", ".venv"]
            install = [python, "-m", "pip", "install", "--quiet", f"{wheel}[all]"]
        project = empty / "heating"
        plot = ["results", "plot", "--x", "u_wall", "--y", "heating", "--color", "climate", "-o", "heating.png"]
        steps: list[tuple[str, list[str | Path], Path]] = [
            ("environment", make, empty),
            ("install", install, empty),
            ("init", [scythe, "init", "heating"], empty),
            ("allocate", [scythe, "allocate", "cases.csv"], project),
            ("plot", [scythe, *plot], project),
        ]
        begin = time.monotonic()
        for what, command, cwd in steps:
            start = time.monotonic()
            _run(*command, cwd=cwd, environ=environ)
            print(f"{what:12} {time.monotonic() - start:6.1f} s", flush=True)
        whole = time.monotonic() - begin
        size = (project / "heating.png").stat().st_size
    print(f"{'together':12} {whole:6.1f} s, of {LIMIT_S} s; a picture of {size / 1000:.0f} kB")
    return 0 if whole < LIMIT_S else 1


def _run(*command: str | Path, cwd: Path, environ: dict[str, str]) -> None:
    subprocess.run(list(command), cwd=cwd, env=environ, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
