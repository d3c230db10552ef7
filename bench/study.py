"""Cases until a surrogate is good enough: chosen one round after another, beside designs made at once.

Each method gets the same question: with how many cases is the root mean square error at held-out points at most 1 % of
the output's range there? What decides is the true error, which no method sees. Methods draw nothing of their own but
from seeds; the figure is the median over these.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.functions import BATCH, FUNCTIONS, MOST, TARGET, Judge, first_cases, smallest
from bench.measure import Check, Report, runs_or
from bench.rivals import REPOSITORY, RivalMissingError, rival_python

TITLE = "study: cases until held-out points are predicted within 1 %"
ORDER = 80

_SMT = REPOSITORY / "bench" / "scripts" / "smt_cases.py"
_QUICK = ("borehole", "OTL circuit")


def run(quick: bool) -> Report:
    seeds = range(runs_or(1 if quick else 3))
    names = _QUICK if quick else tuple(FUNCTIONS)
    report: Report = []
    for name in names:
        ours = statistics.median(chosen(name, seed) for seed in seeds)
        rivals = {"Latin hypercube": statistics.median(at_once(name, seed) for seed in seeds)}
        try:
            rivals["SMT"] = statistics.median(smt(name, seeds, install=not quick))
        except RivalMissingError as error:
            report.append(str(error))
        told = ", ".join(f"{rival} {_cases(n)}" for rival, n in rivals.items())
        report.append(f"{name}: chosen in rounds {_cases(ours)}, {told}")
        one_shot, best = rivals["Latin hypercube"], min(rivals.values())
        if max(ours, best) <= MOST:
            report.append(Check(f"cases beside a Latin hypercube, {name}", ours / one_shot, 0.67, at_least=False))
            report.append(Check(f"cases beside the best rival, {name}", ours / best, 1.1, at_least=False))
    return report


def _cases(n: float) -> str:
    return f"more than {MOST}" if n > MOST else f"{n:g}"


def chosen(name: str, seed: int) -> int:
    """Cases that our generator takes, asked for `BATCH` at a time."""
    from scythe_cli.analysis.surrogate.generator import SurrogateGenerator
    from scythe_cli.analysis.surrogate.libraries import VOCS, qmc

    function, judge = FUNCTIONS[name], Judge.of(FUNCTIONS[name])
    d = len(function.bounds)
    names = [f"x{i:02}" for i in range(d)]
    made: Any = VOCS
    bounds = dict(zip(names, map(list, function.bounds), strict=True))
    vocs = made(variables=bounds, objectives={"y": "EXPLORE"})
    generator = SurrogateGenerator(vocs, targets={"y": "rmse <= 1%"}, seed=seed)
    n_first = first_cases(d)
    low, high = np.array(function.bounds, float).T
    units = qmc.Sobol(d, rng=np.random.default_rng(seed)).random(1 << (n_first - 1).bit_length())[:n_first]
    points = low + units * (high - low)
    n = 0
    while True:
        cases = zip(points.tolist(), function.compute(points).tolist(), strict=True)
        generator.ingest([{**dict(zip(names, x, strict=True)), "y": y} for x, y in cases])
        n += len(points)
        if judge.error(generator.assessment.fits["y"].predict(judge.x)[0]) <= TARGET:
            return n
        if n >= MOST:
            return MOST + 1
        points = np.array([[point[each] for each in names] for point in generator.suggest(min(BATCH, MOST - n))])


def at_once(name: str, seed: int) -> int:
    """Cases of the smallest Latin hypercube from which the same surrogate is good enough."""
    from scythe_cli.analysis.surrogate.fitting import fit_output, folds_of, one_thread
    from scythe_cli.analysis.surrogate.libraries import qmc

    function, judge = FUNCTIONS[name], Judge.of(FUNCTIONS[name])
    d = len(function.bounds)

    def error_of(n: int) -> float:
        x = qmc.LatinHypercube(d, rng=np.random.default_rng([seed, n])).random(n)
        with one_thread():
            ratios = [high / low if low > 0 else 1.0 for low, high in function.bounds]
            fit, _ = fit_output(x, function.at(x), np.arange(d), folds_of(n, 10), seed=[seed], ratios=ratios)
            return judge.error(fit.predict(judge.x)[0])

    return smallest(error_of, d)


def usual(name: str, seed: int) -> int:
    """Cases of the smallest Latin hypercube from which the Gaussian process of scikit-learn is good enough."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern

    from scythe_cli.analysis.surrogate.fitting import one_thread
    from scythe_cli.analysis.surrogate.libraries import qmc

    function, judge = FUNCTIONS[name], Judge.of(FUNCTIONS[name])
    d = len(function.bounds)

    def error_of(n: int) -> float:
        x = qmc.LatinHypercube(d, rng=np.random.default_rng([seed, n])).random(n)
        kernel: Any = ConstantKernel() * Matern(np.ones(d), nu=2.5)
        model: Any = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=seed)
        with one_thread(), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return judge.error(model.fit(x, function.at(x)).predict(judge.x))

    return smallest(error_of, d)


def smt(name: str, seeds: Sequence[int], *, install: bool) -> list[int]:
    """Cases that SMT takes: its kriging, of its own optimised Latin hypercubes."""
    python = rival_python("smt", install=install)
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(python), str(_SMT), name, *map(str, seeds)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **threads},
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(line) for line in done.stdout.split()]
