"""`--json` of every command: one document, valid against its schema, with what the table shows, and never a colour."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from pydantic import TypeAdapter
from typer.testing import CliRunner

from scythe_cli.cli.app import app
from scythe_cli.core.records import FleetWorker, StateCounts, WorkerCode
from scythe_cli.services.json_documents import DOCUMENTS
from scythe_cli.services.records import (
    CancelResult,
    ErrorDocument,
    Problem,
    ServedTask,
    SubmitResult,
    WorkerStart,
)
from tests.commands import run_here

from .conftest import ODD, Ran, RunSeveral

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "docs" / "schemas"

# command lines by the command that they stand for; {run} is a run with failures
LINES = {
    "scythe init": ["init", "fresh"],
    "scythe experiments": ["experiments"],
    "scythe experiments NAME": ["experiments", "squares"],
    "scythe sample": ["sample", "-n", "4", "--seed", "1", "--set", "mode=fine", "-o", "sampled.csv", "--overwrite"],
    "scythe doctor": ["doctor"],
    "scythe validate FILE": ["validate", "good.csv"],
    "scythe allocate FILE": ["allocate", "good.csv", "--bump", "keep"],
    "scythe allocate FILE --plan": ["allocate", "good.csv", "--plan"],
    "scythe study": ["study"],
    "scythe study NAME": ["study", "s"],
    "scythe study NAME --plan": ["study", "s", "--plan"],
    "scythe retry": ["retry", "{run}"],
    "scythe rerun --row N": ["rerun", "{run}", "--row", "0"],
    "scythe verify": ["verify", "{run}", "-n", "1"],
    "scythe status": ["status", "{run}"],
    "scythe status --watch": ["status", "{run}", "--watch"],
    "scythe errors": ["errors", "{run}"],
    "scythe errors --row N": ["errors", "{run}", "--row", "1"],
    "scythe logs --row N": ["logs", "{run}", "--row", "1"],
    "scythe runs": ["runs"],
    "scythe versions": ["versions"],
    "scythe prune": ["runs", "prune", "--keep", "100", "--yes"],
    "scythe explain RUN --row N": ["explain", "{run}", "--row", "0"],
    "scythe results ls": ["results", "ls", "{run}"],
    "scythe results show": ["results", "show", "{run}"],
    "scythe results show --by-case": ["results", "show", "{run}", "--by-case"],
    "scythe results fetch": ["results", "fetch", "{run}", "-d", "fetched"],
    "scythe results query SQL": ["results", "query", "select * from scalars", "{run}"],
    "scythe results query SQL -o FILE": ["results", "query", "select 1 as a", "{run}", "-o", "a.csv", "--overwrite"],
    "scythe results export -o FILE": ["results", "export", "{run}", "-o", "b.csv", "--overwrite"],
    "scythe results diff A B": ["results", "diff", "squares/v1.0.0", "{run}"],
    "scythe results plot": ["results", "plot", "{run}", "--x", "x", "--y", "square"],
    "scythe results pack -o FILE": ["results", "pack", "{run}", "-o", "run.zip", "--overwrite"],
    "scythe reproduce FILE": ["reproduce", "packed.zip", "-n", "1"],
    "scythe results unpack FILE": ["results", "unpack", "packed.zip", "--storage", "unpacked"],
    "scythe report": ["report", "{run}", "-o", "report.html"],
    "scythe --version": ["--version"],
    "any command that ends with an error": ["status", "nosuch"],
}
CODES = {
    "scythe results diff A B": 1,
    "scythe retry": 1,
    "scythe status --watch": 1,
    "any command that ends with an error": 2,
    "scythe doctor": None,
}
"""Exit codes other than 0; None for what depends on the machine."""

STUDY = """
[studies.s]
set = { x = "0:30" }
fix = { mode = "fine" }
targets = { square = "rmse <= 20%" }
initial = 8
max_cases = 20
"""

ELSEWHERE: dict[str, Any] = {
    "scythe allocate FILE --engine hatchet --no-wait": SubmitResult(
        experiment_id="a/v1.0.0/2026-01-01_00-00-00",
        experiment="a",
        version="v1.0.0",
        timestamp="2026-01-01T00:00:00Z",  # type: ignore[arg-type]
        uri="s3://b/a",
        engine="hatchet",
        workflow_run_id="1",
        n_specs=3,
    ),
    "scythe cancel": CancelResult(experiment_id="a", cancelled=1, counts=StateCounts(cancelled=1)),
    "scythe workers": [
        FleetWorker(
            name="w",
            host="lab1",
            user="ada",
            python="3.11.7",
            slots=2,
            busy=1,
            last_seen_at=datetime(2026, 1, 1, tzinfo=UTC),
            scatter_gather=True,
            any_code=False,
            code=[WorkerCode(experiment="a", changed_at=None, same=True)],
            storage=["s3://runs"],
        )
    ],
    "scythe worker": WorkerStart(name="w", slots=2, serves=[ServedTask(name="a", kind="experiment", place="m:f")]),
}
"""Records of commands that need a server."""


@pytest.fixture(scope="module")
def folder(squares_with_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two versions, of which the newer has two failures among four specs."""
    made = tmp_path_factory.mktemp("made") / ODD
    shutil.copytree(squares_with_runs, made)
    # `allocate --bump keep` adds another run to this version
    (made / "failed").write_text(next((made / "runs" / "squares" / "v1.1.0").iterdir()).name)
    assert run_here("results", "pack", "squares/v1.1.0", "-o", "packed.zip", cwd=made).code == 0
    with (made / "experiments.toml").open("a") as file:
        file.write(STUDY)
    return made


