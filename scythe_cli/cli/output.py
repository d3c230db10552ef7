"""Where output goes: results to stdout, everything else to stderr; plain when it is not a terminal."""

from __future__ import annotations

import io
import json
import logging
import math
import os
import re
import shlex
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

from scythe_cli.cli.plain import GROWTH, as_shown
from scythe_cli.core.processes import discard_output

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text


__all__ = [
    "CleanedStream",
    "Output",
    "clean",
    "close_stdout",
    "configure_logging",
    "make_console",
    "wrapped",
    "write_stdout",
]


_PIPED_WIDTH = 100_000
"""Columns of what is no terminal: tables take the width that they need, and nothing is wrapped or cut."""

# C0 and C1 controls but tab and newline: they could move the cursor, or write to the terminal's title; and marks by
# which text is shown in another order than it is written
_HIDDEN = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
_CONTROLS = re.compile(f"[\x00-\x08\x0b-\x1f{_HIDDEN}]")
_PLACE = re.compile(r"\s+(at .+:\d+( in .+)?|File \".+\", line \d+.*)")
_COMMAND = re.compile(r"(`|^Next: )(scythe (?!init\b)[^`\n]*?)(`|$)", re.MULTILINE)
_OF_RUN = frozenset(f"scythe {name}" for name in ("retry", "errors", "status", "cancel", "results show"))
_NOT_IN_JSON = re.compile(f"[{_HIDDEN}]")


def clean(text: object) -> str:
    """Text that may come from anywhere, made safe for a terminal: control characters are shown, not sent."""
    return _CONTROLS.sub(lambda match: f"\\x{ord(match.group()):02x}", str(text))


class CleanedStream(io.TextIOBase):
    """Takes the text that a function of the user writes, and writes it safe for a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the stream."""
        return self._stream.encoding

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """That of the stream."""
        return self._stream.fileno()

    def write(self, text: str, /) -> int:
        """Write; a line may be written anew from its beginning."""
        self._stream.write("\r".join(map(clean, text.split("\r"))))
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()


def write_stdout(text: str) -> None:
    """Write to stdout; a reader that has gone away, as `head` does, is no error."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()


def close_stdout() -> None:
    """Flush stdout now, where a reader that has gone away can still be passed over."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()


def _discard_stdout() -> None:
    discard_output(sys.stdout.fileno())


def make_console(stream: IO[str]) -> Console:
    """A Rich console that takes text as it is: no markup, no emoji codes, no highlighting."""
    from rich.console import Console

    console = Console(
        file=stream,
        markup=False,
        emoji=False,
        highlight=False,
        # `!scythe` in a cell has a terminal of its own, but what moves the cursor stays in the notebook as it is
        force_terminal=False if "JPY_PARENT_PID" in os.environ else None,
        color_system=None if "NO_COLOR" in os.environ else "auto",
    )
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    return console


def live_console() -> Console:
    """A console on stderr for what is drawn again and again: a line that is too long would stay behind, each time."""
    console = make_console(sys.stderr)
    if not console.encoding.startswith("utf"):
        console.width = max(console.width - GROWTH, 20)
    return console


def wrapped(text: str | Text, width: int) -> Text:
    """Text in lines of so many columns; longer words and the places of errors stay whole: paths are copied."""
    from rich.text import Text

    lines: list[Text] = []
    for line in (Text(text) if isinstance(text, str) else text).split("\n", allow_blank=True):
        rest = line
        while rest.cell_len > width and not _PLACE.fullmatch(rest.plain):
            plain = rest.plain
            indent = len(plain) - len(plain.lstrip())
            hanging = plain[:indent] if indent < width // 2 else ""
            at = plain.rfind(" ", indent + 1, width + 1)
            at = plain.find(" ", width) if at < 0 else at
            if at < 0 or not plain[at:].strip():
                break
            lines.append(rest[:at])
            lines[-1].rstrip()
            rest = Text(hanging).append_text(rest[len(plain) - len(plain[at:].lstrip()) :])
        lines.append(rest)
    return Text("\n").join(lines)


def _only_file() -> str | None:
    """The sampling file in the working directory, if there is just one."""
    try:
        names = [path.name for path in Path().iterdir() if path.suffix in (".csv", ".parquet", ".pq")]
    except OSError:
        return None
    return shlex.quote(names[0]) if len(names) == 1 else None


