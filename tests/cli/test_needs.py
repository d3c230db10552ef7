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
        (
            TABLE + 'memory = "10 lots"\n',
            [],
            "it should be a size such as '4GB', 'auto', or the name of an input field",
        ),
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


GPUS = """
import os
import time
from pathlib import Path
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec

class Case(ExperimentInputSpec):
    cards: int
    nap_s: float = 0.05
    together: int = 1

class Answer(ExperimentOutputSpec):
    began: float
    ended: float
    seen: str
    pid: int

# a library that looks once, as all of them do
SEEN = []

def simulate(case: Case) -> Answer:
    began = time.time()
    if not SEEN:
        SEEN.append(os.environ.get("CUDA_VISIBLE_DEVICES"))
    users = Path(__file__).with_name("users")
    users.mkdir(exist_ok=True)
    (users / f"of {SEEN[0]}").touch()
    until = began + 120  # for processes that start later
    while len(list(users.iterdir())) < case.together and time.time() < until:
        time.sleep(0.01)
    time.sleep(case.nap_s)
    return Answer(began=began, ended=time.time(), seen=SEEN[0], pid=os.getpid())
"""
GPUS_TABLE = '[experiments.trains]\nentrypoint = "trains:simulate"\n'


def uses_at_once(frame: pl.DataFrame) -> int:
    """How many pairs of rows had a GPU at the same time."""
    rows = frame.sort("began").to_dicts()
    return sum(
        bool(set(filter(None, first["seen"].split(","))) & set(second["seen"].split(",")))
        for position, first in enumerate(rows)
        for second in rows[position + 1 :]
        if second["began"] < first["ended"]
    )


@pytest.mark.processes
@pytest.mark.parametrize("options", ["", 'isolation = "row"\n', 'start_method = "spawn"\n'])
@pytest.mark.parametrize("gpus", ["1", '"cards"'])
def test_a_row_has_its_gpus_for_itself(
    scythe: Run, odd: Path, monkeypatch: pytest.MonkeyPatch, options: str, gpus: str
) -> None:
    # there is no GPU here: what a program sees of them is the variable
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7")
    (odd / "trains.py").write_text(GPUS)
    (odd / "experiments.toml").write_text(f"{GPUS_TABLE}gpus = {gpus}\n{options}")
    cards = [i % 4 if gpus != "1" else 1 for i in range(24)]
    together = 3 if gpus == "1" else 1
    (odd / "cases.csv").write_text("\n".join(["cards,together", *(f"{n},{together}" for n in cards), ""]))
    ran = scythe("allocate", "cases.csv", "--workers", "4")
    assert ran.code == 0, ran.err
    frame = scythe_cli.load_run("latest").scalars().sort("sort_index")
    seen = [[each for each in text.split(",") if each] for text in frame["seen"]]
    assert [len(each) for each in seen] == cards
    assert {each for some in seen for each in some} == {"3", "5", "7"}
    assert uses_at_once(frame) == 0


def test_more_gpus_than_there_are_are_refused(scythe: Run, odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (odd / "trains.py").write_text(GPUS)
    (odd / "experiments.toml").write_text(f"{GPUS_TABLE}gpus = 1\n")
    (odd / "cases.csv").write_text("cards\n1\n")
    ran = scythe("allocate", "cases.csv")
    assert ran.code in (2, 3)
    assert "line 2 takes 1 GPU, and there is none to use" in ran.err
    assert not (odd / "runs").exists()


@pytest.mark.nightly
def test_the_cores_are_busy(scythe: Run, naps: Path) -> None:
    frame = run_naps(scythe, naps, 400, 2.0)
    busy_s = ((frame["ended"] - frame["began"]) * frame["cores"]).sum()
    assert busy_s / 8 / (frame["ended"].max() - frame["began"].min()) >= 0.95
