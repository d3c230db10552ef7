"""Loading the function of an experiment from `module:function`."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from scythe_cli.errors import EntrypointError, ScytheError
from scythe_cli.model.experiment import RegisteredExperiment, experiment_from_function
from scythe_cli.model.registration import WorkflowLike

__all__ = ["entrypoint_of", "load_entrypoint"]


def load_entrypoint(entrypoint: str, root: Path) -> RegisteredExperiment[Any, Any] | WorkflowLike:
    """Import what an entrypoint names.

    Args:
        entrypoint: `module:function`.
        root: The project's folder; modules are looked for there first, and then in its folder `src`.

    Returns:
        The registered experiment or workflow; a plain function is wrapped with the default options.

    Raises:
        EntrypointError: If the module cannot be imported, or has no such function; the message holds the module's own
            error with its file and line.
        RegistrationError: If the function cannot be an experiment.
    """
    target = load_function(entrypoint, root)
    if isinstance(target, RegisteredExperiment) or inspect.isfunction(target):
        found: Any = target
        return found if isinstance(target, RegisteredExperiment) else experiment_from_function(found)
    if isinstance(target, WorkflowLike):
        return target
    raise EntrypointError(
        f"{entrypoint} is a {type(target).__name__}, not a function",
        hint="Name a function that is decorated with @ExperimentRegistry.Register().",
    )


def load_function(entrypoint: str, root: Path) -> Any:
    """Import what an entrypoint names, whatever it is.

    Args:
        entrypoint: `module:function`.
        root: The folder that modules are imported from first.

    Raises:
        EntrypointError: If the module cannot be imported, or has nothing of this name.
    """
    module_name, _, path = entrypoint.partition(":")
    if not module_name or not path:
        raise EntrypointError(f"{entrypoint!r} is not an entrypoint", hint="Write it as 'module:function'.")
    root = root.absolute()
    module = _import(module_name, root)
    _check_origin(module, root)
    target: Any = module
    for part in path.split("."):
        if not hasattr(target, part):
            raise _no_such_function(entrypoint, module, part)
        target = getattr(target, part)
    return target


def _import(name: str, root: Path) -> ModuleType:
    folder = str(root)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    source = root / "src"
    if str(source) not in sys.path and _is_in(name.partition(".")[0], source):
        sys.path.insert(sys.path.index(folder) + 1, str(source))
    importlib.invalidate_caches()
    try:
        # what a module prints when it is imported must not get into the output of a command
        with contextlib.redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except ScytheError:
        raise  # such as a RegistrationError: it names function, file and line
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise EntrypointError(
                f"there is no module {name!r} in {root}",
                hint=_where_else(name, root),
            ) from None
        raise EntrypointError(_own_error(name, root, error)) from error
    except SyntaxError as error:
        line = "" if error.lineno is None else f", line {error.lineno}"
        place = f"{_relative(error.filename or name, root)}{line}"
        raise EntrypointError(f"module {name!r} has a syntax error: {place}: {error.msg}") from None
    except (Exception, SystemExit) as error:  # a module may raise anything while it is imported
        raise EntrypointError(_own_error(name, root, error)) from error


def _check_origin(module: ModuleType, root: Path) -> None:
    """Refuse a module from elsewhere when the project has one of that name: one that was imported before hides it."""
    places = [root / "src", root] if str(root / "src") in sys.path else [root]
    own = next((file for place in reversed(places) if (file := _source_of(module.__name__, place)) is not None), None)
    loaded = getattr(module, "__file__", None)  # built-in modules have none
    if own is not None and not (loaded and Path(loaded).is_file() and own.samefile(loaded)):
        raise EntrypointError(
            f"module {module.__name__!r} is {loaded or 'built in'}, not {_relative(str(own), root)} of this project",
            hint="Another module of that name was imported first: rename yours, or use a new process.",
        )


def _is_in(top: str, place: Path) -> bool:
    return (place / top).is_dir() or (place / f"{top}.py").is_file()


def _source_of(name: str, place: Path) -> Path | None:
    """The file of a module that is looked for in a folder; None where none is."""
    path = place.joinpath(*name.split("."))
    return next((file for file in (path / "__init__.py", path.with_name(f"{path.name}.py")) if file.is_file()), None)


def _where_else(name: str, root: Path) -> str:
    """What to write instead of a module that is not there: where there is one of that name, somewhat deeper."""
    file = f"{name.rpartition('.')[2]}.py"
    for pattern in (f"*/{file}", f"*/*/{file}"):
        for path in sorted(root.glob(pattern)):
            parts = path.relative_to(root).with_suffix("").parts
            module = ".".join(parts[1:] if parts[0] == "src" else parts)
            if all(part.isidentifier() for part in parts) and module != name:
                return f"There is {path.relative_to(root)}: its entrypoint is '{module}:function'."
    return f"Looked for {name.replace('.', '/')}.py, here and in src; the entrypoint is 'module:function'."


def _own_error(name: str, root: Path, error: BaseException) -> str:
    """Word the error of a module: its type and message, and the line of the user's code where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    code = [f for f in frames if f.filename != __file__ and not f.filename.startswith("<") and not _is_importlib(f)]
    own = [f for f in code if Path(f.filename).is_relative_to(root) and "site-packages" not in f.filename] or code
    place = f"{_relative(own[-1].filename, root)}, line {own[-1].lineno}: " if own else ""
    text = f": {error}" if str(error) else ""
    return f"module {name!r} cannot be imported: {place}{type(error).__name__}{text}"


def _is_importlib(frame: traceback.FrameSummary) -> bool:
    return Path(frame.filename).parent.name == "importlib"


def _relative(filename: str, root: Path) -> str:
    path = Path(filename)
    return str(path.relative_to(root)) if path.is_relative_to(root) else filename


def _no_such_function(entrypoint: str, module: ModuleType, part: str) -> EntrypointError:
    candidates = [
        name
        for name, value in vars(module).items()
        if isinstance(value, RegisteredExperiment)
        or (inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"))
    ]
    close = difflib.get_close_matches(part, candidates, n=1)
    hint = (
        f"Did you mean {close[0]!r}?"
        if close
        else f"It has: {', '.join(candidates)}."
        if candidates
        else "It has no functions."
    )
    return EntrypointError(f"{entrypoint}: module {module.__name__!r} has no {part!r}", hint=hint)


def entrypoint_of(fn: Callable[..., Any]) -> str | None:
    """`module:function` of a function, if it has one that another process can import."""
    inner = inspect.unwrap(fn)
    if inner.__module__ == "__main__" or "<locals>" in inner.__qualname__:
        return None
    return f"{inner.__module__}:{inner.__qualname__}"
