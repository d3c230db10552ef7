"""What a function consists of that is in no module: one hash of its code and of all that is sent along with it.

A function of a notebook, a closure or a `functools.partial` has no file that tells whether it is the same as before.
The hash is one of its byte code, without lines and file names, and of what it gets at: its defaults, the variables that
it has closed over, and the global ones that it names, with functions and classes among them. What can be imported
counts by its name. Of what cannot be looked into, the hash is another each time, so that nothing is taken for the same
that may have changed.
"""

from __future__ import annotations

import copyreg
import dataclasses
import dis
import functools
import hashlib
import inspect
import os
import pickle
import re
import sys
from collections.abc import Iterable, Mapping
from enum import Enum
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple, cast

__all__ = ["Content", "content_of", "is_importable"]

_ATOMS = (bool, int, float, complex, str, bytes, bytearray, type(None), type(Ellipsis), range, slice)
_MOST_ITEMS = 10_000
_DEEPEST = 200
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_OF_EACH_CLASS = ("__dict__", "__weakref__", "__module__", "__doc__", "__firstlineno__", "__static_attributes__")
_MADE_BY_CLASS = re.compile(r"_abc_|__pydantic|__signature__|__dataclass|__abstractmethods__|__match_args__|_member")


class Content(NamedTuple):
    """What a function consists of.

    Attributes:
        hash: The first 16 digits of a SHA-256.
        modules: The modules that it names, or that hold what it names.
    """

    hash: str
    modules: list[ModuleType]


def is_importable(value: Any) -> bool:
    """Whether a function or class is what another process finds under its name in its module."""
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    if module is None or module.__name__ == "__main__" or getattr(module, "__spec__", None) is None:
        return False
    found: Any = module
    for part in str(getattr(value, "__qualname__", "")).split("."):
        found = getattr(found, part, None)
    return found is value


def content_of(function: Any) -> Content:
    """The hash of a function, and the modules that count with it."""
    walk = _Walk()
    walk.add(function)
    return Content(walk.digest.hexdigest()[:16], list(walk.modules.values()))


