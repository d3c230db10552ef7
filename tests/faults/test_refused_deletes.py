"""A bucket that keeps what is written, by object lock or by its policy: runs are right, and that is said once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scythe_cli.run import lease as lease_module
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.lease import read_owner
from scythe_cli.storage.opening import open_storage
from tests import servers

from .comparing import final_tables
from .conftest import Inside
from .proxy import FaultProxy, fault_proxy
from .stores import refuse_deletes

pytestmark = pytest.mark.live

KEEPS = "s3://kept does not let files be deleted"


@dataclass
class Kept:
    """A bucket that keeps what is written."""

    proxy: FaultProxy
    buckets: Path

    @property
    def run(self) -> Path:
        (path,) = self.buckets.glob("energy/v1.0.0/*")
        return path

    @property
    def name(self) -> str:
        return f"energy/v1.0.0/{self.run.name}"


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    with (
        servers.versitygw(tmp_path / "s3") as server,
        fault_proxy(server.endpoint_url, share=0.0, seed=random.randrange(2**32)) as proxy,
    ):
        server.new_bucket("kept")
        proxy.rules.append(refuse_deletes)
        server.use(monkeypatch, at=proxy.endpoint_url)
        monkeypatch.setenv("SCYTHE_STORAGE_URI", "s3://kept/runs")
        yield Kept(proxy, tmp_path / "s3" / "buckets" / "kept" / "runs")


def test_runs_are_right_and_it_is_said_once(
    recorded: Path, inside: Inside, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    (recorded / "cases.csv").write_text("x\n1\n2\n96\n")
    (recorded / "more.csv").write_text("x\n1\n2\n96\n5\n")
    for command in (("allocate", "cases.csv"), ("retry",), ("allocate", "more.csv", "--into", "latest")):
        ran = inside(recorded, *command, "--json")
        assert ran.code == 1, ran.err  # one case fails
        said = [notice for notice in ran.json["notices"] if KEEPS in notice]
        assert len(said) == 1
        run = RunLayout.from_experiment_id(kept.name)
        assert run is not None
        # the lease stays, and nobody takes it for that of a process at work
        assert (kept.run / ".lease").exists()
        with monkeypatch.context() as patch:
            patch.setattr(lease_module, "machine", lambda: "another")
            assert read_owner(open_storage("s3://kept/runs"), run) is None
    assert kept.proxy.seen["denied"] > 0
    assert final_tables(kept.run)["scalars"]["y"].to_list() == [1.0, 4.0, 25.0]
    status = inside(recorded, "status", "--json").json
    assert (status["counts"]["succeeded"], status["at_work"], status["notice"]) == (3, None, None)
    assert inside(recorded, "allocate", "cases.csv", "--json").json["version"] == "v1.1.0"


def test_a_damaged_part_stays_and_is_named(recorded: Path, inside: Inside, kept: Kept) -> None:
    (recorded / "cases.csv").write_text("x\n1\n2\n3\n")
    assert inside(recorded, "allocate", "cases.csv").code == 0
    part, *_ = sorted((kept.run / "outcomes").glob("*.pq"))
    data = bytearray(part.read_bytes())
    data[len(data) // 3] ^= 1
    open_storage("s3://kept/runs").write_bytes(f"{kept.name}/outcomes/{part.name}", bytes(data))
    ran = inside(recorded, "retry", "--json")
    assert ran.code == 0, ran.err
    assert any(
        f"part {part.name} of the ledger is damaged and cannot be removed" in told for told in ran.json["notices"]
    )
    assert final_tables(kept.run)["scalars"]["y"].to_list() == [1.0, 4.0, 9.0]


def test_what_is_asked_to_be_removed_is_refused_with_the_right_words(
    recorded: Path, inside: Inside, kept: Kept
) -> None:
    (recorded / "cases.csv").write_text("x\n1\n")
    assert inside(recorded, "allocate", "cases.csv").code == 0
    pruned = inside(recorded, "runs", "prune", "--keep", "0", "--yes")
    assert pruned.code == 4
    assert "cannot delete s3://kept/runs/energy/v1.0.0/" in pruned.err
    assert "access is denied" in pruned.err
    assert "The bucket keeps what is written, by object lock or by its policy" in pruned.err
    assert "credentials are wrong" not in pruned.err
    assert inside(recorded, "status", kept.name).code == 0


def test_doctor_leaves_its_files_and_says_so(recorded: Path, inside: Inside, kept: Kept) -> None:
    checks = {check["name"]: check for check in inside(recorded, "doctor", "--json").json}
    delete = checks["storage: delete"]
    (folder,) = kept.buckets.glob(".scythe-check-*")
    assert not delete["ok"]
    assert f"The files of this check stay there: s3://kept/runs/{folder.name}" in delete["detail"]
    assert "Runs work all the same" in delete["remedy"]
    assert "AWS_ACCESS_KEY_ID" not in delete["remedy"]
    assert all(checks[f"storage: {name}"]["ok"] for name in ("write", "read", "exclusive create", "list"))
