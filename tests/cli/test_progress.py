"""The progress line, and what Ctrl-C does in each phase."""

from __future__ import annotations

import io
import os
import re
import signal
from contextlib import redirect_stderr
from itertools import pairwise

import pytest
from rich.console import Console

from scythe_cli.cli.output import Output, live_console
from scythe_cli.cli.running import Interrupts, LiveProgress, PlainProgress, shown_progress
from scythe_cli.core.progress import Phase, Progress, progress_line
from scythe_cli.core.records import StateCounts


def moment(done: int = 40, failed: int = 2, n: int = 100, phase: Phase = "running", goes_on: bool = False) -> Progress:
    counts = StateCounts(succeeded=done - failed, failed=failed, pending=n - done)
    return Progress(phase, counts, rate_per_s=4.0, eta_s=(n - done) / 4, goes_on=goes_on)


def test_the_line_says_done_failed_rate_and_time_left() -> None:
    assert progress_line(moment()) == "40/100 · 2 failed · 4/s · 15 s left"
    assert progress_line(moment(done=100)) == "100/100 · 2 failed · 4/s"
    assert progress_line(Progress("running", StateCounts(pending=12_000))) == "0/12,000"
    failing = Progress("running", StateCounts(pending=150), failing=3)
    assert progress_line(failing) == "0/150 · 3 failing"
    slow = Progress("running", StateCounts(pending=10), rate_per_s=0.05, eta_s=200)
    assert progress_line(slow) == "0/10 · 3/min · 3m 20s left"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_line_fits_and_is_cut_in_no_word(width: int, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is too long for a terminal would stay there each time that it is drawn again."""
    bytes_ = io.BytesIO()
    stream = io.TextIOWrapper(bytes_, encoding, errors="scythe-terminal", write_through=True)
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    with redirect_stderr(stream):
        live = LiveProgress(live_console())
        with live.shown() as show:
            show(Progress("checking", StateCounts(), detail="ä" * 100))
            for done in (0, 40, 9_999, 10_000):
                show(moment(done, n=10_000, failed=min(done, 1_234)))
                live._bar.refresh()
    drawn = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", bytes_.getvalue().decode(encoding)))
    plain = [line for line in drawn if line]
    assert max(map(len, plain)) <= width
    assert any("9,999/10,000" in line for line in plain)
    assert not [line for line in plain if "…" in line or "..." in line]


def test_without_a_terminal_lines_come_at_growing_intervals() -> None:
    now = 0.0
    lines: list[tuple[float, str]] = []
    show = PlainProgress(lambda line: lines.append((now, line)), lambda: now)
    for second in range(1, 3601):
        now = float(second)
        show(moment(done=second, failed=0, n=3600))

    times = [time for time, _ in lines]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert lines[0] == (1.0, "running 3,600 cases")
    assert len(lines) < 25
    assert gaps == sorted(gaps)
    assert gaps[-1] <= 301


def test_quick_phases_are_not_told() -> None:
    lines: list[str] = []
    show = PlainProgress(lines.append, lambda: 0.0)

    show(Progress("checking", StateCounts(), detail="cases.csv"))
    show(Progress("uploading", StateCounts(), detail="input files"))

    assert lines == []


@pytest.mark.parametrize("quiet", [True, False])
def test_nothing_of_it_goes_to_stdout(capsys: pytest.CaptureFixture[str], quiet: bool) -> None:
    with shown_progress(Output(as_json=False, quiet=quiet)) as show:
        show(moment())

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == ("" if quiet else "running 100 cases\n")


def test_on_a_terminal_it_is_one_line_that_goes_away() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, color_system=None)

    with LiveProgress(console).shown() as show:
        show(Progress("checking", StateCounts(), detail="a [b].csv"))
        show(moment())
        show(moment(done=100, phase="gathering"))

    frames = stream.getvalue()
    assert "40/100 · 2 failed" in frames or "gathering" in frames
    assert frames.endswith("\x1b[2K")


class Stop:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def drain(self) -> None:
        self.calls.append("drain")

    def kill(self) -> None:
        self.calls.append("kill")


def interrupt(phase: Phase, *signals: int, goes_on: bool = False) -> tuple[list[str], str]:
    stop, told = Stop(), io.StringIO()
    interrupts = Interrupts(stop, Output(as_json=True, quiet=False))
    with redirect_stderr(told), interrupts.handled():
        interrupts.watch(moment(phase=phase, goes_on=goes_on))
        for number in signals:
            os.kill(os.getpid(), number)
    assert interrupts.stopped
    return stop.calls, told.getvalue()


def test_the_first_ctrl_c_drains_and_the_second_kills() -> None:
    assert interrupt("running", signal.SIGINT) == (
        ["drain"],
        "note: finishing the running cases; Ctrl-C again stops at once\n",
    )
    calls, told = interrupt("running", signal.SIGINT, signal.SIGINT)
    assert calls == ["drain", "kill"]
    assert told.endswith("note: stopping at once\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_waits_for_a_fleet_only_stops_waiting(number: signal.Signals) -> None:
    assert interrupt("running", number, goes_on=True) == (["drain"], "note: no longer waiting for the run\n")


def test_the_third_ctrl_c_ends_the_command() -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt("running", signal.SIGINT, signal.SIGINT, signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_end_of_the_job_or_of_the_terminal_stops_at_once(number: signal.Signals) -> None:
    assert interrupt("running", number) == (["kill"], "note: stopping at once\n")


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("phase", ["checking", "uploading"])
def test_before_specs_run_each_ends_the_command(phase: Phase, number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt(phase, number)


@pytest.mark.parametrize("number", SIGNALS)
def test_while_tables_are_written_the_first_waits(number: signal.Signals) -> None:
    calls, told = interrupt("gathering", number)
    assert calls == []
    assert "writing the tables" in told


@pytest.mark.parametrize("number", SIGNALS)
def test_what_the_process_was_started_to_ignore_stays_ignored(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        stop = Stop()
        interrupts = Interrupts(stop, Output(as_json=True, quiet=False))
        with interrupts.handled():
            os.kill(os.getpid(), number)
        assert not interrupts.stopped
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_while_tables_are_written_the_second_ends_the_command() -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt("gathering", signal.SIGINT, signal.SIGINT)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]

    interrupt("running", signal.SIGINT)

    assert [signal.getsignal(number) for number in SIGNALS] == before
