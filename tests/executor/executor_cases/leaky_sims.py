"""An experiment whose rows leave something behind; `LEAKY_*` variables decide what loading it does."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec

if os.environ.get("LEAKY_THREAD"):
    threading.Thread(target=time.sleep, args=(3600,), name="ticker", daemon=True).start()
if os.environ.get("LEAKY_LOAD_S"):
    time.sleep(float(os.environ["LEAKY_LOAD_S"]))

calls = 0


class Row(ExperimentInputSpec):
    kind: str
    value: float = 0.0


class Seen(ExperimentOutputSpec):
    calls: int
    pid: int
    text: str = ""


def simulate(spec: Row) -> Seen:
    global calls
    calls += 1
    text = ""
    if spec.kind == "nap":
        time.sleep(spec.value)
    elif spec.kind == "file":
        # a simulator with a fixed file name
        Path("temp.inp").write_text(f"{spec.value}")
        time.sleep(0.002)
        text = f"{Path('temp.inp').read_text()} {Path('weather/a.epw').read_text()} {Path('case.txt').read_text()}"
        Path("case.txt").write_text("changed")
    elif spec.kind == "list":
        text = " ".join(sorted(path.name for path in Path().iterdir()))
    elif spec.kind == "print":
        print(f"row {spec.value}")
    elif spec.kind == "cut":
        # as when the system ends a process because it needs the memory
        os.kill(os.getpid(), 9)
    elif spec.kind == "fail":
        Path("sub").mkdir()
        Path("sub/out.log").write_text("why")
        raise ValueError("it failed")
    elif spec.kind == "die":
        Path("died.log").write_text("so far")
        os.abort()
    elif spec.kind == "exit":
        os._exit(int(spec.value))
    elif spec.kind == "daemon":
        command = [sys.executable, "-c", "import time; time.sleep(1000)"]
        text = str(subprocess.Popen(command, start_new_session=True).pid)
    elif spec.kind == "orphan":
        # a process whose parent has ended, in a session of its own
        code = (
            "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'], "
            "start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)"
        )
        text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    elif spec.kind == "hang":
        time.sleep(1000)
    elif spec.kind.startswith("import"):
        import slow_to_load

        text = slow_to_load.__name__
        time.sleep(0.8 * (spec.kind == "import-nap"))
    elif spec.kind == "kill-parent":
        os.kill(os.getppid(), 9)
        time.sleep(0.2)
    return Seen(calls=calls, pid=os.getpid(), text=text)
