"""A folder that behaves like a server: nothing of it is on this machine, lists can be late, and it tells the time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scythe_cli.storage.base import FileInfo, RefusedError
from scythe_cli.storage.local import LocalStorage

__all__ = ["ServedStorage"]


class ServedStorage(LocalStorage):
    """What a test says of the server holds from then on.

    Attributes:
        late: The keys that no list has yet.
        ages_s: How old the server says that files are, by key; of the others it says nothing.
        refuses_deletes: Whether nothing can be removed.
        asked: The keys that something was asked about, in order.
    """

    __slots__ = ("ages_s", "asked", "late", "refuses_deletes")

    late: set[str]
    ages_s: dict[str, float]
    refuses_deletes: bool
    asked: list[str]

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        for name, value in (("late", set()), ("ages_s", {}), ("refuses_deletes", False), ("asked", [])):
            object.__setattr__(self, name, value)

    def refuse_deletes(self) -> None:
        """From now on."""
        object.__setattr__(self, "refuses_deletes", True)

    def local_path(self, key: str) -> None:
        """Nothing is on this machine."""

    def list_files(self, prefix: str, *, starting: str = "") -> list[FileInfo]:
        """Those that are listed by now."""
        found = LocalStorage.list_files(self, prefix, starting=starting)
        return [file for file in found if f"{prefix}/{file.name}" not in self.late]

    def list_folders(self, prefix: str) -> list[str]:
        """Those in which something is listed by now."""
        found = LocalStorage.list_folders(self, prefix)
        return [name for name in found if set(self.list_tree(f"{prefix}/{name}")) - self.late]

    def is_listed(self, key: str) -> bool:
        """Whether it is there, and not late."""
        return self.exists(key) and key not in self.late

    def info(self, key: str) -> FileInfo:
        """With its age, where the server tells."""
        self.asked.append(key)
        return replace(LocalStorage.info(self, key), age_s=self.ages_s.get(key))

    def delete(self, key: str) -> None:
        """As far as that is allowed."""
        if self.refuses_deletes:
            raise RefusedError(f"cannot delete {key}: Access Denied")
        LocalStorage.delete(self, key)

    def discard(self, key: str) -> None:
        """As far as that is allowed."""
        if not self.refuses_deletes:
            LocalStorage.delete(self, key)
