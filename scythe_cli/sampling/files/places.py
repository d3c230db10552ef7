"""Where a sampling file is: on this machine, at standard input, in S3 or on a web server, compressed or not."""

from __future__ import annotations

import shutil
import stat
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from scythe_cli.core.text import redact_uri
from scythe_cli.errors import SamplingFileError, StorageError, first_line
from scythe_cli.storage.download import download, max_fetch_bytes, uri_scheme

__all__ = ["STANDARD_INPUT", "LocalFile", "is_elsewhere", "located", "shown_name", "unpacked"]


STANDARD_INPUT = "-"
_BLOCK_BYTES = 1 << 20
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\x04\x22\x4d\x18": "lz4"}
_ENDINGS = (".gz", ".gzip", ".zst", ".zstd", ".bz2", ".lz4")


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A sampling file that can be opened here.

    Attributes:
        path: Where it is now.
        shown: What it is called in messages; secrets of a URL are left out.
        suffix: The ending of its name, in small letters.
        base: The folder, or the URL of one, that relative paths in cells start from; None if there is none.
        folder: For its own use, gone with it.
    """

    path: Path
    shown: str
    suffix: str
    base: str | None
    folder: Path


def is_elsewhere(file: str | Path) -> bool:
    """Whether it is no path of this machine: standard input, or a URL."""
    return str(file) == STANDARD_INPUT or uri_scheme(str(file)) is not None


def shown_name(file: str | Path) -> str:
    """What a file is called in messages."""
    return "standard input" if str(file) == STANDARD_INPUT else redact_uri(str(file))


@contextmanager
def located(file: str | Path) -> Generator[LocalFile]:
    """A file by its path or URL, or what comes by standard input (`-`); copied where it is not on this machine.

    Raises:
        SamplingFileError: If it cannot be fetched.
        OSError: If it cannot be read.
    """
    text, shown = str(file), shown_name(file)
    with tempfile.TemporaryDirectory(prefix="scythe-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        if text == STANDARD_INPUT:
            copy = folder / "cases"
            with copy.open("wb") as target:
                shutil.copyfileobj(sys.stdin.buffer, target, _BLOCK_BYTES)
            yield LocalFile(copy, shown, "", str(Path.cwd()), folder)
        elif (scheme := uri_scheme(text)) is not None:
            copy = folder / "cases"
            try:
                download(text, copy)
            except StorageError as error:
                raise SamplingFileError(error.message, hint=error.hint) from error
            base = text.rpartition("/")[0] if scheme == "s3" else None
            suffix = Path(shown.rstrip("…?#;").rpartition("/")[2]).suffix.lower()
            yield LocalFile(copy, shown, suffix, base, folder)
        else:
            path = Path(file)
            # the folder as it is written, made absolute: a link to the file's folder stays one
            base = str(path.absolute().parent)
            if not (stat.S_ISREG(path.stat().st_mode) or path.is_dir()):  # a pipe can be read only once
                copy = folder / "cases"
                with path.open("rb") as source, copy.open("wb") as target:
                    shutil.copyfileobj(source, target, _BLOCK_BYTES)
                path = copy
            yield LocalFile(path, shown, Path(file).suffix.lower(), base, folder)


def unpacked(file: LocalFile, magic: bytes) -> LocalFile | None:
    """The file without its compression; None if it has none.

    Args:
        file: The file.
        magic: Its first bytes.

    Raises:
        SamplingFileError: If it cannot be decompressed.
    """
    codec: Any = next((codec for start, codec in _COMPRESSED.items() if magic.startswith(start)), None)
    if codec is None:
        return None
    name = Path(file.shown).name.lower()
    name = name.removesuffix(next((ending for ending in _ENDINGS if name.endswith(ending)), ""))
    copy = file.folder / f"{file.path.name}-unpacked"
    limit = max_fetch_bytes()
    try:
        with pa.input_stream(str(file.path), compression=codec) as source, copy.open("wb") as target:
            n_bytes = 0
            while block := source.read(_BLOCK_BYTES):
                n_bytes += len(block)
                if n_bytes > limit:
                    raise SamplingFileError(
                        f"{file.shown}: more than {limit:,} bytes when it is decompressed",
                        hint="Raise SCYTHE_FETCH_MAX_BYTES if that is right.",
                    )
                target.write(block)
    except (OSError, pa.ArrowException) as error:
        raise SamplingFileError(f"{file.shown}: cannot be decompressed ({codec}): {first_line(error)}") from error
    return LocalFile(copy, file.shown, Path(name).suffix, file.base, file.folder)
