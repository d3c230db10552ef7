"""A study of Optuna in SQLite that goes on where it was: `run`; what it came to as JSON: `report`.

python killed_optuna.py run|report CASES BATCH
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import optuna
from killed_sim import simulate
from optuna.trial import TrialState


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    n, batch = map(int, sys.argv[2:])
    study = optuna.create_study(
        study_name="s", storage="sqlite:///study.db", sampler=optuna.samplers.TPESampler(seed=0), load_if_exists=True
    )

    def done() -> list[optuna.trial.FrozenTrial]:
        return study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])

    if sys.argv[1] == "report":
        left = study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
        points = [[trial.params["a"], trial.params["b"]] for trial in done()]
        print(json.dumps({"points": points, "running": len(left)}))
        return
    with ThreadPoolExecutor(2) as pool:
        while (left := n - len(done())) > 0:
            trials = [study.ask() for _ in range(min(batch, left))]
            points = [(trial.suggest_float("a", 0, 1), trial.suggest_float("b", 0, 1)) for trial in trials]
            for trial, value in zip(trials, pool.map(lambda point: simulate(*point), points), strict=True):
                study.tell(trial, value)


if __name__ == "__main__":
    main()
