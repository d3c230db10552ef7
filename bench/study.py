"""Cases until a surrogate is good enough: chosen one round after another, beside designs made at once.

Each method gets the same question: with how many cases is the root mean square error at held-out points at most 1 % of
the output's range there? What decides is the true error, which no method sees. Methods draw nothing of their own but
from seeds; the figure is the median over these.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.functions import BATCH, FUNCTIONS, MOST, TARGET, Judge, first_cases, smallest
from bench.measure import Check, Report, runs_or
from bench.rivals import REPOSITORY, RivalMissingError, rival_python

TITLE = "study: cases until held-out points are predicted within 1 %"
ORDER = 80

_SCRIPTS = REPOSITORY / "bench" / "scripts"
_OTHERS = {"SMT": "smt", "BoTorch": "botorch"}
_QUICK = ("borehole", "OTL circuit")
_HARD = "with a jump"
_NO_MORE_THAN = 1.1
"""Times the cases of the best rival."""


def run(quick: bool) -> Report:
    seeds = range(runs_or(1 if quick else 10))
    report: Report = []
    for name in _QUICK if quick else tuple(FUNCTIONS):
        # no method gets there, which takes each of them long to find out
        report += _one(name, seeds if name != _HARD else seeds[:1], quick)
    return report


def _one(name: str, seeds: Sequence[int], quick: bool) -> Report:
    taken = [chosen(name, seed) for seed in seeds]
    ours = statistics.median(each.cases for each in taken)
    rivals = {
        "Latin hypercube, scikit-learn": statistics.median(usual(name, seed) for seed in seeds),
        "Latin hypercube, our surrogate": statistics.median(at_once(name, seed) for seed in seeds),
    }
    report: Report = []
    # a round of BoTorch takes seconds: it ends where ours has needed no more than 1.1 times as many
    limits = {"BoTorch": int(ours / _NO_MORE_THAN)}
    for rival, package in _OTHERS.items():
        if rival == "BoTorch" and ours > MOST:
            continue  # its choice among so many cases takes more memory than there is: 13 GB for 73
        try:
            found = other(package, name, seeds, install=not quick, most=limits.get(rival))
            rivals[rival] = statistics.median(found)
        except RivalMissingError as error:
            report.append(str(error))
    told = ", ".join(f"{rival} {_cases(n, limits.get(rival, MOST))}" for rival, n in rivals.items())
    report.append(f"{name}: chosen in rounds {_cases(ours)}, {told}")
    ends = [each for each in taken if each.end is not None]
    if ends:
        most = max(each.error_at_end for each in ends)
        median = statistics.median(each.end or 0 for each in ends)
        held = sum(each.error_at_end <= TARGET for each in ends)
        report.append(
            f"{name}: {len(ends)} of {len(taken)} studies end by themselves, at {median:g} cases, "
            f"{held} of them within 1 %, the worst at {most:.2%}"
        )
    one_shot, best = rivals["Latin hypercube, scikit-learn"], min(rivals.values())
    if ours <= MOST:
        report.append(Check(f"cases beside a Latin hypercube, {name}", ours / one_shot, 0.67, at_least=False))
        report.append(Check(f"cases beside the best rival, {name}", ours / best, _NO_MORE_THAN, at_least=False))
    return report


def _cases(n: float, most: int = MOST) -> str:
    return f"more than {most}" if n > most else f"{n:g}"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What became of a study.

    Attributes:
        cases: How many there were when predictions were good enough, as the held-out points tell.
        end: How many there were when the study itself found so, by cross-validation; None if it did not.
        error_at_end: The error at the held-out points then.
    """

    cases: int
    end: int | None
    error_at_end: float


def chosen(name: str, seed: int) -> Chosen:
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
    n, good, end, error_at_end = 0, MOST + 1, None, math.inf
    while True:
        cases = zip(points.tolist(), function.compute(points).tolist(), strict=True)
        generator.ingest([{**dict(zip(names, x, strict=True)), "y": y} for x, y in cases])
        n += len(points)
        error = judge.error(generator.assessment.fits["y"].predict(judge.x)[0])
        good = min(good, n) if error <= TARGET else good
        if end is None and generator.assessment.holds:
            end, error_at_end = n, error
        if n >= MOST or (good <= n and end is not None):
            return Chosen(good, end, error_at_end)
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
        lengths: Any = np.ones(d)
        kernel: Any = ConstantKernel() * Matern(lengths, nu=2.5)
        model: Any = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=seed)
        with one_thread(), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return judge.error(model.fit(x, function.at(x)).predict(judge.x))

    return smallest(error_of, d)


def other(package: str, name: str, seeds: Sequence[int], *, install: bool, most: int | None = None) -> list[int]:
    """Cases that another library takes, in an environment of its own.

    Args:
        package: SMT has its kriging of its own optimised Latin hypercubes, BoTorch its Gaussian process, which chooses
            points.
        name: The function.
        seeds: For each of them.
        install: Whether the environment may be made now.
        most: So many cases at most, where the library can be told; one more stands for "more than these".
    """
    python = rival_python(package, install=install)
    limit = [] if most is None else ["--most", str(most)]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(python), str(_SCRIPTS / f"{package}_cases.py"), name, *limit, *map(str, seeds)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **threads},
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(line) for line in done.stdout.split()]
