"""Reading, checking and submitting a sampling file: a run of a million specs is claimed, written to S3 and queued.

The whole command is measured, start-up included, on the same PostgreSQL, Hatchet engine and S3 server as
scythe-engine. No worker runs: nothing is executed.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measure import (
    Check,
    Measurement,
    Record,
    Report,
    check_ratio,
    clean_environment,
    exponent,
    interleave,
    measure,
    median_of,
    runs_or,
)
from bench.projects import SCYTHE
from bench.rivals import RivalMissingError, rival_python
from tests.hatchet_servers import hatchet_servers, missing_servers
from tests.servers import find_server, versitygw

TITLE = "intake: from a sampling file to a run that is queued"
ORDER = 20

SCRIPTS = Path(__file__).parent / "scripts"

_MODELS = '''
from pydantic import Field, field_validator
from {package}.base import ExperimentInputSpec, ExperimentOutputSpec
from {package}.registry import ExperimentRegistry


class Flat(ExperimentInputSpec):
    u_value: float = Field(ge=0.1, le=6)
    azimuth: float = Field(ge=0, le=360)
    storeys: int = Field(ge=1, le=60)


class Custom(Flat):
    @field_validator("azimuth")
    @classmethod
    def check_azimuth(cls, value):
        """Nothing that could be seen in the columns."""
        if 180 < value < 180.000001:
            raise ValueError("due south is not allowed")
        return value


class Result(ExperimentOutputSpec):
    y: float


@ExperimentRegistry.Register()
def flat(input_spec: Flat) -> Result:
    """Computes nothing."""
    return Result({dataframes}y=1.0)


@ExperimentRegistry.Register()
def custom(input_spec: Custom) -> Result:
    """Computes nothing."""
    return Result({dataframes}y=1.0)


MODELS = {{"flat": Flat, "custom": Custom}}
'''

_NESTED = '''

from pydantic import BaseModel


class Wall(BaseModel):
    u_value: float = Field(ge=0.1, le=6)
    azimuth: float = Field(ge=0, le=360)


class Nested(ExperimentInputSpec):
    wall: Wall
    storeys: int = Field(ge=1, le=60)


@ExperimentRegistry.Register()
def nested(input_spec: Nested) -> Result:
    """Computes nothing."""
    return Result(y=1.0)


Wide = type(
    "Wide",
    (ExperimentInputSpec,),
    {
        "__annotations__": {f"x{i:03d}": float for i in range(200)},
        "__module__": __name__,
        **{f"x{i:03d}": Field(ge=0, le=1) for i in range(200)},
    },
)


@ExperimentRegistry.Register()
def wide(input_spec: Wide) -> Result:
    """Computes nothing."""
    return Result(y=1.0)
'''

_CONFIG = "".join(
    f'[experiments.{name}]\nentrypoint = "intake_models:{name}"\n' for name in ("flat", "custom", "nested", "wide")
)
_START_WAIT_S = 90.0


def run(quick: bool) -> Report:
    reason = missing_servers() or (None if find_server("versitygw") else "versitygw is not installed")
    if reason:
        return [f"left out: {reason}"]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="scythe-bench-")))
        hatchet = stack.enter_context(hatchet_servers())
        s3 = stack.enter_context(versitygw(folder / "s3"))
        s3.new_bucket("bench")
        env = clean_environment(
            **hatchet.env, **s3.env, SCYTHE_ENGINE="hatchet", SCYTHE_STORAGE_BUCKET="bench", SCYTHE_WORKER_SLOTS="1"
        )
        ours = folder / "ours"
        ours.mkdir()
        (ours / "intake_models.py").write_text(_MODELS.format(package="scythe_cli", dataframes="") + _NESTED)
        (ours / "experiments.toml").write_text(_CONFIG)
        return [
            *_beside_scythe_engine(folder, env, quick),
            *_others(folder, env, quick),
            *_growth(folder, env, quick),
        ]


def write_cases(path: Path, n: int, *, prefix: str = "") -> Path:
    """A sampling file of three columns of random numbers, as long as Python writes them."""
    numbers = random.Random(n)
    with path.open("w") as file:
        file.write(f"{prefix}u_value,{prefix}azimuth,storeys\n")
        for _ in range(n):
            file.write(f"{numbers.uniform(0.1, 6)!r},{numbers.uniform(0, 360)!r},{numbers.randint(1, 60)}\n")
    return path


def write_wide(path: Path, n: int) -> Path:
    """A sampling file of 200 columns of random numbers."""
    numbers = random.Random(n)
    with path.open("w") as file:
        file.write(",".join(f"x{i:03d}" for i in range(200)) + "\n")
        for _ in range(n):
            file.write(",".join([repr(numbers.random()) for _ in range(200)]) + "\n")
    return path


def _submit(folder: Path, env: Mapping[str, str], experiment: str, cases: Path) -> Measurement:
    command = [SCYTHE, "allocate", cases, "--experiment", experiment, "--no-wait", "--quiet"]
    return measure(command, cwd=folder / "ours", env=env)


def _validate(folder: Path, env: Mapping[str, str], experiment: str, cases: Path) -> Measurement:
    return measure([SCYTHE, "validate", cases, "--experiment", experiment], cwd=folder / "ours", env=env)


# ------------------------------------------------------------------------------------------- beside scythe-engine


def _beside_scythe_engine(folder: Path, env: Mapping[str, str], quick: bool) -> Report:
    n = 20_000 if quick else 1_000_000
    cases = write_cases(folder / "cases.csv", n)
    report: Report = []
    theirs: Callable[[str], Callable[[], Measurement]] | None = None
    if not quick:  # of few rows, both take what the start takes
        try:
            theirs = _scythe_engine(rival_python("scythe-engine"), folder, env, cases)
        except RivalMissingError as error:
            report.append(str(error))
    records: list[Record] = []
    checks: list[Check] = []
    models = (
        ("flat", "a model that is checked as columns", 10.0),
        ("custom", "a model with a validator of its own, checked row by row", 3.0),
    )
    for model, what, faster in models[:1] if quick else models:
        subjects = {"scythe allocate": partial(_submit, folder, env, model, cases)}
        if theirs is not None:
            subjects["scythe-engine 1.3.0"] = theirs(model)
        taken = interleave(subjects, runs_or(1))
        case = f"{n:,} rows of 3 columns, {what}"
        made = [median_of(case, name, runs, n=n, is_base=name.startswith("scythe a")) for name, runs in taken.items()]
        records += made
        if theirs is None:
            continue
        one, other = made
        checks.append(
            check_ratio(f"{model}: faster than scythe-engine", other.seconds, one.seconds, faster, at_least=True)
        )
        if model == "flat" and one.peak_bytes and other.peak_bytes:
            checks.append(
                check_ratio("flat: memory beside scythe-engine", one.peak_bytes, other.peak_bytes, 0.25, at_least=False)
            )
    return [*records, *checks, *report]


def _scythe_engine(
    python: Path, folder: Path, env: Mapping[str, str], cases: Path
) -> Callable[[str], Callable[[], Measurement]]:
    theirs = folder / "theirs"
    theirs.mkdir()
    (theirs / "intake_models.py").write_text(_MODELS.format(package="scythe", dataframes="dataframes={}, "))
    for name in ("engine_intake.py", "engine_register.py"):
        (theirs / name).write_text((SCRIPTS / name).read_text())
    _register(python, theirs, env)

    def subject(model: str) -> Callable[[], Measurement]:
        return partial(measure, [python, "engine_intake.py", model, cases], cwd=theirs, env=env)

    return subject


def _register(python: Path, folder: Path, env: Mapping[str, str]) -> None:
    """Start a worker, and end it when the engine knows what it serves."""
    log = folder / "worker.log"
    with log.open("wb") as out:
        worker = subprocess.Popen([python, "engine_register.py"], cwd=folder, env=dict(env), stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + _START_WAIT_S
        while b"waiting for tasks" not in log.read_bytes():
            if worker.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the worker of scythe-engine did not start: {log.read_text()[-2000:]}")
            time.sleep(0.2)
    finally:
        worker.terminate()
        try:
            worker.wait(20)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


# ---------------------------------------------------------------------------------------------- other models, growth


def _others(folder: Path, env: Mapping[str, str], quick: bool) -> Report:
    n, n_wide = (20_000, 2_000) if quick else (1_000_000, 100_000)
    plain = write_cases(folder / "plain.csv", n)
    dotted = write_cases(folder / "dotted.csv", n, prefix="wall.")
    wide = write_wide(folder / "wide.csv", n_wide)
    runs = runs_or(1)
    taken = interleave(
        {
            "3 columns": partial(_validate, folder, env, "flat", plain),
            "3 columns, own validator": partial(_validate, folder, env, "custom", plain),
            "3 columns, 2 of them of a nested model": partial(_validate, folder, env, "nested", dotted),
        },
        runs,
    )
    case = f"scythe validate, {n:,} rows: no server is asked"
    records = [median_of(case, name, measured, n=n) for name, measured in taken.items()]
    both = (("validate", _validate), ("allocate", _submit))
    for what, subject in both[:1] if quick else both:
        measured = interleave({f"scythe {what}": partial(subject, folder, env, "wide", wide)}, runs)
        size_mb = wide.stat().st_size / 1e6
        records += [
            median_of(f"{n_wide:,} rows of 200 columns", name, each, n=n_wide, more={"file MB": round(size_mb)})
            for name, each in measured.items()
        ]
    return list(records)


def _growth(folder: Path, env: Mapping[str, str], quick: bool) -> Report:
    sizes = [10_000, 100_000] if quick else [1, 10_000, 100_000, 1_000_000, 10_000_000]
    files = {n: write_cases(folder / f"growth-{n}.csv", n) for n in sizes}
    subjects = {f"{n:,} row{'s' if n > 1 else ''}": partial(_submit, folder, env, "flat", files[n]) for n in files}
    taken = interleave(subjects, runs_or(1))
    case = "growth: 3 columns, CSV to S3 and the engine"
    records = [median_of(case, name, runs, n=n) for n, (name, runs) in zip(files, taken.items(), strict=True)]
    before, last = records[-2:]
    steep = exponent(sizes[-2:], [before.seconds, last.seconds])
    further = ", ".join(
        f"{((b.cpu_s or 0) - (a.cpu_s or 0)) / ((b.n or 0) - (a.n or 0)) * 1e6:.2f} µs from {a.n:,} to {b.n:,}"
        for a, b in pairwise(records[-3:])
    )
    return [
        *records,
        Check("exponent of the time between the two largest", steep, 1.05, at_least=False, unit=""),
        "one row is start-up, the clients of engine and storage, and the requests of a run; with a large file, clients "
        "are loaded while it is read",
        f"CPU for a further row: {further}",
    ]
