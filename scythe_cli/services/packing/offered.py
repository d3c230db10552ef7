"""What a project can do with packed runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scythe_cli.services.configured import ConfiguredProject

if TYPE_CHECKING:
    from scythe_cli.analysis.packing.archive import ProgressOfFiles
    from scythe_cli.services.packing.unpack import UnpackResult

__all__ = ["TakesPackedRuns"]


class TakesPackedRuns(ConfiguredProject):
    """A project that packed runs can be put into."""

    def unpack(self, path: str | Path, *, progress: ProgressOfFiles | None = None) -> UnpackResult:
        """Put a packed run into the project's storage, once every checksum is known to be right.

        Args:
            path: The file that `Run.pack` wrote.
            progress: Called for each file.

        Raises:
            MissingFileError: If there is no such file.
            PackedRunError: If it is damaged, or no packed run.
            UsageError: If the storage has a run of that name.
            StorageError: If the storage cannot be written.
        """
        from scythe_cli.services.packing.unpack import unpack_run

        return unpack_run(Path(path), self.storage, progress)
