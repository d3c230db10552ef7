"""What cases take of the machine: said in experiments.toml, refused before a run is written, kept while it runs."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pytest

import scythe_cli
from tests.cli.conftest import Run

MODULE = """
import time
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec

class Case(ExperimentInputSpec):
    cores: int
    nap_s: float = 0.0
    licences: int = 1

class Answer(ExperimentOutputSpec):
    began: float
    ended: float

def simulate(case: Case) -> Answer:
    began = time.time()
    time.sleep(case.nap_s)
    return Answer(began=began, ended=time.time())
"""
NEEDS = 'cpus = "cores"\ntokens = { licence = "licences" }\n'
TOTALS = "[scythe]\ntokens = { licence = 3 }\n"
TABLE = '[experiments.naps]\nentrypoint = "naps:simulate"\n'


@pytest.fixture
def naps(odd: Path) -> Path:
    (odd / "naps.py").write_text(MODULE)
    (odd / "experiments.toml").write_text(TOTALS + TABLE + NEEDS)
    (odd / "cases.csv").write_text("cores\n1\n2\n")
    return odd


@pytest.mark.parametrize(
    ("config", "arguments", "message"),
    [
        (TABLE + NEEDS, [], "it is not said how many 'licence' there are"),
        (TOTALS + TABLE + 'cpus = "core"\n', [], 'cpus = "core" is no input field of whole numbers'),
        (TOTALS + TABLE + NEEDS, ["--workers", "1"], "line 3 takes 2 cores, and there is 1"),
        (TABLE + "cpus = 0\n", [], "cpus' is 0; it should be a whole number from 1 on, or the name of an input field"),
        (TABLE + 'memory = "10 lots"\n', [], "it should be a size such as '4GB', or the name of an input field"),
        ("[scythe]\ntokens = { licence = 0 }\n" + TABLE, [], "tokens' is 0; it should be"),
    ],
)
def test_what_cannot_be_is_refused_before_a_run_is_there(
    scythe: Run, naps: Path, config: str, arguments: list[str], message: str
) -> None:
    (naps / "experiments.toml").write_text(config)
    ran = scythe("allocate", "cases.csv", *(arguments or ["--workers", "4"]))
    assert ran.code in (2, 3)
    assert message in ran.err
    assert not (naps / "runs").exists()


def most_at_once(frame: pl.DataFrame, column: str) -> int:
    changes = [(row["began"], row[column]) for row in frame.iter_rows(named=True)]
    changes += [(row["ended"], -row[column]) for row in frame.iter_rows(named=True)]
    at_once = most = 0
    for _, change in sorted(changes):
        at_once += change
        most = max(most, at_once)
    return most


def run_naps(scythe: Run, folder: Path, n: int, longest_s: float) -> pl.DataFrame:
    """Rows of one and two cores, a third of which hold a licence; on 8 cores, which naps do not need."""
    chance = random.Random(1)
    rows = [f"{chance.randint(1, 2)},{chance.uniform(0.1, 1) * longest_s:.3f},{i % 3 == 0:d}" for i in range(n)]
    (folder / "cases.csv").write_text("\n".join(["cores,nap_s,licences", *rows, ""]))
    ran = scythe("allocate", "cases.csv", "--workers", "8")
    assert ran.code == 0, ran.err
    frame = scythe_cli.load_run("latest").scalars()
    assert frame.height == n
    assert most_at_once(frame, "cores") <= 8
    assert most_at_once(frame, "licences") <= 3
    return frame


@pytest.mark.processes
def test_there_is_never_more_in_use_than_there_is(scythe: Run, naps: Path) -> None:
    run_naps(scythe, naps, 40, 0.1)


@pytest.mark.nightly
def test_the_cores_are_busy(scythe: Run, naps: Path) -> None:
    frame = run_naps(scythe, naps, 400, 2.0)
    busy_s = ((frame["ended"] - frame["began"]) * frame["cores"]).sum()
    assert busy_s / 8 / (frame["ended"].max() - frame["began"].min()) >= 0.95
