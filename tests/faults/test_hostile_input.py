"""Input that is out to harm: names that climb, links that lead elsewhere, files that explode, secrets that leak."""

from __future__ import annotations

import ast
import http.server
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import scythe_cli
from scythe_cli.analysis.run import Run
from scythe_cli.config.schema import load_config
from scythe_cli.errors import (
    ConfigError,
    InvalidInputError,
    NotFoundError,
    StorageError,
    UsageError,
)
from scythe_cli.experiments import BaseExperiment
from scythe_cli.run.final.gather import gather
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.manifest import read_manifest
from scythe_cli.services.project import open_project
from scythe_cli.storage.download import download
from scythe_cli.storage.opening import open_storage
from tests.made_runs import LAYOUT, make_run, outcomes, write_part
from tests.projects import make_project
from tests.servers import http_server

from .comparing import final_tables, strangers
from .conftest import CONFIG, Inside

CLIMBING = [
    "..",
    "../..",
    "../../etc/passwd",
    "/etc/passwd",
    "energy/../..",
    "energy/v1.0.0/../../..",
    "a\\..\\b",
    "%2e%2e",
    "\0",
]


@pytest.mark.parametrize("reference", CLIMBING)
def test_run_references_that_climb_lead_nowhere(tmp_path: Path, reference: str) -> None:
    storage = open_storage(tmp_path / "store" / "runs")
    run = make_run(storage, tmp_path / "scratch", 1)
    # what a reference that climbs could find
    make_run(open_storage(tmp_path / "store"), tmp_path / "scratch", 1, run)
    with pytest.raises((NotFoundError, UsageError)):
        open_project(storage=str(tmp_path / "store" / "runs")).run(reference)


@pytest.mark.parametrize("name", ["..", "../x", "/abs", "a/b", "a\\b", ".hidden", "", "x\n", "con", "a" * 200])
def test_experiment_names_that_climb_are_refused(tmp_path: Path, name: str) -> None:
    import json

    file = tmp_path / "experiments.toml"
    file.write_text(f'[experiments.{json.dumps(name)}]\nentrypoint = "a:b"\n')
    with pytest.raises(ConfigError, match="name"):
        load_config(file)


def test_experiment_ids_that_climb_are_no_runs() -> None:
    for name in ("..", ".", "", "a\\b"):
        assert RunLayout.from_experiment_id(f"{name}/v1.0.0/2026-01-01_00-00-00") is None
    with pytest.raises(InvalidInputError, match="cannot be the name"):
        BaseExperiment._check_run_name("../x")


HARMFUL = """
import os
from pathlib import Path
import pyarrow as pa
from scythe_cli.arrow.build import array_of
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.registry import ExperimentRegistry

class Case(ExperimentInputSpec):
    do: str
    name: str = ""

class Answer(ExperimentOutputSpec):
    file: FileReference | None = None

@ExperimentRegistry.Register()
def simulate(spec: Case, tempdir: Path) -> Answer:
    path = tempdir / "x.txt"
    if spec.do == "frame":
        return Answer(dataframes={spec.name: pa.Table.from_arrays([array_of([1], pa.int64())], ["a"])})
    if spec.do == "link to file":
        path.symlink_to(os.environ["OUTSIDE"])
    elif spec.do == "link to folder":
        path.symlink_to("/etc")
    elif spec.do == "link to device":
        path.symlink_to("/dev/zero")
    elif spec.do == "pipe":
        os.mkfifo(path)
    elif spec.do == "outside":
        return Answer(file=Path(os.environ["OUTSIDE"]))
    elif spec.do == "suffix":
        path = tempdir / "x..pq"
        path.write_text("inside")
    return Answer(file=path)
"""
FRAMES = ["scalars", "errors", "result_file_refs", "../specs", "a/b", "..", "", "C:x", "a\\b"]


