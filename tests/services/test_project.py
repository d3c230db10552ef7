from __future__ import annotations

from pathlib import Path

import pytest

import scythe_cli
from scythe_cli.errors import (
    ConfigError,
    EntrypointError,
    NotFoundError,
    UsageError,
)
from scythe_cli.services.project import open_project
from tests.projects import make_project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "my sweep [1]")


def test_found_from_a_folder_below(project: Path) -> None:
    below = project / "a" / "b"
    below.mkdir(parents=True)

    opened = open_project(start=below)

    assert opened.root == project
    assert opened.config_path == project / "experiments.toml"
    assert opened.location == str(project / "runs")


def test_storage_of_the_file_is_beside_it_and_that_of_the_option_is_here(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = project / "experiments.toml"

    assert open_project(config).location == str(project / "runs")
    assert open_project(config, storage="here").location == str(tmp_path / "here")
    assert open_project(config, storage="s3://bucket/a").location == "s3://bucket/a"
    monkeypatch.setenv("SCYTHE_STORAGE_BUCKET", "big")
    assert open_project(config).location == "s3://big/scythe"
    monkeypatch.setenv("SCYTHE_STORAGE_BUCKET_PREFIX", "runs/of/mine")
    assert open_project(config).location == "s3://big/runs/of/mine"
    monkeypatch.setenv("SCYTHE_STORAGE_URI", "elsewhere")
    assert open_project(config).location == str(tmp_path / "elsewhere")
    assert open_project(config, storage="here").location == str(tmp_path / "here")


def test_engine_of_option_then_environment_then_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_project(start=project).engine_name == "local"
    monkeypatch.setenv("SCYTHE_ENGINE", "hatchet")
    assert open_project(start=project).engine_name == "hatchet"
    assert open_project(start=project, engine="local").engine_name == "local"
    monkeypatch.setenv("SCYTHE_ENGINE", "dask")
    with pytest.raises(UsageError, match="there is no engine 'dask'"):
        open_project(start=project)


def test_without_a_configuration_runs_can_be_read_and_nothing_allocated(tmp_path: Path) -> None:
    project = open_project(start=tmp_path)

    assert project.experiment_names() == []
    assert project.runs() == []
    with pytest.raises(ConfigError, match=r"there is no experiments\.toml(.|\n)*scythe init"):
        project.validate(tmp_path / "cases.csv")
    assert list(tmp_path.iterdir()) == []


def test_options_of_the_file_win_over_those_of_register(tmp_path: Path) -> None:
    extra = 'retries = 4\nexecution_timeout = "90s"\nmemory_limit = "2GB"'
    project = open_project(start=make_project(tmp_path / "p", extra=extra))

    name, experiment = project.experiment()

    assert name == experiment.name == "energy"
    assert experiment.options.retries == 4
    assert experiment.options.execution_timeout.total_seconds() == 90
    assert experiment.options.memory_limit_bytes == 2_000_000_000


def test_choosing_an_experiment(tmp_path: Path) -> None:
    config = "".join(f'[experiments.{name}]\nentrypoint = "models.building:simulate"\n' for name in ("energy", "cost"))
    project = open_project(start=make_project(tmp_path / "p", config=config))

    assert project.experiment("cost")[0] == "cost"
    with pytest.raises(UsageError, match=r"several experiments: energy, cost(.|\n)*--experiment"):
        project.experiment()
    with pytest.raises(NotFoundError, match=r"no experiment 'enrgy'(.|\n)*Did you mean 'energy'"):
        project.experiment("enrgy")


def test_broken_experiment_is_described_with_its_problem(tmp_path: Path) -> None:
    project = open_project(start=make_project(tmp_path / "p", code="1 / 0\n"))

    (record,) = project.describe()

    assert "ZeroDivisionError" in (record.problem or "")
    with pytest.raises(EntrypointError, match="ZeroDivisionError"):
        project.describe("energy")


@pytest.mark.processes
def test_the_package_itself_is_enough_for_a_notebook(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    Path("cases.csv").write_text("area,mode\n1,well\n2,raise\n3,well\n")

    result = scythe_cli.allocate("cases.csv")
    run = scythe_cli.load_run("latest")

    assert not result.ok
    assert run.experiment_id == result.experiment_id
    status = run.status()
    assert status.counts is not None
    assert (status.counts.succeeded, status.counts.failed) == (2, 1)
    assert run.scalars()["energy_kwh"].to_list() == [10.0, 30.0]
    assert [e.error_type for e in run.errors().errors] == ["KeyError"]
    assert scythe_cli.open_project().versions()[0].version == "v1.0.0"
    assert scythe_cli.__version__


@pytest.mark.processes
def test_plain_function_is_an_experiment_too(tmp_path: Path) -> None:
    code = (
        "from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec\n"
        "class A(ExperimentInputSpec):\n    x: float\n"
        "class B(ExperimentOutputSpec):\n    y: float\n"
        "def simulate(case: A) -> B:\n    return B(y=case.x + 1)\n"
    )
    folder = make_project(tmp_path / "p", code=code)
    (folder / "cases.csv").write_text("x\n1\n2\n")
    project = open_project(start=folder)

    result = project.allocate(folder / "cases.csv")

    assert result.ok
    assert project.run().scalars()["y"].to_list() == [2.0, 3.0]


@pytest.mark.parametrize(
    ("options", "message"), [({"workers": 0}, "workers is 0"), ({"max_failures": 0}, "max_failures is 0")]
)
def test_numbers_that_make_no_sense(project: Path, options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_project(start=project).allocate(project / "cases.csv", **options)  # pyright: ignore[reportArgumentType]
