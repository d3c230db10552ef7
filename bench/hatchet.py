"""A fleet beside scythe-engine 1.3.0, and beside what the engine does by itself, on one PostgreSQL, engine and S3.

Workers, engine, database and store share this machine. The client's whole command is measured, from its start until
the final tables are there. Requests are counted in the access log of the S3 server. The bare engine is a durable task
that spawns as many trivial children, without storage, processes or tables: what is left to gain at one spec a task.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measure import Check, Measurement, Record, Report, clean_environment, interleave, measure, median_of, runs_or
from bench.rivals import OURS, RivalMissingError, rival_python
from tests.hatchet_servers import hatchet_servers, missing_servers
from tests.servers import S3Server, find_server, versitygw

TITLE = "a fleet: specs a second and object requests on the Hatchet engine"
ORDER = 40

_SLOTS = 8
_BARE = Path(__file__).parent / "scripts" / "bare_durable.py"
_START_S = 120.0
_READY = b"waiting for tasks"
_CLI = [OURS, "-m", "scythe_cli.cli"]
_ALLOCATE = [*_CLI, "--json", "--quiet", "allocate", "cases.csv", "--wait"]
_WORKER = [*_CLI, "worker"]

_MODULE = '''
from {package}.base import ExperimentInputSpec, ExperimentOutputSpec
from {package}.registry import ExperimentRegistry

class Case(ExperimentInputSpec):
    x: float
    k: int = 1

class Result(ExperimentOutputSpec):
    y: float

@ExperimentRegistry.Register()
def simulate(input_spec: Case) -> Result:
    """Computes next to nothing."""
    return Result({dataframes}y=input_spec.x * 2 + input_spec.k)
'''

_ENGINE_ALLOCATE = """
import sys
from bench_module import Case, simulate
from scythe.experiments import BaseExperiment
from scythe.scatter_gather import RecursionMap

specs = [Case(experiment_id="x", sort_index=i, x=i * 0.1, k=i % 7) for i in range(int(sys.argv[1]))]
run, ref = BaseExperiment(runnable=simulate).allocate(
    specs, version="bumpminor", recursion_map=RecursionMap(factor=10, max_depth=0)
)
ref.result()
"""

_ENGINE_WORKER = """
if __name__ == "__main__":
    import bench_module
    from scythe.worker import ScytheWorkerConfig
    ScytheWorkerConfig().start()
