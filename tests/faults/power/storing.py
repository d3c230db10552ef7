"""`python storing.py` has the storage of a folder write in each way that it can, and tells what it may say is stored.

As `acknowledging.py` does, to the file `acks`.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from acknowledging import watch_storage
from forgetting import forget

from scythe_cli.storage.local import LocalStorage


def refuse(*arguments: Any, **options: Any) -> None:
    """A file system that has no hard links."""
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def main() -> None:
    storage = LocalStorage(Path.cwd() / "runs")
    file = Path("file")
    file.write_bytes(b"from here " * 300)
    storage.write_bytes("a/b/written", b"written " * 300)
    storage.write_bytes("a/b/written", b"replaced " * 300)
    assert storage.create("a/created", b"created " * 300)
    storage.put_file(file, "c/put")
    storage.copy("c/put", "d/copied")
    storage.take_file(file, "e/taken")
    storage.rename("a/b/written", "f/renamed")
    os.link = refuse
    assert storage.create("g/created", b"created " * 300)
    storage.rename("d/copied", "h/renamed")


if __name__ == "__main__":
    watch_storage()
    forget()
    main()
