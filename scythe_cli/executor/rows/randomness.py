"""The generators that a whole process shares, `random` and `numpy.random`: each row begins with its own seed.

To seed them takes longer than a quick row does, and most rows draw nothing. So a generator is seeded at the first
number that a row draws from it: until then, a hook stands where the number would come from, and nothing afterwards. In
`random` the hooks are attributes, of the module and of the hidden instance whose methods the module's functions are. In
`numpy.random` they are the pointers through which all functions of its hidden instance draw, also where other libraries
hold it; where these cannot be found, the generator is seeded before each row.

The state is what `random.seed(spec.seed)` and `numpy.random.seed([spec.seed % 2**32, spec.seed // 2**32, 1])` give. A
row that seeds a generator itself has its way until it ends.
"""

from __future__ import annotations

import functools
import importlib.machinery
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scythe_cli.model.models import ExperimentInputSpec

__all__ = ["SharedGenerators", "module_generators", "seed_generators"]


def seed_generators(seed: int) -> None:
    """Seed `random` and `numpy.random` of this process at once."""
    import numpy as np

    random.seed(seed)
    np.random.seed(_words(seed))


def _words(seed: int) -> list[int]:
    """A seed as words of 32 bits for `numpy.random.seed`; with the two alone, `random` would give the same numbers."""
    return [seed % 2**32, seed // 2**32, 1]


def module_generators(root: Path) -> list[str]:
    """The generators that a project's loaded modules have made: all rows of a process draw from the same one.

    Args:
        root: The project's folder.

    Returns:
        `module.name` of each.
    """
    numpy: Any = sys.modules.get("numpy.random")
    kinds = (random.Random, *((numpy.Generator, numpy.RandomState) if numpy is not None else ()))
    names: list[str] = []
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        # thousands are loaded, and a path takes long to take apart
        if not isinstance(file, str) or "site-packages" in file or root.name not in file:
            continue
        if not Path(file).is_relative_to(root):
            continue
        for name, value in list(vars(module).items()):
            if isinstance(value, kinds) and not isinstance(value, random.SystemRandom):
                names.append(f"{module.__name__}.{name}")
    return sorted(names)


class SharedGenerators:
    """Gives the generators of this process the seed of the row that runs.

    Args:
        run_seed: What they begin with before the first row, while modules are loaded.

    Attributes:
        spec: The row that runs; None before the first.
        is_used: Whether one of them has drawn numbers since the last `rearm`.
    """

    def __init__(self, run_seed: int) -> None:
        self.spec: ExperimentInputSpec | None = None
        self.is_used = False
        self._run_seed = run_seed
        self._all: list[_Standard | _Numpy] = []

    def install(self) -> None:
        """Begin; what is loaded from now on draws repeatable numbers."""
        self._add(_Standard(self._use))
        if "numpy.random" in sys.modules:
            self._add_numpy()
        else:
            sys.meta_path.insert(0, _NumpyFinder(self._add_numpy))

    def rearm(self) -> None:
        """Let all of them take the seed of `spec` at the next number."""
        self.is_used = False
        for generator in self._all:
            generator.arm()

    def _add(self, generator: _Standard | _Numpy) -> None:
        self._all.append(generator)
        generator.arm()

    def _add_numpy(self) -> None:
        self._add(_Numpy(sys.modules["numpy.random"], self._use))

    def _use(self) -> int:
        self.is_used = True
        return self._run_seed if self.spec is None else self.spec._row_seed()  # pyright: ignore[reportPrivateUsage]


def _before(function: Any, first: Callable[[], object]) -> Any:
    """The function, with something to be done before it is called."""

    @functools.wraps(function)
    def hooked(*arguments: Any, **options: Any) -> Any:
        first()
        return function(*arguments, **options)

    return hooked


class _Standard:
    """The module `random`."""

    def __init__(self, use: Callable[[], int]) -> None:
        self._use = use
        self._instance: Any = vars(random)["_inst"]
        self._hooks = self._make_hooks(self._instance.random, self._instance.getrandbits)
        self._is_armed = False
        # in the module they stay for good: whatever takes one of these two may keep it, at any time
        random.__dict__.update(self._hooks)
        self._seed = random.seed
        for name, first in (("seed", self._release), ("setstate", self._release), ("getstate", self.draw)):
            setattr(random, name, _before(getattr(random, name), first))

    def _make_hooks(self, real: Callable[[], float], real_bits: Callable[[int], int]) -> dict[str, Any]:
        # each with the arguments that it has: a loop of a simulation calls them millions of times
        @functools.wraps(real)
        def draw() -> float:
            if self._is_armed:
                self.draw()
            return real()

        @functools.wraps(real_bits)
        def draw_bits(k: int, /) -> int:
            if self._is_armed:
                self.draw()
            return real_bits(k)

        return {"random": draw, "getrandbits": draw_bits}

    def arm(self) -> None:
        self._instance.gauss_next = None  # the half of a pair of numbers that was not asked for
        if not self._is_armed:
            self._is_armed = True
            # the methods of the instance find these instead of its class's own
            vars(self._instance).update(self._hooks)

    def draw(self) -> None:
        """A number is about to be drawn."""
        if self._is_armed:
            seed = self._release()
            self._seed(seed)

    def _release(self) -> int:
        seed = self._use()
        if self._is_armed:
            self._is_armed = False
            for name in self._hooks:
                vars(self._instance).pop(name, None)
        return seed


class _Numpy:
    """The functions of `numpy.random`."""

    _N_POINTERS = 5  # of numpy's `bitgen_t`: the state, and functions for uint64, uint32, double and raw words
    _STATE_BYTES = 2_500  # of its `mt19937_state`: 624 words and a position

    def __init__(self, module: ModuleType, use: Callable[[], int]) -> None:
        self._module: Any = module
        self._use = use
        self._instance: Any = module.mtrand._rand
        self._bits: Any = self._instance._bit_generator
        self._is_armed = False
        self._pointers: Any = None
        if type(self._bits).__name__ == "MT19937":
            self._find_pointers()
        for name, first in (("seed", self._release), ("set_state", self._release), ("get_state", self._draw)):
            setattr(module, name, _before(getattr(module, name), first))

    def _find_pointers(self) -> None:
        """Look for the instance's own copy of the pointers; see that there is one."""
        import ctypes

        interface = self._bits.ctypes
        self._state_at = int(interface.state_address)
        place = ctypes.cast(interface.bit_generator, ctypes.c_void_p).value or 0
        wanted = ctypes.string_at(place, self._N_POINTERS * ctypes.sizeof(ctypes.c_void_p))
        memory = ctypes.string_at(id(self._instance), type(self._instance).__basicsize__)
        if memory.count(wanted) != 1:
            return
        at = id(self._instance) + memory.index(wanted)
        self._pointers = (ctypes.c_void_p * self._N_POINTERS).from_address(at)
        self._real = list(self._pointers)
        self._copy = ctypes.memmove
        self._read = ctypes.string_at
        # a state that no seed gives is how a row's own seeding is noticed
        self._parked = random.SystemRandom().randbytes(self._STATE_BYTES - 4) + (624).to_bytes(4, sys.byteorder)
        self._other = self._module.MT19937(0)
        kinds = (ctypes.c_uint64, ctypes.c_uint32, ctypes.c_double, ctypes.c_uint64)
        self._hooks = [
            self._hook(number, ctypes.CFUNCTYPE(kind, ctypes.c_void_p)) for number, kind in enumerate(kinds, 1)
        ]
        self._hooked = [ctypes.cast(hook, ctypes.c_void_p).value for hook in self._hooks]

    def _hook(self, number: int, kind: Any) -> Any:
        real = kind(self._real[number])

        def draw(state: int) -> Any:
            self._draw()
            return real(state)

        return kind(draw)

    def _is_ours(self) -> bool:
        """Whether nobody has given the module another generator."""
        return self._instance._bit_generator is self._bits and self._pointers[0] == self._real[0]

    def arm(self) -> None:
        if self._pointers is None:
            self._module.mtrand._rand.seed(_words(self._use()))
        elif not self._is_armed and self._is_ours():
            self._instance.seed(0)  # drops the half of a pair of normal numbers that was not asked for
            self._copy(self._state_at, self._parked, self._STATE_BYTES)
            self._pointers[1:] = self._hooked
            self._is_armed = True

    def _draw(self) -> None:
        """A number is about to be drawn."""
        if self._is_armed:
            seed = self._release()
            if self._read(self._state_at, self._STATE_BYTES) == self._parked:
                self._other._legacy_seeding(_words(seed))
                self._copy(self._state_at, self._other.ctypes.state_address, self._STATE_BYTES)

    def _release(self) -> int:
        seed = self._use()
        if self._is_armed:
            self._is_armed = False
            if self._is_ours():
                self._pointers[1:] = self._real[1:]
        return seed


class _NumpyFinder:
    """Tells when `numpy.random` has been loaded."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> Any:
        """Find the module as always, and have it told when its code has run."""
        if name != "numpy.random":
            return None
        sys.meta_path.remove(self)  # pyright: ignore[reportArgumentType]
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self._then()

        loader.exec_module = exec_module
        return spec
