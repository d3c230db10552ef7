"""Text made fit to be shown: invisible characters, secrets in URLs, and the nearest name to one that is not there."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable

__all__ = ["gives_access", "hint_for", "plain_message", "redact_text", "redact_uri", "visible"]


# controls, which end the process of the library that draws; and what changes the direction of the text that follows,
# by which text can look like another
_INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def visible(text: str) -> str:
    """The text with control characters, and halves of characters, as escapes; tabs and new lines stay."""
    shown = _INVISIBLE.sub(lambda match: f"\\x{ord(match.group()):02x}", text)
    return shown.encode("utf-8", "backslashreplace").decode()


_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def redact_uri(uri: str) -> str:
    """A URI without user, password, parameters, query and fragment, as it can be shown; a path stays as it is.

    The query of a presigned URL gives access, just as a password does.
    """
    scheme = _SCHEME.match(uri)
    if scheme is None:
        return uri
    # in a key of S3 these characters are ordinary
    cut = None if scheme[1].lower() == "s3" else re.search(r"[?#;]", uri)
    shown = uri[scheme.end() : cut.start() if cut else None]
    host, slash, path = shown.partition("/")
    return f"{scheme[0]}{host.rpartition('@')[2]}{slash}{path}{f'{cut[0]}…' if cut else ''}"


_PLAIN_PARAMETERS = frozenset({"day", "download", "format", "lang", "month", "raw", "v", "version", "year"})


def gives_access(uri: str, plain: Collection[str] = ()) -> bool:
    """Whether what a URL of the web says beside its host and path may be a secret.

    There are too many names for secrets to know them all: so whatever it says is one, but a query that consists of
    parameters that are known to be none.

    Args:
        uri: The URL, or anything else, which holds none.
        plain: The names of further parameters, in small letters, that are no secrets.
    """
    scheme = _SCHEME.match(uri)
    if scheme is None or scheme[1].lower() == "s3":
        return False
    rest = uri[scheme.end() :]
    host = re.split(r"[/?#;]", rest, maxsplit=1)[0]
    if "@" in host or "#" in rest:
        return True
    before, _, query = rest.partition("?")
    if ";" in before or ";" in query:
        return True
    names = {pair.partition("=")[0].lower() for pair in query.split("&") if pair}
    return not names <= _PLAIN_PARAMETERS.union(plain)


_URLS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"]+")


def redact_text(text: str) -> str:
    """The text with each URL in it as it can be shown."""
    return _URLS.sub(lambda match: redact_uri(match[0]), text)


_LISTED = 12


_PARSER_WORDS = [
    (re.compile(pattern), words)
    for pattern, words in (
        (r"Input should be a valid (number|decimal)(,.*)?|Decimal input should be .*", "not a number"),
        (r"Input should be a valid integer(,.*)?", "not a whole number"),
        (r"Input should be a valid boolean(,.*)?", "not true or false"),
        (r"Input should be a valid datetime(,.*)?", "not a date and time"),
        (r"Input should be a valid date(,| or datetime).*|Input should be a valid date", "not a date"),
        (r"Input should be a valid time(,.*)?", "not a time of day"),
        (r"Input should be a valid timedelta(,.*)?", "not a duration"),
        (r"Input should be a valid string(,.*)?", "not text"),
        (r"Input should be a valid UUID(,.*)?", "not a UUID"),
        (r"Input should be a valid list(,.*)?", "not a list"),
    )
]


def plain_message(message: str) -> str:
    """What pydantic says of a value, in plain words where it speaks of its parser; bounds and choices stay."""
    return next((words for pattern, words in _PARSER_WORDS if pattern.fullmatch(message)), message)


def hint_for(name: str, names: Iterable[str]) -> str | None:
    """`Did you mean 'tilt'?` when a name is near, else a list of what there is; None when there is nothing."""
    known = list(dict.fromkeys(names))
    folded = {each.casefold(): each for each in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    if close:
        return f"Did you mean {folded[close[0]]!r}?"
    if not known:
        return None
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return f"There are: {', '.join(known[:_LISTED])}{more}."
