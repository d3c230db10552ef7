"""Whether a node can run cases: a job of a second that reads a file of the storage, and answers in another."""

from __future__ import annotations

import json
import platform
import socket
import sys
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from scythe_cli.config.slurm import SlurmConfig
from scythe_cli.core.cores import usable_cores
from scythe_cli.core.distribution import installed_version
from scythe_cli.engines.base import EngineCheck
from scythe_cli.engines.slurm.commands import Slurm
from scythe_cli.engines.slurm.queue import parse_queue, told_reasons
from scythe_cli.engines.slurm.scripts import batch_script, probe_options
from scythe_cli.storage.base import MissingKeyError, Storage
from scythe_cli.storage.opening import open_storage

__all__ = ["PROBE_MODULE", "answered", "main", "probe_node"]


PROBE_MODULE = "scythe_cli.engines.slurm.probe"

_WAIT_S = 60.0
_UNSEEN_S = 10.0
_PAUSE_S = 0.5


def probe_node(
    slurm: Slurm, storage: Storage, settings: SlurmConfig, *, sleep: Callable[[float], None] = time.sleep
) -> EngineCheck:
    """Have a node read a file of the storage and write another one.

    Raises:
        ConfigError: If the settings ask for what the cluster does not have.
        EngineError: If the job cannot be submitted.
        StorageError: If the storage cannot be used from here.
    """
    mark = uuid4().hex[:12]
    name, question, answer = f"scythe-probe-{mark}", f".scythe-probe/{mark}.ask", f".scythe-probe/{mark}.answer"
    storage.write_bytes(question, mark.encode())
    try:
        told = json.dumps({"storage": storage.location, "question": question, "answer": answer, "mark": mark})
        job = slurm.submit(probe_options(settings, name=name), batch_script(PROBE_MODULE, told, settings.setup))
        waited_s = ended_s = 0.0
        while waited_s < _WAIT_S and ended_s < _UNSEEN_S:
            said = _read(storage, answer)
            if said is not None:
                return answered(said)
            sleep(_PAUSE_S)
            waited_s += _PAUSE_S
            tasks = parse_queue(slurm.queue([name]))
            ended = bool(tasks) and not any(task.is_active for task in tasks)
            if ended and tasks[0].state != "COMPLETED":
                ended_s = _UNSEEN_S
            ended_s += _PAUSE_S if ended else 0.0
        if ended_s:
            detail = f"a node does not see {storage.location}, or not the Python of this project: {sys.executable}"
            remedy = "Keep runs, project and environment in a folder that all nodes share, such as your home."
            return EngineCheck("node", ok=False, detail=detail, remedy=remedy)
        slurm.cancel([job])
        reasons = told_reasons(parse_queue(slurm.queue([name])))
        why = f": {reasons[0]}" if reasons else ""
        detail = f"not tried: a job of a second has not started within {_WAIT_S:.0f} s{why}"
        return EngineCheck("node", ok=True, detail=detail)
    finally:
        storage.discard(question)
        storage.discard(answer)


def _read(storage: Storage, key: str) -> dict[str, Any] | None:
    try:
        return json.loads(storage.read_bytes(key))
    except MissingKeyError:
        return None


def answered(said: dict[str, Any]) -> EngineCheck:
    """What a node's answer means: that it is there, and whether its versions are those of here."""
    ours = _versions()
    theirs = {name: str(said.get(name)) for name in ours}
    shown = f"{said.get('host')} sees the storage; Python {theirs['python']}, scythe {theirs['scythe']}"
    if theirs != ours:
        wanted = f"Python {ours['python']}, scythe {ours['scythe']}"
        return EngineCheck("node", ok=False, detail=f"{shown}; here {wanted}", remedy="Use one environment for both.")
    return EngineCheck("node", ok=True, detail=f"{shown}, {said.get('cores')} cores in a job of one")


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), "scythe": installed_version()}


def main() -> int:
    """Answer the question that standard input tells of; returns the exit code."""
    told = json.loads(sys.stdin.buffer.read())
    storage = open_storage(told["storage"])
    if storage.read_bytes(told["question"]) != told["mark"].encode():
        return 1
    said = {**_versions(), "host": socket.gethostname(), "cores": usable_cores()}
    storage.write_bytes(told["answer"], json.dumps(said).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
