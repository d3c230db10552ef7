"""How much an installation takes: `python scripts/sizes.py [--json FILE] [core] [all]`.

Each part is installed twice into environments that are thrown away. uv tells what is on the disk afterwards; pip what
is downloaded, and how many distributions it tries on its way to versions that go together. Both use their caches, so
times are those of a second installation on the same machine.

A worker's image is the core beside Python and a small Debian. It is not built here: its size is the sum of the core, of
this Python without its own tests, and of the packages that every Debian has, as dpkg counts them.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
UV = ROOT / "scripts" / "uv"
MB = 1_000_000
PARTS = {"core": "", "all": "[all]"}

_FETCHED = re.compile(r"(?:Downloading|Using cached) (\S+?\.(?:whl|tar\.gz))(?:\.metadata)? \(")
_LEFT_OUT = {"__pycache__", "ensurepip", "idlelib", "site-packages", "test", "tests"}
"""What the Python of a small image does not have; site-packages is counted as the core."""


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all parts unless some are named")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    figures: dict[str, Any] = {"python": sys.version.split()[0]}
    with tempfile.TemporaryDirectory(prefix="scythe-sizes-") as name:
        folder = Path(name)
        _run(UV, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT)
        (wheel,) = folder.glob("*.whl")
        for part in options.parts or PARTS:
            figures[part] = {**_with_uv(wheel, part, folder), **_with_pip(wheel, part, folder)}
    if "core" in figures:
        figures["image"] = _image(figures["core"]["without_unused_mb"])
    for part in (part for part in PARTS if part in figures):
        f = figures[part]
        print(
            f"{part:5} {f['installed_mb']:,} MB installed, {f['download_mb']:,} MB to download, "
            f"{f['packages']} packages, {f['tried']} tried by pip {f['pip']}; "
            f"{f['uv_s']} s with uv, {f['pip_s']} s with pip"
        )
    if "image" in figures:
        print("image " + ", ".join(f"{what} {size} MB" for what, size in figures["image"].items()) + " (not built)")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def _with_uv(wheel: Path, part: str, folder: Path) -> dict[str, Any]:
    environment = folder / f"uv-{part}"
    _run(UV, "venv", "--quiet", "--python", sys.executable, environment)
    start = time.monotonic()
    _run(UV, "pip", "install", "--quiet", "--python", environment / "bin" / "python", f"{wheel}{PARTS[part]}")
    seconds = time.monotonic() - start
    files = [path for path in environment.rglob("*") if path.is_file() and not path.is_symlink()]
    n_packages = len(list(environment.glob("lib/python*/site-packages/*.dist-info")))
    size = sum(path.stat().st_size for path in files)
    unused = sum(path.stat().st_size for path in files if _is_unused(path))
    return {
        "installed_mb": round(size / MB),
        "without_unused_mb": round((size - unused) / MB),
        "packages": n_packages,
        "uv_s": round(seconds),
    }


def _is_unused(path: Path) -> bool:
    """Whether the Dockerfile in docs/fleet.md removes a file."""
    return bool({"tests", "include"} & set(path.parent.parts)) or path.name.startswith("libarrow_flight.so")


def _with_pip(wheel: Path, part: str, folder: Path) -> dict[str, Any]:
    environment, downloads = folder / f"pip-{part}", folder / f"downloads-{part}"
    _run(sys.executable, "-m", "venv", environment)
    python = environment / "bin" / "python"
    version = _run(python, "-m", "pip", "--version").split()[1]
    start = time.monotonic()
    told = _run(python, "-m", "pip", "download", "--no-input", "--dest", downloads, f"{wheel}{PARTS[part]}")
    seconds = time.monotonic() - start
    size = sum(path.stat().st_size for path in downloads.iterdir())
    tried = len(set(_FETCHED.findall(told))) + 1  # the wheel itself is a file
    return {"download_mb": round(size / MB), "tried": tried, "pip": version, "pip_s": round(seconds)}


def _image(core_mb: int) -> dict[str, int]:
    """The parts of an image, in MB; without Debian where this is none."""
    base = Path(sys.base_prefix)
    library = base / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    parts = [path for path in library.rglob("*") if not _LEFT_OUT & set(path.relative_to(library).parts)]
    shared = [*base.glob("lib/libpython*.so*"), *base.glob(f"bin/python{sys.version_info.major}.*")]
    files = {path.resolve() for path in [*parts, *shared] if path.is_file() and path.suffix != ".a"}
    image = {"core": core_mb, "Python": round(sum(path.stat().st_size for path in files) / MB)}
    try:
        told = _run("dpkg-query", "--show", "--showformat=${Priority} ${Essential} ${Installed-Size}\n")
    except (OSError, subprocess.CalledProcessError):
        return image
    lines = [line.split() for line in told.splitlines()]
    image["Debian"] = round(sum(int(size) for *kind, size in lines if "required" in kind or "yes" in kind) * 1024 / MB)
    return {**image, "together": sum(image.values())}


def _run(*command: str | Path) -> str:
    done = subprocess.run(list(command), capture_output=True, text=True, check=False, cwd=tempfile.gettempdir())
    if done.returncode:
        sys.stderr.write(done.stderr)
        done.check_returncode()
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
