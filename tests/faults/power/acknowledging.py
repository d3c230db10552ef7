"""`python acknowledging.py ARGUMENT…` is `scythe`, and tells what it may say is stored.

To the file `acks` of the working directory it writes `+ KEY SHA256` when the storage has come back from writing a file,
and `- KEY` before one is changed or removed. What a command has copied elsewhere is told at its end. With INTERRUPTED
in its environment it is interrupted, as by Ctrl-C, when some outcomes are stored; with ON_FLEET, `cancel` stores what
it does on a fleet, of which there is none.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

from forgetting import forget

from scythe_cli.storage.local import LocalStorage

ACKS = os.open("acks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
ROOT = Path.cwd()


def tell(sign: str, path: Path, content: bytes | None = None) -> None:
    digest = "" if content is None else hashlib.sha256(content).hexdigest()
    os.write(ACKS, f"{sign} {path.relative_to(ROOT)}\t{digest}\n".encode())


def watch(name: str, position: int, *, writes: bool) -> None:
    """Tell of what one method of the storage does to the key that is its argument at this position."""
    method = getattr(LocalStorage, name)

    def told(self: LocalStorage, *arguments: Any, **options: Any) -> Any:
        path = self.root / arguments[position]
        if name != "create":
            tell("-", path)
        if name == "rename":
            tell("-", self.root / arguments[0])
        done = method(self, *arguments, **options)
        if writes and done is not False:
            tell("+", path, path.read_bytes())
            if path.parent.name == "outcomes" and "INTERRUPTED" in os.environ:
                os.kill(os.getpid(), signal.SIGINT)
        return done

    setattr(LocalStorage, name, told)


def watch_storage() -> None:
    """Tell of all that the storage writes from now on."""
    for name, position, writes in (
        ("write_bytes", 0, True),
        ("create", 0, True),
        ("put_file", 1, True),
        ("take_file", 1, True),
        ("rename", 1, True),
        ("copy", 1, True),
        ("delete", 0, False),
        ("delete_tree", 0, False),
    ):
        watch(name, position, writes=writes)


def cancel_as_on_a_fleet() -> None:
    """Let the local engine cancel a run, which has nothing queued."""
    from scythe_cli.engines.cancelled import write_cancelled
    from scythe_cli.engines.local import LocalEngine

    LocalEngine.cancel = lambda self, storage, run, **options: write_cancelled(storage, run)


def main(arguments: list[str]) -> int:
    watch_storage()
    forget()
    if "ON_FLEET" in os.environ:
        cancel_as_on_a_fleet()
    from scythe_cli.cli.app import app

    try:
        code = app(arguments, standalone_mode=True)
    except SystemExit as end:
        code = end.code
    for path in sorted(Path("fetched").rglob("*")) if Path("fetched").exists() else []:
        if path.is_file():
            tell("+", ROOT / path, path.read_bytes())
    return int(code or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
