"""What the parent and a child process tell each other.

Messages go over a pair of sockets. A message is 8 bytes of length, then a JSON object after 4 bytes of length, then
blobs whose sizes are in the object. Rows and outcomes are blobs of Arrow IPC. Nothing that a child sends is unpickled.

| from | kind | says |
| --- | --- | --- |
| parent | `start` | the run, and what to load unless it is loaded; the first message |
| child | `ready`, `broken` | rows can come, or why not |
| parent | `rows` | rows to run; `per_process`: how many in one process (0: any), `forks`: in forked ones |
| child | `done` | outcomes of rows; `files`: more of them; `back`: the rest of these rows is given back |
| child | `died` | how a process has ended that it had forked for rows, what it printed, and the board at that moment |

The parent never blocks on a socket: a child that does not read, since a spec keeps it busy, must not keep the parent
from watching the others.

What the child is doing stands on a board, a few words of memory that both share. The child writes them before and
after each spec, at the cost of nanoseconds. The parent reads them to keep the time, and after the child's death to
know which spec is the cause.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import socket
import struct
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from scythe_cli.errors import CodeChangedError, EntrypointError

__all__ = [
    "ATTEMPT",
    "DUMP_SIGNAL",
    "EXIT_BAD_DESCRIPTOR",
    "TRIES_REMAINING",
    "Board",
    "Channel",
    "Connection",
    "Message",
    "Phase",
    "Snapshot",
    "loading_error",
    "make_board_file",
]


ATTEMPT = "__attempt__"
"""Column of rows: the number of the attempt that is to be made."""

TRIES_REMAINING = "__tries_remaining__"
"""Column of rows: how many more attempts there may be after it."""

DUMP_SIGNAL = signal.SIGXCPU
"""Asks a child to write the stack of its spec, which is about to be killed for the time it takes; it says so."""

EXIT_BAD_DESCRIPTOR = 83
"""How a child ends that can no longer use what it was started with."""

_LENGTHS = struct.Struct("<QI")
_READ_BYTES = 1 << 18

Blob = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        kind: See the module.
        fields: What goes with it, of what JSON has.
        blobs: Large things.
    """

    kind: str
    fields: dict[str, Any]
    blobs: Sequence[Blob] = ()


def encode(message: Message) -> list[Blob]:
    """The bytes of a message, in pieces that are to be sent one after the other."""
    sizes = [len(blob) for blob in message.blobs]
    head = json.dumps({"kind": message.kind, "fields": message.fields, "sizes": sizes}).encode()
    total = 4 + len(head) + sum(sizes)
    return [_LENGTHS.pack(total, len(head)) + head, *message.blobs]


def decode(body: memoryview) -> Message:
    """A message from its bytes, without the leading length."""
    head_size = int.from_bytes(body[:4], "little")
    head = json.loads(bytes(body[4 : 4 + head_size]))
    blobs: list[Blob] = []
    at = 4 + head_size
    for size in head["sizes"]:
        blobs.append(body[at : at + size])
        at += size
    return Message(head["kind"], head["fields"], blobs)


class Connection:
    """The child's end: waits until a message is sent or received."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._socket.setblocking(True)

    def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            OSError: If the parent is gone.
        """
        for piece in encode(message):
            self._socket.sendall(piece)

    def receive(self) -> Message | None:
        """The next message; None when the parent has closed its end."""
        length = self._read(8)
        if length is None:
            return None
        body = self._read(int.from_bytes(length, "little"))
        return None if body is None else decode(memoryview(body))

    def _read(self, size: int) -> bytearray | None:
        buffer = bytearray(size)
        view = memoryview(buffer)
        at = 0
        while at < size:
            n = self._socket.recv_into(view[at:])
            if not n:
                return None
            at += n
        return buffer


