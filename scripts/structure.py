"""Figures of how the package is built, and the limits that they keep.

    python scripts/structure.py            # prints the figures
    python scripts/structure.py --check    # also names everything that breaks a limit, and then ends with 1

Whether imports point only down is for `lint-imports`, whose contract is in pyproject.toml.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "scythe_cli"

ENGINE_NAMES = frozenset({"local", "hatchet", "slurm"})
ENGINES_ROOM = "engines"
PUBLIC_PACKAGES = frozenset({"testing", "utils"})
"""Folders at the root that are no rooms, but names that programs import."""

HOLD_CODE = frozenset({"cli"})
"""Rooms whose `__init__` holds more than a docstring: the entry point of the command is there."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the package keeps to."""

    root_modules: int = 12
    module_lines: int = 400
    function_lines: int = 60
    room_modules: int = 14


@dataclass(frozen=True, slots=True)
class Function:
    """A function or method.

    Attributes:
        name: With the classes and functions that it is in, such as `Run.status`.
        line: Where its `def` is.
        n_lines: From its `def` to its last line, docstring included and decorators not.
    """

    name: str
    line: int
    n_lines: int


@dataclass(frozen=True, slots=True)
class Module:
    """A module, as its text shows it.

    Attributes:
        path: Its file, from the package's folder on.
        n_lines: Lines of the file.
        docstring: Empty where there is none.
        holds_code: Whether there is more in it than a docstring and `from __future__` imports.
        functions: All of its functions, methods and inner functions included.
        engine_comparisons: Lines on which something is compared with an engine's name.
    """

    path: Path
    n_lines: int
    docstring: str
    holds_code: bool
    functions: tuple[Function, ...]
    engine_comparisons: tuple[int, ...]

    @property
    def is_init(self) -> bool:
        """Whether it is the `__init__` of a package."""
        return self.path.name == "__init__.py"

    @property
    def room(self) -> str:
        """The folder that it is in, such as `analysis/plots`; empty at the root."""
        folder = self.path.parent.as_posix()
        return "" if folder == "." else folder


def read_module(path: Path, text: str) -> Module:
    """A module from its text."""
    tree = ast.parse(text, filename=str(path))
    docstring = ast.get_docstring(tree) or ""
    rest = tree.body[1:] if docstring else tree.body
    return Module(
        path=path,
        n_lines=len(text.splitlines()),
        docstring=docstring,
        holds_code=any(not (isinstance(node, ast.ImportFrom) and node.module == "__future__") for node in rest),
        functions=tuple(_functions(tree, "")),
        engine_comparisons=tuple(sorted({node.lineno for node in ast.walk(tree) if _names_an_engine(node)})),
    )


def read_package(folder: Path) -> list[Module]:
    """All modules of a package, in the order of their paths."""
    files = sorted(folder.rglob("*.py"))
    return [read_module(file.relative_to(folder), file.read_text(encoding="utf-8")) for file in files]


