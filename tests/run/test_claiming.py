from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scythe_cli.core.processes import machine, start_of
from scythe_cli.core.semver import Bump, SemVer
from scythe_cli.errors import StorageError
from scythe_cli.run import versions
from scythe_cli.run.layout import RunLayout, version_claim_key
from scythe_cli.run.versions import claim_run, latest_run, list_versions
from scythe_cli.storage.base import Storage
from scythe_cli.storage.local import LocalStorage
from scythe_cli.storage.opening import open_storage
from tests.served_storage import ServedStorage

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
ABANDONED += [claim() + b" " * 70_000]


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


def test_the_newest_run_is_that_of_the_newest_version_that_has_one(storage: Storage) -> None:
    assert latest_run(storage, "energy") is None
    for version, second in (("v1.10.0", 1), ("v1.10.0", 5), ("v1.10.0", 3), ("v1.9.0", 9)):
        claim_run(storage, "energy", SemVer.FromString(version), manifest, NOW + timedelta(seconds=second))
    storage.write_bytes("energy/v1.11.0/notes.txt", b"")
    assert [str(version) for version in list_versions(storage, "energy")] == ["v1.9.0", "v1.10.0", "v1.11.0"]
    newest = latest_run(storage, "energy")
    assert newest is not None
    assert newest.experiment_id == "energy/v1.10.0/2026-01-01_12-00-05"
    assert latest_run(storage, "other") is None


def test_a_run_is_of_this_moment_in_whole_seconds(storage: Storage) -> None:
    before = datetime.now(UTC)
    run = claim_run(storage, "energy", "minor", manifest)
    assert before - timedelta(seconds=1) < run.timestamp <= datetime.now(UTC)
    later = claim_run(storage, "energy", "keep", manifest, NOW + timedelta(microseconds=999_999))
    assert later.timestamp == NOW


def test_no_place_for_a_run_is_told(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "_MAX_TRIES", 2)
    for _ in range(2):
        claim_run(storage, "energy", SemVer(major=1), manifest, NOW)
    with pytest.raises(StorageError, match=r"^no free second for a run of energy/v1\.0\.0 was found in /.*/runs$"):
        claim_run(storage, "energy", SemVer(major=1), manifest, NOW)
    for minor in (1, 2):
        storage.create(version_claim_key("energy", SemVer(major=1, minor=minor)), claim())
    with pytest.raises(StorageError, match=r"^no free version of 'energy' was found in /.*/runs in 2 tries$"):
        claim_run(storage, "energy", "minor", manifest, NOW)


def test_a_version_with_claims_without_end_is_passed_over(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "_MAX_CLAIMS", 4)
    key = version_claim_key("energy", SemVer(major=1))
    for name in (key, f"{key}-2"):
        storage.create(name, b"")
    assert str(claim_run(storage, "energy", "minor", manifest, NOW).version) == "v1.0.0"  # with the third
    storage.delete_tree("energy/v1.0.0")
    for name in (key, f"{key}-2", f"{key}-3"):
        storage.create(name, b"")
    assert str(claim_run(storage, "energy", "minor", manifest, NOW).version) == "v1.1.0"


def test_a_first_run_that_cannot_be_made_leaves_no_claim(storage: Storage) -> None:
    def fail(run: RunLayout) -> bytes:
        raise ValueError("no manifest")

    with pytest.raises(ValueError, match="no manifest"):
        claim_run(storage, "energy", "minor", fail, NOW)
    assert storage.list_tree("") == []