class Channel:
    """The parent's end: never waits."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._socket.setblocking(False)
        self._outgoing: deque[memoryview] = deque()
        self._buffer = bytearray(8)
        self._filled = 0
        self._in_body = False
        self.at_end = False

    def fileno(self) -> int:
        """The descriptor, for a selector."""
        return self._socket.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether there is something to send as soon as the child reads."""
        return bool(self._outgoing)

    def send(self, message: Message) -> None:
        """Send a message, now or with later calls of `flush`."""
        self._outgoing += [memoryview(piece).cast("B") for piece in encode(message)]
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes; a child that is gone takes anything."""
        while self._outgoing:
            piece = self._outgoing[0]
            try:
                sent = self._socket.send(piece)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._outgoing.clear()
                return
            if sent < len(piece):
                self._outgoing[0] = piece[sent:]
            else:
                self._outgoing.popleft()

    def receive(self) -> list[Message]:
        """The messages that have arrived whole; sets `at_end` when there can be no more."""
        messages: list[Message] = []
        while True:
            view = memoryview(self._buffer)[self._filled :]
            try:
                n = self._socket.recv_into(view[:_READ_BYTES])
            except (BlockingIOError, InterruptedError):
                return messages
            except OSError:
                n = 0
            if not n:
                self.at_end = True
                return messages
            self._filled += n
            if self._filled < len(self._buffer):
                continue
            size = 8
            try:
                if self._in_body:
                    messages.append(decode(memoryview(self._buffer)))
                else:
                    size = int.from_bytes(self._buffer, "little")
                self._buffer = bytearray(size)
            except (ValueError, LookupError, TypeError, MemoryError, OverflowError):
                # its spec has written to a descriptor that is not its own: what comes after that means nothing
                self.at_end = True
                return messages
            self._in_body = not self._in_body
            self._filled = 0
            if not self._in_body and len(messages) >= 16:
                return messages

    def close(self) -> None:
        """Close the socket: the child comes to its end."""
        self._socket.close()


_BOARD_BYTES = mmap.PAGESIZE


class Phase(IntEnum):
    """What a child is doing."""

    IDLE = 0
    BUILDING = 1  # makes model instances of the rows from `row` on: validators are the user's code
    RUNNING = 2  # runs the spec at `row`


_PHASES = frozenset(int(phase) for phase in Phase)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a board said at one moment.

    Attributes:
        phase: What the child is doing.
        chunk: The serial number of the chunk.
        row: The position in the chunk.
        end: The end of the rows that are being built.
        started_s: When this began, on the monotonic clock that all processes share.
    """

    phase: Phase
    chunk: int
    row: int
    end: int
    started_s: float


def make_board_file() -> int:
    """Make the memory, and return a descriptor that a child can inherit."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("scythe-board")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, _BOARD_BYTES)
    return fd


class Board:
    """The memory, in either process.

    Attributes:
        words: phase, chunk, row, end, whether the child is to give back its rows, the chunk and row that are out of
            time, the process that the child has forked for the row, 0 for none, and whether that one has sent anything.
        clock: When the current phase began.
    """

    PHASE, CHUNK, ROW, END, GIVE_BACK, LATE_CHUNK, LATE_ROW, RUNNER, SENT = range(9)

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, _BOARD_BYTES)
        self._view = memoryview(self._map)
        self.words: memoryview[int] = self._view[:128].cast("q")
        self.clock: memoryview[float] = self._view[128:192].cast("d")

    def snapshot(self) -> Snapshot:
        """What the child is doing; called by the parent."""
        words = self.words
        while True:
            phase, chunk, row, end, started_s = *words[:4], self.clock[0]
            # the child may have gone on between two of these
            if phase == words[Board.PHASE] and row == words[Board.ROW] and chunk == words[Board.CHUNK]:
                if phase not in _PHASES:  # a spec has written to a descriptor that is not its own
                    return Snapshot(Phase.IDLE, 0, 0, 0, 0.0)
                return Snapshot(Phase(phase), chunk, row, end, started_s)

    @property
    def runner(self) -> int | None:
        """The process that the child has forked for its row; None where it runs it by itself."""
        pid = self.words[Board.RUNNER]
        return pid if pid > 0 else None

    @property
    def give_back(self) -> bool:
        """Whether the child is to give back what it has not begun."""
        return bool(self.words[Board.GIVE_BACK])

    @give_back.setter
    def give_back(self, value: bool) -> None:
        self.words[Board.GIVE_BACK] = int(value)

    def mark_late(self, snapshot: Snapshot) -> None:
        """Let a row be a timeout whatever it returns: the signal for its stack may cut its work short.

        Chunks are counted from 1, so that no row is late on a board on which nothing was written.
        """
        self.words[Board.LATE_ROW] = snapshot.row
        self.words[Board.LATE_CHUNK] = snapshot.chunk

    def close(self) -> None:
        """Let go of the memory."""
        self.words.release()
        self.clock.release()
        self._view.release()
        self._map.close()


def loading_error(fields: Mapping[str, Any]) -> EntrypointError:
    """What is raised for a process that cannot load the experiment, from the fields of its message `broken`."""
    kind = CodeChangedError if fields["changed"] else EntrypointError
    return kind(fields["message"], hint=fields["hint"])
