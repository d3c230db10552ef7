"""Files of a run that become inputs of another one: hashed where they are, and copied by the storage itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from scythe_cli.core.folders import owned_prefix
from scythe_cli.storage.base import Storage

__all__ = ["StoredFile"]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a run.

    Attributes:
        storage: Where it is kept.
        key: Its key there.
        name: What it is called; the same for the same case of another run.
        sha256: The hash (hex) of its content, where the run says it.
    """

    storage: Storage
    key: str
    name: str
    sha256: str | None = None

    @property
    def path(self) -> Path | None:
        """The file itself; None when it is not on this machine.

        Raises:
            ForeignKeyError: If something else lies there.
        """
        return self.storage.local_path(self.key)

    def measured(self) -> tuple[int, str]:
        """Its size, and the hash (hex) of its content, which is read where the run does not say it.

        Raises:
            StorageError: If it is not there any more, or cannot be read.
        """
        if self.sha256 is not None:
            return self.storage.size(self.key), self.sha256
        digest, size = hashlib.sha256(), 0
        with self.storage.open_remote(self.key) as remote:
            while block := remote.read():
                digest.update(block)
                size += len(block)
        return size, digest.hexdigest()

    def copy_to(self, storage: Storage, key: str) -> None:
        """Copy it into a run.

        Raises:
            StorageError: If it is not there any more, or cannot be copied.
        """
        if self.storage.location == storage.location:
            storage.copy(self.key, key)
            return
        with TemporaryDirectory(prefix=owned_prefix("input")) as folder:  # rows that are tried out on this machine
            copy = Path(folder) / "file"
            self.storage.get_file(self.key, copy)
            storage.put_file(copy, key)