class Output:
    """Prints for one command.

    Args:
        as_json: Whether stdout is kept for one JSON document.
        quiet: Whether notes are left out.
        added: What is added to commands in texts, such as ` --storage elsewhere`, so that they can be pasted.

    Attributes:
        reference: The run that the command line names; None or `latest` for the latest.
    """

    def __init__(self, *, as_json: bool, quiet: bool, added: str = "") -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.reference: str | None = None
        self._added = added

    def completed(self, text: str) -> str:
        """The same text, with commands in it that mean the same run, project and storage when they are pasted."""
        return _COMMAND.sub(self._completed, text)

    def _completed(self, match: re.Match[str]) -> str:
        begin, command, end = match.groups()
        if command.endswith(" FILE") and (file := _only_file()):
            command = command.removesuffix("FILE") + file
        if command in _OF_RUN and self.reference not in (None, "latest"):
            command = f"{command} {self.reference}"
        added = "" if " --config" in command or " --storage" in command else self._added
        return f"{begin}{command}{added}{end}"

    @property
    def width(self) -> int | None:
        """The columns of the terminal; None when stdout is no terminal, where nothing has to fit."""
        console = make_console(sys.stdout)
        return console.width if console.is_terminal else None

    def print(self, *renderables: RenderableType) -> None:
        """Print on stdout; text that is no table is never wrapped where it is piped, nor a word anywhere."""
        from rich.text import Text

        console = make_console(sys.stdout)
        full = console.width
        is_plain = not console.encoding.startswith("utf")
        try:
            with console.capture() as captured:
                for renderable in renderables:
                    console.width = full
                    if isinstance(renderable, str | Text):
                        shown = clean(self.completed(renderable)) if isinstance(renderable, str) else renderable
                        # a command is pasted as one line, so that only the terminal may wrap it
                        soft = not console.is_terminal or "scythe " in str(shown)
                        console.print(shown if soft else wrapped(shown, full), soft_wrap=True)
                    else:
                        console.width = max(full - GROWTH, 20) if is_plain and console.is_terminal else full
                        console.print(renderable)
            # tables fill up their last column with spaces
            width = full if console.is_terminal else None
            lines = as_shown(captured.get(), width).split("\n")
            sys.stdout.write("\n".join(lines if console.is_terminal else [line.rstrip() for line in lines]))
            sys.stdout.flush()
        except BrokenPipeError:
            _discard_stdout()

    def document(self, value: Any) -> None:
        """Print a record, or a list of records, as the one JSON document."""
        self._write_json(value, indent=2)

    def line(self, value: Any) -> None:
        """Print a record as a JSON document on a line of its own, one of several."""
        self._write_json(value, indent=None)

    def _write_json(self, value: Any, *, indent: int | None) -> None:
        from pydantic import BaseModel
        from pydantic_core import to_jsonable_python

        # a record by itself would write bytes as UTF-8, which not all of them are
        records: list[Any] = value if isinstance(value, list) else [value]
        dumped = [record.model_dump() if isinstance(record, BaseModel) else record for record in records]
        jsonable = to_jsonable_python(dumped, bytes_mode="base64", fallback=str, serialize_unknown=True)
        plain = _finite(jsonable if isinstance(value, list) else jsonable[0])
        utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        text = json.dumps(plain, indent=indent, ensure_ascii=not utf8, allow_nan=False)
        # JSON need not escape these, but a terminal would obey them
        write_stdout(_NOT_IN_JSON.sub(lambda match: f"\\u{ord(match.group()):04x}", text) + "\n")

    def note(self, message: str) -> None:
        """Tell something that is worth knowing, on stderr."""
        if not self.quiet:
            self._tell("note: ", "bold cyan", message)

    def tell(self, message: str) -> None:
        """Tell how far something is, on stderr."""
        if not self.quiet:
            self._tell("", "", message)

    def error(self, message: str, *, hint: str | None = None) -> None:
        """Tell what is wrong and what to do, on stderr."""
        self._tell("error: ", "bold red", message)
        if hint:
            self._tell("hint: ", "bold", hint)

    def _tell(self, label: str, style: str, message: str) -> None:
        from rich.text import Text

        text = clean(self.completed(message))
        make_console(sys.stderr).print(Text.assemble((label, style), text), soft_wrap=True)


def _finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON does not have, by null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list):
        return [_finite(item) for item in cast("list[Any]", value)]
    return value


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what stderr is at the moment of the message."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


_handler = _StderrHandler()
_handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))


def configure_logging(*, verbose: bool, quiet: bool) -> None:
    """Send the package's log to stderr: warnings, or with `--verbose` everything."""
    logger = logging.getLogger("scythe_cli")
    logger.setLevel(logging.DEBUG if verbose else logging.ERROR if quiet else logging.WARNING)
    if _handler not in logger.handlers:
        logger.addHandler(_handler)
