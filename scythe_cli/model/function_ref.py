"""How another process finds the function of an experiment.

| where the function is | what the other process does |
| --- | --- |
| in a module that can be imported by name | imports it |
| in a module that cannot | loads its file, under a private name |
| in the script that was started | loads its file as `__mp_main__`, so that `if __name__ == "__main__":` does not run |
| in a notebook, a REPL, or inside another function | gets the function itself, pickled by value |

A script that allocates without such a guard works as well: in a worker process `allocate` raises `ImportedInWorker`,
and by then the function has been defined.
"""

from __future__ import annotations

import base64
import importlib
import importlib.machinery
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast

from scythe_cli.errors import EntrypointError, ScytheError
from scythe_cli.model.experiment import ExperimentOptions, RegisteredExperiment, experiment_from_function
from scythe_cli.model.registration import ExperimentRegistry

__all__ = [
    "SCRIPT_MODULE",
    "ExperimentTarget",
    "ImportedInWorker",
    "enter_worker",
    "in_worker",
    "load_target",
    "stop_if_in_worker",
    "target_of",
]


SCRIPT_MODULE = "__mp_main__"
"""The name of the user's script where it is not the main module; multiprocessing uses the same one, so that functions
of the script can be pickled to processes that a spec itself starts."""

_Kind = Literal["module", "file", "script", "value"]

_is_worker = False


class ImportedInWorker(BaseException):
    """A worker process came to a call that starts a run; no `except Exception` of the user's may stop it."""


def in_worker() -> bool:
    """Whether this is a process that runs specs."""
    return _is_worker


def enter_worker() -> None:
    """Make this process one that runs specs, for the rest of its life."""
    global _is_worker
    _is_worker = True


def stop_if_in_worker() -> None:
    """End the loading of the user's script where it would start a run.

    Raises:
        ImportedInWorker: If this is a process that runs specs.
    """
    if _is_worker:
        raise ImportedInWorker("a run cannot be started from a process that runs specs")


@dataclass(frozen=True, slots=True)
class ExperimentTarget:
    """Where an experiment is, for another process.

    Attributes:
        kind: How it is found.
        name: The experiment's name.
        module: The name to load the module under; empty for `value`.
        file: The module's source file, for `file` and `script`.
        attribute: Where in the module the function is; None: it is registered as `registered_name`.
        registered_name: The name in the registry, if it is there.
        sys_path: The places to import from.
        cwd: The working directory.
        retries: See `ExperimentOptions`, as the following.
        execution_timeout_s: How long one attempt of a spec may take.
        memory_limit_bytes: Memory that one spec may use.
        inject_workflow_run_id: Whether the function sees `workflow_run_id`.
        auto_fetch_files: Whether file references are fetched.
        local_file_location: Where fetched files are put.
        pickled: The function and its models, base64 of a pickle, for `value`.
    """

    kind: _Kind
    name: str
    module: str
    file: str | None
    attribute: str | None
    registered_name: str | None
    sys_path: tuple[str, ...]
    cwd: str
    retries: int
    execution_timeout_s: float
    memory_limit_bytes: int | None
    inject_workflow_run_id: bool
    auto_fetch_files: bool
    local_file_location: Literal["cache", "copied-to-tempdir"]
    pickled: str | None = None

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
        cwd=str(Path.cwd()),
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
    registered_name = next((e.name for e in ExperimentRegistry.experiments() if e.fn is fn), None)
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
    """Where in its module the function is found, bare or registered."""
    fn = experiment.fn
    if _is_it(_walk(module, fn.__qualname__), fn):
        return fn.__qualname__
    return next((name for name, value in list(vars(module).items()) if _is_it(value, fn)), None)


def _is_it(value: object, fn: Callable[..., Any]) -> bool:
    return value is fn or (isinstance(value, RegisteredExperiment) and value.fn is fn)


def _walk(module: ModuleType, attribute: str) -> Any:
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


def _pickle(experiment: RegisteredExperiment[Any, Any]) -> bytes:
    import cloudpickle

    parts = {
        "fn": experiment.fn,
        "description": experiment.description,
        "input_type": experiment.input_validator_type,
        "output_type": experiment.output_validator_type,
        "accepts_tempdir": experiment.accepts_tempdir,
    }
    try:
        return cloudpickle.dumps(parts)
    except Exception as error:
        raise EntrypointError(
            f"experiment {experiment.name!r} cannot be sent to another process: {type(error).__name__}: {error}",
            hint="Move the function and its models to a module: a file that can be imported.",
        ) from error


