"""A proxy that loses what goes through it, at moments that a test chooses."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Generator

__all__ = ["LossyProxy", "lossy_proxy"]


class LossyProxy:
    """Passes connections on to a port of this machine.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, to: int) -> None:
        self._to = to
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._ended: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._refuses = threading.Event()
        self._loses = threading.Event()
        self._threads: list[threading.Thread] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def refuse(self) -> None:
        """Break all connections, and those that come, until `heal`."""
        self._refuses.set()
        self.break_all()

    def lose_answers(self) -> None:
        """Let what is asked reach the server, and no answer come back, until `heal`, which breaks the connections."""
        self._loses.set()

    def heal(self) -> None:
        """Pass everything on again."""
        if self._loses.is_set():
            self.break_all()
        self._loses.clear()
        self._refuses.clear()

    def break_all(self) -> None:
        """Break the connections that there are."""
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it."""
        self._refuses.set()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # or else `accept` goes on
        self._server.close()
        self.break_all()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if self._refuses.is_set():
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._to), timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._open |= {client, server}
            for ends in ((client, server, False), (server, client, True)):
                thread = threading.Thread(target=self._pass_on, args=ends, daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not (answers and self._loses.is_set()):
                    target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        with self._lock:
            # the thread of the other direction may read from it still: the second of the two closes both
            both = {source, target}
            if both & self._ended:
                self._ended -= both
                self._open -= both
                for each in both:
                    each.close()
            else:
                self._ended.add(source)


@contextlib.contextmanager
def lossy_proxy(to: int) -> Generator[LossyProxy]:
    """A proxy before a port, for the time of a test."""
    proxy = LossyProxy(to)
    try:
        yield proxy
    finally:
        proxy.close()
