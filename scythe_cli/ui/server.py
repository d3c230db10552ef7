"""The server: the page's files and endpoints behind the guard, until it is stopped."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from scythe_cli.core.distribution import needs_extra
from scythe_cli.errors import ScytheError, UsageError
from scythe_cli.ui.endpoints import Endpoints
from scythe_cli.ui.guard import Guard
from scythe_cli.ui.store import RunStore

with needs_extra("ui", "`scythe ui`"):
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import FileResponse, Response
    from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from scythe_cli.storage.base import Storage

__all__ = ["Prepared", "Served", "make_app", "prepared", "serve"]

_STATIC = Path(__file__).parent / "static"
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_NAMES_HERE = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class Served:
    """Where the page is.

    Attributes:
        url: Its address, with the token.
        is_open: Whether other machines can reach it.
    """

    url: str
    is_open: bool


@dataclass(frozen=True, slots=True)
class Prepared:
    """A server that listens and does not answer yet.

    Attributes:
        served: Where the page is.
        server: The server; its `should_exit` ends it.
        listening: What it listens at.
    """

    served: Served
    server: uvicorn.Server
    listening: socket.socket

    def run(self) -> None:
        """Answer until the server is to exit."""
        with self.listening:
            self.server.run(sockets=[self.listening])


def make_app(endpoints: Endpoints, token: str, hosts: tuple[str, ...], *, is_framed: bool = False) -> Guard:
    """The program that the server runs.

    Args:
        endpoints: What answers the page.
        token: What an address has to begin with.
        hosts: The names, with ports, by which it may be asked.
        is_framed: Whether pages of this machine, such as notebooks, may show it inside.
    """
    files = {path.relative_to(_STATIC).as_posix(): path for path in _STATIC.rglob("*") if path.suffix in _TYPES}

    def page(request: Request) -> Response:
        # only what was there at the start is served, by its whole name
        path = files.get(request.path_params.get("name") or "index.html")
        if path is None:
            return Response("Not found.\n", 404, media_type="text/plain")
        return FileResponse(path, media_type=_TYPES[path.suffix], headers={"cache-control": "no-cache"})

    routes = [*endpoints.routes(), Route("/", page), Route("/{name:path}", page)]
    return Guard(Starlette(routes=routes), token, frozenset(hosts), is_framed)


def serve(
    storage: Storage,
    *,
    run: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    browser: bool = True,
    options: str = "",
    started: Callable[[Served], None],
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        storage: Where the runs are kept.
        run: The run that is shown first, by its whole name.
        host: The address to listen at.
        port: The port; a free one if it is 0.
        browser: Whether to open the page in a browser.
        options: Global options that commands on the page need.
        started: Called once, when the page can be opened.

    Raises:
        UsageError: If the address cannot be listened at.
    """
    made = prepared(storage, run=run, host=host, port=port, options=options)
    started(made.served)
    if browser:
        Thread(target=webbrowser.open, args=(made.served.url,), daemon=True).start()
    made.run()


def prepared(
    storage: Storage,
    *,
    run: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    options: str = "",
    is_framed: bool = False,
) -> Prepared:
    """A server that listens; what is shown first is being read already. For the arguments see `serve` and `make_app`.

    Raises:
        UsageError: If the address cannot be listened at.
    """
    listening = _listen(host, port)
    port = listening.getsockname()[1]
    token = secrets.token_urlsafe(24)
    name = f"[{host}]" if ":" in host else host
    is_open = host not in ("127.0.0.1", "::1", "localhost")
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, name)
    names = dict.fromkeys((shown.lower(), name.lower(), *_NAMES_HERE))
    store = RunStore(storage)
    hosts = tuple(f"{each}:{port}" for each in names)
    app = make_app(Endpoints(store, options, run), token, hosts, is_framed=is_framed)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, lifespan="off", limit_concurrency=64
    )
    Thread(target=_prepare, args=(store, run), daemon=True).start()
    return Prepared(Served(f"http://{shown}:{port}/{token}/", is_open), uvicorn.Server(config), listening)


def _prepare(store: RunStore, run: str | None) -> None:
    """Read what is shown first, while the browser starts; what goes wrong is told to the page."""
    try:
        if run is None:
            store.list.listed(0, 50, None)
        else:
            opened = store.open(run)
            with opened.lock:
                opened.views()
    except ScytheError:
        pass


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(128)
        except OSError:
            listening.close()
            raise
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"cannot listen at {host}, port {port}: {error}", hint="Choose another --port; 0 takes a free one."
        ) from error
    return listening
