"""Loading the function of an experiment in another process, from where `reference` says that it is.

A script that allocates without `if __name__ == "__main__":` works as well: in a worker process `allocate` raises
`ImportedInWorker`, and by then the function has been defined.
"""

from __future__ import annotations

import base64
import importlib
import importlib.machinery
import importlib.util
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from scythe_cli.errors import EntrypointError, ScytheError
from scythe_cli.model.experiment import RegisteredExperiment, experiment_from_function
from scythe_cli.model.functions.reference import SCRIPT_MODULE, ExperimentTarget, attribute_at
from scythe_cli.model.registration import ExperimentRegistry
from scythe_cli.model.workflows.declared import DeclaredWorkflow

__all__ = ["ImportedInWorker", "enter_worker", "in_worker", "load_target", "running_specs", "stop_if_in_worker"]


_is_worker = False
_is_running = False


class ImportedInWorker(BaseException):
    """A worker process came to a call that starts a run; no `except Exception` of the user's may stop it."""


def in_worker() -> bool:
    """Whether this is a process that runs specs."""
    return _is_worker


def enter_worker() -> None:
    """Make this process one that runs specs, for the rest of its life."""
    global _is_worker
    _is_worker = True


def running_specs() -> None:
    """Tell that the experiment is loaded: from now on the user's code may start runs of its own, as workflows do."""
    global _is_running
    _is_running = True


def stop_if_in_worker() -> None:
    """End the loading of the user's script where it would start a run.

    Raises:
        ImportedInWorker: If this is a process that runs specs, and that is loading the experiment.
    """
    if _is_worker and not _is_running:
        raise ImportedInWorker("a run cannot be started from a process that runs cases")


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
    loaded = None if target.attribute is None else attribute_at(module, target.attribute)
    if loaded is None and target.registered_name in ExperimentRegistry.names():
        loaded = ExperimentRegistry.get_runnable(target.registered_name)
    if isinstance(loaded, DeclaredWorkflow):
        loaded = loaded.as_experiment()
    if inspect.isfunction(loaded):
        loaded = experiment_from_function(loaded)
    if not isinstance(loaded, RegisteredExperiment):
        raise EntrypointError(
            f"{target.describe()} has no experiment {target.attribute or target.registered_name!r} when a worker "
            "process loads it",
            hint="Define the function at the top of the file, before anything is allocated.",
        )
    experiment = cast("RegisteredExperiment[Any, Any]", loaded)
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
            hint='Put the call that starts the run below `if __name__ == "__main__":`.',
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
