"""How many cases BoTorch takes, the library behind Ax: its Gaussian process, which chooses where it knows least.

Points are those that reduce the variance over the whole space most (`qNegIntegratedPosteriorVariance`), which is what
BoTorch has for a model that is to be right everywhere.

A round takes it seconds, so that it can be told to stop at so many cases; one more then stands for "more than these".

python botorch_cases.py FUNCTION [--most N] SEED…
"""

import argparse
import warnings

import torch
from botorch.acquisition.active_learning import qNegIntegratedPosteriorVariance
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.transforms import Standardize
from botorch.optim import optimize_acqf
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch.quasirandom import SobolEngine

from bench.functions import BATCH, FUNCTIONS, MOST, TARGET, Judge, first_cases

_INTEGRATION_POINTS = 512


def cases(name: str, seed: int, most: int = MOST) -> int:
    torch.manual_seed(seed)
    function, judge = FUNCTIONS[name], Judge.of(FUNCTIONS[name])
    d = len(function.bounds)
    bounds = torch.tensor([[0.0] * d, [1.0] * d], dtype=torch.float64)
    where = SobolEngine(d, scramble=True, seed=seed + 1).draw(_INTEGRATION_POINTS).double()
    x = SobolEngine(d, scramble=True, seed=seed).draw(first_cases(d)).double()
    held_out = torch.from_numpy(judge.x)
    while True:
        y = torch.from_numpy(function.at(x.numpy()))[:, None]
        model = SingleTaskGP(x, y, outcome_transform=Standardize(1))
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        with torch.no_grad():
            predicted = model.posterior(held_out).mean[:, 0].numpy()
        if judge.error(predicted) <= TARGET:
            return len(x)
        if len(x) >= most:
            return most + 1
        more, _ = optimize_acqf(
            qNegIntegratedPosteriorVariance(model, mc_points=where),
            bounds=bounds,
            q=min(BATCH, most - len(x)),
            num_restarts=4,
            raw_samples=64,
            sequential=True,
        )
        x = torch.cat([x, more])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("function", choices=tuple(FUNCTIONS))
    parser.add_argument("--most", type=int, default=MOST)
    parser.add_argument("seeds", type=int, nargs="+")
    asked = parser.parse_args()
    for each in asked.seeds:
        print(cases(asked.function, each, asked.most), flush=True)
