"""How a store lists that is late: for some seconds what is new is missing, and what was deleted is still there.

It knows of an object by what passes through the proxy. What is asked for by its name is never late.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote
from xml.sax.saxutils import unescape

if TYPE_CHECKING:
    from .proxy import Request

_CONTENTS = re.compile(r"<Contents>.*?</Contents>", re.DOTALL)
_PREFIXES = re.compile(r"<CommonPrefixes>.*?</CommonPrefixes>", re.DOTALL)
_KEY = re.compile(r"<(?:Key|Prefix)>(.*?)</(?:Key|Prefix)>", re.DOTALL)


@dataclass
class Lag:
    """Lists that lag.

    Attributes:
        lag_s: By how much; can be changed at any time.
        n_hidden: How many objects lists did not show that were there.
        n_shown: How many they showed that were not there any more.
    """

    lag_s: float
    n_hidden: int = 0
    n_shown: int = 0
    _written_s: dict[tuple[str, str], float] = field(default_factory=dict)
    _deleted_s: dict[tuple[str, str], float] = field(default_factory=dict)
    _listed: dict[tuple[str, str], str] = field(default_factory=dict)  # how an object was listed last

    def seen(self, request: Request, body: bytes, content: bytes) -> bytes:
        """Take note of a request that was done; the answer as it is to be."""
        now_s = time.monotonic()
        is_part = "partNumber" in request.query
        is_write = request.method == "PUT" or (request.method == "POST" and "uploadId" in request.query)
        if request.key and is_write and not is_part:
            self._written_s[request.bucket, request.key] = now_s
            self._deleted_s.pop((request.bucket, request.key), None)
        elif request.method == "DELETE" and request.key and "uploadId" not in request.query:
            self._delete(request.bucket, request.key, now_s)
        elif request.method == "POST" and "delete" in request.query:
            for key in _KEY.findall(body.decode()):
                self._delete(request.bucket, unescape(key), now_s)
        elif request.method == "GET" and request.query.get("list-type") == "2":
            return self._aged(request, content.decode(), now_s).encode()
        return content

    def _delete(self, bucket: str, key: str, now_s: float) -> None:
        self._deleted_s[bucket, key] = now_s
        self._written_s.pop((bucket, key), None)

    def _is_new(self, bucket: str, key: str, now_s: float) -> bool:
        return now_s - self._written_s.get((bucket, key), -1e9) < self.lag_s

    def _aged(self, request: Request, text: str, now_s: float) -> str:
        bucket, prefix = request.bucket, request.query.get("prefix", "")

        def file(match: re.Match[str]) -> str:
            key = _key_of(match[0])
            if self._is_new(bucket, key, now_s):
                self.n_hidden += 1
                return ""
            self._listed[bucket, key] = match[0]
            return match[0]

        def folder(match: re.Match[str]) -> str:
            inside = [key for where, key in self._written_s if where == bucket and key.startswith(_key_of(match[0]))]
            return "" if inside and all(self._is_new(bucket, key, now_s) for key in inside) else match[0]

        text = _PREFIXES.sub(folder, _CONTENTS.sub(file, text))
        for (where, key), deleted_s in self._deleted_s.items():
            is_here = where == bucket and key.startswith(prefix)
            is_direct = "delimiter" not in request.query or "/" not in key[len(prefix) :]
            listed = self._listed.get((where, key))
            if is_here and is_direct and listed and now_s - deleted_s < self.lag_s:
                self.n_shown += 1
                text = text.replace("</ListBucketResult>", f"{listed}</ListBucketResult>")
        return text


def _key_of(element: str) -> str:
    found = _KEY.search(element)
    assert found is not None  # names are percent-encoded, as the client asks for it
    return unquote(unescape(found[1]))
