"""The errors of scythe-engine, under the names that its users catch."""

from __future__ import annotations

from scythe_cli.core.semver import SemVer
from scythe_cli.errors import NotFoundError, ScytheError, SpecsError

__all__ = [
    "BaseNotFoundError",
    "DuplicateInputArtifactsError",
    "ExperimentNotFoundError",
    "ExperimentRunNotFoundError",
    "ExperimentSpecsMismatchError",
    "ExperimentVersionNotFoundError",
    "SpecNotSucceededError",
]


class ExperimentSpecsMismatchError(SpecsError):
    """A spec is not of the experiment's input model."""

    def __init__(self, expected_type: type, actual_type: type) -> None:
        self.expected_type = expected_type
        self.actual_type = actual_type
        super().__init__(f"expected specs of type {expected_type.__name__}, got {actual_type.__name__}")


class DuplicateInputArtifactsError(SpecsError):
    """Two input files of one field share a name. It is never raised: files lie under the hash of their content."""

    def __init__(self, file_name: str, field_name: str) -> None:
        self.file_name = file_name
        self.field_name = field_name
        super().__init__(f"two files of the field {field_name} are called {file_name}")


class BaseNotFoundError(NotFoundError):
    """Something that was asked for is not there."""


class ExperimentNotFoundError(BaseNotFoundError):
    """An experiment has no runs."""

    def __init__(self, experiment_name: str) -> None:
        self.experiment_name = experiment_name
        super().__init__(f"experiment {experiment_name!r} has no runs", hint="Allocate some cases first.")


class ExperimentVersionNotFoundError(BaseNotFoundError):
    """An experiment has no such version."""

    def __init__(self, experiment_name: str, version: SemVer) -> None:
        self.experiment_name = experiment_name
        self.version = version
        super().__init__(f"experiment {experiment_name!r} has no version {version}")


class ExperimentRunNotFoundError(BaseNotFoundError):
    """A version has no such run."""

    def __init__(self, experiment_name: str, version: SemVer, run_name: str) -> None:
        self.experiment_name = experiment_name
        self.version = version
        self.run_name = run_name
        super().__init__(f"{experiment_name}/{version} has no run {run_name}")


class SpecNotSucceededError(ScytheError):
    """The only spec of a run did not succeed, so that there is no output."""
