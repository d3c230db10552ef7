"""What a fleet writes down in a run's folder, where lists are late: it is asked for by its key."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scythe_cli.engines.hatchet.nodes.wave import WaveRunner
from scythe_cli.engines.hatchet.sessions import claim_session, new_session, note_submission, noted_submissions
from scythe_cli.storage.base import FileInfo, Storage
from scythe_cli.storage.opening import open_storage
from tests.made_runs import LAYOUT, outcomes


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "runs")


def test_the_last_submission_is_known_though_it_is_not_listed(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = new_session()
    claim_session(storage, LAYOUT, session)
    note_submission(storage, LAYOUT, session, "the-run")
    nothing: list[FileInfo] = []
    monkeypatch.setattr(type(storage), "list_files", lambda *_, **__: nothing)
    (submission,) = noted_submissions(storage, LAYOUT)
    assert submission.workflow_run_id == "the-run"


def test_a_last_submission_that_is_none_is_passed_over(storage: Storage) -> None:
    for name in (b"../../manifest.yml", b"\xff", b"x" * 5_000, b"hatchet-1-submitted.json"):
        storage.write_bytes(LAYOUT.hatchet("last-submitted.txt"), name)
        assert noted_submissions(storage, LAYOUT) == []


@pytest.mark.parametrize(
    ("written", "is_written_now"),
    [
        (frozenset[str](), True),
        (frozenset({"s-root-w000000-p1"}), True),  # other outcomes may have been at hand when that was written
        (frozenset({"s-root-w000000"}), False),
    ],
)
def test_a_piece_of_a_round_is_passed_over_only_if_the_round_was_written(
    storage: Storage, written: frozenset[str], is_written_now: bool
) -> None:
    run: Any = SimpleNamespace(layout=LAYOUT, code_mark=None, session="s")
    unused: Any = None
    runner = WaveRunner(run, "root", storage, unused, unused, written)
    asyncio.run(runner.write_tables("s-root-w000000-p1", [outcomes([3])], of="s-root-w000000"))
    assert storage.exists(LAYOUT.outcome_part("s-root-w000000-p1")) == is_written_now
    assert runner.parts == ({"s-root-w000000-p1"} if is_written_now else set())