def load_target(target: ExperimentTarget) -> RegisteredExperiment[Any, Any]:
    """Get at the experiment, in another process.

    The function and its models come from the module; name and options from the target.

    Raises:
        EntrypointError: If the module cannot be loaded or has not got the function; for an error of the user's own
            code the message holds its traceback.
    """
    sys.path[:] = target.sys_path
    importlib.invalidate_caches()
    if target.kind == "value":
        return _unpickle(target)
    module = _load_module(target)
    found = None if target.attribute is None else _walk(module, target.attribute)
    if found is None and target.registered_name in ExperimentRegistry.names():
        found = ExperimentRegistry.get_runnable(target.registered_name)
    if inspect.isfunction(found):
        found = experiment_from_function(found)
    if not isinstance(found, RegisteredExperiment):
        raise EntrypointError(
            f"{target.describe()} has no experiment {target.attribute or target.registered_name!r} when a worker "
            "process loads it",
            hint="Define the function at the top of the file, before anything is allocated.",
        )
    experiment = cast("RegisteredExperiment[Any, Any]", found)
    return experiment.configured(name=target.name, options=target.options)


def _unpickle(target: ExperimentTarget) -> RegisteredExperiment[Any, Any]:
    import pickle

    try:
        parts: dict[str, Any] = pickle.loads(base64.b64decode(target.pickled or ""))
        return RegisteredExperiment(name=target.name, options=target.options, **parts)
    except Exception as error:
        raise EntrypointError(
            f"{target.describe()} cannot be rebuilt in a worker process:\n{_own_traceback(error)}",
            hint="Move the function and its models to a module: a file that can be imported.",
        ) from error


def _load_module(target: ExperimentTarget) -> ModuleType:
    try:
        if target.kind == "module":
            return _import(target.module)
        return _load_file(target.module, target.file or "")
    except ScytheError:
        raise
    except ImportedInWorker as error:
        raise EntrypointError(
            f"{target.describe()} imports a module that starts a run",
            hint='Put what starts the run below `if __name__ == "__main__":`.',
        ) from error
    except BaseException as error:
        raise EntrypointError(
            f"{target.describe()} cannot be loaded in a worker process:\n{_own_traceback(error)}"
        ) from error


def _import(name: str) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    package = name.rpartition(".")[0]
    if package:
        importlib.import_module(package)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    module = _execute(spec)
    if package:
        setattr(sys.modules[package], name.rpartition(".")[2], module)
    return module


def _load_file(name: str, file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None:
        raise EntrypointError(f"{file} is not a Python file")
    if name != SCRIPT_MODULE:
        return _execute(spec)
    main = sys.modules["__main__"]
    try:
        module = _execute(spec, aliases=("__main__",))
    except BaseException:
        sys.modules["__main__"] = main
        raise
    # what is pickled to processes that a spec starts is looked up in the script, as multiprocessing does
    module.__spec__ = None
    return module


def _execute(spec: importlib.machinery.ModuleSpec, aliases: Sequence[str] = ()) -> ModuleType:
    """Run the code of a module, up to where it would start a run."""
    module = importlib.util.module_from_spec(spec)
    loader = spec.loader
    if loader is None:
        raise ImportError(f"{spec.name} is a folder, not a module", name=spec.name)
    for name in (spec.name, *aliases):
        sys.modules[name] = module
    try:
        loader.exec_module(module)
    except ImportedInWorker as stop:
        if not _was_raised_by(module, stop):
            sys.modules.pop(spec.name, None)
            raise
    except BaseException:
        sys.modules.pop(spec.name, None)
        raise
    return sys.modules.get(spec.name, module)


def _was_raised_by(module: ModuleType, stop: ImportedInWorker) -> bool:
    """Whether the module's own code came to the call, and not that of a module that it was importing."""
    trace = stop.__traceback__
    bodies: list[str | None] = []
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "<module>":
            bodies.append(trace.tb_frame.f_globals.get("__name__"))
        trace = trace.tb_next
    return bodies[-1:] == [module.__name__]


def _own_traceback(error: BaseException) -> str:
    """The traceback without the frames of this module and of the import system."""
    import traceback

    trace = error.__traceback__
    while trace is not None and _is_machinery(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace)).rstrip()


def _is_machinery(filename: str) -> bool:
    return filename == __file__ or "importlib" in Path(filename).parts or filename.startswith("<frozen importlib")
