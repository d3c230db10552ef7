"""The main job as a user runs it, in a folder with an odd name.

One run of each kind is made by the command in a process of its own; what else is asked of it is asked in this process.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from tests.commands import Ran, run_alone, run_here
from tests.projects import make_project, tree
from tests.servers import S3Server, require_server, versitygw

ODD = "my sweep (Zürich) 100%"

CONTRACT = re.compile(
    r"(specs\.pq|manifest\.yml|experiment_io_spec\.yml|input_artifacts\.yml|workflow_spec\.yml"
    r"|artifacts/.+|outcomes/[^/]+\.pq|results/[^/]+/[^/]+|final/[^/]+\.pq)"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / ODD)


def run(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> Ran:
    """Run a command line as at a terminal of 80 columns, in this process."""
    return run_here(*arguments, cwd=cwd, env={"COLUMNS": "80", **(env or {})})


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory):
    require_server("versitygw")
    with versitygw(tmp_path_factory.mktemp("s3")) as server:
        yield server


def counts(document: dict[str, object]) -> dict[str, int]:
    counted = document["counts"]
    assert isinstance(counted, dict)
    return counted


def write_cases(project: Path, rows: list[str], header: str = "area,mode") -> Path:
    path = project / "cases.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_failing_rows_are_all_in_the_errors_table(project: Path) -> None:
    write_cases(project, [f"{i},{'raise' if i % 25 in (3, 9, 14) else 'well'}" for i in range(1000)])

    done = run_alone("allocate", "cases.csv", "--json", cwd=project)

    assert done.code == 1, done.err
    final = Path(done.json["uri"]) / "final"
    scalars = pd.read_parquet(final / "scalars.pq")
    assert len(scalars) == 880
    assert (scalars["energy_kwh"] == scalars.index.get_level_values("area") * 10).all()
    errors = pl.read_parquet(final / "errors.pq")
    assert errors.height == 120
    assert set(errors["error_type"]) == {"KeyError"}
    assert set(errors["message"]) == {"'lpd'"}
    assert all('raise KeyError("lpd")' in text for text in errors["traceback"])
    assert errors["area"].to_list() == [i for i in range(1000) if i % 25 in (3, 9, 14)]
    assert counts(run("status", "--json", cwd=project).json) == {
        "succeeded": 880,
        "failed": 120,
        "timeout": 0,
        "crashed": 0,
        "cancelled": 0,
        "pending": 0,
    }
    shown = run("errors", cwd=project)
    assert "120" in shown.out
    assert "KeyError" in shown.out
    assert "building.py" in shown.out


def test_one_bad_row_costs_one_row(tmp_path: Path) -> None:
    project = make_project(tmp_path / ODD, extra='execution_timeout = "2s"\nmemory_limit = "1GB"')
    modes = ["well"] * 60
    modes[7], modes[23], modes[41] = "abort", "loop", "memory"
    write_cases(project, [f"{i},{mode}" for i, mode in enumerate(modes)])

    done = run("allocate", "cases.csv", "--json", cwd=project)

    assert done.code == 1, done.err
    final = Path(done.json["uri"]) / "final"
    errors = pl.read_parquet(final / "errors.pq")
    assert dict(zip(errors["sort_index"], errors["state"], strict=True)) == {7: "crashed", 23: "timeout", 41: "crashed"}
    assert pl.read_parquet(final / "scalars.pq").height == 57


def tables_of(final: Path) -> dict[str, pl.DataFrame]:
    tables: dict[str, pl.DataFrame] = {}
    for path in sorted(final.glob("*.pq")):
        frame = pl.read_parquet(path)
        leave_out = [
            c for c in ("experiment_id", "workflow_run_id", "root_workflow_run_id", "duration_s") if c in frame.columns
        ]
        tables[path.stem] = frame.drop(leave_out)
    return tables


@pytest.mark.live
def test_s3_gives_the_same_tables_with_requests_by_parts(project: Path, s3: S3Server, capsys) -> None:
    (project / "Weather A.csv").write_text("a" * 30)
    (project / "b.csv").write_text("b" * 40)
    modes = {5: "raise", 6: "report", 7: "report"}
    weather = ["Weather A.csv", "b.csv", ""]
    rows = [f"{i},{modes.get(i, 'well')},{weather[i % 3]}" for i in range(1000)]
    write_cases(project, rows, "area,mode,weather")
    assert run("allocate", "cases.csv", cwd=project).code == 1
    bucket = s3.new_bucket("main-job")
    before = len(s3.requests())

    storage = ("--storage", f"s3://{bucket}/some/prefix")
    done = run_alone(*storage, "allocate", "cases.csv", "--json", cwd=project, env=s3.env)

    assert done.code == 1, done.err
    requests = [r for r in s3.requests()[before:] if r.bucket == bucket]
    with capsys.disabled():
        print(f"\n{len(requests)} object requests for 1,000 specs")
    assert len(requests) < 60
    experiment_id = done.json["experiment_id"]
    keys = [item["Key"] for item in s3.client().list_objects_v2(Bucket=bucket)["Contents"]]
    prefix = f"some/prefix/{experiment_id}/"
    assert all(key.startswith(prefix) and CONTRACT.fullmatch(key.removeprefix(prefix)) for key in keys), keys
    assert sum(key.startswith(f"{prefix}artifacts/") for key in keys) == 2
    assert sum(key.startswith(f"{prefix}results/report/") for key in keys) == 2
    fetched = run_alone(*storage, "results", "fetch", "--dest", "got", cwd=project, env=s3.env)
    assert fetched.code == 0, fetched.err
    (local,) = (project / "runs").glob("*/*/*/final")
    ours, theirs = tables_of(local), tables_of(project / "got")
    assert set(ours) == set(theirs) == {"scalars", "result_file_refs", "monthly", "errors"}
    for name, frame in ours.items():
        # where files were uploaded differs by nature
        uris = [c for c in ("weather", "report") if c in frame.columns]
        assert frame.drop(uris).equals(theirs[name].drop(uris)), name
        for column in uris:
            assert frame[column].is_null().equals(theirs[name][column].is_null())
    report = theirs["result_file_refs"].filter(pl.col("report").is_not_null())["report"][0]
    assert report.startswith(f"s3://{bucket}/{prefix}results/report/")


AT_ONCE = [3, pytest.param(8, marks=pytest.mark.nightly)]


def allocate_many(project: Path, n: int, *options: str, env: dict[str, str] | None = None) -> list[dict[str, object]]:
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "scythe_cli.cli", *options),
                *("allocate", "cases.csv", "--bump", "minor", "--json", "--workers", "1"),
            ],
            cwd=project,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(n)
    ]
    results: list[dict[str, object]] = []
    for process in processes:
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        results.append(json.loads(out))
    return results


def check_all_complete(results: list[dict[str, object]], n: int) -> None:
    assert len(results) == n
    assert {r["version"] for r in results} == {f"v1.{minor}.0" for minor in range(n)}
    assert all(counts(r)["succeeded"] == 20 for r in results)


@pytest.mark.parametrize("n", AT_ONCE)
def test_as_many_at_once_are_as_many_versions(project: Path, n: int) -> None:
    write_cases(project, [f"{i},well" for i in range(20)])

    results = allocate_many(project, n)

    check_all_complete(results, n)
    for result in results:
        assert pl.read_parquet(Path(str(result["uri"])) / "final" / "scalars.pq").height == 20


@pytest.mark.live
@pytest.mark.parametrize("n", AT_ONCE)
def test_as_many_at_once_are_as_many_versions_on_s3(project: Path, s3: S3Server, n: int) -> None:
    write_cases(project, [f"{i},well" for i in range(20)])
    bucket = s3.new_bucket(f"{n}-at-once")

    results = allocate_many(project, n, "--storage", f"s3://{bucket}/p", env=s3.env)

    check_all_complete(results, n)
    keys = [item["Key"] for item in s3.client().list_objects_v2(Bucket=bucket)["Contents"]]
    assert sum(key.endswith("final/scalars.pq") for key in keys) == n
    assert not [key for key in keys if "claim" in key]


BAD_CSV: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "no cases": (b"area,mode\n", "no cases"),
    "missing column": (b"mode\nwell\n", "area"),
    "unknown column": (b"area,moed\n1,well\n", "did you mean 'mode'"),
    "bad numbers": (b"area,mode\n1,well\nx,well\n-4,well\n2000,well\n", "line 5, area: 2000"),
    "ragged": (b"area,mode\n1,well\n2,well,extra\n", "line 3"),
    "encoding": ("area,mode\n1,Zürich\n".encode("latin-1"), "UTF-8"),
    "missing file": (b"area,weather\n1,nowhere.epw\n", "nowhere.epw"),
}


@pytest.fixture(scope="module")
def with_a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has a run already."""
    project = make_project(tmp_path_factory.mktemp("store") / ODD)
    write_cases(project, ["1,well"])
    assert run("allocate", "cases.csv", cwd=project).code == 0
    return project


