"""What is known after a round."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from scythe_cli.analysis.surrogate.assessing import Cases
from scythe_cli.analysis.surrogate.space import Dimension, Space
from scythe_cli.services.study.measuring import measured_round


@pytest.mark.parametrize(
    "goals", [{"y": "minimize"}, {"y": "minimize", "z": "maximize"}, {"y": "maximize", "z": "minimize"}]
)
def test_the_best_are_those_that_no_other_case_beats_and_the_first_of_those_alike(goals: dict[str, str]) -> None:
    space = Space((Dimension("a"),))
    dice = np.random.default_rng(7)
    for n in (1, 2, 30, 80):
        outputs = {"y": dice.integers(0, 9, n).astype(float), "z": dice.integers(0, 9, n).astype(float)}
        outputs["y"][dice.random(n) < 0.1] = np.nan
        cases = Cases(space, [{"a": i / n} for i in range(n)], outputs)
        study: Any = SimpleNamespace(objectives=goals, constraints=[])
        found = measured_round(study, 0, cases, cases.usable, None)

        def score(i: int, outputs: dict[str, Any] = outputs) -> tuple[float, ...]:
            return tuple(outputs[o][i] * (1 if goal == "minimize" else -1) for o, goal in goals.items())

        rows = [i for i in range(n) if np.isfinite(outputs["y"][i])]
        best = [
            i
            for i in rows
            if not any(
                all(a <= b for a, b in zip(score(j), score(i), strict=True)) and (score(j) != score(i) or j < i)
                for j in rows
            )
        ]
        assert [each.sort_index for each in found.best] == sorted(best, key=lambda i: (score(i), i))
