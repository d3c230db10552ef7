"""What may be shown of a URL."""

from __future__ import annotations

import re

__all__ = ["redact_uri"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def redact_uri(uri: str) -> str:
    """A URI without user, password, query and fragment, as it can be shown; a path stays as it is.

    The query of a presigned URL gives access, just as a password does.
    """
    scheme = _SCHEME.match(uri)
    if scheme is None:
        return uri
    # in a key of S3 these two characters are ordinary
    cut = None if scheme[1].lower() == "s3" else re.search(r"[?#]", uri)
    shown = uri[scheme.end() : cut.start() if cut else None]
    host, slash, path = shown.partition("/")
    return f"{scheme[0]}{host.rpartition('@')[2]}{slash}{path}{'?…' if cut else ''}"
