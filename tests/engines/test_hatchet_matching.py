"""Whether the experiment of a worker is the one that a run was allocated with."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.core.semver import SemVer
from scythe_cli.engines.hatchet.nodes.matching import Matching, mismatch
from scythe_cli.engines.hatchet.payloads import LeafAssignment, RowSet, RunPointer
from scythe_cli.engines.hatchet.routing import code_fingerprint, schema_fingerprint
from scythe_cli.executor.code import code_hash, code_of, comparable_hash
from scythe_cli.model.experiment import experiment_from_function
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.manifest import RunManifest
from scythe_cli.storage.opening import open_storage

LAYOUT = RunLayout("energy", SemVer(major=1), datetime(2026, 1, 1, tzinfo=UTC))
CODE = {"sim.py": "1", "helper.py": "2"}


class In(ExperimentInputSpec):
    x: float


class Out(ExperimentOutputSpec):
    y: float


def simulate(spec: In) -> Out:
    return Out(y=spec.x)


EXPERIMENT = experiment_from_function(simulate, name="energy")
SCHEMA = schema_fingerprint(EXPERIMENT)


@pytest.fixture
def run(tmp_path: Path) -> RunPointer:
    """A run of `CODE`, whose manifest says so."""
    manifest = RunManifest(
        workflow_run_id="root", experiment_id=LAYOUT.experiment_id, experiment_name="energy", n_specs=1, code=CODE
    )
    open_storage(str(tmp_path)).write_bytes(LAYOUT.manifest, manifest.to_yaml())
    return RunPointer(
        storage=str(tmp_path),
        experiment_id=LAYOUT.experiment_id,
        experiment="energy",
        root_workflow_run_id="root",
        session="hatchet-20260101T000000-0a1b2c3d",
        n_specs=1,
        schema_fingerprint=SCHEMA,
        code_fingerprint="other bytes",
        code=comparable_hash(CODE),
        execution_timeout_s=1.0,
    )


def of(run: RunPointer, **changes: Any) -> RunPointer:
    return run.model_copy(update=changes)


def test_the_same_code_in_other_bytes(run: RunPointer) -> None:
    assert mismatch(EXPERIMENT, SCHEMA, CODE, run) is None
    assert mismatch(EXPERIMENT, "other", CODE, run) == (
        "the input or output model of 'energy' on this worker is not the one that the run was allocated with"
    )


def test_the_file_that_differs_is_named(run: RunPointer) -> None:
    said = mismatch(EXPERIMENT, SCHEMA, CODE | {"helper.py": "3"}, run)
    assert said == "the code of 'energy' on this worker is not the one that the run was allocated with: helper.py"


@pytest.mark.parametrize("own", [{"project/sim.py": "1", "project/helper.py": "2"}, None])
def test_where_codes_cannot_be_compared_the_file_of_the_function_is(
    own: dict[str, str] | None, run: RunPointer
) -> None:
    assert mismatch(EXPERIMENT, SCHEMA, own, of(run, code_fingerprint=code_fingerprint(EXPERIMENT))) is None
    said = mismatch(EXPERIMENT, SCHEMA, own, run)
    assert said is not None
    assert said.endswith("is not the one that the run was allocated with")
    # as of a client of an earlier version, or of another version of Python
    for code in (None, "2.7:" + code_hash(CODE)):
        assert mismatch(EXPERIMENT, SCHEMA, CODE, of(run, code=code)) == said


def test_code_that_a_retry_has_accepted(run: RunPointer) -> None:
    accepted = CODE | {"helper.py": "3"}
    retried = of(run, code=comparable_hash(accepted), code_mark=code_hash(accepted))
    assert mismatch(EXPERIMENT, SCHEMA, accepted, retried) is None
    assert mismatch(EXPERIMENT, SCHEMA, CODE, retried) is not None
    told = LeafAssignment(run=retried, rows=RowSet(start=0, n=1), part="p").to_metadata()
    spec = {"experiment_id": run.experiment_id, "root_workflow_run_id": "root", "sort_index": 0}
    assert LeafAssignment.from_metadata(told, "energy", spec).run.code_mark == code_hash(accepted)


def test_a_run_is_compared_once_and_its_processes_load_what_was_compared(
    run: RunPointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).parent
    own = code_of(EXPERIMENT, root)
    mine = of(run, code=comparable_hash(own))
    matching = Matching(EXPERIMENT, root, allows_mismatch=False)
    target, reason = asyncio.run(matching.target_for(mine))
    assert reason is None
    assert {name for _, name, *_ in target.sources} == set(own or ())
    with monkeypatch.context() as patch:
        patch.setattr(matching, "_compare", None)
        assert asyncio.run(matching.target_for(mine)) == (target, None)
    # another submission of the run may be of other code
    assert asyncio.run(matching.target_for(run))[1] is not None
    lenient = Matching(EXPERIMENT, root, allows_mismatch=True)
    assert asyncio.run(lenient.target_for(run)) == (lenient.target, None)