@pytest.mark.parametrize("name", BAD_CSV)
def test_bad_sampling_files_change_nothing(with_a_run: Path, name: str) -> None:
    project = with_a_run
    content, message = BAD_CSV[name]
    (project / "cases.csv").write_bytes(content)
    before = tree(project / "runs")

    done = run("allocate", "cases.csv", cwd=project)

    assert done.code == 3
    assert done.out == ""
    assert message in done.err
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) <= 8
    assert tree(project / "runs") == before


def test_three_bad_lines_are_told_at_once(project: Path) -> None:
    write_cases(project, ["1,well", "x,well", "-4,well", "2000,well"])

    stderr = run("allocate", "cases.csv", cwd=project).err

    assert "line 3, area: x: not a number" in stderr
    assert "line 4, area: -4: Input should be greater than or equal to 0" in stderr
    assert "line 5, area: 2000: Input should be less than or equal to 1000" in stderr


def test_truncated_parquet_and_folder(project: Path) -> None:
    pl.DataFrame({"area": [1.0, 2.0]}).write_parquet(project / "cases.parquet")
    content = (project / "cases.parquet").read_bytes()
    (project / "cases.parquet").write_bytes(content[:-30])
    (project / "folder.csv").mkdir()

    for file in ("cases.parquet", "folder.csv", "nowhere.csv"):
        done = run("allocate", file, cwd=project)
        assert done.code in (2, 3), done.err
        assert file in done.err
        assert "Traceback" not in done.err
    assert not (project / "runs").exists()