def imports_of(package: str) -> dict[str, set[str]]:
    """What each module imports of its package; imports inside functions and under TYPE_CHECKING count."""
    graph = grimp.build_graph(package, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def circles(imports: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Groups of modules each of which comes back to itself through its imports (Tarjan's algorithm)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    groups: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        path.append(module)
        for imported in sorted(imports.get(module, ())):
            if imported not in order:
                visit(imported)
            if imported in path:
                lowest[module] = min(lowest[module], lowest[imported])
        if lowest[module] == order[module]:
            start = path.index(module)
            if len(path) - start > 1 or module in imports.get(module, ()):
                groups.append(sorted(path[start:]))
            del path[start:]

    for module in sorted(imports):
        if module not in order:
            visit(module)
    return sorted(groups)


def room_sizes(modules: Iterable[Module]) -> dict[str, int]:
    """The number of modules of each room, by its folder; its `__init__` does not count, nor do rooms inside it."""
    sizes: Counter[str] = Counter()
    for module in modules:
        if _is_room(module.room):
            sizes[module.room] += not module.is_init
    return dict(sorted(sizes.items()))


def root_modules(modules: Iterable[Module]) -> list[str]:
    """What is at the root besides rooms: modules, and the packages that programs import."""
    names = {module.path.name for module in modules if not module.room}
    return sorted(names | {module.room for module in modules if module.room in PUBLIC_PACKAGES})


def broken(modules: Collection[Module], imports: Mapping[str, Collection[str]], limits: Limits) -> list[str]:
    """Everything that breaks a limit, one line each."""
    root = root_modules(modules)
    lines: list[str] = []
    if len(root) > limits.root_modules:
        lines.append(f"{len(root)} modules at the root, at most {limits.root_modules}: {', '.join(root)}")
    for room, n in room_sizes(modules).items():
        if n > limits.room_modules:
            lines.append(f"{room}/: {n} modules, at most {limits.room_modules}")
    for module in modules:
        lines += _broken_by(module, limits)
    lines += [f"a circle of {len(group)} modules: {', '.join(group)}" for group in circles(imports)]
    return lines


def _broken_by(module: Module, limits: Limits) -> Iterator[str]:
    path = module.path.as_posix()
    if module.n_lines > limits.module_lines:
        yield f"{path}: {module.n_lines} lines, at most {limits.module_lines}"
    for function in module.functions:
        if function.n_lines > limits.function_lines:
            where = f"{path}:{function.line}: {function.name}"
            yield f"{where} has {function.n_lines} lines, at most {limits.function_lines}"
    if module.path.parts[0] != ENGINES_ROOM:
        for line in module.engine_comparisons:
            yield f"{path}:{line}: a comparison with the name of an engine, outside {ENGINES_ROOM}/"
    if module.is_init and _is_room(module.room):
        if not module.docstring or module.docstring.startswith("TODO"):
            yield f"{path}: no docstring that says what lives in this room and what it may touch"
        if module.holds_code and module.room not in HOLD_CODE:
            yield f"{path}: holds more than a docstring"


def figures(modules: Collection[Module], imports: Mapping[str, Collection[str]], limits: Limits) -> str:
    """The figures as lines of text."""
    longest = max(modules, key=lambda module: module.n_lines)
    home, function = max(
        ((module, function) for module in modules for function in module.functions),
        key=lambda pair: pair[1].n_lines,
    )
    compared = sum(len(m.engine_comparisons) for m in modules if m.path.parts[0] != ENGINES_ROOM)
    sizes = room_sizes(modules)
    lines = [
        f"modules                    {len(modules):,}, of {sum(module.n_lines for module in modules):,} lines",
        f"imports between them       {sum(map(len, imports.values())):,}",
        f"circles of imports         {len(circles(imports))}",
        f"modules at the root        {len(root_modules(modules))} (at most {limits.root_modules})",
        f"longest module             {longest.n_lines} lines (at most {limits.module_lines}): "
        f"{longest.path.as_posix()}",
        f"longest function           {function.n_lines} lines (at most {limits.function_lines}): "
        f"{home.path.as_posix()}: {function.name}",
        f"engines' names compared    {compared} times outside {ENGINES_ROOM}/",
        f"rooms                      {len(sizes)} (at most {limits.room_modules} modules each)",
        *(f"  {room:<24} {n:>2}" for room, n in sizes.items()),
    ]
    return "\n".join(lines)


def _is_room(folder: str) -> bool:
    return bool(folder) and folder.partition("/")[0] not in PUBLIC_PACKAGES


def _functions(node: ast.AST, outer: str) -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        name = outer
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = f"{outer}.{child.name}".lstrip(".")
            if not isinstance(child, ast.ClassDef):
                yield Function(name, child.lineno, (child.end_lineno or child.lineno) - child.lineno + 1)
        yield from _functions(child, name)


def _names_an_engine(node: ast.AST) -> bool:
    """Whether a node compares something with an engine's name: by `==`, `in`, their opposites, or a `case`."""
    if isinstance(node, ast.MatchValue):
        return _holds_name(node.value)
    return isinstance(node, ast.Compare) and any(map(_holds_name, [node.left, *node.comparators]))


def _holds_name(node: ast.expr) -> bool:
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        return any(map(_holds_name, node.elts))
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in ENGINE_NAMES


def main() -> int:
    """Print the figures, and check them."""
    parser = argparse.ArgumentParser(description="Figures of how the package is built.")
    parser.add_argument("--check", action="store_true", help="end with 1 where a limit is broken")
    check = parser.parse_args().check
    modules, imports, limits = read_package(ROOT / PACKAGE), imports_of(PACKAGE), Limits()
    print(figures(modules, imports, limits))
    if not check:
        return 0
    lines = broken(modules, imports, limits)
    for line in lines:
        print(f"error: {line}", file=sys.stderr)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
