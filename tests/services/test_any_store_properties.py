"""Whatever lies in a storage, and whatever run is asked for: an answer, or an error of ours; and nothing is written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scythe_cli.analysis.run import Run
from scythe_cli.core.names import is_experiment_name, parse_version
from scythe_cli.core.semver import SemVer
from scythe_cli.errors import NotFoundError, ScytheError
from scythe_cli.run.catalog import find_run, list_experiments
from scythe_cli.run.final.gather import gather
from scythe_cli.run.layout import RunLayout, parse_timestamp
from scythe_cli.run.versions import list_runs, list_versions
from scythe_cli.services.project import Project, open_project
from scythe_cli.storage.base import Storage
from scythe_cli.storage.opening import open_storage
from tests.fuzzing import cases, check_message, writes_only_below
from tests.made_runs import LAYOUT, make_run, outcomes, write_part

RUNS = [
    "energy/v1.0.0/2026-01-01_00-00-00",
    "energy/v1.0.0/2026-01-01_00-00-01",
    "energy/v1.10.0/2026-02-01_00-00-00",
    "energy-2/v0.0.1/2025-12-31_23-59-59",
    "cooling/v2.0.0/0999-01-01_00-00-00",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """A storage with some runs, and with one beside it that a reference must not lead to."""
    outer = tmp_path_factory.mktemp("references")
    for run in RUNS:
        (outer / "runs" / run).mkdir(parents=True)
        (outer / "runs" / run / "manifest.yml").write_text("n_specs: 1\n")
    shutil.copytree(outer / "runs" / "energy", outer / "secret")
    return open_storage(outer / "runs")


parts = st.sampled_from(
    [
        *("energy", "energy-2", "cooling", "en", "latest", "v1.0.0", "v1", "v1.10.0", "v1.1", "2026", "secret", "runs"),
        *("2026-01-01_00-00-00", "..", ".", "", "~", "*", "?", "[a-z]", "%2e%2e", "\0", "\n", "\x1b[2J", "é", "\\..\\"),
    ]
)
references = st.one_of(
    st.lists(parts, max_size=5).map("/".join),
    st.lists(parts, max_size=4).map(lambda names: "/" + "/".join(names) + "/"),
    st.sampled_from(RUNS).flatmap(lambda run: st.integers(0, len(run)).map(lambda n: run[:n])),
    st.sampled_from(RUNS).flatmap(
        lambda run: st.tuples(st.integers(0, len(run)), st.text(max_size=3)).map(
            lambda change: run[: change[0]] + change[1] + run[change[0] :]
        )
    ),
    st.text(max_size=20),
    st.integers(100, 5000).map(lambda n: "a" * n),
)


@given(references)
@example("energy/v1.0.0/../../../secret/v1.0.0/2026-01-01_00-00-00")
@example("../secret/v1.0.0/2026-01-01_00-00-00")
@example("\udcff")
@cases(30)
def test_any_reference_means_a_run_of_the_storage_or_is_refused(store: Storage, reference: str) -> None:
    with writes_only_below():
        try:
            run = find_run(store, reference)
        except ScytheError as error:
            check_message(error)
        else:
            assert run.experiment_id in RUNS
        # so that a shorter reference can be trusted: a whole one always means itself
        try:
            assert find_run(store, f"{store.location}/{reference}").experiment_id in RUNS
        except ScytheError as error:
            check_message(error)


version_texts = st.one_of(
    st.text(max_size=12),
    st.text("v.0123456789 +-_\n٣", max_size=16),
    st.lists(st.integers(-1, 10**12), min_size=1, max_size=5).map(lambda parts: "v" + ".".join(map(str, parts))),
    st.sampled_from(
        ["v1.2.3.9", "v01.0.0", "V1.0.0", "v1.0.0\n", "v1.0.0/", "v1..0", "v1.0.0-rc1", "latest", "v٣.0.0"]
    ),
    st.integers(5, 5000).map(lambda n: f"v1.0.{'9' * n}"),
)
stamp_texts = st.one_of(
    st.text("0123456789-_: ٣", max_size=20),
    st.datetimes().map(lambda moment: moment.strftime("%Y-%m-%d_%H-%M-%S")),
    st.from_regex(r"\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2}", fullmatch=True),
)


@given(st.text(max_size=10), version_texts, stamp_texts)
@cases(30)
def test_any_text_is_a_version_or_a_time_that_is_written_the_same_or_none(name: str, version: str, stamp: str) -> None:
    if SemVer.parse(version) is None:
        assert parse_version(version) is None
        with pytest.raises(ValueError, match="is not a version"):
            SemVer.FromString(version)
    else:
        read = SemVer.FromString(version)
        assert str(read) == version
        assert SemVer.parse(version) == read
        assert parse_version(version) == (read.major, read.minor, read.patch)
    run = RunLayout.from_experiment_id(f"{name}/{version}/{stamp}")
    if run is not None:
        assert run.experiment_id == f"{name}/{version}/{stamp}"
        assert parse_timestamp(stamp) == run.timestamp
    elif is_experiment_name(name) and parse_version(version) is not None:
        assert parse_timestamp(stamp) is None


def good_run(folder: Path) -> dict[str, bytes]:
    """The files of a run that is done, by their path in the storage."""
    storage = open_storage(folder / "runs")
    run = make_run(storage, folder / "scratch", 12)
    write_part(storage, run, "a", outcomes(range(8), frame_rows=2, feature=True))
    write_part(storage, run, "b", outcomes(range(8, 11), "failed"))
    gather(storage, run)
    files = [path for path in (folder / "runs").rglob("*") if path.is_file()]
    return {str(path.relative_to(folder / "runs")): path.read_bytes() for path in files}


WHOLE: dict[str, bytes] = {}


@pytest.fixture(scope="module", autouse=True)
def whole(tmp_path_factory: pytest.TempPathFactory) -> None:
    WHOLE.update(good_run(tmp_path_factory.mktemp("whole")))


def file_names() -> list[str]:
    """The files of `WHOLE`, whose number is known before there are any."""
    names = ["manifest.yml", "specs.pq", "outcomes/a.pq", "outcomes/b.pq"]
    names += [f"final/{name}.pq" for name in ("scalars", "errors", "result_file_refs", "monthly")]
    return [LAYOUT.key(name) for name in names]


odd_names = st.sampled_from(
    [
        *(
            b"energy",
            b"energy-2",
            b".hidden",
            b"a b",
            b"\xff\xfe",
            "é".encode(),
            b"x\n",
            b"\x1b[2J",
            b"con",
            b"a" * 200,
        ),
        *(b"v1.0.0", b"v01.0.0", b"v1.2.3.9", b"v999999999.0.0", b"v9999999999.0.0", b"v1.0.0 ", b"latest", b"%2e%2e"),
        *(b"2026-01-01_00-00-00", b"2026-01-01_00-00-01", b"2026-13-01_00-00-00", b"0001-01-01_00-00-00", b"\\..\\x"),
        *(b"manifest.yml", b"outcomes", b"final", b"specs.pq", b"x.pq", b"scalars.pq", b"errors.pq", b".pq", b"*.pq"),
    ]
)
yaml = st.sampled_from(
    [
        *(
            b"",
            b"[]",
            b"a: 1",
            b"n_specs: -1",
            b"n_specs: 1e99",
            b"n_specs: 99999999999999999999",
            b"state: allocating",
        ),
        *(b"engine: [1]", b"created_at: yes", b"{" * 3000, b"a: &a [*a]", b"!!python/name:os.system", b"\xff", b"\0"),
        *(b"n_specs: 12\nexperiment_id: ../../x\n", b"n_specs: 12\nunknown: 1\n", b"n_specs: 3\n", b"- 1"),
    ]
)
contents = yaml | st.binary(max_size=40) | st.sampled_from([b"PAR1", b"PAR1" + b"\0" * 8 + b"PAR1"])


changes = st.one_of(
    st.tuples(
        st.just("spoil"), st.sampled_from(file_names()), st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4)))
    ),
    st.tuples(st.just("cut"), st.sampled_from(file_names()), st.floats(0, 1)),
    st.tuples(st.just("replace"), st.sampled_from(file_names()), contents),
    st.tuples(st.sampled_from(["remove", "folder"]), st.sampled_from(file_names()), st.none()),
    st.tuples(
        st.sampled_from(["file", "folder", "dangling", "loop", "up", "etc"]),
        st.lists(odd_names, min_size=1, max_size=5).map(b"/".join),
        contents,
    ),
)


def change(root: Path, kind: str, name: str | bytes, what: Any) -> None:
    """Change a storage, unless something else is in the way."""
    target = os.path.join(os.fsencode(root), os.fsencode(name))  # noqa: PTH118 - names that are no text
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
        if isinstance(name, str) and os.path.isfile(target):  # noqa: PTH113
            os.unlink(target)  # noqa: PTH108
        if kind == "folder":
            os.makedirs(target, exist_ok=True)  # noqa: PTH103
        elif kind in ("file", "replace", "spoil", "cut"):
            data = what
            if kind == "spoil":
                data = WHOLE[str(name)]
                for share, piece in what:
                    at = int(share * len(data))
                    data = data[:at] + piece + data[at + len(piece) :]
            elif kind == "cut":
                data = WHOLE[str(name)]
                data = data[: int(what * len(data))]
            with open(target, "wb") as file:  # noqa: PTH123
                file.write(data)
        elif kind != "remove":
            to = {"dangling": b"nowhere", "loop": os.path.basename(target), "up": b"..", "etc": b"/etc"}[kind]  # noqa: PTH119
            os.symlink(to, target)  # noqa: PTH211
    except (OSError, ValueError):
        return


def of_tables(ask: Callable[[Run, str], Any]) -> Callable[[Project, Path], None]:
    """A question about each table of a run."""

    def question(project: Project, dest: Path) -> None:
        run = Run(project.storage, LAYOUT)
        for name in answer(run.table_keys) or {}:
            answer(lambda name=name: ask(run, name))

    return question


QUESTIONS: dict[str, Callable[[Project, Path], Any]] = {
    "runs": lambda project, dest: project.runs(),
    "versions": lambda project, dest: project.versions(),
    "runs of each": lambda project, dest: [project.runs(name) for name in list_experiments(project.storage)],
    "layouts": lambda project, dest: [
        list_runs(project.storage, "energy", version) for version in list_versions(project.storage, "energy")
    ],
    "latest": lambda project, dest: project.run().status(),
    "status": lambda project, dest: Run(project.storage, LAYOUT).status(),
    "errors": lambda project, dest: Run(project.storage, LAYOUT).errors(limit=3),
    "tables": lambda project, dest: Run(project.storage, LAYOUT).tables(),
    "show": of_tables(lambda run, name: run.show(name, rows=2)),
    "scalars": lambda project, dest: Run(project.storage, LAYOUT).scalars(),
    "pandas": of_tables(lambda run, name: run.to_pandas(name)),
    "query": of_tables(lambda run, name: run.query(f"select * from {name}")),
    "diff": lambda project, dest: Run(project.storage, LAYOUT).diff(Run(project.storage, LAYOUT)),
    "fetch": of_tables(lambda run, name: run.fetch(Path(run.storage.location).parent / "dest", tables=[name])),
    "fetch csv": of_tables(
        lambda run, name: run.fetch(Path(run.storage.location).parent / "dest", tables=[name], format="csv")
    ),
    "fetch what is there": lambda project, dest: Run(project.storage, LAYOUT).fetch(
        dest, tables=["scalars", "errors"], partial=True
    ),
}


def answer(question: Callable[[], Any]) -> Any:
    try:
        return question()
    except ScytheError as error:
        check_message(error)
        return None


def snapshot(folder: Path) -> list[tuple[str, int, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns, path.lstat().st_size) for path in folder.rglob("*"))


@given(st.lists(changes, max_size=4), st.lists(st.sampled_from(sorted(QUESTIONS)), min_size=1, max_size=2))
@example([("spoil", "energy/v1.0.0/2026-01-01_00-00-00/final/scalars.pq", [(0.1953125, b"\x80")])], ["query"])
@example([("spoil", "energy/v1.0.0/2026-01-01_00-00-00/final/scalars.pq", [(0.703125, b"+")])], ["pandas"])
@cases(15)
def test_whatever_lies_in_a_storage_it_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, plan: list[tuple[str, str | bytes, Any]], questions: list[str]
) -> None:
    assert sorted(WHOLE) == sorted(file_names())
    folder = tmp_path_factory.mktemp("store")
    root = folder / "runs"
    try:
        for name, content in WHOLE.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        for kind, name, what in plan:
            change(root, kind, name, what)
        before = snapshot(root)
        dest = folder / "dest"
        project = open_project(start=folder, storage=str(root))
        with writes_only_below(dest):
            for question in questions:
                answer(lambda question=question: QUESTIONS[question](project, dest))
        assert snapshot(root) == before
    finally:
        shutil.rmtree(folder)


def test_an_empty_storage_has_no_runs(tmp_path: Path) -> None:
    project = open_project(start=tmp_path, storage=str(tmp_path / "none"))
    assert project.runs() == []
    with pytest.raises(NotFoundError, match="no runs"):
        project.run()
    for question in QUESTIONS.values():
        answer(lambda question=question: question(project, tmp_path / "dest"))
    assert not list(tmp_path.iterdir())
