"""Real servers for tests: each runs for the time of a block, on a free port, and is ended by its process id.

The binaries are those that `make servers` installs to `.servers/bin`; `SCYTHE_SERVERS_DIR` names another folder.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
_START_TIMEOUT_S = 20.0
_LOOK_S = 0.02
"""How often a server in a thread looks whether it is to end."""

_LINE = re.compile(
    r"\S+ (?P<bucket>\S+) \[[^\]]*\] \S+ \S+ \S+ s3_(?P<operation>\S+) "
    r"(?P<key>.*?) (?P<request>/\S*) (?P<status>\d{3}) "
)


@dataclass(frozen=True)
class S3Request:
    """One line of the server's access log."""

    operation: str
    bucket: str
    key: str
    request: str
    status: int


@dataclass(frozen=True)
class S3Server:
    """A running S3 server.

    Attributes:
        endpoint_url: Where it listens.
        access_key: The one user's key.
        secret_key: The one user's secret.
        root: The folder that holds a folder for each bucket; None for a server that keeps all in memory.
        access_log: The file that it logs requests to; None when it does not.
        pid: Its process; None when it runs in this one.
    """

    endpoint_url: str
    access_key: str
    secret_key: str
    root: Path | None = None
    access_log: Path | None = None
    pid: int | None = None
    _buckets: set[str] = field(default_factory=set)

    @property
    def env(self) -> dict[str, str]:
        """What a client needs in its environment."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def use(self, monkeypatch: pytest.MonkeyPatch, *, at: str | None = None) -> None:
        """Let this test use it, and the commands that it runs.

        Args:
            monkeypatch: Undoes it after the test.
            at: The address that is told, of a proxy before the server; its own where there is none.
        """
        for name, value in {**self.env, "AWS_ENDPOINT_URL": at or self.endpoint_url}.items():
            monkeypatch.setenv(name, value)

    def client(self) -> Any:
        """A boto3 client that is independent of the environment."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
        )

    def new_bucket(self, name: str) -> str:
        """Make a bucket; one that was made before is taken as it is."""
        if name not in self._buckets:
            client = self.client()
            try:
                client.create_bucket(Bucket=name)
            finally:
                client.close()
            self._buckets.add(name)
        return name

    def requests(self) -> list[S3Request]:
        """All requests so far, in the order in which they were answered."""
        if self.access_log is None or not self.access_log.exists():
            return []
        return [_parse(line) for line in self.access_log.read_text().splitlines() if " s3_" in line]


def find_server(name: str) -> Path | None:
    """The binary of a server; None when it is not installed."""
    folders = [os.environ.get("SCYTHE_SERVERS_DIR"), str(REPOSITORY / ".servers" / "bin")]
    for folder in folders:
        if folder and os.access(Path(folder) / name, os.X_OK):
            return Path(folder) / name
    on_path = shutil.which(name)
    return Path(on_path) if on_path else None


def require_server(name: str) -> Path:
    """The binary of a server; the test is skipped when it is not installed."""
    found = find_server(name)
    if found is None:
        pytest.skip(f"{name} is not installed; `make servers` installs it")
    return found


def free_port() -> int:
    """A port of this machine that nobody listens to."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def versitygw(tmp_dir: Path) -> Generator[S3Server, None, None]:
    """Run versitygw over a folder below `tmp_dir`."""
    binary = require_server("versitygw")
    root, log, output = tmp_dir / "buckets", tmp_dir / "access.log", tmp_dir / "versitygw.out"
    root.mkdir(parents=True, exist_ok=True)
    access, secret = "scythe-test", "scythe-test-secret"
    port = free_port()
    command = [
        str(binary), "--port", f"127.0.0.1:{port}", "--access-log", str(log), "--quiet", "--keep-alive",
        "posix", str(root),
    ]  # fmt: skip
    # by the environment, so that the list of processes does not show it
    env = {**os.environ, "ROOT_ACCESS_KEY": access, "ROOT_SECRET_KEY": secret}
    with output.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, env=env) as process:
        try:
            _wait_for_port(port, process, output)
            yield S3Server(f"http://127.0.0.1:{port}", access, secret, root, log, process.pid)
        finally:
            _end(process)


@contextmanager
def http_server(handler: Callable[..., BaseHTTPRequestHandler]) -> Generator[int]:
    """Answer requests to this machine in threads; gives the port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(_LOOK_S,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def moto() -> Generator[S3Server, None, None]:
    """Run moto's S3 server in a thread."""
    from moto.s3.responses import S3Response
    from moto.server import ThreadedMotoServer
    from werkzeug.serving import BaseWSGIServer

    # moto looks whether an object is there, and writes it later: of several that may only create it, two could
    writing = threading.RLock()
    writes = {name: _one_at_a_time(getattr(S3Response, name), writing) for name in ("put_object", "_key_response_post")}
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    looks = mock.patch.object(BaseWSGIServer.serve_forever, "__defaults__", (_LOOK_S,))
    with looks, mock.patch.multiple(S3Response, **writes):
        server.start()
        try:
            host, port = server.get_host_and_port()
            yield S3Server(f"http://{host}:{port}", "scythe-test", "scythe-test-secret")
        finally:
            server.stop()


def _one_at_a_time(method: Callable[..., Any], lock: AbstractContextManager[object]) -> Callable[..., Any]:
    @wraps(method)
    def alone(*arguments: Any, **options: Any) -> Any:
        with lock:
            return method(*arguments, **options)

    return alone


def _wait_for_port(port: int, process: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}: {output.read_text()[-2000:]}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the server does not listen after {_START_TIMEOUT_S:.0f} s: {output.read_text()[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    os.kill(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def _parse(line: str) -> S3Request:
    """Read a line in the format of S3's server access logs.

    Key and request are not quoted, though they may hold spaces: the request begins with the first "/" that is
    followed by the bucket, and ends before the status.
    """
    found = _LINE.match(line)
    if found is None:
        raise ValueError(f"the access log holds {line!r}")
    return S3Request(found["operation"], found["bucket"], found["key"], found["request"], int(found["status"]))
