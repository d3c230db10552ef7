"""Fill a store of Optuna with finished trials: eight parameters, one value and three attributes each.

python optuna_trials.py FILE N, in Optuna's environment. It takes a hundred a second by itself, so all but the first are
written as rows like those that Optuna has written for that one.
"""

from __future__ import annotations

import importlib
import json
import random
import sqlite3
import sys
from typing import Any

NAMES, ATTRIBUTES = "abcdefgh", "qrs"


def main(path: str, n: int) -> None:
    """Write a study."""
    optuna: Any = importlib.import_module("optuna")  # which scythe's own environment may lack
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name="wide", storage=f"sqlite:///{path}")
    known = {name: optuna.distributions.FloatDistribution(0, 1) for name in NAMES}
    attributes = dict.fromkeys(ATTRIBUTES, 0.5)
    params = dict.fromkeys(NAMES, 0.5)
    study.add_trial(optuna.trial.create_trial(params=params, distributions=known, value=0.5, user_attrs=attributes))
    draw, ids = random.Random(0), range(2, n + 1)
    with sqlite3.connect(path) as store:
        (told,) = store.execute("SELECT distribution_json FROM trial_params").fetchone()
        moment, state = store.execute("SELECT datetime_start, state FROM trials").fetchone()
        for command, rows in (
            ("trials VALUES (?, ?, 1, ?, ?, ?)", ((i, i - 1, state, moment, moment) for i in ids)),
            (
                "trial_params (trial_id, param_name, param_value, distribution_json) VALUES (?, ?, ?, ?)",
                ((i, name, draw.random(), told) for i in ids for name in NAMES),
            ),
            (
                "trial_values (trial_id, objective, value, value_type) VALUES (?, 0, ?, 'FINITE')",
                ((i, draw.random()) for i in ids),
            ),
            (
                "trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, ?)",
                ((i, name, json.dumps(draw.random())) for i in ids for name in ATTRIBUTES),
            ),
        ):
            store.executemany(f"INSERT INTO {command}", rows)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
