"""Runs in one file: what goes in comes out again, byte for byte, and nothing else does."""

from __future__ import annotations

import io
import json
import stat
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scythe_cli.analysis.packing.archive import read_sums
from scythe_cli.analysis.packing.project_files import project_files, required_packages
from scythe_cli.analysis.run import Run
from scythe_cli.errors import MissingFileError, PackedRunError, StorageError, UsageError
from scythe_cli.executor.code import source_hash
from scythe_cli.run.lease import hold_lease
from scythe_cli.run.manifest import Provenance, RunManifest, read_manifest
from scythe_cli.services.packing.unpack import unpack_run
from scythe_cli.storage.base import Storage
from scythe_cli.storage.local import LocalStorage
from scythe_cli.storage.opening import open_storage
from tests.result_runs import Case, finished_run, layout

RUN = layout().experiment_id
Edit = Callable[[dict[str, Any]], None]


def content(storage: Storage) -> dict[str, bytes]:
    return {key: storage.read_bytes(key) for key in storage.list_tree("")}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with input files, output files, and what is not packed."""
    folder = tmp_path_factory.mktemp("packed [run]")
    storage = LocalStorage(folder / "runs")
    picture = storage.uri(layout().result_file("picture", "root-00000000", ".png"))
    answers = [{"power": 1.5, "picture": picture, "months": [1.0, 2.0]}, {"state": "failed"}, {"power": 2.5}]
    run = finished_run(storage, folder, [Case(tilt=i) for i in range(3)], answers)
    storage.write_bytes(layout().result_file("picture", "root-00000000", ".png"), b"\x89PNG" + bytes(range(256)))
    storage.write_bytes(layout().key("artifacts", "ab" * 32, "Ørsted 1%.epw"), b"weather\n" * 100)
    storage.write_bytes(layout().hatchet("plan.json"), b"{}")
    storage.write_bytes(layout().key(".lease-old-1"), b"{}")
    storage.write_bytes(layout().key("files", "00000001", "deep", "er", ".lease"), b"of a case")
    return run


@pytest.fixture(scope="module")
def packed(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("out") / "run.zip"
    run.pack(target, root=target.parent)
    return target


def test_what_goes_in_comes_out(run: Run, packed: Path, tmp_path: Path) -> None:
    result = unpack_run(packed, other := open_storage(tmp_path / "else where"))

    there = content(other)
    left_out = {layout().hatchet("plan.json"), layout().key(".lease-old-1")}
    assert there == {key: data for key, data in content(run.storage).items() if key not in left_out}
    assert (result.experiment_id, result.n_files) == (RUN, len(there))
    assert result.size_bytes == sum(map(len, there.values()))
    again = Run(other, layout())
    assert again.status().counts == run.status().counts
    assert again.status().gathered
    assert again.scalars().equals(run.scalars())
    assert [f.name for f in again.fetch(tmp_path / "fetched", files=True)][-1] == "picture/root-00000000.png"

    with pytest.raises(UsageError, match=r"is in .* already; a run is never replaced"):
        unpack_run(packed, other)
    assert content(other) == there


def test_the_same_bytes_each_time(run: Run, packed: Path, tmp_path: Path) -> None:
    run.pack(tmp_path / "again.zip", root=tmp_path)
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()
    # and from where it was unpacked, too
    unpack_run(packed, other := open_storage(tmp_path / "other"))
    Run(other, layout()).pack(tmp_path / "third.zip", root=tmp_path)
    assert (tmp_path / "third.zip").read_bytes() == packed.read_bytes()


def test_a_file_is_never_replaced_unasked(run: Run, packed: Path, tmp_path: Path) -> None:
    target = tmp_path / "run.zip"
    target.write_text("mine")
    with pytest.raises(UsageError, match="already exists"):
        run.pack(target)
    assert target.read_text() == "mine"
    run.pack(target, overwrite=True, root=tmp_path)
    assert target.read_bytes() == packed.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["run.zip"]


def test_it_says_what_it_is(run: Run, packed: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        assert archive.testzip() is None
        document = json.loads(archive.read("ro-crate-metadata.json"))
        readme = archive.read("README.md").decode()
        form, sums = read_sums(archive.read("SHA256SUMS").decode())
        assert {*sums, "ro-crate-metadata.json", "SHA256SUMS"} == set(archive.namelist())
    assert form == 1
    entities = {entity["@id"]: entity for entity in document["@graph"]}
    assert entities["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    assert entities["./"]["identifier"] == RUN
    weather = entities[f"runs/{RUN}/artifacts/{'ab' * 32}/%C3%98rsted%201%25.epw"]
    assert weather["sha256"] == sums[f"runs/{RUN}/artifacts/{'ab' * 32}/Ørsted 1%.epw"]
    action = entities["#run"]
    assert {"@id": weather["@id"]} in action["object"]
    assert {"@id": f"runs/{RUN}/final/scalars.pq"} in action["result"]
    assert "2 succeeded, 1 failed" in readme
    assert "license | not stated" in readme
    run.pack(tmp_path / "licensed.zip", root=tmp_path, license="CC-BY-4.0")
    with zipfile.ZipFile(tmp_path / "licensed.zip") as archive:
        document = json.loads(archive.read("ro-crate-metadata.json"))
    assert document["@graph"][1]["license"] == {"@id": "https://spdx.org/licenses/CC-BY-4.0"}


def test_many_files_are_told_as_one_folder(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scythe_cli.analysis.packing.crate._MOST_LISTED", 1)
    run.pack(tmp_path / "run.zip", root=tmp_path)
    with zipfile.ZipFile(tmp_path / "run.zip") as archive:
        document = json.loads(archive.read("ro-crate-metadata.json"))
    (final,) = [entity for entity in document["@graph"] if entity["@id"] == f"runs/{RUN}/final/"]
    assert final["@type"] == "Dataset"
    assert "files, " in final["description"]


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_one_changed_byte_is_told(packed: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = packed.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = bytearray(whole)
    changed[at] ^= 1 << bit
    folder = tmp_path_factory.mktemp("changed")
    (folder / "run.zip").write_bytes(changed)
    other = open_storage(folder / "runs")
    try:
        unpack_run(folder / "run.zip", other)
    except PackedRunError:
        assert content(other) == {}
    else:  # what the bit says is not used, such as the time of a file
        unpack_run(packed, right := open_storage(folder / "right"))
        assert content(other) == content(right)


def test_the_changed_file_is_named(packed: Path, tmp_path: Path) -> None:
    whole = packed.read_bytes()
    at = whole.index(b"\x89PNG") + 20
    (tmp_path / "run.zip").write_bytes(whole[:at] + b"!" + whole[at + 1 :])
    with pytest.raises(PackedRunError, match=r"is damaged: runs/.*/results/picture/root-00000000\.png is not what"):
        unpack_run(tmp_path / "run.zip", open_storage(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()
    (tmp_path / "run.zip").write_bytes(whole[:-1000])
    with pytest.raises(PackedRunError, match="no packed run, or it is damaged"):
        unpack_run(tmp_path / "run.zip", open_storage(tmp_path / "runs"))
    with pytest.raises(MissingFileError, match="there is no such file"):
        unpack_run(tmp_path / "none.zip", open_storage(tmp_path / "runs"))


def rewritten(packed: Path, target: Path, edit: Edit) -> Path:
    """The same archive with other entries: from name, or ZipInfo, to content."""
    with zipfile.ZipFile(packed) as archive:
        entries: dict[Any, bytes] = {name: archive.read(name) for name in archive.namelist()}
    edit(entries)
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return target


def _summed(entries: dict[Any, bytes], name: str, data: bytes) -> None:
    """Add a file with its checksum, as whoever wants to harm does."""
    import hashlib

    entries[name] = data
    entries["SHA256SUMS"] += f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode()


def _link(entries: dict[Any, bytes]) -> None:
    info = zipfile.ZipInfo(f"runs/{RUN}/final/more.pq")
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    entries[info] = b"/etc/passwd"


def _twice(entries: dict[Any, bytes]) -> None:
    entries[zipfile.ZipInfo("README.md")] = b"other"


def _bomb(entries: dict[Any, bytes]) -> None:
    info = zipfile.ZipInfo(f"runs/{RUN}/files/0/zeros")
    info.compress_type = zipfile.ZIP_DEFLATED
    entries[info] = bytes(8_000_000)


HOSTILE: dict[str, tuple[Edit, str]] = {
    "climbs": (lambda e: _summed(e, "runs/../../evil", b""), "leads elsewhere"),
    "absolute": (lambda e: _summed(e, "/etc/evil", b""), "leads elsewhere"),
    "beside": (lambda e: _summed(e, "evil.py", b""), "does not belong"),
    "other run": (lambda e: _summed(e, "runs/a/v1.0.0/2026-01-01_00-00-00/specs.pq", b""), "is of another run"),
    "not a run": (lambda e: _summed(e, "runs/manifest.yml", b""), "holds no run"),
    "link": (_link, "is a link"),
    "twice": (_twice, "is in it twice"),
    "bomb": (_bomb, "bytes would become"),
    "newer": (lambda e: e.update(SHA256SUMS=b"# scythe crate 2\nwhatever"), r"is of format 2; .* reads up to 1"),
    "no sums": (lambda e: e.pop("SHA256SUMS"), "has no SHA256SUMS"),
    "no list": (lambda e: e.update(SHA256SUMS=b"hello"), "does not tell the format"),
    "missing": (lambda e: e.pop(f"runs/{RUN}/specs.pq"), "specs.pq is not in it"),
    "more": (lambda e: e.update({f"runs/{RUN}/more": b""}), "more has no checksum"),
    "no manifest": (lambda e: _summed(_without_manifest(e), "runs/readme", b""), "holds no run"),
}


def _without_manifest(entries: dict[Any, bytes]) -> dict[Any, bytes]:
    name = f"runs/{RUN}/manifest.yml"
    del entries[name]
    lines = entries["SHA256SUMS"].splitlines(keepends=True)
    entries["SHA256SUMS"] = b"".join(line for line in lines if not line.endswith(f"  {name}\n".encode()))
    return entries


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize("how", HOSTILE)
def test_what_is_no_packed_run(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    edit, message = HOSTILE[how]
    monkeypatch.setattr("scythe_cli.services.packing.crate_file._FREE_BYTES", 1_000_000)
    monkeypatch.setattr("scythe_cli.services.packing.crate_file._MAX_RATIO", 20)
    with pytest.raises(PackedRunError, match=message) as caught:
        unpack_run(rewritten(packed, tmp_path / "run.zip", edit), open_storage(tmp_path / "in" / "runs"))
    assert caught.value.exit_code == 3
    assert [path.name for path in tmp_path.rglob("*")] == ["run.zip"]


def test_packed_again_by_another_program_it_is_still_one(run: Run, packed: Path, tmp_path: Path) -> None:
    """Compressed, with folders listed, and with more said of it."""

    def edit(entries: dict[Any, bytes]) -> None:
        document = json.loads(entries["ro-crate-metadata.json"])
        document["@graph"][1]["keywords"] = "heat"
        entries["ro-crate-metadata.json"] = json.dumps(document).encode()
        entries["runs/"] = b""

    unpack_run(rewritten(packed, tmp_path / "run.zip", edit), other := open_storage(tmp_path / "runs"))
    assert Run(other, layout()).scalars().equals(run.scalars())


def test_an_interrupted_unpacking_leaves_nothing(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def full(self: LocalStorage, path: Path, key: str, **_: Any) -> None:
        manifest = read_manifest(self, layout())
        seen.append(manifest.state if manifest else "none")
        raise StorageError("no space is left on the device")

    monkeypatch.setattr(LocalStorage, "put_file", full)
    other = open_storage(tmp_path / "runs")
    with pytest.raises(StorageError, match="no space"):
        unpack_run(packed, other)
    assert seen == ["allocating"]
    assert content(other) == {}


def test_a_run_at_work_is_not_packed(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "runs")
    run = finished_run(storage, tmp_path, [Case(tilt=0), Case(tilt=1)], [{"power": 1.0}], gathered=False)
    with hold_lease(storage, run.layout):
        with pytest.raises(UsageError, match="is still running: "):
            run.pack(tmp_path / "run.zip")
        result = run.pack(tmp_path / "run.zip", partial=True)
    assert result.notices[0] == "1 cases have no outcome yet"
    unpack_run(tmp_path / "run.zip", other := open_storage(tmp_path / "other"))
    assert Run(other, layout()).status().counts == run.status().counts
    # stopped: nobody is at work on it, and it can be resumed elsewhere
    assert run.pack(tmp_path / "stopped.zip").counts == run.status().counts
    manifest = read_manifest(storage, run.layout)
    assert manifest is not None
    for changes, message in (
        ({"engine": "hatchet", "leased": False}, "may still be running on the fleet: 1 cases are pending"),
        ({"state": "allocating"}, "did not finish"),
    ):
        storage.write_bytes(run.layout.manifest, manifest.model_copy(update=changes).to_yaml())
        with pytest.raises(UsageError, match=message):
            Run(storage, run.layout).pack(tmp_path / "no.zip")
    assert not (tmp_path / "no.zip").exists()


def test_a_run_that_changes_while_it_is_packed(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "runs")
    run = finished_run(storage, tmp_path, [Case(tilt=0)], [{"power": 1.0}])

    def remove(phase: str, name: str, number: int, total: int) -> None:
        storage.delete(run.layout.specs)

    with pytest.raises(UsageError, match="changed while it was packed"):
        run.pack(tmp_path / "run.zip", progress=remove)
    assert not (tmp_path / "run.zip").exists()


def _manifest(code: dict[str, str], **provenance: Any) -> RunManifest:
    import platform

    origin = Provenance(python=platform.python_version(), **provenance)
    return RunManifest(
        workflow_run_id="", experiment_id=RUN, experiment_name="", entrypoint="m.a:f", code=code, provenance=origin
    )


def test_the_code_is_packed_as_far_as_it_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "__init__.py").write_text("'package'\n")
    (tmp_path / "m" / "a.py").write_text("import m.b  # comments do not count\n")
    (tmp_path / "m" / "b.py").write_text("x = 2\n")
    code = {"m/a.py": source_hash(b"import m.b"), "m/b.py": source_hash(b"x = 1"), "f()": "0"}
    found = project_files(_manifest(code), "solar", tmp_path, None)
    assert found.sources == ["m/a.py"]
    assert sorted(found.files) == ["experiments.toml", "m/__init__.py", "m/a.py", "requirements.txt"]
    assert found.missing == ["m/b.py", "f()"]
    assert found.notices == ["packed without m/b.py, f(), which is not available as it was when the run was allocated"]


def test_further_files_are_packed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "table.csv").write_text("1")
    run.pack(tmp_path / "run.zip", root=tmp_path, include=["data"])
    with zipfile.ZipFile(tmp_path / "run.zip") as archive:
        assert archive.read("project/data/table.csv") == b"1"
    for each, message in (("..", "not in the folder"), ("none.csv", "no such file")):
        with pytest.raises(UsageError, match=message):
            run.pack(tmp_path / "no.zip", root=tmp_path, include=[each])


def test_the_packages_that_are_needed() -> None:
    packages = {"Polars": "1.2", "pytest": "8", "iniconfig": "2", "hypothesis": "6", "scythe-experiments": "0.1"}
    lines = required_packages([b"import pytest.mark\nfrom . import other\nimport os, unknown"], packages)
    # pytest needs iniconfig, scythe needs Polars, nobody needs hypothesis
    assert lines == ["iniconfig==2", "Polars==1.2", "pytest==8"]


_keys = st.text(min_size=1, max_size=8)
_values = st.recursive(
    st.text(max_size=12) | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50, deadline=None)
@given(table=st.dictionaries(_keys, _values, max_size=4), name=_keys)
def test_the_configuration_is_kept(tmp_path_factory: pytest.TempPathFactory, table: dict[str, Any], name: str) -> None:
    from scythe_cli.analysis.packing.project_files import _configuration  # pyright: ignore[reportPrivateUsage]

    table = {"entrypoint": "m.a:f", **table}
    secret = {"storage": "s3://secret", "tokens": {"licence": 2}}
    text = _configuration({"scythe": secret, "experiments": {name: table}}, name, _manifest({})).decode()
    table.pop("slurm", None)
    wanted = {"scythe": {"storage": "../runs", "tokens": {"licence": 2}}, "experiments": {name: table}}
    assert tomllib.load(io.BytesIO(text.encode())) == wanted
