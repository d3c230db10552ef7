"""Checks of RO-Crates with roc-validator, without a network: `python -m tests.crates FOLDER` ends with 0 if valid.

The terms that a crate's `@context` refers to are those of the installed package rocrate.
"""

from __future__ import annotations

import importlib.resources
import json
import sys
from typing import Any
from unittest import mock

_CRATE = "https://w3id.org/ro/crate/"
_RUNS = "https://w3id.org/ro/terms/workflow-run/context"


def _document(source: Any, *_: Any, **__: Any) -> tuple[Any, None]:
    if str(source).startswith(_CRATE):
        return json.loads(importlib.resources.files("rocrate.data").joinpath("ro-crate.jsonld").read_text()), None
    if str(source) == _RUNS:
        terms = {name: f"https://w3id.org/ro/terms/workflow-run#{name}" for name in ("md5", "sha1", "sha256", "sha512")}
        return {"@context": terms}, None
    raise OSError(f"no network in tests: {source}")


def problems(folder: str) -> list[str]:
    """What of a crate does not keep to what its profile requires or recommends."""
    from rocrate_validator import models, services

    settings = services.ValidationSettings(
        rocrate_uri=folder,
        profile_identifier="process-run-crate-0.5",
        requirement_severity=models.Severity.RECOMMENDED,
        skip_availability_check=True,
        skip_checks=["ro-crate-1.1_3.1", "ro-crate-1.1_3.2"],  # that its context can be downloaded
    )
    with mock.patch("rdflib.plugins.shared.jsonld.context.source_to_json", _document):
        result = services.validate(settings)
    return sorted(f"{issue.severity.name}: {issue.check.identifier}: {issue.message}" for issue in result.get_issues())


if __name__ == "__main__":
    found = problems(sys.argv[1])
    print("\n".join(found))
    sys.exit(1 if any(line.startswith("REQUIRED") for line in found) else 0)
