"""What is packed of the project beside a run, so that its cases can be run again elsewhere.

A run keeps the hashes of its source files and not the files. They are taken from the project's folder as far as they
are still the same, else from the git commit that the run was allocated at, and else they are left out, which is said.
"""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, cast

from scythe_cli.config.file import read_config
from scythe_cli.core.distribution import DISTRIBUTION
from scythe_cli.core.files import open_regular
from scythe_cli.errors import UsageError
from scythe_cli.executor.code import made_by_this_python, source_hash
from scythe_cli.run.manifest import RunManifest
from scythe_cli.storage.base import check_key

__all__ = ["ProjectFiles", "included_files", "project_files", "required_packages"]


_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_OF_CLUSTERS = frozenset({"slurm"})
_GIT_TIMEOUT_S = 30


@dataclass(slots=True)
class ProjectFiles:
    """The files of a project.

    Attributes:
        files: Their content, by their path in the project.
        sources: Those of them that are the code of the run.
        missing: Source files of the run that could not be had as they were.
        notices: What should be said of them.
    """

    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    sources: list[str] = field(default_factory=list[str])
    missing: list[str] = field(default_factory=list[str])
    notices: list[str] = field(default_factory=list[str])


def project_files(manifest: RunManifest, experiment: str, root: Path, config: Path | None) -> ProjectFiles:
    """The source files, configuration and package versions of a run.

    Args:
        manifest: The run's manifest.
        experiment: The name of its folder.
        root: The project's folder.
        config: Its configuration file; None where there is none.
    """
    found = ProjectFiles()
    _add_sources(found, manifest, root)
    document = {} if config is None else read_config(config)
    found.files["experiments.toml"] = _configuration(document, experiment, manifest)
    packages = {} if manifest.provenance is None else manifest.provenance.packages
    lines = required_packages((found.files[name] for name in found.sources), packages)
    found.files["requirements.txt"] = "".join(f"{line}\n" for line in lines).encode()
    return found


def _add_sources(found: ProjectFiles, manifest: RunManifest, root: Path) -> None:
    for name, digest in (manifest.code or {}).items():
        if not name.endswith(".py"):  # a function that is in no module, by its name
            found.missing.append(name)
            continue
        source = _source(root, name, digest, manifest)
        if source is None:
            found.missing.append(name)
        else:
            found.files[name] = source
            found.sources.append(name)
            _add_packages(found, root, name, manifest.code or {})
    if found.missing:
        shown = ", ".join(found.missing[:3]) + (f" and {len(found.missing) - 3} more" if found.missing[3:] else "")
        found.notices.append(f"packed without {shown}, which is not available as it was when the run was allocated")
    elif found.sources and not made_by_this_python(manifest):
        found.notices.append("whether the code has changed since is not known: another version of Python ran it")


def _add_packages(found: ProjectFiles, root: Path, name: str, code: Mapping[str, str]) -> None:
    """Add what makes packages of the folders that a module is in, as far as the run has no hashes of them."""
    for folder in list(PurePosixPath(name).parents)[:-1]:
        init = f"{folder}/__init__.py"
        data = None if init in code else _read_below(root, init)
        if data is not None:
            found.files.setdefault(init, data)


def _source(root: Path, name: str, digest: str, manifest: RunManifest) -> bytes | None:
    """A source file as the run had it; None where that cannot be had."""
    known = made_by_this_python(manifest)
    commit = None if manifest.provenance is None else manifest.provenance.git_commit
    here = _read_below(root, name)
    if here is not None and (not known or source_hash(here) == digest):
        return here
    then = None if commit is None else _of_commit(root, commit, name)
    return then if then is not None and known and source_hash(then) == digest else None


def _read_below(root: Path, name: str) -> bytes | None:
    try:
        with open_regular(root / check_key(name), follow=True) as file:
            return file.read()
    except (OSError, ValueError):
        return None


def _of_commit(root: Path, commit: str, name: str) -> bytes | None:
    """A file as a git commit has it: the bare content, without filters, hooks or a network."""
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(root), "cat-file", "blob", f"{commit}:./{name}"]
    environment = {**os.environ, "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(command, capture_output=True, timeout=_GIT_TIMEOUT_S, check=False, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def included_files(root: Path, include: Sequence[str | Path]) -> dict[str, Path]:
    """Further files of the project that its code reads, by their path in the project.

    Raises:
        UsageError: If one is not there, or lies outside of the project.
    """
    files: dict[str, Path] = {}
    base = root.resolve()
    for each in include:
        path = (root / each).resolve()
        if not path.is_relative_to(base):
            raise UsageError(f"--include {each}: it is not in the folder of the project, {root}")
        inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        if not inside or not inside[0].is_file():
            raise UsageError(f"--include {each}: there is no such file")
        files |= {p.relative_to(base).as_posix(): p for p in inside if p.resolve().is_relative_to(base)}
    return files


def _configuration(document: Mapping[str, Any], experiment: str, manifest: RunManifest) -> bytes:
    """experiments.toml with what it says of one experiment; what is about clusters and storages is left out."""
    experiments: Any = document.get("experiments")
    tables = {
        name: cast("dict[str, Any]", table)
        for name, table in (cast("dict[str, Any]", experiments) if isinstance(experiments, dict) else {}).items()
        if isinstance(table, dict)
    }
    same = [name for name, table in tables.items() if table.get("entrypoint") == manifest.entrypoint]
    name = experiment if experiment in tables else same[0] if len(same) == 1 else None
    lines = ["[scythe]", 'storage = "../runs"']
    scythe: Any = document.get("scythe")
    tokens: Any = cast("dict[str, Any]", scythe).get("tokens") if isinstance(scythe, dict) else None
    if tokens:
        lines.append(f"tokens = {_toml(tokens)}")
    if name is not None:
        kept = {key: value for key, value in tables[name].items() if key not in _OF_CLUSTERS}
        lines += ["", f"[experiments.{_key(name)}]", *(f"{_key(key)} = {_toml(value)}" for key, value in kept.items())]
    return ("\n".join(lines) + "\n").encode()


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return "{ " + ", ".join(f"{_key(key)} = {_toml(each)}" for key, each in items) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, cast("list[Any]", value))) + "]"
    return _text(value) if isinstance(value, str) else str(value)


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _text(name)


def _text(value: str) -> str:
    # a JSON string is a TOML string, but for one character
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def required_packages(sources: Iterable[bytes], packages: Mapping[str, str]) -> list[str]:
    """The packages that code needs, as `name==version`.

    Args:
        sources: Its files.
        packages: The versions that were installed when it ran, by name.

    Returns:
        What scythe needs, what the code imports, and what these need in turn, as far as it was installed.
    """
    versions = {_normal(name): (name, version) for name, version in packages.items()}
    of_modules = _packages_of_modules()
    todo = [DISTRIBUTION]
    for module in {name for source in sources for name in _imports(source)}:
        todo += of_modules.get(module, [module])
    wanted: set[str] = set()
    while todo:
        name = _normal(todo.pop())
        if name not in wanted:
            wanted.add(name)
            todo += _requirements(name)
    wanted.discard(_normal(DISTRIBUTION))
    return [f"{versions[name][0]}=={versions[name][1]}" for name in sorted(wanted) if name in versions]


@cache
def _packages_of_modules() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _imports(source: bytes) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _requirements(name: str) -> list[str]:
    try:
        lines = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    names = [_REQUIREMENT.match(line) for line in lines if "extra ==" not in line]
    return [match[0] for match in names if match is not None]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
