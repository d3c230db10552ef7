"""What an experiment's code is: the source files of the project that its function comes to, each with a hash.

The files are found by following imports in the source, also those inside of functions, as far as they stay in the
project's folder; what is installed is not followed. A hash is one of the syntax tree, so that comments and layout do
not count. Data files that code reads, and names that are imported by `importlib`, are not seen.

All specs of a run are to be of one code. So a process that is about to load an experiment looks first whether the files
are still what the run was allocated with: `target_of_code` says what they have to be, `check_sources` looks.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from os.path import isdir, isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scythe_cli.errors import CodeChangedError
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.functions.content import content_of, is_importable
from scythe_cli.model.functions.plain import PLAIN, function_name
from scythe_cli.model.functions.reference import ExperimentTarget, target_of

if TYPE_CHECKING:
    from scythe_cli.run.manifest import RunManifest


__all__ = [
    "Source",
    "check_sources",
    "code_hash",
    "code_of",
    "comparable_hash",
    "differing_code",
    "made_by_this_python",
    "raise_if_changed",
    "shared_differences",
    "source_hash",
    "source_of",
    "target_of_code",
    "told_changes",
]


_INSTALLED = frozenset({"site-packages", "dist-packages", ".venv", "venv", "node_modules", "__pycache__"})
_MAX_SOURCE = 100_000


def code_of(experiment: RegisteredExperiment[Any, Any], root: Path | None) -> dict[str, str] | None:
    """The source files of an experiment, each with its hash.

    Args:
        experiment: The experiment.
        root: The project's folder; the working directory where there is none.

    Returns:
        From the path of each file, seen from `root` where it lies below, to the first 16 digits of a SHA-256 of its
        syntax tree; the same for a function that is sent itself, by its name. None for a workflow.
    """
    sources = _sources_of(experiment, Path.cwd() if root is None else root)
    return None if sources is None else {source.name: source.hash for source in sources}


def source_of(fn: Callable[..., Any]) -> str | None:
    """The source text of a function that is in no module, such as one of a notebook; None where it is not known."""
    try:
        return inspect.getsource(inspect.unwrap(fn))[:_MAX_SOURCE]
    except (OSError, TypeError):
        return None


def target_of_code(
    experiment: RegisteredExperiment[Any, Any], root: Path | None, code: Mapping[str, str] | None
) -> ExperimentTarget:
    """Where an experiment is, and what its files have to be where a process is to load it.

    Args:
        experiment: The experiment.
        root: The project's folder; the working directory where there is none.
        code: What `code_of` was when the run was allocated; None where that is not known.

    Raises:
        CodeChangedError: If the files are not what they were then.
        EntrypointError: If the function is not in a module and cannot be pickled.
    """
    target = target_of(experiment, root=root)
    sources = None if code is None else _sources_of(experiment, Path.cwd() if root is None else root)
    if sources is None:
        return target
    raise_if_changed(differing_code({source.name: source.hash for source in sources}, code))
    # what is sent itself is not loaded from its file
    sent = ("", str(_source_of(inspect.unwrap(experiment.fn)))) if target.is_by_value else ("",)
    return replace(target, sources=tuple(source for source in sources if source.path not in sent))


def check_sources(target: ExperimentTarget) -> None:
    """See that the files of an experiment are what they have to be.

    Raises:
        CodeChangedError: If one is not.
    """
    sources = [Source(*source) for source in target.sources]
    raise_if_changed([source.name for source in sources if not _is_still(source)])


def raise_if_changed(files: Sequence[str] | None, hint: str | None = None) -> None:
    """Say that files have changed since a run was allocated, if there are any.

    Raises:
        CodeChangedError: If there are.
    """
    if files:
        raise CodeChangedError(told_changes(files), hint=hint)


def told_changes(files: Sequence[str]) -> str:
    """That files have changed, in words."""
    shown = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
    return f"the code has changed since the run was allocated: {shown}"


def _is_still(source: Source) -> bool:
    path = Path(source.path)
    try:
        stat = path.stat()
        same = (stat.st_mtime_ns, stat.st_size) == (source.mtime_ns, source.size_bytes)
        return same or _read(path, stat.st_mtime_ns, stat.st_size)[0] == source.hash
    except OSError:
        return False


def code_hash(code: Mapping[str, str]) -> str:
    """One hash for all files of a code."""
    return hashlib.sha256(json.dumps(sorted(code.items())).encode()).hexdigest()[:16]


def comparable_hash(code: Mapping[str, str] | None) -> str | None:
    """The same with the version of Python, since each has syntax trees of its own; None where the code is not known."""
    return None if code is None else f"{'.'.join(map(str, sys.version_info[:2]))}:{code_hash(code)}"


def shared_differences(now: Mapping[str, str], then: Mapping[str, str]) -> list[str]:
    """The files that both have under the same name, and that are not the same.

    Projects on two machines need not begin at the same folder: then names differ, and say nothing.
    """
    return sorted(name for name in now.keys() & then.keys() if now[name] != then[name])


class Source(NamedTuple):
    """A source file, or a function that is sent itself.

    Attributes:
        path: Where it is; empty for a function.
        name: The path for people, seen from the project's folder.
        hash: That of its syntax tree.
        mtime_ns: When it was changed last, when this was its hash.
        size_bytes: Its size then.
    """

    path: str
    name: str
    hash: str
    mtime_ns: int
    size_bytes: int


def _sources_of(experiment: RegisteredExperiment[Any, Any], root: Path) -> list[Source] | None:
    """The source files of an experiment, by name; see `code_of`."""
    if type(experiment) is not RegisteredExperiment:
        return None  # a workflow of a fleet: its tasks may be anywhere
    root = root.resolve()
    fn: Any = getattr(experiment.fn, PLAIN, experiment.fn)
    entry = _source_of(inspect.unwrap(experiment.fn))
    models = (experiment.input_validator_type, experiment.output_validator_type)
    sources: dict[str, Source] = {}
    todo: list[Path] = []
    is_plain = fn is not experiment.fn
    if entry is None or "<locals>" in experiment.fn.__qualname__ or (is_plain and not is_importable(fn)):
        content = content_of(fn if is_plain else (fn, *models))
        name = f"{function_name(fn)}()"
        sources[name] = Source("", name, content.hash, 0, 0)
        files = [_source_of(module) for module in content.modules]
        todo += [file for file in files if file is not None and _is_own(file, root)]
    if entry is not None and not (is_plain and sources):
        todo.append(entry)
    files = [_source_of(model) for model in models]
    todo += [file for file in files if not is_plain and file is not None and _is_own(file, root)]
    base = root if entry is None or entry.is_relative_to(root) else entry.parent
    while todo:
        file = todo.pop()
        name = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
        if name in sources:
            continue
        try:
            stat = file.stat()
            digest, imports = _read(file, stat.st_mtime_ns, stat.st_size)
        except OSError:
            continue
        sources[name] = Source(str(file), name, digest, stat.st_mtime_ns, stat.st_size)
        todo += [found for found in _imported(imports, file, base) if _is_own(found, base)]
    return [source for _, source in sorted(sources.items())]


def differing_code(now: Mapping[str, str] | None, then: Mapping[str, str] | None) -> list[str] | None:
    """The files that are not the same in both; None where one of the two is not known."""
    if now is None or then is None:
        return None
    return sorted(name for name in {*now, *then} if now.get(name) != then.get(name))


def _source_of(thing: Any) -> Path | None:
    try:
        file = inspect.getsourcefile(thing)
    except (TypeError, OSError):  # built in, or a class that was typed at the prompt
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
    tree = _tree(source)
    imports = () if tree is None else tuple(node for node in ast.walk(tree) if isinstance(node, _Import))
    return source_hash(source, tree), imports


def _tree(source: bytes) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):
        return None


def source_hash(source: bytes, tree: ast.Module | None = None) -> str:
    """The hash of a source file; of its syntax tree, which may be given, where it is valid Python."""
    tree = tree or _tree(source)
    what = source if tree is None else ast.dump(tree, annotate_fields=False).encode()
    return hashlib.sha256(what).hexdigest()[:16]


def made_by_this_python(manifest: RunManifest) -> bool:
    """Whether hashes in a manifest compare with those made here: each Python has syntax trees of its own."""
    made_by = manifest.provenance.python if manifest.provenance is not None else ""
    return made_by.split(".")[:2] == [str(number) for number in sys.version_info[:2]]


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
        yield from _files_in(str(folder), parts)


def _files_in(folder: str, parts: list[str]) -> Iterator[Path]:
    """The same below one folder, with texts for paths: hundreds of modules are looked for, and most are not there."""
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if last and isfile(module := f"{folder}/{part}.py"):  # noqa: PTH113
            yield Path(module).resolve()
        folder = f"{folder}/{part}"
        if not isdir(folder):  # noqa: PTH112
            return
        if isfile(init := f"{folder}/__init__.py"):  # noqa: PTH113
            yield Path(init).resolve()
