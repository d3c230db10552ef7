"""Templates of pools that have their libraries already: forked from a process that has loaded them, once.

A template is an interpreter that loads this package and its libraries before it loads the experiment, which takes most
of the time of a run of a few rows. Here it begins where an interpreter would be when all of that is loaded. What a test
asks of the executor, or of rows that do harm, it asks of real ones: see `tests/groups.py`.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scythe_cli.core.cores import thread_settings
from scythe_cli.engines import local
from scythe_cli.executor.starting import interpreter
from scythe_cli.executor.starting.interpreter import MARK

_TEMPLATE = "scythe_cli.executor.child.template"
_BYTES = 1 << 18
_OF_TESTS = ("SCYTHE_", "AWS_", "HATCHET_CLIENT_", "PYTEST_", "COLUMNS", "LINES", "TERM", "PWD", MARK)
"""Variables that no interpreter and no library looks at when it is loaded."""

is_used = False
"""Whether templates are forked; otherwise each is an interpreter of its own, as always."""

starts_ahead = True
"""Whether the local engine starts an interpreter while cases are checked."""

_NURSERY = """
import fcntl, gc, json, os, runpy, socket, sys
import {module}, scythe_cli.base, scythe_cli.registry
control = socket.socket(fileno=int(sys.argv[1]))
gc.collect()
gc.freeze()
while True:
    data, fds, _, _ = socket.recv_fds(control, {most}, 16)
    if not data:
        os._exit(0)
    request = json.loads(data)
    if "reap" in request:
        code = os.waitstatus_to_exitcode(os.waitpid(request["reap"], 0)[1])
        control.send(json.dumps({{"code": code}}).encode())
        continue
    pid = os.fork()
    if not pid:
        break
    for fd in fds:
        os.close(fd)
    control.send(json.dumps({{"pid": pid}}).encode())
control.close()
os.setsid()
numbers = request["fds"]
above = max(numbers) + 1
fds = [fcntl.fcntl(fd, fcntl.F_DUPFD, above) for fd in fds]
os.closerange(3, above)
for fd, number in zip(fds, numbers):
    os.dup2(fd, number)
os.closerange(above, max(fds) + 1)
os.chdir(request["cwd"])
os.environ.clear()
os.environ.update(request["env"])
sys.argv = request["argv"]
del sys.modules["{module}"]
del control, data, fds, numbers, above, request, pid, fcntl, socket, json, gc, os
runpy.run_module("{module}", run_name="__main__", alter_sys=True)
"""


class _Nursery:
    """The process that templates are forked from; may be used by several threads."""

    def __init__(self, env: dict[str, str]) -> None:
        self._lock, self._owner = threading.Lock(), os.getpid()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        code = _NURSERY.format(module=_TEMPLATE, most=_BYTES)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", code, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                cwd="/",
                env=env,
            )
        atexit.register(self.close)

    def ask(self, request: dict[str, Any], fds: Sequence[int] = ()) -> dict[str, Any]:
        with self._lock:
            socket.send_fds(self._control, [json.dumps(request).encode()], fds)
            return json.loads(self._control.recv(_BYTES))

    def close(self) -> None:
        if os.getpid() == self._owner:
            self._control.close()
            self._process.kill()
            self._process.wait()


class _Process:
    """A template, as far as it is used like a `Popen`."""

    def __init__(self, nursery: _Nursery, pid: int) -> None:
        self.pid, self.returncode = pid, None
        self._nursery, self._pidfd = nursery, os.pidfd_open(pid)

    def poll(self) -> int | None:
        return self._wait_ms(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._wait_ms(None if timeout is None else timeout * 1000)
        if code is None:
            raise subprocess.TimeoutExpired(_TEMPLATE, timeout or 0)
        return code

    def kill(self) -> None:
        if self.returncode is None:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _wait_ms(self, timeout_ms: float | None) -> int | None:
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            if poll.poll(timeout_ms):
                self.returncode = self._nursery.ask({"reap": self.pid})["code"]
                os.close(self._pidfd)
        return self.returncode


_nurseries: dict[str, _Nursery] = {}
_start_python = interpreter.start_python


def start_warm(module: str, arguments: Sequence[object], fds: Sequence[int], **options: Any) -> Any:
    """Fork a template where it would be the same as one that `start_python` starts, which has the same options."""
    if not is_used or options.get("environment") or module != _TEMPLATE or not sys.platform.startswith("linux"):
        return _start_python(module, arguments, fds, **options)
    env = {
        "PYTHONHASHSEED": "0",
        **os.environ,
        **thread_settings(options["threads"], os.environ),
        MARK: options["mark"],
    }
    same = {name: value for name, value in env.items() if not name.startswith(_OF_TESTS)}
    nursery = _nurseries.get(key := json.dumps(same, sort_keys=True))
    if nursery is None:
        nursery = _nurseries[key] = _Nursery(same)
    numbers = [*fds, 0, 1, 2]
    with Path(os.devnull).open() as nothing:
        answer = nursery.ask(
            {
                "argv": [module, *map(str, arguments)],
                "cwd": options["cwd"] or str(Path.cwd()),
                "env": env,
                "fds": numbers,
            },
            [*fds, nothing.fileno(), options["output"], options["output"]],
        )
    return _Process(nursery, answer["pid"])


interpreter.start_python = start_warm
local.can_fork = lambda: starts_ahead and interpreter.can_fork()
