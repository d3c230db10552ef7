"""An engine that the SDK starts beside a command.

A script stands in for the program that the SDK would download: it hands over the address and the token of the real
engine of these tests, in the way in which that program does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scythe_cli.core.records import StateCounts
from scythe_cli.errors import EngineError, UsageError
from tests.hatchet_servers import TENANT, HatchetServers
from tests.live.fleet import LiveProject

_SIDECAR = """#!{python}
import signal, sys
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
path = Path(sys.argv[sys.argv.index("-handshake-file") + 1])
part = path.with_suffix(".part")
part.write_text({handshake!r})
part.rename(path)
try:
    sys.stdin.read()
finally:
    Path({ended!r}).write_text("ended")
"""


@pytest.fixture
def embedded(live: LiveProject, servers: HatchetServers, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in servers.env:
        monkeypatch.delenv(name)
    monkeypatch.setattr("scythe_cli.engines.hatchet.connection._clients", {})
    handshake = json.dumps(
        {
            "token": servers.token,
            "tenant_id": TENANT,
            "grpc_address": f"127.0.0.1:{servers.grpc_port}",
            "api_url": f"http://127.0.0.1:{servers.api_port}",
        }
    )
    ended = live.root / "engine-ended.txt"
    program = live.root / "sidecar"
    program.write_text(_SIDECAR.format(python=sys.executable, handshake=handshake, ended=str(ended)))
    program.chmod(0o755)
    monkeypatch.setenv("HATCHET_CLIENT_EMBEDDED_BINARY_PATH", str(program))
    live.configure("together", max_depth=0)
    path = live.root / "experiments.toml"
    path.write_text(path.read_text() + "\n[hatchet]\nembedded = true\n")
    return ended


def test_one_command_is_a_whole_fleet(live: LiveProject, embedded: Path, servers: HatchetServers) -> None:
    cases = live.write_cases(30, fails=lambda i: "true" if i == 3 else "false")
    command = [sys.executable, "-m", "scythe_cli.cli", "--json", "allocate", str(cases)]
    done = subprocess.run(command, cwd=live.root, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["counts"] == {**StateCounts().model_dump(), "succeeded": 29, "failed": 1}
    assert told["engine"] == "hatchet"
    assert embedded.read_text() == "ended"
    assert servers.token not in done.stdout + done.stderr
    assert not [path for path in (live.root / "runs").rglob("*") if servers.token.encode() in _content(path)]


def test_a_run_cannot_be_left_to_an_engine_that_ends(live: LiveProject, embedded: Path) -> None:
    project = live.open()
    with pytest.raises(UsageError, match="has to be waited for"):
        project.submit(live.write_cases(2))
    assert not (live.root / "runs").exists()
    assert not embedded.exists()


def test_program_that_does_not_start_is_told(
    live: LiveProject, embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del embedded
    broken = live.root / "broken"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("HATCHET_CLIENT_EMBEDDED_BINARY_PATH", str(broken))
    with pytest.raises(EngineError, match="embedded Hatchet engine cannot be started"):
        live.open().allocate(live.write_cases(2))
    assert not (live.root / "runs").exists()


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