BAD_PROJECTS: dict[str, tuple[dict[str, str], str]] = {
    "syntax": ({"config": "[scythe\n"}, "not valid TOML"),
    "unknown key": ({"config": '[experiments.e]\nentrypoint = "m:f"\nretreis = 1\n'}, "did you mean 'retries'"),
    "import": ({"code": "import numpyy\n"}, "models/building.py, line 1: ModuleNotFoundError"),
    "raises": ({"code": "x = 1\n1 / 0\n"}, "models/building.py, line 2: ZeroDivisionError"),
    "signature": ({"code": "def simulate(a, b):\n    return 1\n"}, "simulate (models/building.py, line 1)"),
}


@pytest.mark.parametrize("name", BAD_PROJECTS)
def test_bad_projects_are_told_in_a_few_lines(tmp_path: Path, name: str) -> None:
    options, message = BAD_PROJECTS[name]
    project = make_project(tmp_path / ODD, **options)
    write_cases(project, ["1,well"])

    done = run("allocate", "cases.csv", cwd=project)

    assert done.code == 3, done.err
    # a long line may be wrapped for the terminal
    assert message in re.sub(r"\s+", " ", done.err)
    assert len(done.err.splitlines()) <= 8
    assert not (project / "runs").exists()


def test_folder_without_a_project(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("area\n1\n")

    done = run("allocate", "cases.csv", cwd=tmp_path)

    assert done.code == 3
    assert "experiments.toml" in done.err
    assert "scythe init" in done.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cases.csv"]


SCRIPT = '''
import os
os.cpu_count = lambda: 1  # one process of the executor, which has pandas to import, is enough
from pathlib import Path
from pydantic import Field
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.experiments import BaseExperiment, SemVer
from scythe_cli.registry import ExperimentRegistry
from scythe_cli.scatter_gather import RecursionMap
import pandas as pd


class BuildingInput(ExperimentInputSpec):
    r_value: float = Field(default=..., ge=0, le=15)
    lpd: float = Field(default=..., ge=0, le=20)
    weather: FileReference


class BuildingOutput(ExperimentOutputSpec):
    heating: float
    timeseries: FileReference | None = None


@ExperimentRegistry.Register(description="Simulate a building.")
def simulate(input_spec: BuildingInput, tempdir: Path) -> BuildingOutput:
    """Initialize and execute an energy model."""
    input_spec.log(f"simulating {input_spec.sort_index}")
    csv = tempdir / "ts.csv"
    csv.write_text("a,b\\n1,2\\n")
    frame = pd.DataFrame({"kwh": [1.0, input_spec.lpd]}, index=input_spec.make_multiindex(n_rows=2))
    return BuildingOutput(heating=input_spec.r_value * 2, timeseries=csv, dataframes={"hourly": frame})


GUARD
    Path("w.epw").write_text("weather")
    experiment = BaseExperiment(runnable=simulate)
    specs = [
        BuildingInput(experiment_id="placeholder", sort_index=0, r_value=i / 10, lpd=i / 20, weather=Path("w.epw"))
        for i in range(30)
    ]
    run, ref = experiment.allocate(specs, version="bumpminor", recursion_map=RecursionMap(factor=2, max_depth=2))
    result = ref.result()
    second, _ = experiment.allocate(specs[:3], version="bumpminor")
    one, one_ref = experiment.allocate(specs[0], version="keep")
    import json
    print(json.dumps({
        "run": run.model_dump(mode="json"),
        "id": run.experiment_id,
        "one": one.experiment_id,
        "workflow_run_id": ref.workflow_run_id,
        "counts": result.counts.model_dump(),
        "versions": [str(v.version) for v in experiment.list_versions()],
        "latest": str(experiment.latest_version().version),
        "results": experiment.latest_results,
        "first": experiment.latest_results_for_version(SemVer.FromString("v1.0.0")),
    }))
'''


# the tests of the executor have scripts without a guard, too
@pytest.mark.parametrize("guard", ['if __name__ == "__main__":', pytest.param("if True:", marks=pytest.mark.nightly)])
def test_script_in_the_style_of_scythe_engine(tmp_path: Path, guard: str) -> None:
    (tmp_path / "study.py").write_text(SCRIPT.replace("GUARD", guard))

    done = subprocess.run(
        [sys.executable, "study.py"], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    name = "scythe_experiment_simulate"
    assert said["id"].startswith(f"{name}/v1.0.0/")
    assert said["run"]["versioned_experiment"]["base_experiment"]["runnable"] == name
    assert said["counts"]["succeeded"] == 30
    assert said["versions"] == ["v1.0.0", "v1.1.0"]
    assert said["latest"] == "v1.1.0"
    folder = tmp_path / "runs" / said["id"]
    hourly = pd.read_parquet(said["first"]["hourly"])
    assert list(hourly.index.names) == [
        "experiment_id",
        "sort_index",
        "workflow_run_id",
        "root_workflow_run_id",
        "r_value",
        "lpd",
        "sort_subindex",
    ]
    assert len(hourly) == 60
    assert set(said["results"]) == {"scalars", "result_file_refs", "hourly", "errors"}
    assert len(pd.read_parquet(said["first"]["scalars"])) == 30
    assert len(list((folder / "results" / "timeseries").glob("*.csv"))) == 30
    assert len(list((folder / "artifacts").rglob("*.epw"))) == 1
    assert (tmp_path / "runs" / said["one"] / "workflow_spec.yml").exists()


def test_values_are_those_of_a_plain_loop(project: Path) -> None:
    write_cases(project, [f"{i / 7},well" for i in range(50)])
    assert run("allocate", "cases.csv", cwd=project).code == 0

    (path,) = (project / "runs").glob("energy/v1.0.0/*/final/scalars.pq")
    scalars = pd.read_parquet(path)

    assert list(scalars.index.names) == [
        "experiment_id",
        "sort_index",
        "workflow_run_id",
        "root_workflow_run_id",
        "area",
        "kind",
        "mode",
        "big",
    ]
    assert list(scalars["energy_kwh"]) == [float(repr(i / 7)) * 10 for i in range(50)]
    folder = path.parents[1]
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert all(CONTRACT.fullmatch(name) for name in names), names
