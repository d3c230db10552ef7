"""Where a task may lead a worker: its message is bounded by the worker's own configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from scythe_cli.engines.hatchet.nodes.node import Node
from scythe_cli.engines.hatchet.nodes.specstore import SpecStore, allowed_places
from scythe_cli.errors import StorageError
from tests.engines.test_hatchet_decisions import RUN
from tests.made_runs import LAYOUT


@pytest.mark.parametrize(
    ("own", "named", "task", "taken"),
    [
        ("s3://bucket/a", "", "s3://bucket/a", True),
        ("s3://bucket/a", "", "s3://bucket/b", True),
        ("s3://bucket/a", "", "s3://bucket-2/a", False),
        ("s3://bucket/a", "", "/home/me", False),
        ("s3://bucket/a", "s3://other/x, /data", "s3://other/x/y", True),
        ("s3://bucket/a", "s3://other/x, /data", "s3://other/xy", False),
        ("s3://bucket/a", "s3://other/x, /data", "/data/runs", True),
        ("/data/runs", "", "/data/runs", True),
        ("/data/runs", "", "/data/runs/deeper", True),
        ("/data/runs", "", "/data/runs-2", False),
        ("/data/runs", "", "/data/runs/../other", False),
        ("/data/runs", "", "/data", False),
        ("/data/runs", "", "s3://bucket", False),
        ("/data/runs", "", "ftp://x", False),
        ("/data/runs", "", "s3://KEY:secret-value@bucket/x", False),
        (None, "", "/anywhere", True),
        (None, "/data", "/anywhere", False),
    ],
)
def test_where_a_task_may_lead_a_worker(
    monkeypatch: pytest.MonkeyPatch, own: str | None, named: str, task: str, taken: bool
) -> None:
    monkeypatch.setenv("SCYTHE_WORKER_STORAGES", named)
    specs = SpecStore(allowed_places(own))
    run = RUN.model_copy(update={"storage": task, "experiment_id": LAYOUT.experiment_id})
    if taken:
        specs.admit(run)
        return
    with pytest.raises(StorageError, match=r"does not accept runs at|names no run") as refused:
        specs.admit(run)
    assert "secret-value" not in str(refused.value)


def test_a_link_does_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "elsewhere")
    specs = SpecStore(allowed_places(str(tmp_path / "runs")))
    run = RUN.model_copy(update={"experiment_id": LAYOUT.experiment_id})
    with pytest.raises(StorageError, match="does not accept runs at"):
        specs.admit(run.model_copy(update={"storage": str(tmp_path / "runs" / "link")}))
    with pytest.raises(StorageError, match="names no run"):
        specs.admit(run.model_copy(update={"storage": str(tmp_path / "runs"), "experiment_id": "../../x"}))


def test_both_kinds_of_task_are_checked() -> None:
    """Before anything of the run is opened."""
    import inspect

    from scythe_cli.engines.hatchet.nodes.leaf import LeafRunner

    for method in (Node.__post_init__, LeafRunner.run):
        source = inspect.getsource(method)
        assert "specs.admit(" in source
        assert source.index("specs.admit(") < (source + "open_storage").index("open_storage")
