"""What users of scythe-engine write: read a CSV with pandas, make a spec of each row, allocate.

python engine_intake.py FUNCTION CASES.csv
"""

import sys

import intake_models
import pandas as pd
from scythe.experiments import BaseExperiment
from scythe.scatter_gather import RecursionMap

function = getattr(intake_models, sys.argv[1])
model = intake_models.MODELS[sys.argv[1]]
frame = pd.read_csv(sys.argv[2])
specs = [
    model(experiment_id="placeholder", sort_index=i, **row) for i, row in enumerate(frame.to_dict(orient="records"))
]
experiment = BaseExperiment(runnable=function)
run, ref = experiment.allocate(specs, version="bumpminor", recursion_map=RecursionMap(factor=10, max_depth=1))
print(run, ref.workflow_run_id)
