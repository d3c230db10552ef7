"""A run whose folder is in an object store."""

from __future__ import annotations

from pathlib import Path

import pytest

from scythe_cli.core.records import StateCounts
from tests.faults.lagging import Lag
from tests.faults.proxy import fault_proxy
from tests.live.fleet import LiveProject
from tests.servers import versitygw


def test_run_in_an_object_store_makes_few_requests(
    live: LiveProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with versitygw(tmp_path / "s3") as server:
        server.use(monkeypatch)
        server.new_bucket("runs")
        live.configure(storage="s3://runs/live", max_depth=1, factor=2, specs_per_task=1)
        live.start_worker("--slots", "2")
        result = live.open().allocate(live.write_cases(80))
        assert result.counts == StateCounts(succeeded=80)
        assert live.open().run().scalars().height == 80
        assert server.access_log is not None
        assert len(server.access_log.read_text().splitlines()) < 120


def test_run_in_a_store_that_lists_late(live: LiveProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written in the last five seconds is missing in lists: in those of the nodes, and of who comes next."""
    with versitygw(tmp_path / "s3") as server, fault_proxy(server.endpoint_url, share=0.0, seed=0) as proxy:
        proxy.lag = Lag(5.0)
        server.use(monkeypatch, at=proxy.endpoint_url)
        server.new_bucket("runs")
        live.configure(storage="s3://runs/late", max_depth=1, factor=2, specs_per_task=4)
        live.start_worker("--slots", "2")
        live.start_worker("--slots", "2")
        cases = live.write_cases(80, fails=lambda i: i == 7)
        result = live.open().allocate(cases)
        assert result.counts == StateCounts(succeeded=79, failed=1), result.notices
        assert proxy.lag.n_hidden > 0

        # the outcomes are not listed yet, and those of the retry are not either when its tables are made
        monkeypatch.setattr("scythe_cli.storage.s3_client._latest", None)
        live.write_module(lambda code: code.replace("if spec.fails:", "if False:"))
        for worker in live.workers:
            worker.kill()
        live.start_worker("--slots", "2")
        again = live.open().retry(result.experiment_id, accept_new_code=True)
        assert again.counts == StateCounts(succeeded=80), again.notices
        assert len(live.calls()) == 81
        assert live.open().run(result.experiment_id).scalars().height == 80
