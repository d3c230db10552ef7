"""`random` and `numpy.random` begin each row with its seed, whatever the row before has done with them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from scythe_cli.executor.rows.randomness import module_generators

pytestmark = pytest.mark.processes

SCRIPT = """
import sys
from scythe_cli.executor.rows.randomness import SharedGenerators
if sys.argv[1] == "hidden":  # as where the pointers cannot be found
    from scythe_cli.executor.rows.randomness import _Numpy
    _Numpy._find_pointers = lambda self: None
generators = SharedGenerators(99)
generators.install()
assert "numpy.random" not in sys.modules
import random
from random import gauss, random as early
first = random.random()
import numpy as np
from numpy.random import normal
import json

class Spec:
    def __init__(self, seed):
        self.seed = seed
    def _row_seed(self):
        return self.seed

def row(seed, function):
    generators.spec = Spec(seed)
    if generators.is_used:
        generators.rearm()
    return function()

def by_hand(seed, function):
    generators.is_used and generators.rearm()
    random.seed(seed)
    np.random.seed([seed % 2**32, seed // 2**32, 1])
    return function()

def saved_and_restored():
    state, numpy_state = random.getstate(), np.random.get_state()
    random.seed(1)
    np.random.seed(1)
    random.random(), np.random.rand()
    random.setstate(state)
    np.random.set_state(numpy_state)
    return random.random(), np.random.rand()

rand = np.random.mtrand._rand
DRAWS = {
    "random": random.random,
    "kept function": early,
    "kept method": lambda: [gauss(0, 1) for _ in range(3)],
    "randint": lambda: random.randint(0, 10**9),
    "getrandbits": lambda: random.getrandbits(70),
    "shuffle": lambda: random.sample(range(100), 100),
    "bytes": lambda: random.randbytes(5).hex(),
    "numpy": lambda: np.random.rand(3).tolist(),
    "numpy's kept method": lambda: [normal() for _ in range(3)],
    "numpy's instance": lambda: rand.standard_normal(3).tolist(),
    "integers": lambda: np.random.randint(0, 10**6, 5).tolist(),
    "permutation": lambda: np.random.permutation(20).tolist(),
    "poisson": lambda: np.random.poisson(3.0, 5).tolist(),
    "choice": lambda: np.random.choice(100, 5).tolist(),
    "both": lambda: (random.random(), np.random.rand()),
    "saved and restored": saved_and_restored,
}
if sys.argv[1] == "hidden":
    DRAWS.pop("saved and restored")

def own(seed):
    def seeded():
        random.seed(seed)
        np.random.seed(seed)
        return random.random(), float(np.random.rand())
    return seeded

BEFORE = (
    lambda: None, own(3), lambda: (gauss(0, 1), normal()), lambda: random.seed(5), lambda: np.random.seed(0)
)
told = {"first": first, "differ": []}
for name, draw in DRAWS.items():
    expected = {seed: by_hand(seed, draw) for seed in (2**62 + 5, 6)}
    for seed in (6, 2**62 + 5, 6):
        for before in BEFORE:
            row(17, before)
            if row(seed, draw) != expected[seed]:
                told["differ"].append(name)
    row(1, lambda: None)
    if row(6, draw) != expected[6]:
        told["differ"].append(f"{name} after a row that drew nothing")
told["own"] = [row(7, own(3)) == row(8, own(3)), row(7, own(0)) == row(8, own(0))]
told["apart"] = len({row(s, random.random) for s in range(50)}) + len({row(s, np.random.rand) for s in range(50)})
told["unlike"] = row(6, lambda: random.random() == np.random.rand())
print(json.dumps(told))
"""


@pytest.mark.parametrize("pointers", ["found", "hidden"])
def test_each_row_begins_with_its_seed(pointers: str) -> None:
    ran = subprocess.run([sys.executable, "-c", SCRIPT, pointers], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    told: dict[str, Any] = json.loads(ran.stdout)
    assert told["differ"] == []
    assert told["own"] == [True, True]
    assert told["apart"] == 100
    assert told["unlike"] is False
    import random

    assert told["first"] == random.Random(99).random()


def test_generators_that_are_made_with_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import random

    module: Any = ModuleType("drawing")
    module.__file__ = str(tmp_path / "drawing.py")
    module.rng, module.old, module.own = np.random.default_rng(1), np.random.RandomState(2), random.Random(3)
    module.system, module.other = random.SystemRandom(), np.random
    monkeypatch.setitem(sys.modules, "drawing", module)
    elsewhere: Any = ModuleType("elsewhere")
    elsewhere.__file__, elsewhere.rng = "/usr/lib/elsewhere.py", module.rng
    monkeypatch.setitem(sys.modules, "elsewhere", elsewhere)
    assert module_generators(tmp_path) == ["drawing.old", "drawing.own", "drawing.rng"]
