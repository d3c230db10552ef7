"""The input files of specs, so that no spec can change what another one reads.

Each process has read-only copies of its own, whose content was checked when they were made. A file that is too large to
be copied is used where it is. Whether a spec has written to one is seen afterwards by what the system says of the file.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from scythe_cli.core.files import open_regular
from scythe_cli.errors import ScytheError

__all__ = ["InputCopies", "InputFileError", "moved_reference", "stored_hash"]


_STORED = re.compile(r"/artifacts/([0-9a-f]{64}|[0-9a-f]{16})/[^/]+", re.ASCII)
_MAX_COPY_BYTES = 256_000_000
_MAX_KEPT_BYTES = 1_000_000_000
_MAX_KEPT = 64
_CHUNK_BYTES = 1 << 20

State = tuple[int, ...]


def moved_reference(reference: Path | str, experiment_id: str, location: str) -> Path | str:
    """Where an input file of a run is now, if the run was copied here from elsewhere.

    Args:
        reference: Where it was when the run was allocated: a path, or a URL.
        experiment_id: The run.
        location: The storage.

    Returns:
        The reference itself where that is in the storage, or not among the run's own files.
    """
    old, mark, place = str(reference), f"/{experiment_id}/artifacts/", location.rstrip("/")
    if mark not in old or old.startswith(place + mark):
        return reference
    name = old.rpartition(mark)[2]
    was_remote, is_remote = ("://" in where for where in (old, place))
    if was_remote != is_remote:  # in a URL, `%` is escaped
        name = name.replace("%25", "%") if was_remote else name.replace("%", "%25")
    now = f"{place}{mark}{name}"
    if stored_hash(now, location) is None:
        return reference
    if is_remote:
        return now
    return Path(now) if Path(now).is_file() else reference


class InputFileError(ScytheError):
    """An input file of a spec is not where it should be, or not what it was."""


def stored_hash(uri: str, location: str) -> str | None:
    """The SHA-256 of an input file of a run, or how it begins, by where the file lies in the storage.

    Args:
        uri: The file.
        location: The storage.

    Returns:
        None for a file that lies elsewhere.
    """
    if not uri.startswith(f"{location.rstrip('/')}/"):
        return None
    match = _STORED.search(uri)
    return match[1] if match and match.end() == len(uri) else None


@dataclass(slots=True)
class _Kept:
    path: Path
    source: State
    state: State
    size: int
    is_copy: bool


class InputCopies:
    """The copies of one process.

    Args:
        folder: Where to keep them; removed with what it lies in.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: OrderedDict[tuple[Path, str | None], _Kept] = OrderedDict()
        self._used: dict[str, tuple[Path, str | None]] = {}
        self._count = 0

    def local(self, field: str, source: Path, expected: str | None) -> Path:
        """The file to give to a spec.

        Args:
            field: The input field.
            source: The file that is shared with others.
            expected: The SHA-256 (hex) that it must have, or how that begins; None where it is not known.

        Raises:
            InputFileError: If it is not there, or not what it was.
        """
        key = source, expected
        kept = self._kept.get(key)
        if kept is None or kept.state != _state(kept.path) or kept.source != _state(source):
            self._drop(key)
            kept = self._keep(field, source, expected)
            self._kept[key] = kept
            self._limit()
        self._kept.move_to_end(key)
        self._used[field] = key
        return kept.path

    def changed(self) -> list[str]:
        """The fields whose files were changed since they were given out; what is changed is not given out again."""
        used, self._used = self._used, {}
        changed: list[str] = []
        for field, key in used.items():
            kept = self._kept.get(key)
            if kept is not None and kept.state != _state(kept.path):
                changed.append(field)
                self._drop(key)
        return changed

    def _keep(self, field: str, source: Path, expected: str | None) -> _Kept:
        digest = hashlib.sha256()
        try:
            with open_regular(source, follow=True) as file:
                status = os.fstat(file.fileno())
                is_copy = status.st_size <= _MAX_COPY_BYTES
                target = source
                if is_copy:
                    self._count += 1
                    target = self._folder / str(self._count) / source.name
                    target.parent.mkdir(parents=True)
                    with target.open("xb") as copy:
                        for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
                            digest.update(chunk)
                            copy.write(chunk)
                    target.chmod(0o400)
                elif expected is not None:
                    digest = hashlib.file_digest(file, "sha256")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise InputFileError(f"the input file {field} is not there: {source}") from None
        except OSError as error:
            raise InputFileError(f"the input file {field} cannot be read: {source}: {error}") from error
        if expected is not None and not digest.hexdigest().startswith(expected):
            raise InputFileError(
                f"the input file {field} is not what it was when the run was allocated: {source}",
                hint=f"Its sha256 is {digest.hexdigest()}. Put the file back, or allocate a new run.",
            )
        return _Kept(target, _state(source), _state(target), status.st_size, is_copy)

    def _drop(self, key: tuple[Path, str | None]) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None and kept.is_copy:
            shutil.rmtree(kept.path.parent, ignore_errors=True)

    def _limit(self) -> None:
        in_use = set(self._used.values())
        for key in list(self._kept)[:-1]:
            n_bytes = sum(kept.size for kept in self._kept.values() if kept.is_copy)
            if n_bytes <= _MAX_KEPT_BYTES and len(self._kept) <= _MAX_KEPT:
                return
            if key not in in_use:
                self._drop(key)


def _state(path: Path) -> State:
    """What the system says of a file: the time of its last change cannot be put back."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
