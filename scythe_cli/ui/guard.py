"""Who may ask the server: whoever knows the token in the address, from a page of this server, under its own name."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["FRAMED_HEADERS", "HEADERS", "Guard"]

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types"
)
"""Nothing comes from elsewhere, and no text becomes a script or markup, wherever it is put."""

HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
"""What every answer has; an answer can have a policy of its own, and say how long it is kept."""

_ANCESTORS = "http://localhost:* http://127.0.0.1:*"
FRAMED_HEADERS = {
    **{name: value for name, value in HEADERS.items() if name != "x-frame-options"},
    "content-security-policy": _POLICY.replace("frame-ancestors 'none'", f"frame-ancestors {_ANCESTORS}"),
}
"""The same where pages of this machine, such as notebooks, may show the page inside."""

_METHODS = ("GET", "HEAD", "POST")


@dataclass(frozen=True, slots=True)
class Guard:
    """Lets a request through to the program, or answers it with a few words.

    Attributes:
        app: The program; it sees paths without the token.
        token: What the first part of a path has to be.
        hosts: What the header Host may say: a page elsewhere whose name leads to this machine says another.
        is_framed: Whether pages of this machine, such as notebooks, may show the page inside.
    """

    app: ASGIApp
    token: str
    hosts: Collection[str]
    is_framed: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # a WebSocket is closed unanswered
        refused = self._refusal(scope)
        own = FRAMED_HEADERS if self.is_framed else HEADERS

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there: list[tuple[bytes, bytes]] = list(message.get("headers", []))
                names = {name.lower() for name, _ in there}
                more = [(n.encode(), v.encode()) for n, v in own.items() if n.encode() not in names]
                message = {**message, "headers": there + more}
            await send(message)

        if refused is not None:
            status, text = refused
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
            await with_headers({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": text.encode()})
            return
        path = "/" + scope["path"].split("/", 2)[2]
        inner: dict[str, Any] = {**scope, "path": path, "raw_path": path.encode("utf-8", "replace")}
        await self.app(inner, receive, with_headers)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Why a request is not answered: a status and a text; None when it is."""
        headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        by_name = dict(headers)
        named = [value for name, value in headers if name == "host"]
        if len(named) != 1 or named[0].lower() not in self.hosts:
            return 421, "This server does not have that name. Open the address that `scythe ui` printed.\n"
        if scope["method"] not in _METHODS:
            return 405, "Not allowed.\n"
        origin = by_name.get("origin")
        if origin is not None and origin.lower() != f"http://{named[0].lower()}":
            return 403, "Other pages may not ask this server.\n"
        parts = scope["path"].split("/", 2)
        if len(parts) < 3 or not secrets.compare_digest(parts[1].encode("utf-8", "replace"), self.token.encode()):
            return 404, "Not found. Open the address that `scythe ui` printed, as a whole.\n"
        # a link to the page may stand anywhere; what the page asks for is asked for by the page alone
        if by_name.get("sec-fetch-site", "none") not in ("same-origin", "none") and not (
            parts[2] == "" and by_name.get("sec-fetch-dest") in ("document", *(("iframe",) if self.is_framed else ()))
        ):
            return 403, "Other pages may not ask this server.\n"
        return None
