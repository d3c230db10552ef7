"""One sync is left out, so that the checks have something to find.

FORGOTTEN in the environment names it by module, function that calls it, and what is called there.
"""

from __future__ import annotations

import ast
import inspect
import os
import sys
from importlib import import_module
from typing import Any

NAMES = ("sync_file", "sync_folder", "sync_names")


def syncs_of(*modules: str) -> list[str]:
    """All syncs that modules ask for, as FORGOTTEN names them."""
    found: set[str] = set()
    for module in modules:
        for function in ast.walk(ast.parse(inspect.getsource(import_module(module)))):
            if isinstance(function, ast.FunctionDef) and function.name not in NAMES:
                calls = [call.func for call in ast.walk(function) if isinstance(call, ast.Call)]
                called = {call.id for call in calls if isinstance(call, ast.Name)}
                found |= {f"{module} {function.name} {name}" for name in called.intersection(NAMES)}
    return sorted(found)


def forget() -> None:
    """Do without the sync that FORGOTTEN names, if there is one."""
    if "FORGOTTEN" not in os.environ:
        return
    place, function, name = os.environ["FORGOTTEN"].split()
    module = import_module(place)
    sync = getattr(module, name)

    def unless_forgotten(what: Any) -> None:
        if sys._getframe(1).f_code.co_name != function:
            sync(what)

    setattr(module, name, unless_forgotten)
