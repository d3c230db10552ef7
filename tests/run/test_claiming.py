from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scythe_cli.core.processes import machine, start_of
from scythe_cli.core.semver import Bump, SemVer
from scythe_cli.run.layout import RunLayout, version_claim_key
from scythe_cli.run.versions import claim_run
from scythe_cli.storage.base import Storage
from scythe_cli.storage.opening import open_storage

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def manifest(run: RunLayout) -> bytes:
    return f"experiment_id: {run.experiment_id}\n".encode()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "runs")


@pytest.mark.parametrize("bump", ["major", "minor", "patch", "keep"])
def test_first_version_is_one(storage: Storage, bump: Bump) -> None:
    run = claim_run(storage, "energy", bump, manifest, NOW)

    assert run.experiment_id == "energy/v1.0.0/2026-01-01_12-00-00"
    assert storage.read_bytes(run.manifest) == manifest(run)
    assert storage.list_tree("") == [run.manifest]


@pytest.mark.parametrize(
    ("bump", "expected"),
    [
        ("major", "v3.0.0/2026-01-01_12-00-00"),
        ("minor", "v2.11.0/2026-01-01_12-00-00"),
        ("patch", "v2.10.1/2026-01-01_12-00-00"),
        ("keep", "v2.10.0/2026-01-01_12-00-01"),
    ],
)
def test_next_version_is_counted_as_numbers(storage: Storage, bump: Bump, expected: str) -> None:
    for version in ("v2.9.0", "v2.10.0"):
        claim_run(storage, "energy", SemVer.FromString(version), manifest, NOW)

    assert claim_run(storage, "energy", bump, manifest, NOW).experiment_id == f"energy/{expected}"


def test_strange_folders_and_empty_versions_are_passed_over(storage: Storage) -> None:
    for key in ("energy/v9/x.txt", "energy/v1.2.3.4/x.txt", "energy/notes/x.txt", "energy/v7.0.0/notes.txt"):
        storage.write_bytes(key, b"")

    assert str(claim_run(storage, "energy", "minor", manifest, NOW).version) == "v1.0.0"


def test_next_free_second(storage: Storage) -> None:
    version = SemVer(major=1)
    runs = [claim_run(storage, "energy", version, manifest, NOW) for _ in range(3)]

    assert [run.timestamp - NOW for run in runs] == [timedelta(seconds=s) for s in range(3)]


def claim_many(storage: Storage, bumps: Sequence[Bump]) -> list[RunLayout]:
    with ThreadPoolExecutor(len(bumps)) as pool:
        return list(pool.map(lambda bump: claim_run(storage, "energy", bump, manifest, NOW), bumps))


@pytest.mark.parametrize("existing", [False, True])
def test_many_at_once_get_versions_of_their_own(storage: Storage, existing: bool) -> None:
    if existing:
        claim_run(storage, "energy", "minor", manifest, NOW)

    runs = claim_many(storage, ["minor"] * 12)

    assert len({run.version for run in runs}) == 12
    assert {key.rsplit("/", 1)[1] for key in storage.list_tree("")} == {"manifest.yml"}


def test_many_at_once_keep_one_version_in_folders_of_their_own(storage: Storage) -> None:
    runs = claim_many(storage, ["keep"] * 12)

    assert {str(run.version) for run in runs} == {"v1.0.0"}
    assert len({run.timestamp for run in runs}) == 12


def claim(**changes: Any) -> bytes:
    """The claim of a process of another machine that has just been made."""
    fields = {"held_since": datetime.now(UTC).isoformat(), "machine": "elsewhere", "pid": 1, "process_start": 1.0}
    return json.dumps({**fields, **changes}).encode()


OLD = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
ABANDONED = [claim(held_since=OLD), claim(machine=machine(), pid=2**22 + 1), claim(machine=machine(), pid=os.getpid())]
ABANDONED += [b"", b"[]", b"[" * 100_000, b'{"held_since": 3}', b"\xff", claim(held_since="2020-01-01T00:00:00")]


def test_version_that_another_is_claiming_is_left_to_it(storage: Storage) -> None:
    mine = claim(machine=machine(), pid=os.getpid(), process_start=start_of(os.getpid()))
    for minor, content in enumerate([claim(), mine]):
        version = SemVer(major=1, minor=minor)
        storage.create(version_claim_key("energy", version), content)
        assert str(claim_run(storage, "energy", "minor", manifest, NOW).version) == f"v1.{minor + 1}.0"
        storage.delete_tree(f"energy/v1.{minor + 1}.0")


@pytest.mark.parametrize("content", ABANDONED)
def test_version_that_a_killed_process_was_claiming_is_claimed(storage: Storage, content: bytes) -> None:
    key = version_claim_key("energy", SemVer(major=1))
    storage.create(key, content)
    storage.create(f"{key}-2", content)

    runs = claim_many(storage, ["minor"] * 6)

    assert SemVer(major=1) in {run.version for run in runs}
    assert len({run.version for run in runs}) == 6
    assert {key.rsplit("/", 1)[1] for key in storage.list_tree("")} == {"manifest.yml"}


def test_what_a_killed_process_left_beside_its_run_is_removed(storage: Storage) -> None:
    claim_run(storage, "energy", "minor", manifest, NOW)
    keys = [version_claim_key("energy", SemVer(major=1, minor=minor)) for minor in (0, 0, 7)]
    for key, content in zip([keys[0], f"{keys[1]}-2", keys[2], "energy/.notes"], [*ABANDONED[:3], b""], strict=True):
        storage.create(key, content)

    claim_run(storage, "energy", "keep", manifest, NOW)

    # a version without a run can still be claimed
    assert [file.name for file in storage.list_files("energy")] == [".notes", ".v1.7.0.claim"]
