"""Checksums of a whole Parquet file, inside the file: the pages of Parquet can have some, its footer has none.

A Parquet file is pages, then a footer of Thrift, then the footer's length and `PAR1`. One entry of the footer's
metadata is the seal: a word, a hash of everything before the footer, and a hash of everything from the footer on, for
which the latter hash itself counts as zeros. Any reader of Parquet reads a sealed file and passes the seal over.

The footer is small and is checked whenever a file is opened, and the rest where a file is read as a whole anyway. Each
byte of the file belongs to one of the two; a footer whose seal cannot be found has been changed, or is not ours.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from scythe_cli.core.files import open_regular

__all__ = ["UNSEALED", "bears_mark", "has_seal", "has_whole_pages", "seal", "seal_file", "seal_footer", "whole_footer"]


_HASH_BYTES = 16
_HEX = 2 * _HASH_BYTES
_WORD = b"scythe-seal:"
_CHUNK_BYTES = 1 << 20
_TAIL_BYTES = 1 << 16
_MAX_FOOTER_BYTES = 256_000_000
_END_BYTES = 8  # the footer's length and PAR1

UNSEALED = {b"scythe:seal": _WORD + b"0" * (2 * _HEX)}
"""Metadata that a file must be written with, so that `seal` finds its place."""


def seal(file: memoryview) -> None:
    """Put the checksums into a Parquet file that was written with `UNSEALED`; it is changed where it is.

    Args:
        file: The whole file, which may be large.

    Raises:
        ValueError: If it has no place for them.
    """
    start = len(file) - _END_BYTES - int.from_bytes(file[-_END_BYTES:-4], "little")
    place = _place(bytes(file[start:]))
    if place is None:
        raise ValueError("the file was not written to be sealed")
    at = start + place
    file[at : at + _HEX] = _hash(file[:start])
    file[at + _HEX : at + 2 * _HEX] = _hash(file[start:])


def seal_file(path: Path) -> None:
    """Do the same with a file, which is not read into memory.

    Raises:
        ValueError: If it has no place for them.
        OSError: If the file cannot be changed.
    """
    footer, place = _unsealed_footer(path)
    sealed = bytearray(footer)
    sealed[place : place + _HEX] = _hash_before(path, len(footer))
    sealed[place + _HEX : place + 2 * _HEX] = _hash(sealed)
    with path.open("r+b") as file:
        file.seek(-len(footer), 2)
        file.write(sealed)


def seal_footer(path: Path) -> None:
    """Put the checksum of the footer alone into a file that was written with `UNSEALED`; its pages have their own.

    Raises:
        ValueError: If it has no place for it.
        OSError: If the file cannot be changed.
    """
    footer, place = _unsealed_footer(path)
    with path.open("r+b") as file:
        file.seek(place + _HEX - len(footer), 2)
        file.write(_hash(footer))


def _unsealed_footer(path: Path) -> tuple[bytes, int]:
    """The footer of a file that can be sealed, and where in it the checksums go."""
    footer = _footer(path)
    place = None if footer is None else _place(footer)
    if footer is None or place is None:
        raise ValueError("the file was not written to be sealed")
    return footer, place


def has_seal(path: Path) -> bool:
    """Whether a file was sealed, so that it can be told whether it is whole.

    Raises:
        OSError: If the file cannot be read.
    """
    footer = _footer(path)
    return footer is not None and _place(footer) is not None


def bears_mark(path: Path, marks: Sequence[bytes] = ()) -> bool:
    """Whether a file holds, anywhere, what only a file that was written to be sealed does: so it was, and is damaged.

    Args:
        path: The file.
        marks: Further words that tell as much.

    Raises:
        OSError: If the file cannot be read.
    """
    words = [*UNSEALED, _WORD, *marks]
    overlap = max(map(len, words))
    with open_regular(path) as file:
        before = b""
        while chunk := file.read(_CHUNK_BYTES):
            if any(word in before + chunk for word in words):
                return True
            before = chunk[-overlap:]
    return False


def whole_footer(path: Path) -> bytes | None:
    """The file from its footer on, if that is what it was sealed with; None if it is not.

    That is enough for a reader of Parquet to know what is in the file.

    Raises:
        OSError: If the file cannot be read.
    """
    footer = _footer(path)
    place = None if footer is None else _place(footer)
    if footer is None or place is None:
        return None
    at = place + _HEX
    zeroed = footer[:at] + b"0" * _HEX + footer[at + _HEX :]
    return footer if _hash(zeroed) == footer[at : at + _HEX] else None


def has_whole_pages(path: Path) -> bool:
    """Whether everything before the footer of a file is what it was sealed with; its footer must be whole.

    Raises:
        OSError: If the file cannot be read.
    """
    footer = _footer(path)
    place = None if footer is None else _place(footer)
    if footer is None or place is None:
        return False
    return _hash_before(path, len(footer)) == footer[place : place + _HEX]


def _hash_before(path: Path, n_bytes: int) -> bytes:
    """The hash of a file without its last bytes."""
    digest = blake2b(digest_size=_HASH_BYTES)
    with open_regular(path) as file:
        n_remaining = os.fstat(file.fileno()).st_size - n_bytes
        while n_remaining and (chunk := file.read(min(n_remaining, _CHUNK_BYTES))):
            digest.update(chunk)
            n_remaining -= len(chunk)
    return digest.hexdigest().encode()


def _footer(path: Path) -> bytes | None:
    """The file from its footer on; None when there is none."""
    with open_regular(path) as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read()
        if len(tail) < _END_BYTES:
            return None
        length = int.from_bytes(tail[-_END_BYTES:-4], "little") + _END_BYTES
        if length > min(size, _MAX_FOOTER_BYTES):
            return None
        if length > len(tail):
            file.seek(size - length)
            tail = file.read()
        return tail[-length:]


def _place(footer: bytes) -> int | None:
    """Where the hashes are in a footer."""
    at = footer.rfind(_WORD)
    if at < 0 or at + len(_WORD) + 2 * _HEX > len(footer):
        return None
    return at + len(_WORD)


def _hash(data: bytes | bytearray | memoryview) -> bytes:
    return blake2b(data, digest_size=_HASH_BYTES).hexdigest().encode()
