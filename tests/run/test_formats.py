"""What a newer program has written is refused in a few words, and what is older is read."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from scythe_cli.analysis.run import Run
from scythe_cli.errors import StorageError
from scythe_cli.run.layout import FORMAT_KEY, RUN_FORMAT, RunLayout
from scythe_cli.run.ledger import Ledger
from scythe_cli.run.manifest import read_manifest
from scythe_cli.run.specs_file import SpecFile
from scythe_cli.services.runs.listing import run_records
from scythe_cli.storage.local import LocalStorage
from tests.made_runs import make_run, outcomes, write_part

REFUSED = r"is of format 2; this version of scythe reads up to 1"


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "runs")


@pytest.fixture
def run(storage: LocalStorage, tmp_path: Path) -> RunLayout:
    run = make_run(storage, tmp_path, 2)
    write_part(storage, run, "local-20260101T000000-0123abcd-000001", outcomes([0, 1]))
    return run


def _newer(path: str, key: bytes) -> None:
    table = pq.read_table(path)
    metadata = {**(table.schema.metadata or {}), key: b"2"}
    # as a program would write it that knows nothing of seals
    kept = {name: value for name, value in metadata.items() if b"seal" not in name and b"check" not in name}
    pq.write_table(table.replace_schema_metadata(kept), path)


def test_what_is_written_tells_its_format(storage: LocalStorage, run: RunLayout) -> None:
    (part,) = storage.list_files(run.outcomes)
    for key in (run.specs, run.key("outcomes", part.name)):
        assert (pq.read_schema(storage.uri(key)).metadata or {})[FORMAT_KEY] == str(RUN_FORMAT).encode()


def test_a_newer_manifest_is_refused_whatever_else_is_in_it(storage: LocalStorage, run: RunLayout) -> None:
    data = storage.read_bytes(run.manifest)
    storage.write_bytes(run.manifest, b"format: 1\n" + data)
    assert read_manifest(storage, run) is not None
    storage.write_bytes(run.manifest, b"format: 2\n" + data.replace(b"n_specs: 2", b"n_specs: many"))
    for brief in (False, True):
        with pytest.raises(StorageError, match=REFUSED) as caught:
            read_manifest(storage, run, brief=brief)
    assert "newer version" in (caught.value.hint or "")
    with pytest.raises(StorageError, match=REFUSED):
        Run(storage, run).status()
    (record,) = run_records(storage)
    assert record.experiment_id == run.experiment_id  # other runs are listed all the same


def test_newer_specs_are_refused(storage: LocalStorage, run: RunLayout) -> None:
    _newer(storage.uri(run.specs), FORMAT_KEY)
    with pytest.raises(StorageError, match=REFUSED), SpecFile.open(storage, run):
        pass


def test_newer_parts_are_refused_and_not_taken_for_damaged(
    storage: LocalStorage, run: RunLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scythe_cli.run.ledger.RUN_FORMAT", 2)
    write_part(storage, run, "local-20260101T000000-0123abcd-000002", outcomes([0]))
    with pytest.raises(StorageError, match=REFUSED), Ledger.open(storage, run):
        pass