"""


@dataclass(frozen=True)
class _Fleet:
    """Servers, and what a client needs of them."""

    folder: Path
    env: Mapping[str, str]
    s3: S3Server

    def requests(self) -> int:
        return len(self.s3.requests())


def run(quick: bool) -> Report:
    reason = missing_servers() or (None if find_server("versitygw") else "versitygw is not installed: `make servers`")
    if reason:
        return [f"left out: {reason}"]
    n, n_auto = (50, 500) if quick else (1_000, 10_000)
    with TemporaryDirectory(prefix="scythe-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        hatchet = stack.enter_context(hatchet_servers())
        s3 = stack.enter_context(versitygw(folder / "s3"))
        s3.new_bucket("bench")
        env = clean_environment(
            **hatchet.env,
            **s3.env,
            SCYTHE_ENGINE="hatchet",
            SCYTHE_STORAGE_BUCKET="bench",
            SCYTHE_WORKER_SLOTS=str(_SLOTS),
        )
        fleet = _Fleet(folder, env, s3)
        report = _beside_others(fleet, n, n_auto, quick)
        if not quick:
            report += _more_workers(fleet, n // 2, n_auto)
    return report


def _beside_others(fleet: _Fleet, n: int, n_auto: int, quick: bool) -> Report:
    case = f"{n:,} trivial specs (auto: {n_auto:,}), one worker with {_SLOTS} slots"
    requests: dict[str, list[int]] = {}
    notes: Report = []

    def alone(
        name: str,
        n_specs: int,
        worker: Sequence[str | Path],
        client: Sequence[str | Path],
        folder: Path,
        env: Mapping[str, str] = fleet.env,
    ) -> Callable[[], Measurement]:
        def measured() -> Measurement:
            # nobody else's worker is there: one that only waits costs engine and machine as well
            with working([worker], folder, env):
                before = fleet.requests()
                taken = measure(client, cwd=folder, env=env)
                requests.setdefault(name, []).append(round((fleet.requests() - before) * 1000 / n_specs))
            return taken

        return measured

    subjects: dict[str, Callable[[], Measurement]] = {}
    for per_task, n_specs in (("1", n), ("auto", n_auto)):
        name = f"scythe, {per_task} spec{'s' if per_task == 'auto' else ''} a task"
        folder = _project(fleet, f"p{per_task}", per_task, n_specs)
        subjects[name] = alone(name, n_specs, _WORKER, _ALLOCATE, folder)
    bare = "the engine by itself"
    if not quick:
        worker, client = [OURS, _BARE, "worker", str(_SLOTS)], [OURS, _BARE, "run", str(n)]
        subjects[bare] = alone(bare, n, worker, client, fleet.folder)
    engine = "scythe-engine 1.3.0"
    try:
        python = rival_python("scythe-engine", install=not quick)
    except RivalMissingError as error:
        notes.append(str(error))
    else:
        # its nodes have the name of ours
        env = {**fleet.env, "HATCHET_CLIENT_NAMESPACE": "engine"}
        folder = _engine_project(fleet)
        subjects[engine] = alone(engine, n, [python, "worker.py"], [python, "allocate.py", str(n)], folder, env)
    taken = interleave(subjects, runs_or(1))
    records = {
        name: median_of(
            case,
            name,
            measured,
            n=n_auto if "auto" in name or "specs a task" in name else n,
            is_base=name == engine,
            more={"requests per 1,000": sorted(requests[name])[len(requests[name]) // 2]},
        )
        for name, measured in taken.items()
    }
    return [*records.values(), *_checks(records, engine, bare), *notes]


def _checks(records: Mapping[str, Record], engine: str, bare: str) -> list[Check]:
    def rate(name: str) -> float:
        return (records[name].n or 0) / records[name].seconds

    one, auto = list(records)[:2]
    checks = [Check("object requests per 1,000 specs", float(records[one].more["requests per 1,000"]), 50, False, "")]
    if bare in records:
        checks.append(Check("specs a second at one a task, beside the bare engine", rate(one) / rate(bare), 0.8, True))
    if engine in records:
        checks.append(Check("specs a second at one a task, beside scythe-engine", rate(one) / rate(engine), 3.5, True))
        checks.append(Check("specs a second at auto, beside scythe-engine", rate(auto) / rate(engine), 50, True))
    return checks


def _more_workers(fleet: _Fleet, n: int, n_auto: int) -> Report:
    """The same with more workers, which share the cores with all else here."""
    report: Report = []
    for per_task, n_specs in (("1", n), ("auto", n_auto)):
        folder = _project(fleet, f"w{per_task}", per_task, n_specs)
        for n_workers in (1, 2, 4):
            with working([_WORKER] * n_workers, folder, fleet.env):
                taken = [measure(_ALLOCATE, cwd=folder, env=fleet.env)]
            case = f"{n_specs:,} trivial specs, {per_task} a task, {_SLOTS} slots a worker"
            name = f"{n_workers} worker{'s' if n_workers > 1 else ''}"
            report.append(median_of(case, name, taken, n=n_specs, is_base=n_workers == 1))
    return report


def _project(fleet: _Fleet, name: str, per_task: str, n: int) -> Path:
    """A project; its experiment is named after it, so that each has workers of its own."""
    folder = fleet.folder / name
    folder.mkdir()
    (folder / "bench_module.py").write_text(_MODULE.format(package="scythe_cli", dataframes=""))
    (folder / "experiments.toml").write_text(
        f'[experiments.{name}]\nentrypoint = "bench_module:simulate"\nmax_depth = 0\n'
        f"specs_per_task = {json.dumps(per_task) if per_task == 'auto' else per_task}\n"
    )
    (folder / "cases.csv").write_text("x,k\n" + "".join(f"{i * 0.1},{i % 7}\n" for i in range(n)))
    return folder


def _engine_project(fleet: _Fleet) -> Path:
    folder = fleet.folder / "engine"
    folder.mkdir()
    (folder / "bench_module.py").write_text(_MODULE.format(package="scythe", dataframes="dataframes={}, "))
    (folder / "allocate.py").write_text(_ENGINE_ALLOCATE)
    (folder / "worker.py").write_text(_ENGINE_WORKER)
    return folder


@contextmanager
def working(commands: Sequence[Sequence[str | Path]], folder: Path, env: Mapping[str, str]) -> Generator[None]:
    """Workers of a project, each with a command, for the time of a block."""
    with ExitStack() as stack:
        for number, command in enumerate(commands):
            log = folder / f"worker-{number}-{time.time_ns()}.log"
            with log.open("wb") as out:
                more = {"SCYTHE_WORKER_NAME": f"{folder.name}-{number}"}
                process = subprocess.Popen(
                    [str(part) for part in command], cwd=folder, env={**env, **more}, stdout=out, stderr=out
                )
            stack.callback(_end, process)
            deadline = time.monotonic() + _START_S
            while _READY not in log.read_bytes():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the worker did not start:\n{log.read_text()[-3000:]}")
                time.sleep(0.2)
        time.sleep(1)  # the engine knows a worker a moment after the worker says that it waits
        yield


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit("run it with `python -m bench hatchet`")
