"""The steps of an allocation: nothing is left of one that fails before the run, and the lease is held during it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.core.progress import ProgressCallback
from scythe_cli.engines.base import Engine, Execution, Job
from scythe_cli.engines.local import LocalEngine
from scythe_cli.errors import EngineError, SpecsError, StorageError
from scythe_cli.executor.limits import StopSignal
from scythe_cli.registry import ExperimentRegistry, RegisteredExperiment
from scythe_cli.run.manifest import read_manifest
from scythe_cli.services.allocation import submission as allocation_module
from scythe_cli.services.allocation.submission import (
    AllocationRequest,
    check_inputs,
    execute,
    submit,
)
from scythe_cli.storage.base import Storage
from scythe_cli.storage.opening import open_storage
from tests.made_runs import outcomes, write_part


class Input(ExperimentInputSpec):
    x: float
    weather: FileReference | None = None


class Output(ExperimentOutputSpec):
    y: float


@dataclass
class SeeingEngine(Engine):
    """Notes what files there are while it works."""

    name: str = "local"
    seen: list[list[str]] = field(default_factory=list)
    error: Exception | None = None

    def execute(self, job: Job, *, stop: StopSignal, progress: ProgressCallback | None = None) -> Execution:
        self.seen.append(job.storage.list_tree(job.run.experiment_id))
        write_part(job.storage, job.run, "a", outcomes(range(job.n_specs)).drop_columns(["out:odd", "file:picture"]))
        if self.error:
            raise self.error
        return Execution(["a notice"])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin outside of the repository, which would be the project: all that the function imports would be read."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def experiment() -> RegisteredExperiment[Input, Output]:
    @ExperimentRegistry.Register(name="energy")
    def energy(spec: Input) -> Output:
        """Square."""
        return Output(y=spec.x**2)

    return energy


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "runs")


def request(
    experiment: RegisteredExperiment[Input, Output],
    storage: Storage,
    engine: SeeingEngine | LocalEngine,
    weather: list[str | None] | None = None,
    base_dir: Path | None = None,
) -> AllocationRequest:
    inputs = pa.table({"x": [1.0, 2.0], "weather": pa.array(weather or [None, None], pa.string())})
    return AllocationRequest(
        experiment=experiment,
        folder="energy",
        inputs=inputs,
        storage=storage,
        engine=engine,
        base_dir=base_dir or Path.cwd(),
    )


def test_lease_is_held_while_specs_run_and_removed_at_the_end(
    storage: Storage, experiment: RegisteredExperiment[Input, Output]
) -> None:
    engine = SeeingEngine()
    submission = submit(request(experiment, storage, engine))
    lease = submission.job.run.key(".lease")
    assert not storage.exists(lease)
    result = execute(submission, engine, notices=["first"])
    assert lease in engine.seen[0]
    assert not storage.exists(lease)
    assert result.ok
    assert result.notices == ["first", "a notice"]


def test_error_of_the_engine_keeps_the_run_and_removes_the_lease(
    storage: Storage, experiment: RegisteredExperiment[Input, Output]
) -> None:
    engine = SeeingEngine(error=EngineError("no process can be started"))
    submission = submit(request(experiment, storage, engine))
    with pytest.raises(EngineError, match=r"no process can be started(.|\n)*`scythe retry energy/v1\.0\.0/"):
        execute(submission, engine)
    assert not storage.exists(submission.job.run.key(".lease"))
    assert storage.exists(submission.job.run.outcome_part("a"))


@pytest.mark.parametrize("step", ["upload_artifacts", "put_specs", "io_schema", "artifact_list", "specs_hash"])
def test_nothing_is_left_of_an_allocation_that_fails(
    storage: Storage,
    experiment: RegisteredExperiment[Input, Output],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    step: str,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageError("no space is left on the device")

    (tmp_path / "w.epw").write_text("sunny")
    given = request(experiment, storage, SeeingEngine(), ["w.epw", "w.epw"], tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(allocation_module, step, full)
        with pytest.raises(StorageError, match="no space"):
            submit(given)
    assert storage.list_tree("") == []
    assert str(submit(given).job.run.version) == "v1.0.0"


def test_manifest_says_that_an_allocation_is_under_way(
    storage: Storage, experiment: RegisteredExperiment[Input, Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[str] = []
    write_specs = allocation_module.put_specs

    def look(
        given: RegisteredExperiment[Input, Output],
        to: Storage,
        run: allocation_module.RunLayout,
        inputs: pa.Table,
        root: str,
        **options: Any,
    ) -> None:
        manifest = read_manifest(storage, run)
        states.append(manifest.state if manifest else "none")
        write_specs(given, to, run, inputs, root, **options)

    monkeypatch.setattr(allocation_module, "put_specs", look)
    run = submit(request(experiment, storage, SeeingEngine())).job.run
    manifest = read_manifest(storage, run)
    assert manifest is not None
    assert [*states, manifest.state] == ["allocating", "allocated"]


def test_missing_files_are_told_without_the_secrets_of_their_urls(
    storage: Storage, experiment: RegisteredExperiment[Input, Output], tmp_path: Path
) -> None:
    url = "http://user:pass@127.0.0.1:9/w.epw?sig=abc"
    with pytest.raises(SpecsError) as caught:
        check_inputs(request(experiment, storage, SeeingEngine(), ["none.epw", url], tmp_path))
    said = str(caught.value)
    assert "2 input files cannot be used" in said
    assert "spec 0, weather: none.epw:" in said
    assert "spec 1, weather: http://127.0.0.1:9/w.epw" in said
    assert "pass" not in said
    assert "abc" not in said
    assert storage.list_tree("") == []
