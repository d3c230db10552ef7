"""A run whose folder is in an object store."""

from __future__ import annotations

from pathlib import Path

import pytest

from scythe_cli.core.records import StateCounts
from tests.live.fleet import LiveProject
from tests.servers import versitygw


def test_run_in_an_object_store_makes_few_requests(
    live: LiveProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with versitygw(tmp_path / "s3") as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        server.new_bucket("runs")
        live.configure(storage="s3://runs/live", max_depth=1, factor=2, specs_per_task=1)
        live.start_worker("--slots", "2")
        result = live.open().allocate(live.write_cases(80))
        assert result.counts == StateCounts(succeeded=80)
        assert live.open().run().scalars().height == 80
        assert server.access_log is not None
        assert len(server.access_log.read_text().splitlines()) < 120
