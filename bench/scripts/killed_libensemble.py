"""A study of libEnsemble that goes on with the history that it has saved: `run`; what it came to as JSON: `report`.

python killed_libensemble.py run|report CASES BATCH
"""

import json
import sys
from pathlib import Path

import numpy as np
from killed_sim import simulate
from libensemble.alloc_funcs.start_only_persistent import only_persistent_gens
from libensemble.gen_funcs.persistent_sampling import persistent_uniform
from libensemble.libE import libE
from libensemble.tools import add_unique_random_streams


def sim(calc_in, persis_info, sim_specs, _):
    out = np.zeros(len(calc_in), dtype=sim_specs["out"])
    out["f"] = [simulate(*map(float, row["x"])) for row in calc_in]
    return out, persis_info


def saved():
    """The newest history of those that can be read, as far as its simulations have ended; and how many cannot be."""
    histories, broken = [], 0
    for path in Path().glob("study_*.npy"):
        try:
            history = np.load(path)
        except (ValueError, EOFError, OSError):
            broken += 1
            continue
        histories.append(history[history["sim_ended"]])
    return max(histories, key=len, default=None), broken


def main() -> None:
    n, batch = map(int, sys.argv[2:])
    history, broken = saved()
    known = 0 if history is None else len(history)
    if sys.argv[1] == "report":
        points = [] if history is None else history["x"].tolist()
        print(json.dumps({"points": points, "running": 0, "broken": broken}))
        return
    if known >= n:
        return
    found, _, _ = libE(
        {"sim_f": sim, "in": ["x"], "out": [("f", float)]},
        {
            "gen_f": persistent_uniform,
            "in": ["x", "f", "sim_id"],  # of what the history has
            "persis_in": ["x", "f", "sim_id"],
            "out": [("x", float, (2,))],
            "user": {"initial_batch_size": batch, "lb": np.zeros(2), "ub": np.ones(2)},
        },
        {"sim_max": n - known},
        add_unique_random_streams({}, 4, seed="0"),
        {"alloc_f": only_persistent_gens},
        {
            "nworkers": 3,
            "comms": "local",
            "save_every_k_sims": batch,
            "H_file_prefix": "study",
            "disable_log_files": True,
        },
        H0=history,
    )
    ended = found[found["sim_ended"]]
    np.save("study_whole.npy", ended)


if __name__ == "__main__":
    main()
