"""Of a run of millions that has ended, what is known is not read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from scythe_cli.run import stored_run
from scythe_cli.run.final.gather import gather
from scythe_cli.run.ledger import write_part
from scythe_cli.run.stored_run import StoredRun
from scythe_cli.storage.opening import open_storage
from tests.made_runs import LAYOUT, make_run, outcomes


@pytest.mark.parametrize("many", [1, 1_000])
def test_status_and_errors_are_the_same_for_large_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr(stored_run, "_MANY", many)
    storage = open_storage(str(tmp_path / "runs"))
    make_run(storage, tmp_path, 4)
    write_part(storage, LAYOUT, "a", outcomes([0, 1, 2]))
    run = StoredRun(storage, LAYOUT)
    assert run.status().counts == StoredRun(storage, LAYOUT).errors().counts
    write_part(storage, LAYOUT, "b", outcomes([3]))
    gather(storage, LAYOUT)

    status, errors = StoredRun(storage, LAYOUT).status(), StoredRun(storage, LAYOUT).errors()

    assert status.counts is not None
    assert (status.counts.succeeded, status.failing, status.damaged_parts) == (4, 0, [])
    assert status.rate_per_s is not None
    assert status.last_outcome_at is not None
    assert (errors.counts, errors.groups, errors.failing_errors) == (status.counts, [], [])
