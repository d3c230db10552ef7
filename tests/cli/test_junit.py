"""`scythe errors --junit`, and the document on CI jobs."""

from __future__ import annotations

import re
import shlex
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import typer
import typer.main
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.core import TyperGroup

from scythe_cli.analysis.junit import junit_xml, write_junit
from scythe_cli.cli.app import app
from scythe_cli.core.records import StateCounts
from scythe_cli.core.states import State
from scythe_cli.run.records import RunErrors, SpecError

from .conftest import Run

PAGE = Path(__file__).parents[2] / "docs" / "ci.md"


def errors(text: str = "no", listed: int = 2) -> RunErrors:
    states = [State.FAILED, State.TIMEOUT, State.CRASHED, State.CANCELLED]
    return RunErrors(
        experiment_id="energy/v1.0.0/2026-01-01_00-00-00",
        counts=StateCounts(succeeded=1200, failed=2, timeout=1, crashed=1, cancelled=1, pending=7),
        groups=[],
        errors=[
            SpecError(
                sort_index=i,
                state=states[i],
                attempt=1,
                error_type=text,
                message=text,
                traceback=text,
                duration_s=0.5,
            )
            for i in range(listed)
        ],
    )


@given(st.text(st.characters()) | st.just("<x>&\"'\x00\x1b\ufffe]]>"))
def test_it_is_xml_whatever_was_said(text: str) -> None:
    root = ET.fromstring(junit_xml(errors(text)))

    assert root.tag == "testsuites"
    assert len(root.findall("testsuite")) == 1


def test_all_specs_are_accounted_for() -> None:
    [suite] = ET.fromstring(junit_xml(errors(listed=4)))

    assert {p.get("name"): p.get("value") for p in suite.iter("property")} == {
        "specs": "1212", "succeeded": "1200", "failed": "2", "timeout": "1", "crashed": "1", "cancelled": "1",
        "pending": "7",
    }  # fmt: skip
    cases = {case.get("name"): [child.tag for child in case] for case in suite.iter("testcase")}
    assert cases == {
        "1,200 succeeded": [],
        "row 0": ["failure"],
        "row 1": ["error"],
        "row 2": ["error"],
        "1 more that did not succeed": ["failure"],
        "1 cancelled": ["skipped"],
        "7 pending": ["skipped"],
    }
    numbers = [suite.get(name) for name in ("tests", "failures", "errors", "skipped", "time")]
    assert numbers == ["7", "2", "2", "2", "1.500"]


def test_a_file_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "errors.xml"
    write_junit(errors(), path)
    write_junit(errors(listed=0), path)
    assert b"row 0" not in path.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["errors.xml"]

    path.write_text("mine")
    with pytest.raises(Exception, match="not a JUnit file"):
        write_junit(errors(), path)
    assert path.read_text() == "mine"
    write_junit(errors(), tmp_path / "reports" / "errors.xml")
    with pytest.raises(Exception, match="cannot write"):
        write_junit(errors(), path / "errors.xml")


def test_the_command_writes_it(scythe: Run, with_runs: Path) -> None:
    ran = scythe("errors", "--junit", "errors.xml", "--limit", "1", "--json")
    assert ran.code == 0
    assert len(ran.json["errors"]) == 1
    assert ran.err == "note: written to errors.xml\n"
    [suite] = ET.parse("errors.xml").getroot()
    assert [case.get("name") for case in suite.iter("testcase")] == [
        "2 succeeded", "row 1", "1 more that did not succeed"
    ]  # fmt: skip
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("type") == "ValueError"
    assert "Traceback" in (failure.text or "")
    assert scythe("errors", "--row", "1", "--junit", "errors.xml").code == 2


def test_the_job_of_the_document_is_one() -> None:
    text = PAGE.read_text(encoding="utf-8")
    [block] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    workflow = yaml.safe_load(block)
    lines = [step["run"] for step in workflow["jobs"]["study"]["steps"] if "run" in step]
    lines += re.findall(r"^\$ (scythe .*)$", text, re.MULTILINE)
    root = typer.main.get_command(app)
    checked = 0
    for line in lines:
        words = shlex.split(line.split(" > ")[0])
        if words[0] != "scythe":
            continue
        checked += 1
        command, context = root, typer.Context(root, info_name="scythe")
        words = words[1:]
        while isinstance(command, TyperGroup):
            command = command.commands[words.pop(0)]
            context = typer.Context(command, parent=context, info_name=command.name)
        command.parse_args(context, words)  # an option that is not there is an error
    assert checked == 6