def run_line(name: str, folder: Path, *, as_json: bool = True) -> Ran:
    run = f"squares/v1.1.0/{(folder / 'failed').read_text()}"
    arguments = [part.format(run=run) for part in LINES[name]]
    return run_here(*(["--json", *arguments] if as_json else arguments))


def check(document: Any, schema_name: str) -> None:
    schema = json.loads((SCHEMAS / f"{schema_name}.json").read_text())
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(document)


def test_every_document_has_a_command_line() -> None:
    assert {document.command for document in DOCUMENTS} == LINES.keys() | ELSEWHERE.keys()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.command)
def test_what_is_printed_is_one_document_of_its_schema(
    document: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if document.command in ELSEWHERE:
        made = TypeAdapter(document.type).dump_python(ELSEWHERE[document.command], mode="json")
        check(made, document.schema)
        return
    monkeypatch.chdir(folder)
    ran = run_line(document.command, folder)

    code = CODES.get(document.command, 0)
    assert code is None or ran.code == code, ran.err
    check(ran.json, document.schema)  # json.loads refuses a second document
    assert "\x1b" not in ran.out + ran.err
    assert ran.out.count("\n") == 1 or not document.lines


def test_schemas_are_what_the_records_are() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.make_schemas", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_document_of_another_kind_is_refused() -> None:
    with pytest.raises(Exception, match="is not of type"):
        check([], "status")
    with pytest.raises(Exception, match="Additional properties"):
        check(ELSEWHERE["scythe cancel"].model_dump(mode="json") | {"more": 1}, "cancel")


def test_errors_of_the_command_line_are_documents_as_well(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, ["status", "--json", "--nosuch"])

    document = ErrorDocument.model_validate_json(result.stdout)
    assert result.exit_code == document.error.exit_code == 2
    assert isinstance(document.error, Problem)
    check(json.loads(result.stdout), "error")


def test_tables_show_the_numbers_of_the_records(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)

    def both(name: str) -> tuple[Any, list[list[str]]]:
        shown = run_line(name, folder, as_json=False)
        assert "\x1b" not in shown.out + shown.err
        return run_line(name, folder).json, [line.split() for line in shown.out.splitlines()]

    status, lines = both("scythe status")
    assert {line[0]: int(line[1]) for line in lines[1:7]} == status["counts"]
    assert ["total", str(status["n_specs"])] in lines

    versions, lines = both("scythe versions")
    assert [(line[0], line[1], int(line[2])) for line in lines[1:]] == [
        (version["experiment"], version["version"], version["n_runs"]) for version in versions
    ]

    runs, lines = both("scythe runs")
    assert [line[1] for line in lines[1:]] == [run["experiment_id"] for run in runs]
    assert [int(line[2]) for line in lines[1:]] == [run["counts"]["succeeded"] for run in runs]

    tables, lines = both("scythe results ls")
    assert [line[:3] for line in lines[2 : 2 + len(tables)]] == [
        [table["name"], str(table["n_rows"]), str(table["n_columns"])] for table in tables
    ]

    errors, lines = both("scythe errors")
    group = errors["groups"][0]
    assert [str(group["count"]), "×", group["error_type"], group["state"]] in lines

    answer, lines = both("scythe results query SQL")
    at = [column["name"] for column in answer["columns"]].index("square")
    assert [float(line[at]) for line in lines[1:]] == [row["square"] for row in answer["rows"]] == [1.0, 9.0]


@pytest.mark.parametrize("no_color", [{}, {"NO_COLOR": "1"}], ids=["plain", "NO_COLOR"])
def test_nothing_is_coloured_where_it_is_piped(
    shells: RunSeveral, folder: Path, monkeypatch: pytest.MonkeyPatch, no_color: dict[str, str]
) -> None:
    monkeypatch.chdir(folder)
    for ran in shells(["errors", "squares/v1.1.0"], ["--help"], env={"TERM": "xterm-256color", **no_color}):
        assert ran.code == 0
        assert "\x1b" not in ran.out + ran.err
