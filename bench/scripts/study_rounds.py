"""CPU that the rounds of a study take: of this process and of all that it started, by round.

python study_rounds.py STUDY
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

from bench.measure import tree
from scythe_cli.executor.limits import StopSignal
from scythe_cli.services.project import open_project
from scythe_cli.services.study.loop import StudyOptions, run_study
from scythe_cli.services.study.settings import configured_study

_TICKS = os.sysconf("SC_CLK_TCK")


class Anywhere:
    """A generator that costs next to nothing: random points."""

    depends_on_ingested_only = True

    def __init__(self, vocs, seed=0):
        self._variables = {name: variable.domain for name, variable in vocs.variables.items()}
        self._seed, self._n = seed, 0

    def suggest(self, num_points=None):
        draws = np.random.default_rng([self._seed, self._n]).random((num_points or 1, len(self._variables)))
        ends = list(self._variables.items())
        return [{name: lo + u * (hi - lo) for (name, (lo, hi)), u in zip(ends, row, strict=True)} for row in draws]

    def ingest(self, results):
        self._n += len(results)


def cpu_s():
    """User and system seconds of the processes that there are, and of those that they have waited for."""
    ticks = 0
    for pid in tree(os.getpid()):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS


def main():
    project = open_project()
    taken = []
    result = run_study(
        project,
        configured_study(project, sys.argv[1]),
        StudyOptions(workers=2, stop=StopSignal(), on_round=lambda *_: taken.append(cpu_s())),
    )
    each = np.diff(taken)
    assert result.counts.succeeded == result.counts.total, result
    print(json.dumps({"seconds": float(each.mean()), "rounds": len(each), "most": float(each.max())}))


if __name__ == "__main__":
    main()
