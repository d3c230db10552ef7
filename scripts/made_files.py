"""Files of the repository that a script makes: written, or only compared with what they should be."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["write_or_check"]

ROOT = Path(__file__).resolve().parent.parent


def write_or_check(script: str, wanted: Mapping[Path, str], present: Iterable[Path], *, made: str) -> int:
    """Write the files, or tell which are not as they should be where the command line says `--check`.

    Args:
        script: The module that makes them.
        wanted: What each file should hold.
        present: The files that the script has made at some time; those that are not wanted any more are removed.
        made: What to say when they are written.

    Returns:
        The exit code.
    """
    stray = set(present) - wanted.keys()
    wrong = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv[1:]:
        for path in sorted([*wrong, *stray]):
            print(f"{path.relative_to(ROOT)} is not what `python -m {script}` writes", file=sys.stderr)
        return 1 if wrong or stray else 0
    for path in stray:
        path.unlink()
    for path in wrong:
        path.parent.mkdir(exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
    print(made)
    return 0
