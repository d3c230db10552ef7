"""Specs a second and object requests on a real Hatchet engine and a real object store, beside scythe-engine 1.3.0.

    uv run python bench/hatchet.py            # PostgreSQL, the engine and versitygw are started and ended
    uv run python bench/hatchet.py --no-reference -n 2000

One worker with eight slots, a trivial function, all on this machine; times are from the call of `allocate` until the
final tables are there. scythe-engine is installed into `bench/.venvs/scythe-engine` with uv, once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from tests.hatchet_servers import hatchet_servers, missing_servers  # noqa: E402
from tests.servers import S3Server, versitygw  # noqa: E402

REFERENCE = REPOSITORY / "bench" / ".venvs" / "scythe-engine"

MODULE = '''
from {package}.base import ExperimentInputSpec, ExperimentOutputSpec
from {package}.registry import ExperimentRegistry

class Case(ExperimentInputSpec):
    x: float
    k: int = 1

class Result(ExperimentOutputSpec):
    y: float

@ExperimentRegistry.Register()
def simulate(input_spec: Case{more}) -> Result:
    """Computes next to nothing."""
    return Result({dataframes}y=input_spec.x * 2 + input_spec.k)
'''

ALLOCATE = """
import json, sys, time
from bench_module import Case, simulate
from {package}.experiments import BaseExperiment
from {package}.scatter_gather import RecursionMap

n = int(sys.argv[1])
specs = [Case(experiment_id="x", sort_index=i, x=i * 0.1, k=i % 7) for i in range(n)]
started = time.monotonic()
experiment = BaseExperiment(runnable=simulate)
run, ref = experiment.allocate(specs, version="bumpminor", recursion_map=RecursionMap(factor=10, max_depth={depth}))
ref.result()
print(json.dumps({{"seconds": time.monotonic() - started, "tables": sorted(experiment.latest_results)}}))
"""

WORKER = """
if __name__ == "__main__":
    import bench_module
    from {package}.worker import ScytheWorkerConfig
    ScytheWorkerConfig().start()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=1000, help="specs at one spec per task")
    parser.add_argument("--auto-n", type=int, default=10_000, help="specs where the size of tasks is measured")
    parser.add_argument("--depth", type=int, default=0, help="depth of scatter/gather")
    parser.add_argument("--no-reference", action="store_true", help="leave out scythe-engine")
    parser.add_argument("--reference-python", type=Path, help="a Python that has scythe-engine 1.3.0")
    options = parser.parse_args()
    reason = missing_servers()
    if reason:
        sys.exit(reason)
    rows: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="scythe-bench-") as folder,
        hatchet_servers() as hatchet,
        versitygw(Path(folder) / "s3") as s3,
    ):
        s3.new_bucket("bench")
        env = {
            **os.environ,
            **hatchet.env,
            **s3.env,
            "SCYTHE_ENGINE": "hatchet",
            "SCYTHE_STORAGE_BUCKET": "bench",
            "SCYTHE_WORKER_SLOTS": "8",
        }
        for per_task, n in (("1", options.n), ("auto", options.auto_n)):
            rows.append(_ours(Path(folder) / f"ours-{per_task}", env, s3, per_task, n, options.depth))
            print(json.dumps(rows[-1]), flush=True)
        if not options.no_reference:
            python = options.reference_python or _reference_python()
            rows.append(_reference(Path(folder) / "reference", env, s3, python, options.n, options.depth))
            print(json.dumps(rows[-1]), flush=True)
    print()
    print(f"{'what':<34}{'specs':>8}{'seconds':>9}{'specs/s':>9}{'requests per 1,000 specs':>26}")
    for row in rows:
        print(
            f"{row['what']:<34}{row['specs']:>8,}{row['seconds']:>9.1f}{row['specs'] / row['seconds']:>9.1f}"
            f"{row['requests'] / row['specs'] * 1000:>26,.0f}"
        )


def _ours(folder: Path, env: dict[str, str], s3: S3Server, per_task: str, n: int, depth: int) -> dict[str, Any]:
    folder.mkdir()
    (folder / "bench_module.py").write_text(MODULE.format(package="scythe_cli", more="", dataframes=""))
    value = per_task if per_task == "1" else f'"{per_task}"'
    (folder / "experiments.toml").write_text(
        f'[experiments.bench]\nentrypoint = "bench_module:simulate"\nfactor = 10\nmax_depth = {depth}\n'
        f"specs_per_task = {value}\n"
    )
    lines = [f"{i * 0.1},{i % 7}" for i in range(n)]
    (folder / "cases.csv").write_text("\n".join(["x,k", *lines]) + "\n")
    worker = "from scythe_cli.worker import ScytheWorkerConfig, load_served\n"
    worker += "from scythe_cli.project import open_project\n"
    worker += "project = open_project()\n"
    worker += "ScytheWorkerConfig().serve(load_served(project)[0], root=project.root)\n"
    allocate = (
        "import json, time\nfrom pathlib import Path\nfrom scythe_cli.project import open_project\n"
        "started = time.monotonic()\nresult = open_project().allocate(Path('cases.csv'))\n"
        "print(json.dumps({'seconds': time.monotonic() - started, 'ok': result.ok}))\n"
    )
    (folder / "worker.py").write_text(
        'if __name__ == "__main__":\n' + "".join(f"    {line}\n" for line in worker.splitlines())
    )
    with _running([sys.executable, "worker.py"], folder, env):
        return _measured(f"scythe-cli, specs_per_task={per_task}", [sys.executable, "-c", allocate], folder, env, s3, n)


def _reference(folder: Path, env: dict[str, str], s3: S3Server, python: Path, n: int, depth: int) -> dict[str, Any]:
    folder.mkdir()
    module = MODULE.format(package="scythe", more="", dataframes="dataframes={}, ")
    (folder / "bench_module.py").write_text(module)
    (folder / "allocate.py").write_text(ALLOCATE.format(package="scythe", depth=depth))
    (folder / "worker.py").write_text(WORKER.format(package="scythe"))
    with _running([str(python), "worker.py"], folder, env):
        return _measured("scythe-engine 1.3.0", [str(python), "allocate.py", str(n)], folder, env, s3, n)


@contextmanager
def _running(command: list[str], folder: Path, env: dict[str, str]) -> Iterator[None]:
    """A worker, for the time of a block."""
    log = folder / "worker.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 90
        while b"waiting for tasks" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the worker did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.2)
        time.sleep(1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _measured(what: str, command: list[str], folder: Path, env: dict[str, str], s3: S3Server, n: int) -> dict[str, Any]:
    before = _requests(s3)
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{what} failed:\n{done.stdout}\n{done.stderr[-3000:]}\n{(folder / 'worker.log').read_text()[-3000:]}")
    seconds = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return {"what": what, "specs": n, "seconds": seconds, "requests": _requests(s3) - before}


def _requests(s3: S3Server) -> int:
    return len(s3.access_log.read_text().splitlines()) if s3.access_log and s3.access_log.exists() else 0


def _reference_python() -> Path:
    python = REFERENCE / "bin" / "python"
    if not python.exists():
        subprocess.run(["uv", "venv", "--python", "3.11", str(REFERENCE)], check=True)
        subprocess.run(
            ["uv", "pip", "install", "--python", str(python), "scythe-engine==1.3.0", "requests"], check=True
        )
    return python


if __name__ == "__main__":
    main()
