"""What an experiment's code is: the source files of the project that its function comes to, each with a hash.

The files are found by following imports in the source, also those inside of functions, as far as they stay in the
project's folder; what is installed is not followed. A hash is one of the syntax tree, so that comments and layout do
not count. Data files that code reads, and names that are imported by `importlib`, are not seen.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from scythe_cli.model.experiment import RegisteredExperiment

__all__ = ["code_of", "differing_code"]


_INSTALLED = frozenset({"site-packages", "dist-packages", ".venv", "venv", "node_modules", "__pycache__"})


def code_of(experiment: RegisteredExperiment[Any, Any], root: Path) -> dict[str, str] | None:
    """The source files of an experiment.

    Args:
        experiment: The experiment.
        root: The project's folder.

    Returns:
        From the path of each file, seen from `root` where it lies below, to the first 16 digits of a SHA-256 of its
        syntax tree; None where the function has no source file, as in a notebook, or is a workflow.
    """
    if type(experiment) is not RegisteredExperiment:
        return None  # a workflow of a fleet: its tasks may be anywhere
    entry = _source_of(inspect.unwrap(experiment.fn))
    if entry is None:
        return None
    root = root.resolve()
    todo = [entry]
    for model in (experiment.input_validator_type, experiment.output_validator_type):
        file = _source_of(model)
        if file is not None and _is_own(file, root):
            todo.append(file)
    base = entry.parent if not entry.is_relative_to(root) else root
    hashes: dict[str, str] = {}
    while todo:
        file = todo.pop()
        name = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
        if name in hashes:
            continue
        try:
            stat = file.stat()
            hashes[name], imports = _read(file, stat.st_mtime_ns, stat.st_size)
        except OSError:
            continue
        todo += [found for found in _imported(imports, file, base) if _is_own(found, base)]
    return dict(sorted(hashes.items()))


def differing_code(now: dict[str, str] | None, then: dict[str, str] | None) -> list[str] | None:
    """The files that are not the same in both; None where one of the two is not known."""
    if now is None or then is None:
        return None
    return sorted(name for name in {*now, *then} if now.get(name) != then.get(name))


def _source_of(thing: Any) -> Path | None:
    try:
        file = inspect.getsourcefile(thing)
    except TypeError:
        return None
    path = Path(file).resolve() if file is not None else None
    return path if path is not None and path.is_file() else None


def _is_own(file: Path, base: Path) -> bool:
    return file.is_relative_to(base) and not _INSTALLED & set(file.relative_to(base).parts)


_Import = ast.Import | ast.ImportFrom


@lru_cache(maxsize=1024)
def _read(file: Path, mtime_ns: int, size_bytes: int) -> tuple[str, tuple[_Import, ...]]:
    """The hash of a file, and the imports in it."""
    del mtime_ns, size_bytes  # they tell when the file is another one
    source = file.read_bytes()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return hashlib.sha256(source).hexdigest()[:16], ()
    imports = tuple(node for node in ast.walk(tree) if isinstance(node, _Import))
    return hashlib.sha256(ast.dump(tree, annotate_fields=False).encode()).hexdigest()[:16], imports


def _imported(imports: Sequence[_Import], file: Path, base: Path) -> Iterator[Path]:
    """The files that a module imports, as far as they are below `base`."""
    package = file.parent.relative_to(base).parts if file.is_relative_to(base) else ()
    for node in imports:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files_of(base, alias.name.split("."))
        else:
            up = len(package) - node.level + 1
            if node.level and up < 0:
                continue
            prefix = list(package[:up]) if node.level else []
            parts = prefix + (node.module.split(".") if node.module else [])
            yield from _files_of(base, parts)
            for alias in node.names:
                yield from _files_of(base, [*parts, alias.name])


def _files_of(base: Path, parts: list[str]) -> Iterator[Path]:
    """The file of a module, and those of the packages around it."""
    # relative imports begin with the folder `src` already, where there is one
    for folder in (base, base / "src"):
        yield from _files_in(folder, parts)


def _files_in(folder: Path, parts: list[str]) -> Iterator[Path]:
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        module = folder / f"{part}.py"
        if last and module.is_file():
            yield module.resolve()
        folder = folder / part
        init = folder / "__init__.py"
        if init.is_file():
            yield init.resolve()
