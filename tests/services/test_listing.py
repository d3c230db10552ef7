"""What a store holds is told by so many requests as there are versions and runs, whatever is inside the runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scythe_cli.core.records import StateCounts
from scythe_cli.errors import NotFoundError
from scythe_cli.run.catalog import find_run, list_experiments
from scythe_cli.run.lease import Lease
from scythe_cli.run.lists.records import run_record
from scythe_cli.run.manifest import read_manifest
from scythe_cli.run.outcomes.summary import RunSummary, put_summary
from scythe_cli.services.runs.listing import run_layouts, run_records, version_records
from scythe_cli.storage import s3_client
from scythe_cli.storage.base import Storage
from scythe_cli.storage.opening import open_storage
from tests import servers
from tests.stores import make_store


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.S3Server]:
    with servers.versitygw(tmp_path_factory.mktemp("versitygw")) as running:
        running.new_bucket("stores")
        yield running


@pytest.fixture
def s3(server: servers.S3Server, monkeypatch: pytest.MonkeyPatch) -> servers.S3Server:
    server.use(monkeypatch)
    return server


def on_s3(server: servers.S3Server, name: str, n_versions: int, **more: int) -> Storage:
    assert server.root is not None
    make_store(server.root / "stores" / name, n_versions, **more)
    return open_storage(f"s3://stores/{name}")


def asked(server: servers.S3Server, before: int) -> Counter[str]:
    return Counter(request.operation for request in server.requests()[before:])


@pytest.mark.live
def test_requests_do_not_grow_with_files_inside_runs(s3: servers.S3Server) -> None:
    counts: list[tuple[Counter[str], ...]] = []
    for name, files in (("few", 2), ("many", 30)):
        storage = on_s3(s3, name, 6, runs_each=2, files_each=files, experiments=2)
        seen: list[Counter[str]] = []
        for ask in (version_records, run_records, lambda storage: run_records(storage, "energy1", limit=3)):
            before = len(s3.requests())
            assert ask(storage)
            seen.append(asked(s3, before))
        counts.append(tuple(seen))

    few, many = counts
    assert few == many
    versions, runs, newest = few
    # the experiments, the versions of each, the runs of each version
    assert versions == Counter(ListObjectsV2=1 + 2 + 12)
    # besides, two requests about each run
    assert runs == Counter(ListObjectsV2=1 + 2 + 12 + 24, GetObject=24)
    assert newest == Counter(ListObjectsV2=1 + 6 + 3, GetObject=3)


@pytest.mark.live
@pytest.mark.parametrize(("files", "n_lists"), [(3, 1 + 1 + 1 + 4), (30, 1 + 1 + 1 + 390 + 390)])
def test_a_list_of_a_thousand_files_tells_of_many_versions(s3: servers.S3Server, files: int, n_lists: int) -> None:
    storage = on_s3(s3, f"walked{files}", 400, files_each=files)
    before = len(s3.requests())
    records = run_records(storage)
    told = asked(s3, before)
    assert [record.n_specs for record in records] == list(reversed(range(400)))
    assert {record.state for record in records} == {"succeeded"}
    assert told == Counter(GetObject=400, ListObjectsV2=n_lists)


@pytest.mark.live
def test_what_was_told_together_is_what_is_told_one_by_one(
    s3: servers.S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = on_s3(s3, "mixed", 30, runs_each=2)
    runs = run_layouts(storage)
    put_summary(storage, runs[3], RunSummary(counts=StateCounts(succeeded=1, failed=2), engine="é <&> %25"))
    storage.delete(runs[4].table("scalars"))
    summed_up, manifest = storage.read_bytes(runs[5].manifest).split(b"\n", 1)
    assert summed_up.startswith(b"# summary")
    storage.write_bytes(runs[5].manifest, manifest)
    storage.write_bytes(runs[6].manifest, b"# summary {}\n" + manifest)
    storage.write_bytes(runs[7].manifest, b"x" * 20_000 + b"\n" + manifest)
    storage.delete(runs[8].manifest)
    lease = Lease(storage, runs[9])
    alone = [run_record(storage, run) for run in runs]
    assert len({record.state for record in alone}) >= 4
    assert run_records(storage) == alone
    # another process has written none of it, and compares no list with what it knows
    monkeypatch.setattr(s3_client, "_latest", None)
    assert run_records(open_storage(storage.location)) == alone
    lease.release()


@pytest.mark.live
def test_a_store_that_answers_no_signed_urls_is_asked_as_always(
    s3: servers.S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = on_s3(s3, "unsigned", 12)
    expected = run_records(storage)

    def refuse(signature_version: str, **_: Any) -> str | None:
        return "s3-query" if signature_version.endswith("-query") else None  # of version 2, which the server refuses

    monkeypatch.setattr(s3_client, "_newest_signature", refuse)
    monkeypatch.setattr(s3_client, "_latest", None)
    before = len(s3.requests())
    assert run_records(open_storage(storage.location)) == expected
    assert asked(s3, before)["GetObject"] >= 12
    assert 400 in {request.status for request in s3.requests()[before:]}


@pytest.mark.parametrize("where", ["local", pytest.param("s3", marks=pytest.mark.live)])
def test_what_is_listed(where: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if where == "local":
        make_store(tmp_path / "runs", 3, runs_each=2, experiments=2)
        storage = open_storage(tmp_path / "runs")
    else:
        storage = on_s3(request.getfixturevalue("s3"), "listed", 3, runs_each=2, experiments=2)

    assert list_experiments(storage) == ["energy0", "energy1"]
    assert [(v.experiment, v.version, v.n_runs) for v in version_records(storage)] == [
        (name, version, 2) for name in ("energy0", "energy1") for version in ("v1.2.0", "v1.1.0", "v1.0.0")
    ]
    runs = run_records(storage)
    assert [run.n_specs for run in runs] == list(reversed(range(12)))
    assert runs[0].experiment_id == find_run(storage, "latest").experiment_id
    assert {run.engine for run in runs} == {"local"}
    assert all(run.complete for run in runs)
    assert [run.n_specs for run in run_records(storage, "energy0")] == [5, 4, 3, 2, 1, 0]
    assert [run.n_specs for run in run_records(storage, limit=2)] == [11, 10]
    assert run_records(storage, limit=100) == runs
    assert version_records(storage, "energy1")[0].latest_run == runs[0].timestamp
    with pytest.raises(NotFoundError, match=r"no runs of 'energy2'\nDid you mean 'energy1'"):
        run_records(storage, "energy2")
    with pytest.raises(NotFoundError, match=r"no runs of '\.\.'"):
        version_records(storage, "..")


def test_a_damaged_manifest_hides_no_other_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runs = make_store(tmp_path / "runs", 3, summaries=False)
    storage = open_storage(tmp_path / "runs")
    storage.write_bytes(runs[1].manifest, b"[not: a manifest")
    storage.delete(runs[0].table("scalars"))

    records = run_records(storage)

    assert [(record.n_specs, record.complete) for record in records] == [(2, True), (None, True), (0, False)]
    assert [record.experiment_id in caplog.text for record in records] == [False, True, False]


def test_the_brief_manifest_is_the_whole_one_without_its_provenance(tmp_path: Path) -> None:
    (run,) = make_store(tmp_path / "runs", 1)
    storage = open_storage(tmp_path / "runs")
    whole, brief = read_manifest(storage, run), read_manifest(storage, run, brief=True)

    assert whole is not None
    assert whole.provenance is not None
    assert brief == whole.model_copy(update={"provenance": None})


@pytest.mark.parametrize(
    ("summary", "lease", "manifest", "state"),
    [
        ({"succeeded": 5}, None, {}, "succeeded"),
        ({"succeeded": 4, "timeout": 1}, None, {}, "failed"),
        ({"succeeded": 4, "cancelled": 1}, None, {}, "cancelled"),
        ({"failed": 1, "pending": 4}, None, {}, "stopped"),
        ({"succeeded": 4, "failed": 1}, "held", {}, "running"),
        ({"succeeded": 4, "failed": 1}, "abandoned", {}, "failed"),
        (None, "held", {}, "running"),
        (None, "abandoned", {}, "stopped"),
        (None, None, {}, "stopped"),
        (None, None, {"leased": False}, "running"),
        (None, None, {"state": "allocating"}, "stopped"),  # in 2026, and never gone on with
        (None, None, {"n_specs": None}, "unknown"),  # of scythe-engine
        ("{not a summary", None, {}, "stopped"),
    ],
)
def test_the_state_of_a_run_is_told_without_its_ledger(
    tmp_path: Path, summary: dict[str, int] | str | None, lease: str | None, manifest: dict[str, Any], state: str
) -> None:
    (run,) = make_store(tmp_path / "runs", 1, summaries=False)
    storage = open_storage(tmp_path / "runs")
    storage.delete(run.table("scalars"))
    stored = read_manifest(storage, run)
    assert stored is not None
    storage.write_bytes(run.manifest, stored.model_copy(update={"n_specs": 5} | manifest).to_yaml())
    if isinstance(summary, dict):
        told = RunSummary(counts=StateCounts(**summary), engine="local", sampling_file="cases.csv")
        put_summary(storage, run, told)
    elif summary is not None:
        storage.write_bytes(run.manifest, f"# summary {summary}\n".encode() + storage.read_bytes(run.manifest))
    if lease is not None:
        expires = datetime.now(UTC) + timedelta(seconds=30 if lease == "held" else -300)
        moments = {"since": "2026-01-01T00:00:00+00:00", "expires": expires.isoformat()}
        who = {"token": "a1", "host": "h", "machine": "elsewhere", "pid": 5, "process_start": 1.0}
        storage.write_bytes(run.key(".lease"), json.dumps(who | moments).encode())

    (record,) = run_records(storage)

    assert record.state == state
    assert record.counts == (StateCounts(**summary) if isinstance(summary, dict) else None)
    is_bad = state in ("failed", "cancelled", "stopped")
    assert bool(run_records(storage, failed=True)) is is_bad
    assert run_records(storage, since=datetime(2026, 1, 2, tzinfo=UTC)) == []
    assert run_records(storage, since=datetime(2026, 1, 1, tzinfo=UTC)) == [record]


def test_the_newest_that_failed_are_found_among_many(tmp_path: Path) -> None:
    runs = make_store(tmp_path / "runs", 150)
    storage = open_storage(tmp_path / "runs")
    for bad in (runs[2], runs[100]):
        put_summary(storage, bad, RunSummary(counts=StateCounts(failed=1)))

    assert [r.experiment_id for r in run_records(storage, failed=True)] == [
        runs[100].experiment_id,
        runs[2].experiment_id,
    ]
    assert [r.experiment_id for r in run_records(storage, failed=True, limit=1)] == [runs[100].experiment_id]