def test_what_a_function_returns_cannot_replace_files_of_the_run(
    tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables whose names lead elsewhere get others; what is no file, or links to such, is not taken for one."""
    folder = make_project(tmp_path / "p", code=HARMFUL, config=CONFIG)
    outside = tmp_path / "outside.txt"
    outside.write_text("outside")
    monkeypatch.setenv("OUTSIDE", str(outside))
    refused = ["link to folder", "link to device", "pipe"]
    allowed = ["link to file", "outside", "suffix"]
    rows = [{"do": "frame", "name": name} for name in FRAMES] + [{"do": do, "name": ""} for do in refused + allowed]
    pl.DataFrame(rows).write_csv(folder / "cases.csv")

    ran = inside(folder, "allocate", "cases.csv", "--json")

    assert ran.code == 0, ran.err
    run = next((folder / "runs").glob("energy/v1.0.0/*"))
    tables = final_tables(run)
    assert tables["errors"].height == 0
    warned = tables["warnings"].filter(pl.col("field") == "file")
    assert warned["sort_index"].to_list() == list(range(len(FRAMES), len(FRAMES) + len(refused)))
    assert tables["scalars"].height == len(rows)
    made = [
        tables[name]["a"].to_list()
        for name in tables
        if name not in ("scalars", "errors", "result_file_refs", "warnings")
    ]
    assert sorted(value for values in made for value in values) == [1] * len(FRAMES)
    assert strangers(run) == []
    # a function may return any file that it can read itself
    kept = [Path(uri).read_text() for uri in tables["result_file_refs"]["file"].drop_nulls()]
    assert kept == ["outside", "outside", "inside"]
    assert all(not Path(uri).is_symlink() for uri in tables["result_file_refs"]["file"].drop_nulls())


@pytest.mark.parametrize("suffix", ["pq", "csv"])
def test_fetch_never_writes_through_links(tmp_path: Path, suffix: Literal["pq", "csv"]) -> None:
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path / "scratch", 2)
    write_part(storage, run, "a", outcomes([0, 1]))
    gather(storage, run)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    dest = tmp_path / "dest"
    dest.mkdir()
    names = ["scalars", "errors"]
    for name in names:
        (dest / f"{name}.{suffix}").symlink_to(victim)
        (dest / f".{name}.{suffix}.part").symlink_to(victim)
    with pytest.raises(UsageError, match=r"already has "):
        Run(storage, run).fetch(dest, tables=names, format=suffix)
    Run(storage, run).fetch(dest, tables=names, format=suffix, overwrite=True)
    assert victim.read_text() == "mine"
    assert not (dest / f"scalars.{suffix}").is_symlink()
    (dest / f"scalars.{suffix}").unlink()
    (dest / f"scalars.{suffix}").symlink_to(tmp_path / "not there")
    with pytest.raises(UsageError, match=r"already has "):
        Run(storage, run).fetch(dest, tables=["scalars"], format=suffix)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch pwned']",
        "a: !!python/name:os.system ''",
        "x: &x [*x]",
        "a: &a [1]\n" + "".join(f"{k}: &{k} [{','.join([f'*{chr(ord(k) - 1)}'] * 9)}]\n" for k in "bcdefghijklmnop"),
        "[" * 100_000,
        "{" * 100_000,
        "a: " * 10_000,
        "? " * 50_000,
        "\x00",
        "a: 1\na: 2",
        "- 1",
    ],
    ids=lambda text: text[:12].strip(),
)
def test_manifests_that_explode(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage = open_storage(tmp_path / "runs")
    storage.write_bytes(
        LAYOUT.manifest, f"provenance: {{packages: *p}}\n{text}".encode() if text == "p" else text.encode()
    )
    with pytest.raises(StorageError):
        read_manifest(storage, LAYOUT)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 50_000, "a = " + "{a=" * 20_000, "[" + "a." * 30_000 + "a]", "a" * 10_000_000]
)
def test_configurations_that_explode(tmp_path: Path, text: str) -> None:
    file = tmp_path / "experiments.toml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        load_config(file)


@pytest.mark.parametrize("shape", ["columns", "row groups", "cut", "no columns"])
def test_sampling_files_of_absurd_shape(tmp_path: Path, shape: str) -> None:
    folder = make_project(tmp_path / "p", config=CONFIG)
    file = folder / "cases.parquet"
    if shape == "columns":
        pq.write_table(pa.table({f"c{i}": [1] for i in range(5_000)} | {"area": [1.0]}), file)
    elif shape == "row groups":
        with pq.ParquetWriter(file, pa.schema([("area", pa.float64())])) as writer:
            for i in range(3_000):
                writer.write_table(pa.table({"area": [float(i % 1000)]}))
    elif shape == "cut":
        pq.write_table(pa.table({"area": [1.0]}), file)
        file.write_bytes(file.read_bytes()[:-30] + b"\xff" * 22 + b"PAR1")
    else:
        pq.write_table(pa.table({}), file)
    project = open_project(start=folder)
    if shape == "row groups":
        assert project.validate(file).n_specs == 3_000
    else:
        with pytest.raises(InvalidInputError) as caught:
            project.validate(file)
        assert len(str(caught.value)) < 20_000


def test_formulas_are_disarmed_in_cells_and_headers_of_csv(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path / "scratch", 3)
    texts = pa.array(["=cmd|'/c calc'!A1", "+1+1", "-2"]).dictionary_encode()
    write_part(storage, run, "a", outcomes(range(3)).append_column("feature:=f()", texts.cast(pa.string())))
    gather(storage, run)
    table = pq.read_table(storage.local_path(run.table("scalars")))
    table = table.append_column("kind", texts).append_column("@h", texts.cast(pa.string()))
    pq.write_table(table, storage.local_path(run.table("scalars")))
    Run(storage, run).fetch(tmp_path / "out", tables=["scalars"], format="csv")
    frame = pl.read_csv(tmp_path / "out" / "scalars.csv", infer_schema=False)
    for name in ("'=f()", "kind", "'@h"):
        assert frame[name].to_list() == ["'=cmd|'/c calc'!A1", "'+1+1", "-2"]


class _Harmful(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x" * 65536)
            except OSError:
                return
        self.send_response(302)
        self.send_header("Location", self.path[1:])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is inherited
        pass


@pytest.fixture
def harmful_server() -> Iterator[str]:
    with http_server(_Harmful) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://x/y", "gopher://x/", "s3://bucket/key", "/etc/passwd"])
def test_redirections_cannot_leave_the_web(tmp_path: Path, harmful_server: str, target: str) -> None:
    with pytest.raises(StorageError):
        download(f"{harmful_server}/{target}", tmp_path / "x", max_bytes=10_000)
    assert not (tmp_path / "x").exists()


def test_endless_body_is_cut_off(tmp_path: Path, harmful_server: str) -> None:
    with pytest.raises(StorageError, match=r"larger|too large|limit|more than"):
        download(f"{harmful_server}/endless", tmp_path / "x", max_bytes=100_000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "reference", ["file:///etc/passwd", "FILE:///etc/passwd", "ftp://x/y", "data:text/plain,x", "//host/x"]
)
def test_references_of_other_schemes_are_refused(tmp_path: Path, reference: str) -> None:
    folder = make_project(tmp_path / "p", config=CONFIG)
    pl.DataFrame({"area": [1.0], "weather": [reference]}).write_csv(folder / "cases.csv")
    with pytest.raises(InvalidInputError):
        open_project(start=folder).validate(folder / "cases.csv")


PICKLES = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}


def test_only_the_function_itself_is_ever_pickled() -> None:
    """Pickle runs code, so nothing that comes from a storage may reach it."""
    package = Path(scythe_cli.__file__).parent
    users: set[str] = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if {name.split(".")[0] for name in names} & {
                "pickle",
                "cloudpickle",
                "dill",
                "marshal",
                "shelve",
                "joblib",
            }:
                users.add(str(path.relative_to(package)))
            if isinstance(node, ast.Attribute) and node.attr in {"read_pickle", "allow_pickle"}:
                users.add(str(path.relative_to(package)))
    loading = {f"model/functions/{name}.py" for name in ("content", "entrypoints", "loading", "reference")}
    # what others call to test a storage is not called by the package
    assert users <= {*loading, "testing/storages.py"}


CANARIES = {
    "AWS_ACCESS_KEY_ID": "AKIACANARYACCESSKEY1",
    "AWS_SECRET_ACCESS_KEY": "canary/secret+access/key",
    "AWS_SESSION_TOKEN": "canary-session-token",
    "HATCHET_CLIENT_TOKEN": "eyJcanaryhatchettoken",
    "SCYTHE_TEST_PASSWORD": "canary-environment-password",
}


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, directory=str(folder), **kwargs)  # type: ignore[arg-type]

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is inherited
            pass

    with http_server(Quiet) as port:
        yield f"127.0.0.1:{port}"


def test_secrets_reach_neither_storage_nor_output(
    tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the environment, of URLs and of the command line."""
    folder = make_project(tmp_path / "p", config=CONFIG)
    secrets = [*CANARIES.values(), "canaryuser", "canaryurlpass", "canarysignature", "canarylocation"]
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "w.epw").write_text("sunny")
    said = ""
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    with serving(tmp_path / "web") as host:
        url = f"http://canaryuser:canaryurlpass@{host}/w.epw?X-Amz-Signature=canarysignature"
        missing = url.replace("w.epw", "none.epw")
        (folder / "good.csv").write_text(f"area,weather\n1,{url}\n")
        (folder / "bad.csv").write_text(f"area,weather,mode\n1,{url},raise\n")
        (folder / "missing.csv").write_text(f"area,weather\n1,{missing}\n")
        for arguments in (
            ["allocate", "good.csv", "--copy-inputs"],
            ["allocate", "bad.csv"],
            ["allocate", "missing.csv", "--verbose"],
            ["allocate", "good.csv", "--storage=s3://canaryuser:canarylocation@bucket/x", "--verbose"],
            ["errors"],
            ["status", "--json"],
            ["retry", "--verbose"],
            ["logs", "--row", "0"],
        ):
            monkeypatch.setattr("sys.argv", ["scythe", *arguments])  # which the manifest keeps
            ran = inside(folder, *arguments)
            said += f"{ran.out}\n{ran.err}\n"
    assert said.count("1 failed") >= 2
    leaks = [(secret, "output", said[said.index(secret) - 300 :][:400]) for secret in secrets if secret in said]
    for path in (folder / "runs").rglob("*"):
        if path.is_file():
            text = _all_text(path)
            leaks += [(secret, str(path.relative_to(folder)), "") for secret in secrets if secret in text]
    assert leaks == []


def _all_text(path: Path) -> str:
    if path.suffix == ".pq":
        # columns are compressed
        table = pq.read_table(path)
        return f"{table.to_pylist()} {table.schema.to_string(show_schema_metadata=True)}"
    return path.read_bytes().decode(errors="replace")
