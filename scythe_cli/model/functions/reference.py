"""How another process finds the function of an experiment.

| where the function is | what the other process does |
| --- | --- |
| in a module that can be imported by name | imports it |
| in a module that cannot | loads its file, under a private name |
| in the script that was started | loads its file as `__mp_main__`, so that `if __name__ == "__main__":` does not run |
| in a notebook, a REPL, or inside another function | gets the function itself, pickled by value |

`loading` is the other half: what that process does.
"""

from __future__ import annotations

import base64
import dataclasses
import importlib.machinery
import inspect
import io
import json
import sys
from collections import ChainMap
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from scythe_cli.errors import EntrypointError
from scythe_cli.model.experiment import ExperimentOptions, RegisteredExperiment
from scythe_cli.model.registration import ExperimentRegistry
from scythe_cli.model.workflows.declared import DeclaredWorkflow

__all__ = ["SCRIPT_MODULE", "ExperimentTarget", "attribute_at", "target_of"]


SCRIPT_MODULE = "__mp_main__"
"""The name of the user's script where it is not the main module; multiprocessing uses the same one, so that functions
of the script can be pickled to processes that a spec itself starts."""

_Kind = Literal["module", "file", "script", "value"]


@dataclass(frozen=True, slots=True)
class ExperimentTarget:
    """Where an experiment is, for another process.

    Attributes:
        kind: How another process gets at it.
        name: The experiment's name.
        module: The name to load the module under; empty for `value`.
        file: The module's source file, for `file` and `script`.
        attribute: Where in the module the function is; None: it is registered as `registered_name`.
        registered_name: The name in the registry, if it is there.
        sys_path: The places to import from.
        cwd: The project's folder, or else the working directory.
        retries: See `ExperimentOptions`, as the following.
        execution_timeout_s: How long one attempt of a spec may take.
        memory_limit_bytes: Memory that one spec may use.
        inject_workflow_run_id: Whether the function sees `workflow_run_id`.
        auto_fetch_files: Whether file references are fetched.
        local_file_location: Where fetched files are put.
        pickled: The function and its models, base64 of a pickle, for `value`.
        sources: The source files and what they have to be, for `executor.code`: path, name, hash, time in nanoseconds
            and size; none where that is not known.
    """

    kind: _Kind
    name: str
    module: str
    file: str | None
    attribute: str | None
    registered_name: str | None
    sys_path: tuple[str, ...]
    cwd: str
    retries: int | None
    execution_timeout_s: float
    memory_limit_bytes: int | None
    inject_workflow_run_id: bool
    auto_fetch_files: bool
    local_file_location: Literal["cache", "copied-to-tempdir"]
    pickled: str | None = None
    sources: tuple[tuple[str, str, str, int, int], ...] = ()

    @property
    def is_by_value(self) -> bool:
        """Whether it holds the code itself: only for a process that this one starts, never to be stored."""
        return self.kind == "value"

    def to_bytes(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> ExperimentTarget:
        """Read what `to_bytes` wrote."""
        fields: dict[str, Any] = json.loads(data)
        fields["sys_path"] = tuple(fields["sys_path"])
        fields["sources"] = tuple(map(tuple, fields["sources"]))
        return cls(**fields)

    @property
    def options(self) -> ExperimentOptions:
        """The options that matter where specs run."""
        return ExperimentOptions(
            retries=self.retries,
            execution_timeout=timedelta(seconds=self.execution_timeout_s),
            memory_limit_bytes=self.memory_limit_bytes,
            inject_workflow_run_id=self.inject_workflow_run_id,
            auto_fetch_files=self.auto_fetch_files,
            local_file_location=self.local_file_location,
        )

    def describe(self) -> str:
        """Name the place for a person."""
        if self.kind == "value":
            return f"the function of experiment {self.name!r}"
        return self.file if self.file is not None else f"module {self.module!r}"


def target_of(experiment: RegisteredExperiment[Any, Any], *, root: Path | None) -> ExperimentTarget:
    """Find out how another process gets at an experiment.

    Args:
        experiment: The experiment; its name and options are those that the other process will use.
        root: The project's folder, from which modules are imported first; None where there is no project.

    Raises:
        EntrypointError: If the function is not in a module and cannot be pickled.
    """
    sys_path = _sys_path(root)
    place = _place_of(experiment, sys_path)
    pickled = None
    if place is None:
        place = _Place("value", "", None, None, None)
        pickled = base64.b64encode(_pickle(experiment)).decode()
    options = experiment.options
    return ExperimentTarget(
        kind=place.kind,
        name=experiment.name,
        module=place.module,
        file=place.file,
        attribute=place.attribute,
        registered_name=place.registered_name,
        sys_path=sys_path,
        cwd=str(Path.cwd() if root is None else root.absolute()),
        retries=options.retries,
        execution_timeout_s=options.execution_timeout.total_seconds(),
        memory_limit_bytes=options.memory_limit_bytes,
        inject_workflow_run_id=options.inject_workflow_run_id,
        auto_fetch_files=options.auto_fetch_files,
        local_file_location=options.local_file_location,
        pickled=pickled,
    )


@dataclass(frozen=True, slots=True)
class _Place:
    kind: _Kind
    module: str
    file: str | None
    attribute: str | None
    registered_name: str | None


def _sys_path(root: Path | None) -> tuple[str, ...]:
    entries = [str(root.absolute())] if root is not None else []
    # an empty entry stands for the working directory
    entries += [str(Path(entry).absolute()) for entry in sys.path]
    return tuple(dict.fromkeys(entries))


def _place_of(experiment: RegisteredExperiment[Any, Any], sys_path: Sequence[str]) -> _Place | None:
    fn = experiment.fn
    module = sys.modules.get(fn.__module__)
    if module is None:
        return None
    attribute = _attribute_of(experiment, module)
    known = [*ExperimentRegistry.experiments(), *ExperimentRegistry.workflows()]
    registered_name = next((each.name for each in known if _is_it(each, fn)), None)
    if attribute is None and (registered_name is None or "<locals>" in fn.__qualname__):
        return None
    name = module.__name__
    file = getattr(module, "__file__", None)
    if name == "__main__":
        spec = getattr(module, "__spec__", None)
        if spec is not None:  # python -m package.module
            return _Place("module", spec.name, None, attribute, registered_name)
        if file is None or not _is_source(file) or not _is_same_file(inspect.unwrap(fn).__code__.co_filename, file):
            return None
        return _Place("script", SCRIPT_MODULE, str(Path(file).absolute()), attribute, registered_name)
    if _is_importable(name, file, sys_path):
        return _Place("module", name, None, attribute, registered_name)
    if file is None or not _is_source(file):
        return None
    private = f"__scythe_{Path(file).stem}__"
    return _Place("file", private, str(Path(file).absolute()), attribute, registered_name)


def _attribute_of(experiment: RegisteredExperiment[Any, Any], module: ModuleType) -> str | None:
    """Where in its module the function is, bare or registered."""
    fn = experiment.fn
    if _is_it(attribute_at(module, fn.__qualname__), fn):
        return fn.__qualname__
    return next((name for name, value in list(vars(module).items()) if _is_it(value, fn)), None)


def _is_it(value: object, fn: Callable[..., Any]) -> bool:
    if isinstance(value, DeclaredWorkflow):
        return getattr(fn, "workflow", None) is value
    return value is fn or (isinstance(value, RegisteredExperiment) and value.fn is fn)


def attribute_at(module: ModuleType, attribute: str) -> Any:
    """What is at a dotted path in a module; None where nothing is."""
    value: Any = module
    for part in attribute.split("."):
        value = getattr(value, part, None)
    return value


def _is_source(file: str) -> bool:
    return file.endswith(".py") and Path(file).is_file()


def _is_same_file(a: str, b: str) -> bool:
    try:
        return Path(a).samefile(b)
    except OSError:
        return False


def _is_importable(name: str, file: str | None, sys_path: Sequence[str]) -> bool:
    """Whether importing the name from these places gives this file; a module may have been loaded in other ways."""
    path: Sequence[str] | None = sys_path
    spec: importlib.machinery.ModuleSpec | None = None
    parts = name.split(".")
    for position in range(len(parts)):
        if path is None:
            return False
        try:
            spec = importlib.machinery.PathFinder.find_spec(".".join(parts[: position + 1]), list(path))
        except (ImportError, ValueError):
            return False
        if spec is None:
            return False
        path = spec.submodule_search_locations
    if spec is None or spec.origin is None or file is None:
        return False
    return spec.origin == file or _is_same_file(spec.origin, file)


def _named(name: str) -> Callable[[object], str]:
    return lambda _: name


_SENTINELS: dict[type, Any] = {type(getattr(dataclasses, name)): _named(name) for name in ("MISSING", "KW_ONLY")}
"""How values are pickled that are compared by identity, as the fields of a dataclass do: by their names."""


def _pickle(experiment: RegisteredExperiment[Any, Any]) -> bytes:
    import cloudpickle

    parts = {
        "fn": experiment.fn,
        "description": experiment.description,
        "input_type": experiment.input_validator_type,
        "output_type": experiment.output_validator_type,
        "accepts_tempdir": experiment.accepts_tempdir,
    }
    unknown = _modules_only_here([inspect.unwrap(experiment.fn), *parts.values()])
    for module in unknown:
        cloudpickle.register_pickle_by_value(module)

    file = io.BytesIO()
    known: Any = cloudpickle.CloudPickler.dispatch_table
    table = ChainMap[type, Any](_SENTINELS, known)
    pickler = type("Pickler", (cloudpickle.CloudPickler,), {"dispatch_table": table})  # it is read as that of a class
    try:
        pickler(file).dump(parts)
        return file.getvalue()
    except Exception as error:
        raise EntrypointError(
            f"experiment {experiment.name!r} cannot be sent to another process: {type(error).__name__}: {error}",
            hint="Move the function and its models to a module: a file that can be imported.",
        ) from error
    finally:
        for module in unknown:
            cloudpickle.unregister_pickle_by_value(module)


def _modules_only_here(things: Sequence[object]) -> list[ModuleType]:
    """The modules of some things that another process cannot import, such as those that a program has made itself."""
    names = {str(getattr(thing, "__module__", "")) for thing in things} - {"__main__", ""}
    return [sys.modules[name] for name in sorted(names) if name in sys.modules and not _is_found(name)]


def _is_found(name: str) -> bool:
    """Whether anything that imports modules in this process knows the package of this name."""
    package = name.partition(".")[0]
    finders = [getattr(finder, "find_spec", None) for finder in sys.meta_path]
    return any(find is not None and find(package, None) is not None for find in finders)
