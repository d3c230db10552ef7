"""The seam between what cases are read from and what is done with them: a sampling file, or a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from scythe_cli.core.text import redact_uri
from scythe_cli.model.models import ExperimentInputSpec
from scythe_cli.sampling.reading import ReadOptions, SamplingTable, read_raw, read_sampling_file

if TYPE_CHECKING:
    from scythe_cli.sampling.file_columns import RawFile
    from scythe_cli.sampling.reading import Helpers

__all__ = ["CaseSource", "FileSource"]


_LARGE_BYTES = 10_000_000


class CaseSource(Protocol):
    """What cases are read from."""

    @property
    def shown(self) -> str:
        """What it is called in messages and results; without secrets."""
        ...

    @property
    def is_large(self) -> bool:
        """Whether reading it takes longer than starting a thread."""
        ...

    def raw(self) -> RawFile:
        """Its columns, before it is known what they are for."""
        ...

    def table(self, model: type[ExperimentInputSpec], experiment: str, helpers: Helpers | None = None) -> SamplingTable:
        """Its cases, checked against the input model of an experiment."""
        ...


@dataclass(frozen=True)
class FileSource:
    """A sampling file.

    Attributes:
        file: Its path or URL; `-` for standard input.
        options: What it does not say of itself.
        said: What is to be told first.
    """

    file: str | Path
    options: ReadOptions
    said: Sequence[str] = ()

    @property
    def shown(self) -> str:
        """Its name."""
        return redact_uri(str(self.file))

    @property
    def is_large(self) -> bool:
        """Whether it has many bytes; a mistake in a small one is told before anything else is done."""
        try:
            return Path(self.file).stat().st_size > _LARGE_BYTES
        except OSError:
            return False

    def raw(self) -> RawFile:
        """Its columns."""
        return self._raw

    @cached_property
    def _raw(self) -> RawFile:
        return read_raw(self.file, self.options)

    def table(self, model: type[ExperimentInputSpec], experiment: str, helpers: Helpers | None = None) -> SamplingTable:
        """Its cases."""
        raw: RawFile | None = vars(self).get("_raw")
        table = read_sampling_file(
            self.file, model, experiment=experiment, options=self.options, helpers=helpers, raw=raw
        )
        return replace(table, notices=[*self.said, *table.notices]) if self.said else table
