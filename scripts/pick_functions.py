"""Functions of the package, picked at random: to judge whether folder and file say what each one does.

python scripts/pick_functions.py               # 20 functions; the seed is printed, and picks the same again
python scripts/pick_functions.py --seed 7 -n 5
"""

from __future__ import annotations

import argparse
import ast
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "scythe_cli"


@dataclass(frozen=True, slots=True, order=True)
class Picked:
    """A function or a method.

    Attributes:
        file: Its file, from the package's folder on.
        line: Where its `def` is.
        name: With the class that it is in, if any.
        summary: The first line of its docstring; empty where there is none.
    """

    file: str
    line: int
    name: str
    summary: str


def functions(folder: Path) -> list[Picked]:
    """All functions and methods of a package, but for special methods and functions inside functions."""
    picked: list[Picked] = []
    for file in sorted(folder.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
        for name, node in _named(tree, ""):
            summary = (ast.get_docstring(node) or "").partition("\n")[0]
            picked.append(Picked(file.relative_to(folder).as_posix(), node.lineno, name, summary))
    return sorted(picked)


def _named(node: ast.AST, outer: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _named(child, f"{outer}{child.name}.")
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if not child.name.startswith("__"):
                yield f"{outer}{child.name}", child
        elif not isinstance(child, ast.expr):
            yield from _named(child, outer)


def main() -> int:
    """Pick, and print."""
    parser = argparse.ArgumentParser(description="Functions of the package, picked at random.")
    parser.add_argument("--seed", type=int, default=None, help="picks the same functions again; random by default")
    parser.add_argument("-n", type=int, default=20, help="how many; 20 by default")
    options = parser.parse_args()
    seed = random.randrange(10_000) if options.seed is None else options.seed
    everything = functions(ROOT / PACKAGE)
    print(f"{min(options.n, len(everything))} of {len(everything):,} functions, seed {seed}\n")
    for picked in sorted(random.Random(seed).sample(everything, min(options.n, len(everything)))):
        print(f"{picked.file}:{picked.line}  {picked.name}\n    {picked.summary or '(no docstring)'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
