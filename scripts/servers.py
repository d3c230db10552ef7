"""Real servers for a person at work: PostgreSQL, the Hatchet engine, and an S3 server.

    python scripts/servers.py up        # starts them, and prints the variables to export
    eval "$(python scripts/servers.py up)"
    python scripts/servers.py env       # prints the variables again
    python scripts/servers.py down      # ends them; their data are removed

The binaries are those that `make servers` installs. Everything lies in `.servers/run`; a process stays in the
background and ends all servers when it is told to end.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from tests.hatchet_servers import hatchet_servers, missing_servers  # noqa: E402
from tests.servers import versitygw  # noqa: E402

FOLDER = REPOSITORY / ".servers" / "run"
PID = FOLDER / "servers.pid"
ENV = FOLDER / "env"
LOG = FOLDER / "servers.log"
BUCKET = "scythe"


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["up", "env", "down", "serve"])
    action = parser.parse_args().action
    {"up": up, "env": env, "down": down, "serve": serve}[action]()


def up() -> None:
    """Start the servers in the background, and print the variables."""
    reason = missing_servers()
    if reason:
        sys.exit(reason)
    if _pid() is None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        ENV.unlink(missing_ok=True)
        with LOG.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, __file__, "serve"], stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        while not ENV.exists():
            if process.poll() is not None:
                sys.exit(f"the servers did not start:\n{LOG.read_text()}")
            time.sleep(0.2)
    env()


def env() -> None:
    """Print the variables of servers that are up."""
    if _pid() is None:
        sys.exit("the servers are not up")
    print(ENV.read_text(), end="")


def down() -> None:
    """End the servers."""
    pid = _pid()
    if pid is None:
        sys.exit("the servers are not up")
    os.kill(pid, signal.SIGTERM)
    while _pid() is not None:
        time.sleep(0.1)


def serve() -> None:
    """Run the servers until this process is told to end."""
    ended: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: ended.append(number))
    PID.write_text(str(os.getpid()))
    shutil.rmtree(FOLDER / "s3", ignore_errors=True)  # of servers that were killed
    try:
        with hatchet_servers() as hatchet, versitygw(FOLDER / "s3") as s3:
            s3.new_bucket(BUCKET)
            variables = {**hatchet.env, **s3.env, "SCYTHE_STORAGE_URI": f"s3://{BUCKET}/runs"}
            lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
            lines.append(f"# the dashboard: http://127.0.0.1:{hatchet.runtime_port}")
            # the token is for this machine's user alone
            partial = ENV.with_suffix(".partial")
            partial.touch(mode=0o600)
            partial.write_text("\n".join(lines) + "\n")
            partial.rename(ENV)
            while not ended:
                time.sleep(0.2)
    finally:
        ENV.unlink(missing_ok=True)
        PID.unlink(missing_ok=True)
        shutil.rmtree(FOLDER / "s3", ignore_errors=True)


def _pid() -> int | None:
    try:
        pid = int(PID.read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid


if __name__ == "__main__":
    main()
