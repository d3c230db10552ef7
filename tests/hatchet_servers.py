"""A real Hatchet engine over a real PostgreSQL, on free ports, each ended by its process id.

The binaries are those that `make servers` installs to `.servers/bin`; `SCYTHE_SERVERS_DIR` names another folder.
PostgreSQL comes from the system (`apt-get install postgresql`).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["HatchetServers", "find_binary", "hatchet_servers", "missing_servers"]

REPOSITORY = Path(__file__).resolve().parents[1]
ENGINE_VERSION = "v0.91.5"
TENANT = "707d0855-80ab-4e1f-a156-f1c4546cbf52"
_BINARIES = ("hatchet-lite", "hatchet-migrate", "hatchet-admin")
_START_TIMEOUT_S = 90.0


def find_binary(name: str) -> Path | None:
    """The binary of a server; None when it is not installed."""
    for folder in (os.environ.get("SCYTHE_SERVERS_DIR"), str(REPOSITORY / ".servers" / "bin")):
        if folder and os.access(Path(folder) / name, os.X_OK):
            return Path(folder) / name
    on_path = shutil.which(name)
    return Path(on_path) if on_path else None


def _find_postgres(name: str) -> Path | None:
    found = shutil.which(name)
    if found:
        return Path(found)
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return next((folder / name for folder in reversed(versions) if (folder / name).exists()), None)


def missing_servers() -> str | None:
    """What is needed and not installed, as a reason to skip; None when all is there."""
    missing = [name for name in _BINARIES if find_binary(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed; `make servers` installs the Hatchet engine"
    if _find_postgres("initdb") is None:
        return "PostgreSQL is not installed, which the engine that `make servers` installs needs"
    return None


def _free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [int(s.getsockname()[1]) for s in sockets]
    finally:
        for s in sockets:
            s.close()


@dataclass
class HatchetServers:
    """PostgreSQL and the engine, which can be killed and started again.

    Attributes:
        folder: Where data, configuration and logs are.
        token: What a client authenticates with; set once the engine has been up.
    """

    folder: Path
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        self._postgres: subprocess.Popen[bytes] | None = None
        self._engine: subprocess.Popen[bytes] | None = None
        ports = _free_ports(6)
        self.postgres_port, self.grpc_port, self.api_port, self.frontend_port, self.runtime_port = ports[:5]
        self.health_port = ports[5]
        # PostgreSQL does not run as root
        self._postgres_user = "postgres" if os.geteuid() == 0 else None

    @property
    def database_url(self) -> str:
        return f"postgres://hatchet@127.0.0.1:{self.postgres_port}/hatchet?sslmode=disable"

    @property
    def env(self) -> dict[str, str]:
        """What a client needs in its environment."""
        return {
            "HATCHET_CLIENT_TOKEN": self.token,
            "HATCHET_CLIENT_TLS_STRATEGY": "none",
            "HATCHET_CLIENT_HOST_PORT": f"127.0.0.1:{self.grpc_port}",
            "HATCHET_CLIENT_SERVER_URL": f"http://127.0.0.1:{self.api_port}",
        }

    @property
    def engine_pid(self) -> int | None:
        return self._engine.pid if self._engine and self._engine.poll() is None else None

    @property
    def postgres_pid(self) -> int | None:
        return self._postgres.pid if self._postgres and self._postgres.poll() is None else None

    def start(self) -> None:
        """Start both, and make a token."""
        self.folder.chmod(0o711)
        self._init_postgres()
        self.start_postgres()
        self._create_database()
        env = self._engine_env()
        self._run([str(find_binary("hatchet-migrate"))], env, "migrate.log")
        admin = str(find_binary("hatchet-admin"))
        config = str(self.folder / "config")
        quickstart = [admin, "quickstart", "--skip", "certs", "--generated-config-dir", config, "--overwrite=false"]
        self._run(quickstart, env, "quickstart.log")
        self.start_engine()
        made = subprocess.run(
            [admin, "token", "create", "--config", config, "--tenant-id", TENANT],
            env=env, cwd=self.folder, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        self.token = made.stdout.strip().splitlines()[-1].strip()

    def start_postgres(self) -> None:
        """Start PostgreSQL over the data that are there."""
        binary = _find_postgres("postgres")
        command = [
            str(binary), "-D", str(self.folder / "postgres"), "-p", str(self.postgres_port), "-h", "127.0.0.1",
            "-c", "unix_socket_directories=", "-c", "max_connections=200",
        ]  # fmt: skip
        self._postgres = self._popen(command, None, "postgres.log", user=self._postgres_user)
        _wait(lambda: _listens(self.postgres_port), self._postgres, self.folder / "postgres.log")

    def start_engine(self) -> None:
        """Start the engine over the database that is there, and wait until it answers."""
        command = [str(find_binary("hatchet-lite")), "--config", str(self.folder / "config")]
        self._engine = self._popen(command, self._engine_env(), "engine.log")
        _wait(self._is_ready, self._engine, self.folder / "engine.log")

    def kill_engine(self) -> None:
        """End the engine as a crash would."""
        self._end(self._engine, signal.SIGKILL)

    def kill_postgres(self) -> None:
        """End PostgreSQL; its data stay."""
        # SIGQUIT: it ends its own processes without writing anything; SIGKILL would leave them behind
        self._end(self._postgres, signal.SIGQUIT)

    def sql(self, statement: str) -> str:
        """Run a statement in the engine's database, and return its rows as text, a line for each."""
        command = [
            str(_find_postgres("psql")), "-h", "127.0.0.1", "-p", str(self.postgres_port), "-U", "hatchet", "-d",
            "hatchet", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "-v", "ON_ERROR_STOP=1", "-c",
            statement,
        ]  # fmt: skip
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    def stop(self) -> None:
        """End both."""
        self._end(self._engine, signal.SIGTERM)
        self._end(self._postgres, signal.SIGINT)

    def _init_postgres(self) -> None:
        data = self.folder / "postgres"
        data.mkdir()
        if self._postgres_user:
            shutil.chown(data, self._postgres_user, self._postgres_user)
        command = [
            str(_find_postgres("initdb")), "-D", str(data), "-U", "hatchet", "-A", "trust", "-E", "UTF8",
            "--locale=C", "--no-sync",
        ]  # fmt: skip
        with self._popen(command, None, "initdb.log", user=self._postgres_user) as process:
            if process.wait(timeout=120):
                raise RuntimeError(f"initdb failed: {_tail(self.folder / 'initdb.log')}")

    def _create_database(self) -> None:
        command = [
            str(_find_postgres("createdb")), "-h", "127.0.0.1", "-p", str(self.postgres_port), "-U", "hatchet",
            "hatchet",
        ]  # fmt: skip
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
            if done.returncode == 0 or "already exists" in done.stderr:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"createdb failed: {done.stderr}")
            time.sleep(0.2)

    def _engine_env(self) -> dict[str, str]:
        assets = self.folder / "assets"
        assets.mkdir(exist_ok=True)
        (assets / "index.html").write_text("<!doctype html><title>Hatchet</title>")
        grpc = f"127.0.0.1:{self.grpc_port}"
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
        return {
            **inherited,
            "DATABASE_URL": self.database_url,
            "SERVER_GRPC_INSECURE": "t",
            "SERVER_GRPC_PORT": str(self.grpc_port),
            "SERVER_GRPC_BIND_ADDRESS": "127.0.0.1",
            "SERVER_GRPC_BROADCAST_ADDRESS": grpc,
            "SERVER_INTERNAL_CLIENT_INTERNAL_GRPC_BROADCAST_ADDRESS": grpc,
            "SERVER_PORT": str(self.api_port),
            "SERVER_URL": f"http://127.0.0.1:{self.api_port}",
            "SERVER_AUTH_COOKIE_DOMAIN": "127.0.0.1",
            "SERVER_AUTH_COOKIE_INSECURE": "t",
            "SERVER_DEFAULT_ENGINE_VERSION": "V1",
            "SERVER_SECURITY_CHECK_ENABLED": "false",
            "SERVER_HEALTHCHECK_PORT": str(self.health_port),
            "SERVER_LOGGER_LEVEL": "warn",
            "DATABASE_LOGGER_LEVEL": "warn",
            "LITE_STATIC_ASSET_DIR": str(assets),
            "LITE_FRONTEND_PORT": str(self.frontend_port),
            "LITE_RUNTIME_PORT": str(self.runtime_port),
        }

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.api_port}/api/ready", timeout=2) as answer:
                return answer.status == 200 and _listens(self.grpc_port)
        except (urllib.error.URLError, OSError, json.JSONDecodeError):
            return False

    def _run(self, command: list[str], env: dict[str, str], log: str) -> None:
        with self._popen(command, env, log) as process:
            if process.wait(timeout=180):
                raise RuntimeError(f"{Path(command[0]).name} failed: {_tail(self.folder / log)}")

    def _popen(
        self, command: list[str], env: dict[str, str] | None, log: str, *, user: str | None = None
    ) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as out:
            # of its own session: Ctrl-C of a test run reaches it by `stop`, in order
            return subprocess.Popen(
                command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=env, cwd="/" if user else self.folder,
                user=user, group=user, start_new_session=True,
            )  # fmt: skip

    @staticmethod
    def _end(process: subprocess.Popen[bytes] | None, number: signal.Signals) -> None:
        if process is None or process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def hatchet_servers() -> Generator[HatchetServers]:
    """Run both servers for the time of a block."""
    with tempfile.TemporaryDirectory(prefix="scythe-hatchet-", ignore_cleanup_errors=True) as folder:
        servers = HatchetServers(Path(folder))
        try:
            servers.start()
            yield servers
        finally:
            servers.stop()


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _wait(ready: object, process: subprocess.Popen[bytes], log: Path) -> None:
    assert callable(ready)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not ready():
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}: {_tail(log)}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"the server is not ready after {_START_TIMEOUT_S:.0f} s: {_tail(log)}")
        time.sleep(0.1)


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:] if log.exists() else ""
