"""A proxy before an S3 server that spoils a share of the requests: slow, refused, cut off, or done but not answered.

Each request gets a connection of its own to the server, so that the proxy need not know where an answer ends. Beside
the faults that are drawn there are rules, which choose requests and say what becomes of them, and lists that lag.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from urllib.parse import parse_qs, unquote, urlsplit

from .lagging import Lag

FAULTS = ("delay", "reset", "lost answer", "cut answer", "500", "503")
"""Those that are drawn unless others are asked for; there is `hang` as well, which never answers."""

_MAX_HEAD_BYTES = 1 << 20
_ERRORS = {
    "500": ("500 Internal Server Error", "InternalError"),
    "503": ("503 Slow Down", "SlowDown"),
    "501": ("501 Not Implemented", "NotImplemented"),
    "no upload": ("404 Not Found", "NoSuchUpload"),
    "exists": ("412 Precondition Failed", "PreconditionFailed"),
    "denied": ("403 Forbidden", "AccessDenied"),
    "skewed": ("403 Forbidden", "RequestTimeTooSkewed"),
    "expired": ("400 Bad Request", "ExpiredToken"),
}


@dataclass(frozen=True)
class Request:
    """What the head of a request says.

    Attributes:
        method: GET, PUT, …
        bucket: The bucket; "" for none.
        key: The object's name; "" for the bucket itself.
        query: The parameters, each once.
        headers: By their names in small letters.
    """

    method: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]

    @classmethod
    def of(cls, head: bytes) -> Request:
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        path, _, query = target.partition("?")
        bucket, _, key = unquote(path.lstrip("/")).partition("/")
        fields = (line.partition(":") for line in lines if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        parameters = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
        return cls(method, bucket, key, parameters, headers)


Rule = Callable[[Request], str | None]
"""Names the fault that a request is to have, or None."""


@dataclass
class FaultProxy:
    """A running proxy.

    Attributes:
        endpoint_url: Where it listens.
        share: The share of requests that are spoiled; can be changed at any time.
        kinds: The faults to choose from.
        seen: How many requests had which fault; "" is none.
        rules: Asked first; what they say counts.
        lag: How lists lag; None for not at all.
        without: A header that does not reach the server.
        clock_s: How far the clock of the server seems to be off, by the header Date of its answers.
    """

    upstream: tuple[str, int]
    share: float
    dice: random.Random
    kinds: tuple[str, ...] = FAULTS
    endpoint_url: str = ""
    seen: Counter[str] = field(default_factory=Counter)
    rules: list[Rule] = field(default_factory=list)
    lag: Lag | None = None
    without: str | None = None
    clock_s: float = 0.0
    _tasks: set[asyncio.Task[None] | None] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one request on, or do not."""
        task: asyncio.Task[None] | None = asyncio.current_task()
        self._tasks.add(task)  # a task that nobody holds can be collected while it waits
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await self._serve(reader, writer)
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        request = Request.of(head)
        chosen = next((fault for rule in self.rules if (fault := rule(request)) is not None), None)
        drawn = self.dice.choice(self.kinds) if self.dice.random() < self.share else ""
        fault = drawn if chosen is None else chosen
        self.seen[fault] += 1
        if fault == "reset":
            _reset(writer)
        elif fault == "hang":
            await asyncio.sleep(3600)
        elif fault in _ERRORS:
            await _refuse(head, reader, writer, *_ERRORS[fault], self.clock_s)
        else:
            if fault == "delay":
                await asyncio.sleep(self.dice.uniform(0.05, 0.5))
            await self._forward(request, head, reader, writer, fault)

    async def _forward(
        self, request: Request, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: str
    ) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self.upstream)
        without = "if-none-match" if fault == "without" else self.without
        dropped = tuple(f"{name}:".encode() for name in ("connection", without) if name)
        lines = [line for line in head.split(b"\r\n") if line and not line.lower().startswith(dropped)]
        server_writer.write(b"\r\n".join([*lines, b"Connection: close", b"", b""]))
        body = bytearray()
        sending = asyncio.create_task(_pump(reader, server_writer, body))
        self._tasks.add(sending)
        sending.add_done_callback(self._tasks.discard)
        try:
            if fault in ("lost answer", "cut answer"):
                answer = await server_reader.readuntil(b"\r\n\r\n")
                if answer.split(b" ", 2)[1] == b"100":
                    # it asks for the body; without that there is nothing to be done or lost
                    writer.write(answer)
                    answer = b""
                answer += await server_reader.read(-1)
                if fault == "cut answer":
                    start = answer.find(b"\r\n\r\n") + 4
                    writer.write(answer[: start + (len(answer) - start) // 2])
                    await writer.drain()
                _reset(writer)
            elif self.lag is not None or self.clock_s:
                writer.write(self._changed(request, bytes(body), await _whole_answer(server_reader, writer)))
                await writer.drain()
            else:
                await _pump(server_reader, writer)
        finally:
            sending.cancel()
            server_writer.close()

    def _changed(self, request: Request, body: bytes, answer: bytes) -> bytes:
        """The answer of a server whose lists lag, and whose clock is wrong."""
        head, _, content = answer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if self.lag is not None and first.split(" ")[1] in ("200", "204"):
            if headers.pop("transfer-encoding", "") == "chunked":
                content = _unchunked(content)
            content = self.lag.seen(request, body, content)
            if request.method != "HEAD":
                headers["content-length"] = str(len(content))
        if self.clock_s and "date" in headers:
            date = parsedate_to_datetime(headers["date"]) + timedelta(seconds=self.clock_s)
            headers["date"] = format_datetime(date, usegmt=True)
        lines = [first, *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


async def _whole_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """An answer to its end; that the server asks for the body is passed on."""
    answer = await reader.readuntil(b"\r\n\r\n")
    if answer.split(b" ", 2)[1] == b"100":
        writer.write(answer)
        answer = b""
    return answer + await reader.read(-1)


def _unchunked(content: bytes) -> bytes:
    whole = b""
    while content:
        size, _, content = content.partition(b"\r\n")
        n = int(size.split(b";")[0] or b"0", 16)
        whole, content = whole + content[:n], content[n + 2 :]
    return whole


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, copy: bytearray | None = None) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(1 << 16):
            if copy is not None and len(copy) < _MAX_HEAD_BYTES:
                copy += chunk
            writer.write(chunk)
            await writer.drain()


async def _refuse(
    head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: str, code: str, clock_s: float
) -> None:
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
    }
    if headers.get(b"expect", b"").lower() != b"100-continue":
        await reader.readexactly(int(headers.get(b"content-length", b"0")))
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>spoiled</Message></Error>".encode()
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=clock_s), usegmt=True)
    answer = f"HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{answer}Connection: close\r\n\r\n".encode() + (b"" if head.startswith(b"HEAD") else body))
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def fault_proxy(endpoint_url: str, *, share: float, seed: int) -> Generator[FaultProxy]:
    """Run a proxy before a server, in a thread, while inside."""
    address = urlsplit(endpoint_url)
    proxy = FaultProxy((address.hostname or "", address.port or 80), share, random.Random(seed))
    ready, done = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def run() -> None:
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=_MAX_HEAD_BYTES)
        proxy.endpoint_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await done.wait()
        server.close()
        while others := [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.05)  # connections are closed by the loop

    def target() -> None:
        try:
            loop.run_until_complete(run())
        finally:
            loop.close()

    thread = threading.Thread(target=target, name="fault-proxy", daemon=True)
    thread.start()
    try:
        assert ready.wait(10)
        yield proxy
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(10)
