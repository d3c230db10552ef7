"""Taking outcomes over from earlier runs, running rows that are the same once, and telling why not."""

from __future__ import annotations

import itertools
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from pydantic import ValidationError

from scythe_cli.analysis.run import Run
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.core.progress import ProgressCallback
from scythe_cli.core.semver import Bump, SemVer
from scythe_cli.core.states import State
from scythe_cli.core.states import State as SpecState
from scythe_cli.engines.base import Engine, Execution, Job
from scythe_cli.engines.hatchet.engine import HatchetEngine
from scythe_cli.errors import CodeChangedError, NotFoundError, UsageError
from scythe_cli.executor.code import code_hash, code_of, differing_code
from scythe_cli.executor.limits import StopSignal
from scythe_cli.model.outcome_schema import OUTCOME_SCHEMA, with_code
from scythe_cli.model.spec_rows import spec_factory, table_from_specs
from scythe_cli.registry import ExperimentRegistry, RegisteredExperiment
from scythe_cli.run import versions
from scythe_cli.run.ledger import Ledger, write_part
from scythe_cli.run.manifest import Provenance
from scythe_cli.run.specs_file import SpecFile
from scythe_cli.services.allocation import submission as allocation
from scythe_cli.services.allocation.plan import plan_allocation
from scythe_cli.services.allocation.submission import AllocationRequest, execute, submit
from scythe_cli.services.records import AllocateResult
from scythe_cli.services.reuse.copy import ReuseRequest
from scythe_cli.services.reuse.explanation import Explanation, explain_row
from scythe_cli.services.reuse.identity import row_keys
from scythe_cli.services.runs.retry import retry_run
from scythe_cli.storage.base import Storage
from scythe_cli.storage.opening import open_storage
from tests.fuzzing import NIGHTLY
from tests.projects import tree


class Case(ExperimentInputSpec):
    x: float
    label: str = "q"
    weather: FileReference | None = None
    steps: list[int] = []


class Answer(ExperimentOutputSpec):
    y: float
    report: FileReference | None = None


@dataclass
class InlineEngine(Engine):
    """Runs specs in this process, and notes which."""

    name: str = "local"
    ran: list[float] = field(default_factory=list)
    fails: Callable[[Case], bool] = lambda case: False
    reports: bool = True

    def execute(self, job: Job, *, stop: StopSignal, progress: ProgressCallback | None = None) -> Execution:
        del stop, progress
        with SpecFile.open(job.storage, job.run) as specs:
            table = specs.read(0, specs.n_specs)
            output = specs.output_schema
        batch: pa.RecordBatch = table.combine_chunks().to_batches()[0]
        built = spec_factory(Case, batch.schema)(batch)
        everything = pa.table({"sort_index": range(job.n_specs), "attempt": [1] * job.n_specs})
        rows: list[dict[str, Any]] = []
        for todo in (job.todo if job.todo is not None else everything).to_pylist():
            case: Any = built[todo["sort_index"]]
            assert not isinstance(case, ValidationError)
            self.ran.append(case.x)
            failed = self.fails(case)
            key = job.run.result_file("report", f"r{case.sort_index}-{todo['attempt']}", ".txt")
            if self.reports and not failed:
                job.storage.write_bytes(key, f"x = {case.x}".encode())
            rows.append(
                {
                    **todo,
                    "state": "failed" if failed else "succeeded",
                    "final": True,
                    "started_at": datetime.now(UTC),
                    "duration_s": 0.5,
                    "worker": "w",
                    "workflow_run_id": f"{job.workflow_run_id}-{case.sort_index:08d}",
                    "error_type": "ValueError" if failed else None,
                    "out:y": None
                    if failed
                    else case.x**2 + len(Path(case.weather).read_text() if case.weather else ""),
                    "file:report": job.storage.uri(key) if self.reports and not failed else None,
                }
            )
        if rows:
            schema = pa.unify_schemas([OUTCOME_SCHEMA, output])
            columns = {f.name: pa.array([row.get(f.name) for row in rows], f.type) for f in schema}
            outcomes = with_code(pa.table(columns, schema=schema), job.code_mark)
            write_part(job.storage, job.run, f"inline-{time.monotonic_ns()}", outcomes)
        return Execution()


