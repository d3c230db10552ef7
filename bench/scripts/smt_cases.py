"""How many cases SMT takes: the smallest of its optimised Latin hypercubes from which its kriging is good enough.

python smt_cases.py FUNCTION SEED…
"""

import sys

import numpy as np
from smt.sampling_methods import LHS
from smt.surrogate_models import KRG

from bench.functions import FUNCTIONS, Judge, smallest


def cases(name: str, seed: int) -> int:
    function, judge = FUNCTIONS[name], Judge.of(FUNCTIONS[name])
    d = len(function.bounds)

    def error_of(n: int) -> float:
        x = LHS(xlimits=np.array([[0.0, 1.0]] * d), criterion="ese", seed=seed)(n)
        model = KRG(theta0=[1e-1] * d, print_global=False, seed=seed)
        model.set_training_values(x, function.at(x))
        model.train()
        return judge.error(model.predict_values(judge.x)[:, 0])

    return smallest(error_of, d)


if __name__ == "__main__":
    for each in sys.argv[2:]:
        print(cases(sys.argv[1], int(each)), flush=True)
