"""The writes of a command, as strace saw them: what each system call did to a file or folder, in order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

STRACE = shutil.which("strace")

_CALLS = (
    "openat,creat,write,pwrite64,writev,ftruncate,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,"
    "unlinkat,mkdir,mkdirat,rmdir,symlink,symlinkat,sendfile,copy_file_range,lseek,dup,dup2,dup3,fcntl,clone,clone3,"
    "vfork,fork"
)
_LINE = re.compile(r"(\d+\.\d+) (\w+)\((.*)\)\s+= (-?\d+)(?:<([^>]*)>)?.* <(\d+\.\d+)>$")
_FD = re.compile(r"(AT_FDCWD|-?\d+)<([^>]*)>")
_HEX = re.compile(r"\\x([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class Event:
    """One change.

    Attributes:
        kind: `open`, `write`, `truncate`, `sync`, `rename`, `link`, `unlink`, `mkdir`, or `symlink`.
        path: What is changed; for `rename` and `link`, what has the name that is there already.
        to: The new path of `rename` and `link`.
        data: What is written; for `symlink`, where it leads.
        offset: Where, or to which size `truncate` cuts.
        creates: Whether `open` makes the file if it is missing.
        truncates: Whether `open` empties it.
    """

    kind: str
    path: str
    to: str = ""
    data: bytes = b""
    offset: int = 0
    creates: bool = False
    truncates: bool = False


@dataclass(slots=True)
class _Open:
    path: str
    offset: int = 0
    appends: bool = False


def record(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], into: Path, timeout_s: float = 300) -> int:
    """Run a command under strace; returns its exit code.

    Args:
        command: What is run.
        cwd: Where.
        env: Its environment.
        into: A folder for what strace writes.
        timeout_s: How long it may take.
    """
    assert STRACE is not None
    into.mkdir(parents=True)
    options = ["-f", "-ff", "-ttt", "-T", "-y", "-xx", "-s", "20000000", "--seccomp-bpf", "-e", f"trace={_CALLS}"]
    ran = subprocess.run(
        [STRACE, *options, "-o", str(into / "calls"), *command], cwd=cwd, env=dict(env), timeout=timeout_s, check=False
    )
    return ran.returncode


def events_of(folder: Path, root: Path) -> list[Event]:
    """What was changed below a folder, in the order in which the calls came back.

    Args:
        folder: What `record` has written.
        root: The folder, in which the command ran; paths in events are relative to it.
    """
    lines: list[tuple[float, int, str]] = []
    for file in sorted(folder.glob("calls.*")):
        pid = int(file.suffix[1:])
        for line in file.read_text(encoding="latin-1").splitlines():
            if match := _LINE.fullmatch(line):
                lines.append((float(match[1]) + float(match[6]), pid, line))
    lines.sort(key=lambda each: each[0])
    return list(_Reader(f"{os.path.realpath(root)}/").events(lines))


class _Reader:
    """Follows descriptors, to know where a `write` goes."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._open: dict[tuple[int, int], _Open] = {}

    def events(self, lines: list[tuple[float, int, str]]) -> Iterator[Event]:
        for _, pid, line in lines:
            match = _LINE.fullmatch(line)
            assert match is not None
            call, arguments, returned = match[2], match[3], int(match[4])
            if returned >= 0:
                yield from self._read(pid, call, arguments, returned, _text(match[5] or ""))

    def _read(self, pid: int, call: str, arguments: str, returned: int, shown: str) -> Iterator[Event]:
        match call:
            case "clone" | "clone3" | "fork" | "vfork":
                for (other, fd), file in list(self._open.items()):
                    if other == pid:
                        self._open[returned, fd] = file
            case "openat" | "creat":
                yield from self._opened(pid, arguments, returned, shown)
            case "dup" | "dup2" | "dup3" | "fcntl":
                self._dup(pid, call, arguments, returned)
            case "lseek":
                if (file := self._file(pid, arguments)) is not None:
                    file.offset = returned
            case "write" | "pwrite64" | "writev" | "sendfile" | "copy_file_range" | "ftruncate":
                yield from self._written(pid, call, arguments, returned)
            case "fsync" | "fdatasync":
                yield from self._about("sync", _text(_paths(arguments)[0]))
            case _:
                yield from self._named(call, arguments)

    def _opened(self, pid: int, arguments: str, fd: int, shown: str) -> Iterator[Event]:
        is_writable = "O_WRONLY" in arguments or "O_RDWR" in arguments
        if not is_writable or not shown.startswith(self._root):
            self._open.pop((pid, fd), None)
            return
        self._open[pid, fd] = _Open(shown, appends="O_APPEND" in arguments)
        yield Event(
            "open",
            shown.removeprefix(self._root),
            creates="O_CREAT" in arguments,
            truncates="O_TRUNC" in arguments,
        )

    def _dup(self, pid: int, call: str, arguments: str, returned: int) -> None:
        if call == "fcntl" and "F_DUPFD" not in arguments:
            return
        file = self._file(pid, arguments)
        if file is not None:
            self._open[pid, returned] = file
        else:
            self._open.pop((pid, returned), None)

    def _file(self, pid: int, arguments: str) -> _Open | None:
        first = _FD.match(arguments)
        if first is None or first[1] == "AT_FDCWD":
            return None
        if not _text(first[2]).startswith(self._root):
            # the number is that of something else by now, such as a piece of memory
            self._open.pop((pid, int(first[1])), None)
        return self._open.get((pid, int(first[1])))

    def _written(self, pid: int, call: str, arguments: str, n: int) -> Iterator[Event]:
        file = self._file(pid, arguments)
        if file is None:
            return
        path = file.path.removeprefix(self._root)
        if call == "ftruncate":
            yield Event("truncate", path, offset=int(arguments.rpartition(",")[2]))
            return
        assert call in ("write", "pwrite64", "sendfile"), f"{call} into {path}: nobody has taught this to read it"
        if call == "sendfile":
            source = Path(_text(_paths(arguments)[1]))
            data = source.read_bytes()[file.offset : file.offset + n]  # copies of whole files alone
        else:
            data = _quoted(arguments)[0][:n]
        offset = file.offset
        if call == "pwrite64":
            offset = int(arguments.rpartition(",")[2])
        elif not file.appends:
            file.offset += n
        yield Event("write", path, data=data, offset=-1 if file.appends else offset)

    def _named(self, call: str, arguments: str) -> Iterator[Event]:
        if call.startswith("syscall_"):
            return  # too new for this strace, which shows it unasked
        folders = [_text(path) for path in _paths(arguments)] or [self._root]  # the command runs there
        names = [os.fsdecode(name) for name in _quoted(arguments)]
        if call.startswith("symlink"):
            yield from self._about("symlink", str(Path(folders[-1], names[1])), data=names[0])
            return
        paths = [os.path.normpath(Path(folders[min(i, len(folders) - 1)], name)) for i, name in enumerate(names)]
        kind = {"rename": "rename", "link": "link", "unlink": "unlink", "mkdir": "mkdir", "rmdir": "unlink"}[
            call.removesuffix("2").removesuffix("at")
        ]
        yield from self._about(kind, *paths)

    def _about(self, kind: str, path: str, to: str = "", data: str = "") -> Iterator[Event]:
        inside = f"{path}/".startswith(self._root)
        assert not to or to.startswith(self._root) == inside, f"{path} comes from elsewhere, or goes there: {to}"
        if inside:
            yield Event(kind, f"{path}/"[len(self._root) : -1], to.removeprefix(self._root), data=os.fsencode(data))


def _paths(arguments: str) -> list[str]:
    return [match[2] for match in _FD.finditer(re.sub(r'"[^"]*"', '""', arguments))]


def _quoted(arguments: str) -> list[bytes]:
    return [_bytes(text) for text in re.findall(r'"([^"]*)"', arguments)]


def _bytes(text: str) -> bytes:
    return bytes.fromhex("".join(_HEX.findall(text)))


def _text(text: str) -> str:
    return os.fsdecode(_bytes(text)) if "\\x" in text else text
