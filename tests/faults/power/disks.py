"""The disks that a loss of power could leave.

What POSIX promises, and no more: the content of a file is there once it was synced, and a name once its folder was.
Before that, any of the changes may be there or not: names in any order but that of one name, and of a file's content a
part, with zeros where it is missing. A renaming is there as a whole or not at all. What is there of a file is as old as
its last change: some of what is read of a run goes by that.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .recording import Event

_SECTOR = 512


@dataclass(eq=False)
class _File:
    durable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # (offset, data), or (size, None)
    modified_ns: int = 0

    def now(self) -> bytes:
        return _apply(self.durable, self.pending)


@dataclass(eq=False)
class _Folder:
    now: dict[str, _Node] = field(default_factory=dict)
    durable: dict[str, _Node] = field(default_factory=dict)


@dataclass(eq=False)
class _Link:
    target: bytes


_Node = _File | _Folder | _Link


@dataclass(eq=False)
class _Change:
    """Names that get something else, all at once; None for nothing."""

    names: list[tuple[_Folder, str, _Node | None]]


@dataclass
class Left:
    """What is left on a disk: by their paths, what files contain and how old they are, and where links lead.

    Attributes:
        folders: The paths of folders, each after the one that it is in.
    """

    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    modified_ns: dict[str, int] = field(default_factory=dict[str, int])
    links: dict[str, bytes] = field(default_factory=dict[str, bytes])
    folders: list[str] = field(default_factory=list[str])

    @property
    def content(self) -> int:
        """What tells it from others: a hash of its names, and of what the files contain."""
        return hash((frozenset(self.files.items()), frozenset(self.links.items()), frozenset(self.folders)))

    def build(self, place: Path) -> None:
        """Make it in a new folder."""
        place.mkdir()
        for path in self.folders:
            (place / path).mkdir()
        for path, target in self.links.items():
            (place / path).symlink_to(os.fsdecode(target))
        for path, content in self.files.items():
            (place / path).write_bytes(content)
            os.utime(place / path, ns=(self.modified_ns[path], self.modified_ns[path]))


class Disk:
    """A disk, what is certain to be on it, and what is not yet.

    Args:
        start: A folder whose content is certain at the beginning.
    """

    def __init__(self, start: Path) -> None:
        self._root = _read(start)
        self._pending: list[_Change] = []
        self._now_ns = max((path.lstat().st_mtime_ns for path in start.rglob("*")), default=time.time_ns())
        self._gone: set[str] = set()  # what has no name any more can still be written to by who has it open

    def apply(self, event: Event) -> None:
        """Take note of a change."""
        if event.path in self._gone and event.kind in ("write", "truncate", "sync"):
            return
        folder, name = self._place(event.path)
        self._now_ns += 10_000
        match event.kind:
            case "open":
                node = folder.now.get(name)
                if node is None and event.creates:
                    node = _File(modified_ns=self._now_ns)
                    self._change((folder, name, node))
                    self._gone.discard(event.path)
                if event.truncates and isinstance(node, _File) and node.now():
                    node.pending.append((0, None))
            case "write" | "truncate":
                node = folder.now.get(name)
                assert isinstance(node, _File), f"{event.path} is written to, and was never made"
                node.modified_ns = self._now_ns
                if event.kind == "truncate":
                    node.pending.append((event.offset, None))
                else:
                    node.pending.append((len(node.now()) if event.offset < 0 else event.offset, event.data))
            case "sync":
                self._sync(self._root if not event.path else folder.now[name])
            case "mkdir":
                self._change((folder, name, _Folder()))
            case "symlink":
                self._change((folder, name, _Link(event.data)))
            case "unlink":
                self._change((folder, name, None))
                self._gone.add(event.path)
            case "link":
                to, new = self._place(event.to)
                self._change((to, new, folder.now[name]))
            case "rename":
                to, new = self._place(event.to)
                self._change((to, new, folder.now[name]), (folder, name, None))
            case other:
                raise AssertionError(other)

    def _place(self, path: str) -> tuple[_Folder, str]:
        *folders, name = path.split("/")
        place = self._root
        for each in folders:
            inner = place.now[each]
            assert isinstance(inner, _Folder), path
            place = inner
        return place, name

    def _change(self, *names: tuple[_Folder, str, _Node | None]) -> None:
        for folder, name, node in names:
            _put(folder.now, name, node)
        self._pending.append(_Change(list(names)))

    def _sync(self, node: _Node) -> None:
        if isinstance(node, _File):
            node.durable, node.pending = node.now(), []
        elif isinstance(node, _Folder):
            later: list[_Change] = []
            for change in self._pending:
                if any(folder is node for folder, _, _ in change.names):
                    for folder, name, inner in change.names:
                        _put(folder.durable, name, inner)
                else:
                    later.append(change)
            self._pending = later

    def after_power_loss(self, dice: random.Random) -> Left:
        """What could be left if the power failed now.

        Args:
            dice: What of the uncertain is there.
        """
        chance = dice.choice((0.0, 1.0, dice.random(), dice.random()))
        names: dict[int, dict[str, _Node]] = {}
        skipped: set[tuple[int, str]] = set()
        for change in self._pending:
            keys = {(id(folder), name) for folder, name, _ in change.names}
            if keys & skipped or dice.random() >= chance:
                skipped |= keys
                continue
            for folder, name, node in change.names:
                _put(names.setdefault(id(folder), dict(folder.durable)), name, node)
        left = Left()
        _leave(left, self._root, "", names, dice)
        return left


def _leave(left: Left, folder: _Folder, path: str, names: dict[int, dict[str, _Node]], dice: random.Random) -> None:
    for name, node in names.get(id(folder), folder.durable).items():
        if isinstance(node, _Folder):
            left.folders.append(f"{path}{name}")
            _leave(left, node, f"{path}{name}/", names, dice)
        elif isinstance(node, _Link):
            left.links[f"{path}{name}"] = node.target
        else:
            left.files[f"{path}{name}"] = _torn(node, dice)
            left.modified_ns[f"{path}{name}"] = node.modified_ns


def _torn(file: _File, dice: random.Random) -> bytes:
    """What of a file is there: the changes up to some moment, or some of them; the last of them in part."""
    if not file.pending:
        return file.durable
    how = dice.randrange(4)
    if how == 0:
        return file.durable
    if how == 1:
        return file.now()
    if how == 2:
        some = file.pending[: dice.randrange(len(file.pending)) + 1]
    else:
        some = [each for each in file.pending if dice.random() < 0.5]
    if some and some[-1][1] is not None:
        offset, data = some[-1]
        assert data is not None
        some = [*some[:-1], (offset, data[: dice.randrange(len(data) // _SECTOR + 1) * _SECTOR])]
    return _apply(file.durable, some)


def _apply(data: bytes, changes: Sequence[tuple[int, bytes | None]]) -> bytes:
    if not changes:
        return data
    content = bytearray(data)
    for offset, new in changes:
        if new is None:
            content = content[:offset].ljust(offset, b"\0")
        else:
            content = content.ljust(offset, b"\0")
            content[offset : offset + len(new)] = new
    return bytes(content)


def _put(names: dict[str, _Node], name: str, node: _Node | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


def _read(path: Path) -> _Folder:
    folder = _Folder()
    for each in path.iterdir():
        if each.is_symlink():
            node: _Node = _Link(os.fsencode(each.readlink()))
        else:
            node = _read(each) if each.is_dir() else _File(each.read_bytes(), modified_ns=each.stat().st_mtime_ns)
        folder.now[each.name] = folder.durable[each.name] = node
    return folder


def moments(events: Sequence[Event], *, below: str) -> Iterator[int]:
    """After how many events something has changed below a folder."""
    for position, event in enumerate(events, 1):
        if event.path.startswith(below) or event.to.startswith(below):
            yield position
