"""The file that a run is packed into: a zip with the same bytes each time, and a checksum for each file in it.

    README.md               for people
    ro-crate-metadata.json  for programs
    SHA256SUMS              for `sha256sum -c`; its first line tells the format
    project/…               experiments.toml, requirements.txt and the source files, as far as they are known
    runs/<experiment_id>/…  the folder of the run

Unzipped, `runs` is a storage and `project` a project that keeps its runs there.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import BinaryIO

__all__ = [
    "CRATE_FORMAT",
    "METADATA_NAME",
    "PROJECT_FOLDER",
    "README_NAME",
    "RUNS_FOLDER",
    "SUMS_NAME",
    "ArchiveWriter",
    "PackedFile",
    "ProgressOfFiles",
    "read_sums",
]


CRATE_FORMAT = 1
"""What this program writes, and the highest that it reads."""

README_NAME = "README.md"
METADATA_NAME = "ro-crate-metadata.json"
SUMS_NAME = "SHA256SUMS"
PROJECT_FOLDER = "project"
RUNS_FOLDER = "runs"

ProgressOfFiles = Callable[[str, str, int, int], None]
"""Called for each file: `packing`, `checking` or `unpacking`, its name, its number, and how many there are."""

_FIRST_LINE = re.compile(r"# scythe crate (\d{1,6})", re.ASCII)
_LINE = re.compile(r"([0-9a-f]{64})  (.+)", re.ASCII)
_COMPRESSED = frozenset(
    {
        *(".pq", ".parquet", ".zip", ".gz", ".bz2", ".xz", ".zst", ".7z", ".png", ".jpg", ".jpeg", ".gif", ".webp"),
        *(".mp4", ".webm", ".pdf", ".xlsx", ".docx", ".npz", ".h5", ".hdf5", ".nc"),
    }
)
_LARGE_BYTES = 1 << 31
_OLDEST, _NEWEST = datetime(1980, 1, 1, tzinfo=UTC), datetime(2107, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A file in the archive.

    Attributes:
        name: Its path there.
        size_bytes: Its size.
        sha256: The hash (hex) of its content.
    """

    name: str
    size_bytes: int
    sha256: str


@dataclass(slots=True)
class ArchiveWriter:
    """Writes the archive, file by file.

    Attributes:
        moment: What is written as the time of each file.
        files: Those that were written.
    """

    _zip: zipfile.ZipFile
    moment: datetime
    files: list[PackedFile] = field(default_factory=list[PackedFile])

    @classmethod
    def to(cls, file: BinaryIO, moment: datetime) -> ArchiveWriter:
        """A writer into an open file, which can be sought in."""
        return cls(zipfile.ZipFile(file, "w", allowZip64=True), moment)

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def add(self, name: str, read: Callable[[], bytes], size_bytes: int | None) -> PackedFile:
        """Add a file.

        Args:
            name: Its path in the archive.
            read: Gives the next chunk; empty at the end.
            size_bytes: Its size, as far as it is known.
        """
        digest, written = hashlib.sha256(), 0
        info = self._info(name)
        with self._zip.open(info, "w", force_zip64=size_bytes is None or size_bytes >= _LARGE_BYTES) as entry:
            while chunk := read():
                digest.update(chunk)
                written += len(chunk)
                entry.write(chunk)
        packed = PackedFile(name, written, digest.hexdigest())
        self.files.append(packed)
        return packed

    def add_bytes(self, name: str, data: bytes) -> PackedFile:
        """Add a small file."""
        chunks = iter([data])
        return self.add(name, lambda: next(chunks, b""), len(data))

    def finish(self) -> None:
        """Write the checksums of all but the metadata, which others may add to."""
        summed = [file for file in self.files if file.name != METADATA_NAME]
        self.add_bytes(SUMS_NAME, _sums(sorted(summed, key=lambda file: file.name)))

    def _info(self, name: str) -> zipfile.ZipInfo:
        moment = min(max(self.moment.astimezone(UTC), _OLDEST), _NEWEST)
        info = zipfile.ZipInfo(name, moment.timetuple()[:6])
        info.create_system = 3  # Unix, wherever it is written
        info.external_attr = 0o100644 << 16
        is_dense = PurePosixPath(name).suffix.lower() in _COMPRESSED
        info.compress_type = zipfile.ZIP_STORED if is_dense else zipfile.ZIP_DEFLATED
        return info


def _sums(files: Iterable[PackedFile]) -> bytes:
    lines = [f"# scythe crate {CRATE_FORMAT}", *(f"{file.sha256}  {file.name}" for file in files)]
    return ("\n".join(lines) + "\n").encode()


def read_sums(text: str) -> tuple[int, dict[str, str]]:
    """The format of an archive and the checksum of each file in it, from what `SHA256SUMS` says.

    Raises:
        ValueError: If it is no such list.
    """
    lines = text.removesuffix("\n").split("\n")
    first = _FIRST_LINE.fullmatch(lines[0])
    if first is None:
        raise ValueError("its first line does not tell the format")
    if int(first[1]) > CRATE_FORMAT:
        return int(first[1]), {}
    sums: dict[str, str] = {}
    for number, line in enumerate(lines[1:], 2):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in sums:
            raise ValueError(f"line {number} is not a checksum and a name, or the name is there twice")
        sums[match[2]] = match[1]
    return int(first[1]), sums