@dataclass
class Bench:
    """A storage, an experiment, and a way to allocate."""

    storage: Storage
    experiment: RegisteredExperiment[Any, Any]
    root: Path
    engine: InlineEngine = field(default_factory=InlineEngine)

    def request(self, cases: list[Case], *, version: Bump | SemVer = "minor", **options: Any) -> AllocationRequest:
        inputs = table_from_specs(cases, Case)
        return AllocationRequest(
            experiment=self.experiment,
            folder="energy",
            inputs=inputs,
            storage=self.storage,
            engine=self.engine,
            version=version,
            root=self.root,
            base_dir=self.root,
            **options,
        )

    def allocate(self, cases: list[Case], **options: Any) -> tuple[AllocateResult, Run, list[float]]:
        self.engine.ran.clear()
        request = self.request(cases, **options)
        submission = submit(request)
        result = execute(submission, self.engine)
        return result, Run(self.storage, submission.job.run), list(self.engine.ran)


_CHOOSING = {
    "test_only_what_is_new_is_run",
    "test_which_runs_are_looked_at",
    "test_explanations",
}
"""What chooses among earlier runs, which may have begun in the same second; at night all tests are run with such."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "bench" in metafunc.fixturenames:
        both = NIGHTLY or metafunc.function.__name__ in _CHOOSING
        paces = [pytest.param(1, id="a second apart"), pytest.param(0, id="in one second")]
        metafunc.parametrize("bench", paces if both else paces[:1], indirect=True)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Bench:
    @ExperimentRegistry.Register(name="energy")
    def energy(spec: Case) -> Answer:
        """Square."""
        return Answer(y=spec.x**2)

    # what is installed takes a while to list
    monkeypatch.setattr(allocation, "provenance", lambda _: Provenance())

    clock = itertools.count(1, request.param)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(2026, 1, 1, 0, 0, next(clock), tzinfo=tz)

    monkeypatch.setattr(versions, "datetime", Clock)
    return Bench(open_storage(str(tmp_path / "odd [runs]")), energy, tmp_path)


def cases(*xs: float, **more: Any) -> list[Case]:
    return [Case(x=x, **more) for x in xs]


def table(run: Run, name: str) -> pl.DataFrame:
    return pl.read_parquet(run.table_path(name), glob=False)


REUSE = ReuseRequest()


# --- taking over --------------------------------------------------------------------------------------------------


def test_only_what_is_new_is_run(bench: Bench) -> None:
    first, run, ran = bench.allocate(cases(*range(100)))
    assert (first.n_reused, len(ran)) == (0, 100)

    result, run, ran = bench.allocate(cases(*range(10, 110)), reuse=REUSE)

    assert ran == list(range(100, 110))
    assert result.counts.succeeded == 100
    assert result.n_reused == 90
    assert result.notices == [f"90 of 100 cases are taken over from {first.experiment_id}"]
    frame = table(run, "scalars")
    assert frame["sort_index"].to_list() == list(range(100))
    assert frame["y"].to_list() == [x**2 for x in range(10, 110)]
    assert frame["experiment_id"].unique().to_list() == [result.experiment_id]
    root = result.workflow_run_id
    assert frame["workflow_run_id"].to_list() == [f"{root}-{i:08d}" for i in range(100)]
    manifest = run.manifest
    assert manifest is not None
    assert manifest.reuse is not None
    assert manifest.reuse.runs == {first.experiment_id: 90}
    status = run.status()
    assert status.counts is not None
    assert status.counts.succeeded == 100


def test_output_files_are_copied_so_that_a_run_stays_a_folder(bench: Bench) -> None:
    first, _, _ = bench.allocate(cases(1, 2))
    _, run, _ = bench.allocate(cases(2, 3), reuse=REUSE)
    bench.storage.delete_tree(first.experiment_id)

    frame = table(run, "result_file_refs")
    keys = [bench.storage.key_of(uri) for uri in frame["report"]]
    assert all(key is not None and key.startswith(f"{run.experiment_id}/results/report/") for key in keys)
    assert [bench.storage.read_bytes(key or "") for key in keys] == [b"x = 2.0", b"x = 3.0"]


def test_output_files_of_a_store_that_was_moved_are_copied_from_where_they_are_now(bench: Bench) -> None:
    bench.allocate(cases(1, 2))
    moved = bench.root / "moved"
    Path(bench.storage.location).rename(moved)
    bench.storage = open_storage(str(moved))
    _, run, ran = bench.allocate(cases(2, 3), reuse=REUSE)

    assert ran == [3]
    keys = [bench.storage.key_of(uri) for uri in table(run, "result_file_refs")["report"]]
    assert all(key is not None and key.startswith(f"{run.experiment_id}/results/report/") for key in keys)
    assert [bench.storage.read_bytes(key or "") for key in keys] == [b"x = 2.0", b"x = 3.0"]


def test_a_moved_store_without_its_output_files_has_nothing_to_reuse(bench: Bench) -> None:
    first, _, _ = bench.allocate(cases(1, 2))
    old = Path(bench.storage.location)
    shutil.copytree(old, bench.root / "copied", ignore=shutil.ignore_patterns("results"))
    bench.storage = open_storage(str(bench.root / "copied"))
    _, run, ran = bench.allocate(cases(2, 3), reuse=REUSE)

    assert (old / first.experiment_id / "results").is_dir()  # what may be removed any time is no part of the run
    assert ran == [2, 3]
    assert all(uri.startswith(str(bench.root / "copied")) for uri in table(run, "result_file_refs")["report"])


def test_where_an_outcome_comes_from_is_kept(bench: Bench) -> None:
    first, _, _ = bench.allocate(cases(1, 2))
    second, _, _ = bench.allocate(cases(2, 3), reuse=REUSE)
    _, run, ran = bench.allocate(cases(3, 2), reuse=REUSE)

    assert ran == []
    with Ledger.open(bench.storage, run.layout) as ledger:
        rows = [row for part in ledger.parts for row in pl.read_parquet(part.path, glob=False).to_dicts()]
    found = {
        row["sort_index"]: (row["reused:run"], row["reused:sort_index"], row["reused:attempt"], row["attempt"])
        for row in rows
    }
    # the second run had it from the first
    assert found == {0: (second.experiment_id, 1, 1, 1), 1: (first.experiment_id, 1, 1, 1)}
    assert all(row["started_at"] is None and row["duration_s"] == 0.5 for row in rows)
    assert run.status().rate_per_s is None


def test_a_file_counts_by_its_content(bench: Bench) -> None:
    for name, text in (("a.epw", "aaa"), ("b.epw", "b"), ("copy of a.epw", "aaa")):
        (bench.root / name).write_text(text)
    a, b, copy = (bench.root / name for name in ("a.epw", "b.epw", "copy of a.epw"))
    bench.allocate([*cases(1, 2, weather=a), *cases(1, 2, weather=b)])

    _, _, ran = bench.allocate([*cases(1, weather=copy), *cases(2, weather=b)], reuse=REUSE)
    assert ran == []
    a.write_text("changed")
    _, run, ran = bench.allocate([*cases(1, 2, weather=a), *cases(1, 2, weather=b)], reuse=REUSE)
    assert ran == [1, 2]
    frame = table(run, "scalars")
    assert frame["y"].to_list() == [1 + 7, 4 + 7, 1 + 1, 4 + 1]

    told = explain_row(run, 1)
    assert (told.reused, told.reason) == (False, "inputs")
    assert [(d.field, d.is_file) for d in told.differences] == [("weather", True)]
    assert told.differences[0].value.startswith("a.epw (sha256 ")
    assert told.differences[0].value != told.differences[0].earlier


def test_failures_are_not_taken_over(bench: Bench) -> None:
    bench.engine.fails = lambda case: case.x == 2
    first, _, _ = bench.allocate(cases(1, 2))
    bench.engine.fails = lambda case: False
    _, run, ran = bench.allocate(cases(1, 2), reuse=REUSE)
    assert ran == [2]
    told = explain_row(run, 1)
    assert (told.reason, told.earlier_state, told.earlier_index) == ("state", State.FAILED, 1)
    assert told.text == f"row 1 of {first.experiment_id} has the same inputs, but it is failed"


def test_other_code_is_not_taken_over_unless_it_is_waived(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _, _ = bench.allocate(cases(1, 2))
    import scythe_cli.services.allocation.submission
    import scythe_cli.services.reuse.savings

    for module in (scythe_cli.services.allocation.submission, scythe_cli.services.reuse.savings):
        monkeypatch.setattr(module, "code_of", lambda *_: {"m.py": "changed"})
    result, run, ran = bench.allocate(cases(1, 2), reuse=REUSE)
    assert ran == [1, 2]
    assert result.notices[0].startswith("nothing can be taken over from 1 earlier run;")
    assert result.notices[1] == "1 earlier run is not used, because the code or the models have changed since"
    told = explain_row(run, 0)
    assert told.reason == "code"
    assert "m.py" in told.code
    assert told.earlier_run == first.experiment_id

    waived = ReuseRequest(source=first.version, ignore_code=True)
    _, mixed, ran = bench.allocate(cases(1, 2, 3), reuse=waived)
    assert ran == [3]
    # of that run, only row 2 is of the present code
    bench.storage.delete_tree(run.experiment_id)
    _, _, ran = bench.allocate(cases(1, 2, 3), reuse=ReuseRequest(source=mixed.experiment_id))
    assert ran == [1, 2]


def test_outcomes_of_code_that_a_retry_has_accepted_are_not_taken_over_as_those_of_the_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocation, "provenance", lambda _: Provenance(python=platform.python_version()))
    bench.engine.fails = lambda case: case.x > 1
    _, run, _ = bench.allocate(cases(1, 2, 3))
    bench.engine.fails = lambda case: case.x > 2
    before = tree(Path(bench.storage.location))

    with monkeypatch.context() as patch:
        import scythe_cli.services.allocation.execution
        import scythe_cli.services.runs.retry

        for module in (scythe_cli.services.allocation.execution, scythe_cli.services.runs.retry):
            patch.setattr(module, "code_of", lambda *_: {"m.py": "changed"})
        with pytest.raises(CodeChangedError, match=r"since the run was allocated: (energy\(\), )?m.py, ") as caught:
            retry_run(run, bench.experiment, bench.engine, root=bench.root)
        assert f"`scythe retry {run.experiment_id} --accept-new-code`" in (caught.value.hint or "")
        assert tree(Path(bench.storage.location)) == before
        told = retry_run(run, bench.experiment, bench.engine, root=bench.root, accept_new_code=True)
    assert told.counts.succeeded == 2
    assert "outcomes of the new code are marked" in told.notices[0]
    marks = {
        row["sort_index"]: row.get("code")
        for part in bench.storage.list_files(run.layout.outcomes)
        for row in pl.read_parquet(bench.storage.read_bytes(f"{run.layout.outcomes}/{part.name}")).to_dicts()
        if row["state"] == "succeeded"
    }
    assert marks == {0: None, 1: code_hash({"m.py": "changed"})}

    # row 0 alone is of the code that the run was allocated with
    bench.engine.fails = lambda case: False
    _, _, ran = bench.allocate(cases(1, 2, 3), reuse=ReuseRequest(source=run.experiment_id))
    assert ran == [2, 3]
    _, _, ran = bench.allocate(cases(1, 2), reuse=ReuseRequest(source=run.experiment_id, ignore_code=True))
    assert ran == []
    # with the code as it was, a retry need not be told anything
    assert retry_run(run, bench.experiment, bench.engine, root=bench.root).ok


def test_which_runs_are_looked_at(bench: Bench) -> None:
    bench.allocate(cases(1))
    bench.allocate(cases(2), version="major")

    _, run, ran = bench.allocate(cases(1, 2), reuse=REUSE)
    assert ran == [1]  # v2.1.0 does not look at v1.0.0
    told = explain_row(run, 0)
    assert told.reason == "inputs"
    _, _, ran = bench.allocate(cases(1, 5), reuse=ReuseRequest(source="v1.0.0"))
    assert ran == [5]
    _, _, ran = bench.allocate(cases(1, 7), reuse=ReuseRequest(source="energy/v1"))
    assert ran == [7]
    with pytest.raises(NotFoundError, match=r"energy has no version v1.7.0"):
        bench.allocate(cases(1), reuse=ReuseRequest(source="1.7.0"))
    with pytest.raises(UsageError, match="'v9' is not a version"):
        bench.allocate(cases(1), reuse=ReuseRequest(source="v9"))


def test_output_files_that_are_gone_are_made_again(bench: Bench) -> None:
    _, first, _ = bench.allocate(cases(1, 2))
    bench.storage.delete(first.layout.result_file("report", "r1-1", ".txt"))
    result, run, ran = bench.allocate(cases(1, 2), reuse=REUSE)
    assert ran == [2]
    assert result.n_reused == 1
    assert result.notices[-1] == "output files of 1 of them are gone, so they are run again"
    assert explain_row(run, 1).reason == "gone"


def test_files_elsewhere_are_not_known_by_their_content(bench: Bench) -> None:
    bench.engine.reports = False
    remote = [Case.model_validate({"x": 1, "weather": "https://example.invalid/a.epw"})]
    bench.engine.execute = lambda job, **_: Execution()  # type: ignore[method-assign]
    bench.allocate(remote)
    result, run, _ = bench.allocate(remote, reuse=REUSE)
    assert result.n_reused == 0
    assert "1 cases refer to remote files" in result.notices[-1]
    told = explain_row(run, 0)
    assert told.reason == "unknown file"
    assert told.text.startswith("weather refers to a remote file")


def test_nothing_is_left_when_taking_over_fails(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from scythe_cli.errors import StorageError
    from scythe_cli.services.reuse import copy as reuse

    bench.allocate(cases(1, 2))

    def fail(*_: object) -> None:
        raise StorageError("no space is left")

    monkeypatch.setattr(reuse.LedgerWriter, "flush", fail)
    with pytest.raises(StorageError, match="no space"):
        bench.allocate(cases(1, 2), reuse=REUSE)
    assert bench.storage.list_tree("energy/v1.1.0") == []


# --- explaining ---------------------------------------------------------------------------------------------------


def test_explanations(bench: Bench) -> None:
    _, run, _ = bench.allocate(cases(1, 2))
    assert explain_row(run, 0).reason == "no earlier run"

    _, run, _ = bench.allocate([*cases(1), *cases(2, label="z", steps=[1])])
    told = explain_row(run, 0)
    assert told.reason == "not asked"
    assert told.text.endswith("but this run was allocated without --reuse")
    told = explain_row(run, 1)
    assert told.reason == "inputs"
    assert told.earlier_index == 1
    assert [(d.field, d.value, d.earlier) for d in told.differences] == [("label", "z", "q"), ("steps", [1], [])]
    assert isinstance(told, Explanation)
    with pytest.raises(NotFoundError, match="has no row 2: it has rows 0 to 1"):
        explain_row(run, 2)

    _, run, _ = bench.allocate(cases(1), reuse=REUSE)
    assert explain_row(run, 0).reason == "reused"
    assert explain_row(run, 0).reused


def test_of_equally_near_specs_the_one_with_the_nearest_numbers_is_told(bench: Bench) -> None:
    bench.allocate(cases(0, 50, 100))
    _, run, _ = bench.allocate(cases(90), reuse=REUSE)
    assert explain_row(run, 0).earlier_index == 2


# --- duplicates ---------------------------------------------------------------------------------------------------


def test_rows_that_are_the_same_run_once(bench: Bench) -> None:
    result, run, ran = bench.allocate(cases(1, 2, 1, 3, 2, 1), dedupe=True)

    assert ran == [1, 2, 3]
    assert result.counts.succeeded == 6
    assert result.n_duplicates == 3
    assert result.notices == ["3 cases are the same as an earlier row and get its outcome"]
    frame = table(run, "scalars")
    assert frame["y"].to_list() == [1, 4, 1, 9, 4, 1]
    assert frame["workflow_run_id"].n_unique() == 6
    told = explain_row(run, 5)
    assert (told.reason, told.earlier_index) == ("duplicate", 0)
    _, _, ran = bench.allocate(cases(1, 1))
    assert ran == [1, 1]  # only where it is asked for


def test_rows_that_are_the_same_fail_and_are_retried_together(bench: Bench) -> None:
    bench.engine.fails = lambda case: case.x == 2
    result, run, _ = bench.allocate(cases(1, 2, 2, 2), dedupe=True)
    assert (result.counts.succeeded, result.counts.failed) == (1, 3)

    bench.engine.fails = lambda case: False
    bench.engine.ran.clear()
    again = retry_run(run, bench.experiment, bench.engine, only={SpecState.FAILED})
    assert bench.engine.ran == [2]
    assert again.counts.succeeded == 4
    with Ledger.open(bench.storage, run.layout) as ledger:
        attempts = ledger.outcomes().group_by("sort_index").agg(pl.col("attempt").sort()).sort("sort_index")
    assert attempts["attempt"].to_list() == [[1], [1, 2], [1, 2], [1, 2]]


def test_rows_that_are_taken_over_are_no_duplicates(bench: Bench) -> None:
    bench.allocate(cases(1))
    result, _, ran = bench.allocate(cases(1, 2, 1, 2), reuse=REUSE, dedupe=True)
    assert ran == [2]
    assert (result.n_reused, result.n_duplicates, result.counts.succeeded) == (2, 1, 4)


# --- keys and code ------------------------------------------------------------------------------------------------


def test_keys_of_rows() -> None:
    rows = pa.table(
        {
            "f": [0.0, -0.0, float("nan"), float("nan"), None, 0.0],
            "l": pa.array([[1, 2], [1], [], None, [None], [1, 2]], pa.list_(pa.int64())),
            "s": [{"a": 1, "b": [1.0]}, {"a": 1, "b": None}, None, {"a": None, "b": []}, None, {"a": 1, "b": [1.0]}],
        }
    )
    for name, groups in (("f", 4), ("l", 5), ("s", 4)):
        keys = row_keys(rows, [name])
        assert keys.n_unique() == groups, name
        # where a row lies does not matter
        assert row_keys(rows.slice(5, 1), [name]).row(0) == keys.row(0)
    assert row_keys(rows, ["f", "l", "s"]).n_unique() == 5
    assert row_keys(rows, []).n_unique() == 1


def test_code_is_what_the_function_comes_to_in_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "codeprint_work/__init__.py": "",
        "codeprint_work/model.py": "import math\nfrom . import helper\nfrom .sub.deep import g\n",
        "codeprint_work/helper.py": "def f():\n    import codeprint_late\n    return codeprint_late\n",
        "codeprint_work/sub/__init__.py": "",
        "codeprint_work/sub/deep.py": "def g():\n    return 1\n",
        "codeprint_late.py": "x = 1\n",
        "unused.py": "y = 1\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    model = tmp_path / "codeprint_work" / "model.py"
    model.write_text(
        model.read_text() + "from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec\n"
        "class I(ExperimentInputSpec):\n    x: float\nclass O(ExperimentOutputSpec):\n    y: float\n"
        "def simulate(i: I) -> O:\n    return O(y=1)\n"
    )
    from scythe_cli.model.functions.entrypoints import load_entrypoint

    loaded: Any = load_entrypoint("codeprint_work.model:simulate", tmp_path)
    code = code_of(loaded, tmp_path)
    assert code is not None
    assert set(code) == set(files) - {"unused.py"}

    helper = tmp_path / "codeprint_work" / "helper.py"
    helper.write_text("# a comment\n" + helper.read_text().replace("    ", "  "))
    assert differing_code(code, code_of(loaded, tmp_path)) == []
    helper.write_text(helper.read_text() + "z = 2\n")
    assert differing_code(code, code_of(loaded, tmp_path)) == ["codeprint_work/helper.py"]
    assert differing_code(code, None) is None


# --- planning -----------------------------------------------------------------------------------------------------


def test_a_plan_knows_no_times_before_anything_was_run(bench: Bench) -> None:
    (bench.root / "a.epw").write_text("aaa")
    request = bench.request([*cases(1, 1, 2), *cases(3, weather=bench.root / "a.epw")])
    plan = plan_allocation(request, file="c.csv", defaulted=["label"])
    assert (plan.n_specs, plan.n_duplicates, plan.n_reused, plan.n_to_run) == (4, 1, None, 4)
    assert (plan.input_files, plan.input_bytes, plan.version) == (1, 3, "v1.0.0")
    assert (plan.durations, plan.work_s, plan.expected_s, plan.parts) == (None, None, None, None)
    assert plan.notices == ["1 rows are the same as an earlier one; --dedupe runs them only once"]
    assert bench.storage.list_tree("") == []


def test_a_plan_takes_times_from_earlier_runs(bench: Bench) -> None:
    first, _, _ = bench.allocate(cases(*range(10)))
    bench.allocate(cases(*range(10)), reuse=REUSE)  # whose times are not its own
    request = bench.request(cases(*range(5, 25)), reuse=REUSE, workers=3)
    plan = plan_allocation(request, file="c.csv", defaulted=[])
    assert (plan.n_reused, plan.n_to_run, plan.version) == (5, 15, "v1.2.0")
    assert plan.durations is not None
    assert (plan.durations.n, plan.durations.source) == (10, first.experiment_id)
    assert plan.work_s == pytest.approx(7.5)
    assert plan.expected_s == pytest.approx(2.5)
    assert plan.parts == 3


@pytest.mark.parametrize(
    ("per_task", "known", "expected"),
    [
        (10, False, (11, 100, 10)),
        ("auto", False, (11, None, None)),
        # 0.5 s a spec, of which a fleet of 8 slots takes 3 s at a time, and less at the end
        ("auto", True, (11, 10 * 18, 6)),
    ],
)
def test_a_plan_for_a_fleet(bench: Bench, per_task: int | str, known: bool, expected: tuple[Any, ...]) -> None:
    if known:
        bench.allocate(cases(1))
    request = replace(bench.request(cases(*range(1000)), specs_per_task=per_task), engine=HatchetEngine())
    plan = plan_allocation(request, file="c.csv", defaulted=[])
    assert (plan.nodes, plan.tasks, plan.rows_per_task) == expected
    assert (plan.workers, plan.expected_s) == (None, None)
    assert plan.work_s == (500 if known else None)


def test_a_plan_counts_tasks_as_a_node_makes_them() -> None:
    from scythe_cli.engines.hatchet.nodes.plan import Shape, count_tasks, waves

    for n in (0, 1, 7, 100, 12_345):
        for shape in (Shape(), Shape(3), Shape(20_000)):
            made = list(waves(range(n), shape))
            assert count_tasks(n, shape) == (sum(map(len, made)), len(made))


def test_nodes_of_a_plan_are_those_of_the_tree() -> None:
    from scythe_cli.core.recursion import RecursionMap
    from scythe_cli.engines.hatchet.outline import _nodes

    def walk(node: RecursionMap, n: int) -> tuple[list[int], int]:
        if node.is_base_case(n):
            return [len(node.rows(n))], 0
        below = [walk(child, n) for child in node.children() if child.rows(n)]
        return [rows for part, _ in below for rows in part], 1 + sum(inner for _, inner in below)

    for n in (1, 9, 10, 11, 101, 1234):
        for factor, depth in ((10, 1), (3, 4), (2, 0)):
            base, inner = walk(RecursionMap(factor=factor, max_depth=depth), n)
            counted, above = _nodes(n, factor, depth)
            assert sorted(counted.elements()) == sorted(base)
            assert above == inner


# --- seeds --------------------------------------------------------------------------------------------------------


def test_a_run_of_another_seed_is_left_aside(bench: Bench) -> None:
    first, _, _ = bench.allocate(cases(1, 2), seed=3)
    result, run, ran = bench.allocate(cases(1, 2), reuse=REUSE)
    assert ran == [1, 2]
    assert result.notices[-1] == "1 earlier run is not used, because the seed is different; --seed sets it"
    told = explain_row(run, 0)
    assert (told.reason, told.earlier_run) == ("seed", first.experiment_id)
    assert bench.allocate(cases(2, 1), reuse=REUSE, seed=3)[2] == []


def test_a_repetition_is_taken_over_by_the_same_repetition_only(bench: Bench) -> None:
    bench.allocate(cases(5, 5))
    result, _, ran = bench.allocate(cases(5, 5, 5), reuse=REUSE)
    assert (ran, result.n_reused) == ([5], 2)


def test_what_was_given_to_duplicates_is_no_repetition(bench: Bench) -> None:
    assert bench.allocate(cases(5, 5), dedupe=True)[2] == [5]
    result, _, ran = bench.allocate(cases(5, 5), reuse=REUSE)
    assert (ran, result.n_reused) == ([5], 1)


# --- repeats ------------------------------------------------------------------------------------------------------


def test_a_repeat_is_said_and_what_it_promises_is_taken_over(bench: Bench) -> None:
    bench.engine.fails = lambda case: case.x == 2
    assert bench.allocate(cases(1, 2, 3))[0].notices == []

    said = bench.allocate(cases(1, 2, 3))[0].notices
    assert said == ["same cases and code as v1.0.0; --reuse takes 2 of 3 over"]
    assert bench.allocate(cases(1, 2, 3), reuse=REUSE)[0].n_reused == 2
    major = bench.allocate(cases(1, 2, 3), version="major")[0].notices
    assert major == ["same cases and code as v1.2.0; --reuse-from v1.2.0 takes 2 of 3 over"]


@pytest.mark.parametrize("change", ["cases", "order", "code", "seed"])
def test_what_differs_is_no_repeat(bench: Bench, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.allocate(cases(1, 2))
    if change == "code":
        monkeypatch.setattr(allocation, "code_of", lambda *_: {"work.py": "other"})
    rows = {"cases": (1, 2.5), "order": (2, 1)}.get(change, (1, 2))

    assert bench.allocate(cases(*rows), seed=int(change == "seed"))[0].notices == []


@pytest.mark.processes
def test_a_repeat_counts_files_by_their_content(bench: Bench) -> None:
    for name in ("a.epw", "b.epw"):
        (bench.root / name).write_text("same")
    a, b = bench.root / "a.epw", bench.root / "b.epw"
    bench.allocate(cases(1, weather=a))

    assert bench.allocate(cases(1, weather=b))[0].notices == [
        "same cases and code as v1.0.0; --reuse takes 1 of 1 over"
    ]
    b.write_text("changed")
    assert bench.allocate(cases(1, weather=b))[0].notices == []
