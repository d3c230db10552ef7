"""Documents of a run that are well formed and of the wrong shape: an answer, or an error of ours in a few words."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.analysis.run import Run
from scythe_cli.arrow.checksum import UNSEALED, seal, seal_footer
from scythe_cli.config.slurm import SlurmConfig
from scythe_cli.core.states import State
from scythe_cli.engines.slurm.assignment import (
    Assignment,
    WaveRecord,
    read_end,
    read_error,
    read_stop,
    read_wave,
)
from scythe_cli.errors import ScytheError
from scythe_cli.run.final.gather import gather
from scythe_cli.run.input_files import read_listed_files
from scythe_cli.run.lease import read_owner
from scythe_cli.run.manifest import read_io_schema
from scythe_cli.run.outcomes.duplicates import read_duplicates
from scythe_cli.run.outcomes.summary import RunSummary, read_summary
from scythe_cli.services.project import Project, open_project
from scythe_cli.services.runs.listing import run_records
from scythe_cli.storage.opening import open_storage
from tests.fuzzing import cases, check_message, writes_only_below
from tests.made_runs import LAYOUT
from tests.services.test_any_store_properties import QUESTIONS, good_run

Files = dict[str, bytes]
WHOLE: Files = {}


@pytest.fixture(scope="module", autouse=True)
def whole(tmp_path_factory: pytest.TempPathFactory) -> None:
    WHOLE.update(good_run(tmp_path_factory.mktemp("whole")))


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([-1, 2**31, 2**63, 2**64, 10**30, float("inf"), float("-inf"), float("nan"), 1e308, 0.5]),
    st.text(max_size=8),
    st.sampled_from(["", "v1.0.0", "../..", "energy", "allocated", "\x1b[2J", "9999-12-31T23:59:59+14:00", "0"]),
)
names = st.sampled_from(
    ["properties", "$defs", "$ref", "allOf", "anyOf", "description", "input", "output", "files", "uri", "sha256", "x"]
)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)
yaml_only = st.dates() | st.datetimes() | st.binary(max_size=4)


def to_yaml(value: Any) -> bytes:
    return yaml.safe_dump(value, encoding="utf-8", allow_unicode=True)


def from_yaml(data: bytes) -> dict[str, Any]:
    return yaml.safe_load(data)


@st.composite
def wrong_manifest(draw: st.DrawFn) -> Files:
    document = from_yaml(WHOLE[LAYOUT.manifest])
    known = [*document, "created_at", "retries", "execution_timeout_s", "memory_limit_bytes", "recursion", "reuse"]
    known += ["provenance", "design", "file_fields", "code", "n_duplicates", "leased", "specs_per_task", "extensions"]
    for name in draw(st.lists(st.sampled_from(known), min_size=1, max_size=3)):
        document[name] = draw(trees | yaml_only)
    return {LAYOUT.manifest: to_yaml(document)}


@st.composite
def wrong_yaml(draw: st.DrawFn, name: str) -> Files:
    document: dict[str, Any] = draw(st.dictionaries(names, trees, max_size=4))
    if name == LAYOUT.io_spec and draw(st.booleans()):
        loop = {"properties": {f"p{i}": {"$ref": "#/$defs/x"} for i in range(30)}}
        document = {"properties": {"input": {"$ref": "#/$defs/x"}}, "$defs": {"x": loop}}
    return {name: to_yaml(document)}


@st.composite
def wrong_lease(draw: st.DrawFn) -> Files:
    document: dict[str, Any] = {
        "token": "a1",
        "host": "h",
        "machine": "m",
        "pid": 1,
        "process_start": 1.0,
        "since": "2026-01-01T00:00:00+00:00",
        "expires": "2099-01-01T00:00:00+00:00",
    }
    for name in draw(st.lists(st.sampled_from(sorted(document)), max_size=3)):
        document[name] = draw(trees)
    return {LAYOUT.key(".lease"): json.dumps(document).encode()}


def as_parquet(table: pa.Table) -> bytes | None:
    """The bytes of a file; None where Parquet cannot hold the table."""
    buffer = pa.BufferOutputStream()
    try:
        pq.write_table(table, buffer, write_page_checksum=True)
    except (pa.ArrowException, ValueError):
        return None
    return buffer.getvalue().to_pybytes()


@st.composite
def wrong_summary(draw: st.DrawFn) -> Files:
    counts = st.dictionaries(st.sampled_from([*State, "unknown"]), scalars, max_size=4)
    document = draw(st.dictionaries(st.sampled_from(["counts", *RunSummary.model_fields]), trees | counts, max_size=5))
    line = draw(st.sampled_from([json.dumps(document), json.dumps(document)[:-1], "{" * 3000]))
    return {LAYOUT.manifest: f"# summary {line}\n".encode() + WHOLE[LAYOUT.manifest]}


SESSION = "slurm-20260101T000000-0a1b2c3d"
ASSIGNMENT = Assignment(
    storage="runs",
    experiment_id=LAYOUT.experiment_id,
    experiment="energy",
    workflow_run_id="root",
    session=SESSION,
    n_specs=12,
    n_rows=2,
    is_whole=False,
    target={},
    limits={},
    settings=SlurmConfig(),
    job_name="energy",
    log_folder="logs",
)


@st.composite
def wrong_slurm(draw: st.DrawFn) -> Files:
    wave: dict[str, Any] = {"session": SESSION, "wave": 1, "array": "7", "closing": "8", "n_tasks": 2}
    wave |= {"rows_per_task": 1, "n_rows": 2, "cpus": 1}
    for name in draw(st.lists(st.sampled_from(sorted(wave)), max_size=3)):
        wave[name] = draw(trees)
    end = draw(st.dictionaries(st.sampled_from(["notices", "n_waves"]), trees, max_size=2))
    texts = st.binary(max_size=20) | trees.map(lambda tree: json.dumps(tree).encode())
    chosen = draw(st.lists(columns, max_size=2))
    rows = pa.table(dict(zip(draw(st.permutations(["sort_index", "attempt"])), chosen, strict=False)))
    return {
        LAYOUT.slurm(f"{SESSION}.json"): json.dumps(wave).encode(),
        LAYOUT.slurm(f"{SESSION}.end"): draw(st.just(json.dumps(end).encode()) | texts),
        LAYOUT.slurm(f"{SESSION}.stop"): draw(texts),
        LAYOUT.slurm(f"{SESSION}.error"): draw(texts),
        ASSIGNMENT.todo_key(): draw(st.just(as_parquet(rows) or b"") | texts),
    }


LAST_DAY = pa.array([2**31 - 1, -(2**31)], pa.int32()).cast(pa.date32())
columns = st.sampled_from(
    [
        pa.array([1, 2]),
        pa.array([None, 2**63 - 1], pa.int64()),
        pa.array([float("inf"), float("nan")]),
        pa.array(["a", "\x1b[2J"]),
        pa.array([b"\xff", None]),
        LAST_DAY,
        pa.array([2**63 - 1, -(2**63)], pa.int64()).cast(pa.timestamp("us", "UTC")),
        pa.array([2**63 - 1, -(2**63)], pa.int64()).cast(pa.timestamp("s")),
        pa.array([2**63 - 1, -(2**63)], pa.int64()).cast(pa.duration("us")),
        pa.array([[1], None]),
        pa.array([{"a": 1}, {"a": None}]),
        pa.array([[{"a": 1}], []]),
        pa.nulls(2),
        pa.array(["a", "b"]).dictionary_encode(),
        pa.array([True, None]),
        pa.array([date(1, 1, 1), date(9999, 12, 31)]),
        pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 2),
    ]
)
metadata = st.one_of(
    trees.map(lambda tree: json.dumps(tree).encode()),
    st.sampled_from([b"", b"[]", b"{", b"\xff", b'{"index_columns": [1, {"kind": "range"}]}', b"[" * 5000]),
    st.builds(
        lambda n: base64.b64encode(pa.schema([(f"c{i % 2}", pa.int64()) for i in range(n)]).serialize()),
        st.integers(0, 4),
    ),
)


@st.composite
def wrong_table(draw: st.DrawFn) -> Files:
    name = draw(st.sampled_from([*(name for name in sorted(WHOLE) if name.endswith(".pq")), LAYOUT.duplicates]))
    if name == LAYOUT.duplicates:
        table = pa.table({"sort_index": [1, 2], "same_as": [0, 0]})
    else:
        table = pq.ParquetFile(io.BytesIO(WHOLE[name])).read().slice(0, 2)
    said: dict[bytes, bytes] = dict(table.schema.metadata or {})
    for _ in range(draw(st.integers(1, 3))):
        what = draw(st.sampled_from(["drop", "replace", "add", "twice", "metadata", "field"]))
        position = draw(st.integers(0, max(table.num_columns - 1, 0)))
        column = draw(columns)
        if table.num_columns == 0:
            continue
        if what == "drop":
            table = table.remove_column(position)
        elif what == "replace":
            table = table.set_column(position, table.schema.names[position], column.slice(0, table.num_rows))
        elif what == "add":
            prefix = draw(st.sampled_from(["out:", "file:", "frame:", "feature:", "reused:run", "x", ""]))
            table = table.append_column(f"{prefix}y", column.slice(0, table.num_rows))
        elif what == "twice":
            table = table.append_column(table.schema.names[position], table.column(position))
        elif what == "field":
            field = table.schema.field(position)
            table = table.set_column(
                position, field.with_metadata({b"scythe:levels": draw(metadata)}), table.column(position)
            )
        else:
            key = draw(
                st.sampled_from([b"pandas", b"scythe:index", b"scythe:outputs", b"scythe:first", b"scythe:frame_bytes"])
            )
            said[key] = draw(metadata)
    if draw(st.booleans()):
        table = table.slice(0, 0)
    data = bytearray(as_parquet(table.replace_schema_metadata({**said, **UNSEALED})) or b"")
    if not data:
        return {}
    if name != LAYOUT.specs:  # its seal is put on in the file
        seal(memoryview(data))
    return {name: bytes(data)}


def refused(question: Callable[[], Any]) -> None:
    try:
        question()
    except ScytheError as error:
        check_message(error)


def own_session(record: WaveRecord | None) -> None:
    assert record is None or record.session == SESSION


def check_rows(frame: pl.DataFrame) -> None:
    assert frame.schema == {"sort_index": pl.Int64, "attempt": pl.Int32}


MORE: dict[str, Callable[[Project, Path], Any]] = {
    "lease": lambda project, dest: [
        owner.describe() for owner in [read_owner(project.storage, LAYOUT)] if owner is not None
    ],
    "schema": lambda project, dest: read_io_schema(project.storage, LAYOUT),
    "files": lambda project, dest: read_listed_files(project.storage, LAYOUT),
    "duplicates": lambda project, dest: read_duplicates(project.storage, LAYOUT),
    "gather": lambda project, dest: gather(project.storage, LAYOUT, into=dest),
    "summary": lambda project, dest: read_summary(project.storage, LAYOUT),
    "runs": lambda project, dest: list(run_records(project.storage, failed=True)),
    "wave": lambda project, dest: own_session(read_wave(project.storage, LAYOUT)),
    "end": lambda project, dest: read_end(project.storage, LAYOUT, SESSION),
    "stop": lambda project, dest: [read(project.storage, LAYOUT, SESSION) for read in (read_stop, read_error)],
    "rows": lambda project, dest: check_rows(ASSIGNMENT.read_todo(project.storage)),
    "report": lambda project, dest: Run(project.storage, LAYOUT).report(dest / "report.html"),
}


KINDS: dict[str, st.SearchStrategy[Files]] = {
    "manifest": st.deferred(wrong_manifest),
    "schemas": st.deferred(lambda: wrong_yaml(LAYOUT.io_spec)),
    "list of files": st.deferred(lambda: wrong_yaml(LAYOUT.input_artifacts)),
    "lease": st.deferred(wrong_lease),
    "table": st.deferred(wrong_table),
    "summary": st.deferred(wrong_summary),
    "records of Slurm": st.deferred(wrong_slurm),
}


@pytest.mark.parametrize("kind", KINDS)
def test_documents_of_wrong_shape_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, kind: str) -> None:
    folder = tmp_path_factory.mktemp("store")
    write(folder / "runs", WHOLE)

    @cases(8)
    @given(KINDS[kind], st.lists(st.sampled_from(ASKED), min_size=1, max_size=2))
    def check(wrong: Files, questions: list[str]) -> None:
        write(folder / "runs", wrong)
        (folder / "dest").mkdir()
        try:
            ask(folder, questions)
        finally:
            shutil.rmtree(folder / "dest")
            for name in wrong.keys() - WHOLE.keys():
                (folder / "runs" / name).unlink()
            write(folder / "runs", {name: WHOLE[name] for name in wrong.keys() & WHOLE.keys()})

    check()


SLOW = {"report", "query", "diff"}
ASKED = sorted([*QUESTIONS, *MORE] + [each for each in (*QUESTIONS, *MORE) if each not in SLOW] * 2)
"""What is asked, quick questions more often than slow ones."""


def write(runs: Path, files: Files) -> None:
    for name, content in files.items():
        path = runs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if name == LAYOUT.specs and content is not WHOLE[name]:
            seal_footer(path)


def ask(folder: Path, questions: list[str]) -> None:
    dest = folder / "dest"
    project = open_project(start=folder, storage=str(folder / "runs"))
    with writes_only_below(dest):
        for question in questions:
            refused(lambda question=question: {**QUESTIONS, **MORE}[question](project, dest))


def test_each_kind_of_document_is_tried(tmp_path: Path) -> None:
    assert {Path(name).name for name in WHOLE} >= {"manifest.yml", "specs.pq", "a.pq", "scalars.pq", "errors.pq"}
    assert open_storage(tmp_path).list_tree("") == []
