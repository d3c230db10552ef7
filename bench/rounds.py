"""What a round of a study costs beside its cases: CPU of scythe's process and of its workers, kept between rounds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measure import Check, Measurement, Report, clean_environment, interleave, measure, median_of, runs_or
from bench.rivals import OURS, REPOSITORY

TITLE = "study rounds: CPU seconds of a round of 20 cases that compute next to nothing"
ORDER = 81

_SCRIPT = REPOSITORY / "bench" / "scripts" / "study_rounds.py"
_ROUNDS = 10
_BATCH = 20
_LIMIT_S = 0.1

_MODULE = """
from pydantic import Field
from scythe_cli import Input, Output, experiment


class Case(Input):
    a: float = Field(ge=0, le=1)
    b: float = Field(ge=0, le=1)
    c: float = Field(ge=0, le=1)


class Answer(Output):
    y: float


@experiment
def simulate(case: Case) -> Answer:
    return Answer(y=case.a * case.b + case.c)
"""


def run(quick: bool) -> Report:
    cheap = 'suggest = "bench.scripts.study_rounds:Anywhere"\ntargets = { y = "minimize" }'
    studies = {
        "random points, 20 cases before": (20, cheap),
        "random points, 20,000 cases before": (20_000, cheap),
        "chosen by a surrogate, 20 cases before": (20, 'targets = { y = "rmse <= 0.0000001%" }'),
    }
    taken = interleave(
        {name: partial(_measured, *study) for name, study in studies.items()}, runs_or(2 if quick else 5)
    )
    case = f"a round of {_BATCH} cases, mean of {_ROUNDS}, 2 workers; CPU seconds"
    records = [median_of(case, name, runs) for name, runs in taken.items()]
    checks = [
        Check(f"CPU of a round, {record.subject}", record.seconds, _LIMIT_S, at_least=False, unit="s")
        for record in records[:2]
    ]
    return [*records, *checks]


def _measured(initial: int, more: str) -> Measurement:
    with TemporaryDirectory(prefix="scythe-bench-") as name:
        folder = Path(name)
        (folder / "rounds_module.py").write_text(_MODULE)
        (folder / "experiments.toml").write_text(
            '[experiments.simulate]\nentrypoint = "rounds_module:simulate"\n[studies.s]\nexperiment = "simulate"\n'
            f"initial = {initial}\nbatch = {_BATCH}\nmax_cases = {initial + _ROUNDS * _BATCH}\npatience = 100\n{more}\n"
        )
        env = {**clean_environment(), "PYTHONPATH": str(REPOSITORY)}
        return measure([OURS, _SCRIPT, "s"], cwd=folder, env=env)
