"""Every error that scythe_cli raises on purpose, and the exit code that each branch gives.

```
ScytheError                        1
├── UsageError                     2   a wrong option, or a name that does not exist
│   ├── NotFoundError              2   an experiment, version, run, table or row that is not there
│   └── MissingExtraError          2   what was asked for needs a package that an extra brings
├── InvalidInputError              3   something that the user wrote is wrong
│   ├── ConfigError                3   experiments.toml or an environment variable
│   ├── EntrypointError            3   the module or function of an experiment
│   │   ├── CodeChangedError       3   the code is not what a run was allocated with
│   │   └── RegistrationError      3   a function or model that cannot be an experiment
│   ├── SamplingFileError          3   the file as a whole, or its cells
│   │   └── MissingFileError       2   there is no such file
│   ├── SpecsError                 3   specs given from Python
│   └── PackedRunError             3   a packed run that is damaged, or none
├── UnreachableError               4
│   ├── StorageError               4   the place where runs are kept
│   └── EngineError                4   the place where specs are run
├── WaitTimeoutError               5
└── StoppedError                 130   interrupted by the user
```

Those that a model of the user's meets where pydantic or the function may catch them are ValueErrors, as in
scythe-engine.

Errors of other libraries are turned into one of these where they enter the package: storage errors in
`scythe_cli.storage`, TOML and validation errors in `scythe_cli.config.schema`, import errors in `scythe_cli.registry`.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "CodeChangedError",
    "ConfigError",
    "EngineError",
    "EntrypointError",
    "ExperimentIndexAdditionalDataDoesNotMatchNRowsError",
    "ExperimentIndexAdditionalDataOverlapsWithSpecError",
    "ExperimentIndexNotSerializableError",
    "InvalidInputError",
    "MissingExtraError",
    "MissingFileError",
    "NotFoundError",
    "PackedRunError",
    "RegistrationError",
    "ResultFileRefsInDataframesError",
    "SamplingFileError",
    "ScalarInDataframesError",
    "ScytheError",
    "SpecsError",
    "StoppedError",
    "StorageError",
    "UnreachableError",
    "UsageError",
    "WaitTimeoutError",
    "first_line",
]


class ScytheError(Exception):
    """The root of all expected errors.

    Args:
        message: What is wrong, and where; one line, or a few.
        hint: What to do about it; shown on a line of its own.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(ScytheError):
    """The command line, or a call's arguments, ask for something that cannot be."""

    exit_code = 2


class NotFoundError(UsageError):
    """A name that refers to nothing: experiment, version, run, table or row."""


class MissingExtraError(UsageError):
    """What was asked for needs a package that is not installed; the hint names the extra that brings it."""


class InvalidInputError(ScytheError):
    """Something that the user wrote is wrong; nothing was written to the storage."""

    exit_code = 3


class ConfigError(InvalidInputError):
    """experiments.toml, or an environment variable, holds something that is not allowed."""


class EntrypointError(InvalidInputError):
    """The module of an experiment cannot be imported, or the function is not in it."""


class CodeChangedError(EntrypointError):
    """The code of an experiment is not what a run was allocated with."""


class RegistrationError(EntrypointError):
    """A function or a model cannot be an experiment; the message names function, file and line."""


class SamplingFileError(InvalidInputError):
    """A sampling file cannot be read, or some of its cells are wrong."""


class MissingFileError(SamplingFileError):
    """There is no such sampling file."""

    exit_code = 2


class SpecsError(InvalidInputError):
    """Specs handed over from Python do not fit the experiment."""


class PackedRunError(InvalidInputError):
    """A file is no packed run, or is damaged, or was made by a newer version."""


class UnreachableError(ScytheError):
    """A service or a place that is needed cannot be reached or used."""

    exit_code = 4


class StorageError(UnreachableError):
    """The storage cannot be read or written: permissions, space, credentials, network, or damage.

    Attributes:
        lasting: Whether it is known that trying again is of no use until somebody has mended something.
    """

    lasting: bool = False


class EngineError(UnreachableError):
    """The engine cannot run specs: not reachable, no token, or its processes do not start."""


class WaitTimeoutError(ScytheError):
    """A wait ended before the run did; the run goes on."""

    exit_code = 5


class StoppedError(ScytheError):
    """Interrupted by the user; what was finished is kept."""

    exit_code = 130


def first_line(error: BaseException) -> str:
    """The first line of what another library's error says, at most 200 characters; its class when it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


class ExperimentIndexNotSerializableError(ValueError):
    """Index data of a spec cannot be written as JSON."""

    def __init__(self, cls: type[Any]) -> None:
        self.cls = cls
        super().__init__(f"index data of {cls.__name__} cannot be written as JSON")


class ExperimentIndexAdditionalDataDoesNotMatchNRowsError(ValueError):
    """There are more or fewer rows of additional index data than rows."""

    def __init__(self, n_rows: int, additional_index_data: dict[str, Any] | list[dict[str, Any]]) -> None:
        self.n_rows = n_rows
        self.additional_index_data = additional_index_data
        super().__init__(f"{len(additional_index_data)} rows of additional index data for {n_rows} rows")


class ExperimentIndexAdditionalDataOverlapsWithSpecError(ValueError):
    """Additional index data or a computed feature has the name of a field of the spec."""

    def __init__(self, overlapping_keys: list[str]) -> None:
        self.overlapping_keys = overlapping_keys
        super().__init__(f"these names are index levels already: {', '.join(overlapping_keys)}")


class ScalarInDataframesError(ValueError):
    """A dataframe is called `scalars`. It is never raised: the table is called `output_scalars`, with a warning."""

    def __init__(self, scalar: Any) -> None:
        self.scalar = scalar
        super().__init__("there is a dataframe called scalars")


class ResultFileRefsInDataframesError(ValueError):
    """A dataframe is called `result_file_refs`. It is never raised: the table is called `output_result_file_refs`."""

    def __init__(self, result_file_refs: Any) -> None:
        self.result_file_refs = result_file_refs
        super().__init__("there is a dataframe called result_file_refs")
