"""Run an external program for one spec: with a time limit, and with an error that says what the program said."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

TAIL_LINES = 15


class ProgramError(RuntimeError):
    """A program that ended with an error, or did not end in time; the message has the end of its log."""


def run_program(
    command: Sequence[str | Path],
    *,
    folder: Path,
    out: Path,
    log: Path,
    timeout_s: float,
    stdin: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a program to its end.

    Args:
        command: The program and its arguments; no shell is involved, so names of files may be odd.
        folder: The working directory of the program.
        out: The file that gets what it prints.
        log: The file that gets what it complains about; several programs may share one.
        timeout_s: How long it may run [s]; then it is killed.
        stdin: The file that it reads; nothing if None.
        env: Its environment; that of this process if None.

    Raises:
        ProgramError: If it cannot be started, ends with another code than 0, or takes too long. Nothing that it wrote
            is to be trusted then.
    """
    name = Path(command[0]).name
    try:
        with (
            out.open("wb") as out_file,
            log.open("ab") as log_file,
            (stdin or Path("/dev/null")).open("rb") as in_file,
        ):
            # a spec that is stopped takes its programs along: they are in the process group of the spec's process
            subprocess.run(
                [str(word) for word in command],
                cwd=folder,
                env=None if env is None else dict(env),
                stdin=in_file,
                stdout=out_file,
                stderr=log_file,
                timeout=timeout_s,
                check=True,
            )
    except subprocess.TimeoutExpired:
        raise ProgramError(f"{name} took longer than {timeout_s:g} s{_tail(log)}") from None
    except subprocess.CalledProcessError as error:
        how = f"was ended by signal {-error.returncode}" if error.returncode < 0 else f"gave code {error.returncode}"
        raise ProgramError(f"{name} {how}{_tail(log)}") from None
    except OSError as error:
        raise ProgramError(f"{name} cannot be run: {error}") from error


def _tail(log: Path) -> str:
    """The last lines of a log, as the end of a message."""
    lines = log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
    return ":\n" + "\n".join(lines) if lines else ", and said nothing"