def test_who_keeps_the_version_waits_for_the_one_who_makes_its_first_run(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = version_claim_key("energy", SemVer(major=1))
    storage.create(key, claim())
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            storage.create(RunLayout("energy", SemVer(major=1), NOW).manifest, b"")
            storage.delete(key)

    monkeypatch.setattr(versions.time, "sleep", wait)
    run = claim_run(storage, "energy", "keep", manifest, NOW)
    assert run.experiment_id == "energy/v1.0.0/2026-01-01_12-00-01"
    assert waited == [0.1, 0.1]


def test_between_the_list_and_the_claim_a_version_may_have_got_its_run(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = LocalStorage.create

    def create_late(self: LocalStorage, key: str, data: bytes) -> bool:
        monkeypatch.setattr(LocalStorage, "create", create)
        assert create(self, RunLayout("energy", SemVer(major=1), NOW).manifest, b"theirs")
        return create(self, key, data)

    monkeypatch.setattr(LocalStorage, "create", create_late)
    assert str(claim_run(storage, "energy", "minor", manifest, NOW).version) == "v1.1.0"
    assert len(storage.list_tree("")) == 2


class TestLists:
    """A server that lists late: what it has taken is found by its key."""

    @pytest.fixture
    def served(self, tmp_path: Path) -> ServedStorage:
        return ServedStorage(tmp_path / "served")

    def claimed(self, served: ServedStorage, bump: Bump) -> str:
        """Claim a run that no list has yet."""
        is_listed = served.is_listed
        run = claim_run(Late(served.root), "energy", bump, manifest, NOW)
        assert is_listed(run.manifest)
        served.late.add(run.manifest)
        return run.experiment_id

    def test_a_version_that_is_not_listed_is_found_by_its_claim(self, served: ServedStorage) -> None:
        assert self.claimed(served, "minor") == "energy/v1.0.0/2026-01-01_12-00-00"
        key = version_claim_key("energy", SemVer(major=1))
        fields = json.loads(served.read_bytes(key))
        assert (fields["run"], fields["pid"]) == ("energy/v1.0.0/2026-01-01_12-00-00", os.getpid())
        # another one is above it, and one that keeps the version is in it
        run = claim_run(served, "energy", "minor", manifest, NOW)
        assert run.experiment_id == "energy/v1.1.0/2026-01-01_12-00-00"
        served.late.add(run.manifest)
        assert claim_run(served, "energy", "keep", manifest, NOW).experiment_id == "energy/v1.0.0/2026-01-01_12-00-01"

    def test_claims_stay_until_their_version_is_in_all_lists(self, served: ServedStorage) -> None:
        key = version_claim_key("energy", SemVer(major=1))
        served.create(key, b"")  # left by somebody who died
        self.claimed(served, "minor")
        assert all(json.loads(served.read_bytes(name))["run"] for name in (key, f"{key}-2"))
        served.late.clear()
        for seconds, is_kept in ((60.0, True), (3600.0, False)):
            for name in (key, f"{key}-2"):
                served.ages_s[name] = seconds
                os.utime(served.root / name, (datetime.now(UTC).timestamp() - seconds,) * 2)
            claim_run(served, "energy", "keep", manifest, NOW)
            assert [served.exists(name) for name in (key, f"{key}-2")] == [is_kept] * 2

    def test_a_claim_that_names_a_run_that_is_gone_is_abandoned(self, served: ServedStorage) -> None:
        run = self.claimed(served, "minor")
        served.delete_tree(run)
        served.late.clear()
        assert claim_run(served, "energy", "minor", manifest, NOW).experiment_id == run
        assert [file.name for file in served.list_files("energy")] == []

    def test_a_claim_that_cannot_be_written_again_is_removed(
        self, served: ServedStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise StorageError("no")

        monkeypatch.setattr(LocalStorage, "write_bytes", refuse)
        claim_run(Late(served.root), "energy", "minor", manifest, NOW)
        assert [file.name for file in served.list_files("energy")] == []

    def test_a_claim_that_another_removes_meanwhile_is_let_be(
        self, served: ServedStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.claimed(served, "minor")
        served.late.clear()
        key = version_claim_key("energy", SemVer(major=1))
        os.utime(served.root / key, (0, 0))
        exists = LocalStorage.exists

        def gone(self: LocalStorage, asked: str) -> bool:
            found = exists(self, asked)
            self.delete(key)
            return found

        monkeypatch.setattr(LocalStorage, "exists", gone)
        assert str(claim_run(served, "energy", "minor", manifest, NOW).version) == "v1.1.0"

    @pytest.mark.parametrize(
        ("held_for_s", "age_s", "is_abandoned"),
        [
            (3600.0, None, True),
            (3600.0, 3600.0, True),
            (601.0, 601.0, True),
            # one of the two clocks says that it is young
            (3600.0, 60.0, False),
            (3600.0, 600.0, False),
            (60.0, 3600.0, False),
            (600.0, 3600.0, False),
            # of the future by this machine's clock: then the server's clock alone tells
            (-3600.0, 60.0, False),
            (-3600.0, 3600.0, True),
            # a server that says that it is of the future does not tell the time
            (3600.0, -5.0, False),
            (3600.0, -10.0, False),
            (3600.0, -11.0, True),
        ],
    )
    def test_a_claim_is_old_by_both_clocks(
        self,
        served: ServedStorage,
        stop_clock: Callable[[datetime], None],
        held_for_s: float,
        age_s: float | None,
        is_abandoned: bool,
    ) -> None:
        stop_clock(NOW)
        key = version_claim_key("energy", SemVer(major=1))
        served.create(key, claim(held_since=(NOW - timedelta(seconds=held_for_s)).isoformat()))
        if age_s is not None:
            served.ages_s[key] = age_s
        run = claim_run(served, "energy", "minor", manifest, NOW)
        assert str(run.version) == ("v1.0.0" if is_abandoned else "v1.1.0")

    @pytest.fixture
    def stop_clock(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
        def stop(at: datetime) -> None:
            class Stopped(datetime):
                @classmethod
                def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
                    return at

            monkeypatch.setattr(versions, "datetime", Stopped)

        return stop


class Late(ServedStorage):
    """No list has anything yet."""

    __slots__ = ()

    def is_listed(self, key: str) -> bool:
        return False
