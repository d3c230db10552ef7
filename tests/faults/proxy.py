"""A proxy before an S3 server that spoils a share of the requests: slow, refused, cut off, or done but not answered.

Each request gets a connection of its own to the server, so that the proxy need not know where an answer ends.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

FAULTS = ("delay", "reset", "lost answer", "cut answer", "500", "503")
"""Those that are drawn unless others are asked for; there is `hang` as well, which never answers."""

_MAX_HEAD_BYTES = 1 << 20
_ERRORS = {
    "500": ("500 Internal Server Error", "InternalError"),
    "503": ("503 Slow Down", "SlowDown"),
}


@dataclass
class FaultProxy:
    """A running proxy.

    Attributes:
        endpoint_url: Where it listens.
        share: The share of requests that are spoiled; can be changed at any time.
        kinds: The faults to choose from.
        seen: How many requests had which fault; "" is none.
    """

    upstream: tuple[str, int]
    share: float
    dice: random.Random
    kinds: tuple[str, ...] = FAULTS
    endpoint_url: str = ""
    seen: Counter[str] = field(default_factory=Counter)
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
        fault = self.dice.choice(self.kinds) if self.dice.random() < self.share else ""
        self.seen[fault] += 1
        if fault == "reset":
            _reset(writer)
        elif fault == "hang":
            await asyncio.sleep(3600)
        elif fault in _ERRORS:
            await _refuse(head, reader, writer, *_ERRORS[fault])
        else:
            if fault == "delay":
                await asyncio.sleep(self.dice.uniform(0.05, 0.5))
            await self._forward(head, reader, writer, fault)

    async def _forward(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: str
    ) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self.upstream)
        lines = [line for line in head.split(b"\r\n") if line and not line.lower().startswith(b"connection:")]
        server_writer.write(b"\r\n".join([*lines, b"Connection: close", b"", b""]))
        sending = asyncio.create_task(_pump(reader, server_writer))
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
            else:
                await _pump(server_reader, writer)
        finally:
            sending.cancel()
            server_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
            await writer.drain()


async def _refuse(
    head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: str, code: str
) -> None:
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
    }
    if headers.get(b"expect", b"").lower() != b"100-continue":
        await reader.readexactly(int(headers.get(b"content-length", b"0")))
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>spoiled</Message></Error>".encode()
    answer = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
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