class _Walk:
    """Goes through values in an order that is always the same, and hashes what they say."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.modules: dict[str, ModuleType] = {}
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no other value gets the id of one that was seen
        self._depth = 0

    def note(self, *words: object) -> None:
        self.digest.update(repr(words).encode("utf-8", "surrogatepass"))

    def add(self, value: Any) -> None:
        if type(value) in _ATOMS:
            self.note(type(value).__name__, value)
            return
        if id(value) in self._seen:
            self.note("again", self._seen[id(value)])
            return
        self._seen[id(value)] = len(self._seen)
        self._kept.append(value)
        self._depth += 1
        try:
            if self._depth > _DEEPEST:
                self._add_unknown()
            else:
                self._add_new(value)
        finally:
            self._depth -= 1

    def _add_new(self, value: Any) -> None:
        if isinstance(value, ModuleType):
            self._add_module(value)
        elif isinstance(value, CodeType):
            self._add_code(value)
        elif isinstance(value, functools.partial):
            partial = cast("functools.partial[Any]", value)
            self._add_all("partial", partial.func, partial.args, partial.keywords)
        elif isinstance(value, MethodType):
            self._add_all("method", value.__func__, value.__self__)
        elif isinstance(value, (staticmethod, classmethod)):
            self._add_all(type(value).__name__, cast("Any", value).__func__)
        elif isinstance(value, property):
            self._add_all("property", value.fget, value.fset, value.fdel)
        elif isinstance(value, (FunctionType, BuiltinFunctionType, type)) and is_importable(value):
            self._add_name(value)
        elif isinstance(value, FunctionType):
            self._add_function(value)
        elif isinstance(value, type):
            self._add_class(value)
        elif hasattr(value, "py_func") or hasattr(value, "cache_info"):
            # what numba or lru_cache made of a function
            self._add_all("made of", type(value), getattr(value, "py_func", getattr(value, "__wrapped__", None)))
        elif isinstance(value, (list, tuple, dict, set, frozenset)) and len(cast("Any", value)) <= _MOST_ITEMS:
            self._add_items(value)
        else:
            self._add_object(value)

    def _add_all(self, *values: Any) -> None:
        for value in values:
            self.add(value)

    def _add_module(self, module: ModuleType) -> None:
        self.note("module", module.__name__)
        self.modules.setdefault(module.__name__, module)

    def _add_name(self, value: Any) -> None:
        self.note("import", value.__module__, value.__qualname__)
        module = sys.modules[value.__module__]
        self.modules.setdefault(module.__name__, module)

    def _add_code(self, code: CodeType) -> None:
        self.note("code", code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        self.note(code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        self.note(getattr(code, "co_exceptiontable", b""))
        self._add_all(*code.co_consts)
        for instruction in dis.get_instructions(code):
            if instruction.opname == "IMPORT_NAME" and instruction.argval in sys.modules:
                self._add_module(sys.modules[instruction.argval])

    def _add_function(self, function: FunctionType) -> None:
        self.note("function")
        self._add_all(function.__code__, function.__defaults__, function.__kwdefaults__)
        self.note(_ADDRESS.sub("", repr(function.__annotations__)))
        for cell in function.__closure__ or ():
            try:
                self.add(cell.cell_contents)
            except ValueError:  # it is not set yet
                self.note("empty")
        for name in sorted(_global_names(function.__code__)):
            if name in function.__globals__:
                self.note("global", name)
                self.add(function.__globals__[name])
        self._add_all(*(vars(function)[name] for name in sorted(vars(function))))

    def _add_class(self, cls: type) -> None:
        self.note("class", cls.__qualname__)
        self._add_all(*cls.__bases__)
        if issubclass(cls, Enum):
            self._add_all(*((member.name, member.value) for member in cls))
        fields: Mapping[str, Any] = getattr(cls, "__pydantic_fields__", {})
        self.note(_ADDRESS.sub("", repr(dict(fields))))
        if dataclasses.is_dataclass(cls):
            self._add_all(
                *(
                    (f.name, _ADDRESS.sub("", repr(f.type)), f.default, f.default_factory)
                    for f in dataclasses.fields(cls)
                )
            )
        for name, value in sorted(vars(cls).items()):
            if name in _OF_EACH_CLASS or _MADE_BY_CLASS.match(name) or isinstance(value, cls):
                continue
            self.note(name)
            if name == "__annotations__":
                self.note(_ADDRESS.sub("", repr(value)))
            elif not inspect.ismemberdescriptor(value) and not inspect.isgetsetdescriptor(value):
                self.add(value)

    def _add_items(self, value: Any) -> None:
        self.note(type(value).__name__, len(value))
        if not isinstance(value, (list, tuple, dict)):
            self._add_all(*sorted(value, key=repr))  # sets
        elif isinstance(value, dict):
            for key, item in cast("dict[Any, Any]", value).items():
                self._add_all(key, item)
        else:
            self._add_all(*cast("Iterable[Any]", value))
        if type(value) not in (list, tuple, dict, set, frozenset):
            self._add_all(type(value), getattr(value, "__dict__", None))

    def _add_object(self, value: Any) -> None:
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.ndarray) and not value.dtype.hasobject:
            self.note("array", value.dtype.str, value.shape)
            self.digest.update(numpy.ascontiguousarray(value).tobytes())
            return
        if type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "to_numpy"):
            self._add_pandas(value)
            return
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            made: Any = value.__reduce_ex__(pickle.HIGHEST_PROTOCOL) if reduce is None else reduce(value)
            if isinstance(made, str):
                self.note("named", made, type(value).__module__)
                return
            parts: list[Any] = list(made)
            # iterators of items, which are read once
            parts[3:5] = [None if part is None else list(part) for part in parts[3:5]]
        except Exception:  # noqa: BLE001 - what an object does when it is pickled is its own code
            self._add_unknown()
            return
        self.note("object", len(parts))
        self._add_all(*parts)

    def _add_pandas(self, value: Any) -> None:
        """A frame, series or index of pandas, which keep more than they say."""
        import pandas as pd
        from pandas import util

        hashed: Any = util.hash_pandas_object
        is_frame = isinstance(value, pd.DataFrame)
        self.note(type(value).__name__, str(value.dtypes.to_dict() if is_frame else value.dtype), len(value))
        self._add_all(
            list(value.columns) if is_frame else getattr(value, "name", None), list(getattr(value, "names", ()))
        )
        try:
            self.digest.update(hashed(value).to_numpy().tobytes())
        except (TypeError, ValueError):  # cells such as lists have no hash
            self._add_unknown()

    def _add_unknown(self) -> None:
        self.digest.update(os.urandom(16))


def _global_names(code: CodeType) -> set[str]:
    """The global variables that code names, that of functions inside of it included."""
    names = {each.argval for each in dis.get_instructions(code) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _global_names(constant)
    return names
