"""What went wrong in a run, as a JUnit file: CI systems show it beside the tests.

The file has one suite, the run. Each spec that did not succeed is a case, up to a limit; the others are counted in
cases that stand for several specs, and in the suite's properties.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from scythe_cli.core.states import State
from scythe_cli.core.text import visible
from scythe_cli.errors import UsageError
from scythe_cli.run.records import RunErrors, SpecError
from scythe_cli.storage.atomic_files import atomic_file, storage_errors

__all__ = ["junit_xml", "write_junit"]


_NAME = "scythe"
# what XML 1.0 cannot hold, beyond the controls that `visible` shows
_NOT_XML = re.compile("[\ufffe\uffff]")
# a case that failed has a wrong answer; one that is in error did not come to an answer
_ERRORS = {State.TIMEOUT, State.CRASHED}


def junit_xml(errors: RunErrors) -> bytes:
    """The XML of a run's errors; specs beyond those that are listed are counted in one more case."""
    counts = errors.counts
    suite = ET.Element("testsuite", name=_text(errors.experiment_id))
    properties = ET.SubElement(suite, "properties")
    for name, value in {"specs": counts.total, **counts.model_dump()}.items():
        ET.SubElement(properties, "property", name=name, value=str(value))
    totals = {"failure": 0, "error": 0, "skipped": 0}

    def case(name: str, kind: str | None = None, text: str = "", **attributes: str) -> ET.Element:
        element = ET.SubElement(suite, "testcase", classname=_text(errors.experiment_id), name=_text(name))
        if kind is not None:
            totals[kind] += 1
            ET.SubElement(element, kind, {key: _text(value) for key, value in attributes.items()}).text = _text(text)
        return element

    if counts.succeeded:
        case(f"{counts.succeeded:,} succeeded")
    listed = [error for error in errors.errors if error.state is not State.CANCELLED]
    for error in listed:
        element = case(
            f"row {error.sort_index}",
            "error" if error.state in _ERRORS else "failure",
            error.traceback or "",
            type=error.error_type or error.state.value,
            message=error.message or error.state.value,
        )
        if error.duration_s is not None:
            element.set("time", f"{error.duration_s:.3f}")
    more = counts.failed + counts.timeout + counts.crashed - len(listed)
    if more:
        case(
            f"{more:,} more that did not succeed",
            "failure",
            message=f"`scythe errors {errors.experiment_id}` groups them",
        )
    for state in (State.CANCELLED, State.PENDING):
        if counts.of(state):
            case(f"{counts.of(state):,} {state.value}", "skipped", message=state.value)
    numbers = {
        "tests": str(len(suite.findall("testcase"))),
        "failures": str(totals["failure"]),
        "errors": str(totals["error"]),
        "skipped": str(totals["skipped"]),
        "time": f"{_seconds(listed):.3f}",
    }
    suite.attrib.update(numbers)
    root = ET.Element("testsuites", {"name": _NAME, **numbers})
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def write_junit(errors: RunErrors, path: Path) -> None:
    """Write the XML of a run's errors; an earlier JUnit file is replaced, as a whole.

    Raises:
        UsageError: If another file is there.
        StorageError: If the file cannot be written.
    """
    with storage_errors("write", path):
        if path.exists() and b"<testsuite" not in path.read_bytes()[:1000]:
            raise UsageError(f"{path} already exists and is not a JUnit file", hint="Choose another name.")
        with atomic_file(path) as file:
            file.write(junit_xml(errors))


def _text(text: str) -> str:
    return _NOT_XML.sub("\ufffd", visible(text))


def _seconds(errors: list[SpecError]) -> float:
    return sum(error.duration_s or 0.0 for error in errors)
