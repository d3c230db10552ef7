"""Which worker a run's tasks go to: one whose code and models are the run's, and that works where the run is kept.

A task's name holds a fingerprint, and a worker serves the names that fit it: the engine keeps a queue for each name,
so that what fits nobody waits without holding up anything else. What workers say of themselves are labels.

| name of a task | who serves it |
| --- | --- |
| `energy.3f2a9b1c0d4e` | workers with just this code and these models |
| `energy.any` | workers that were started with `--allow-mismatch` |
| `energy` | all that have the experiment: for what is triggered by hand, and where versions of Python differ |
"""

from __future__ import annotations

import hashlib
import inspect
import os
import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any

from scythe_cli.core.processes import user_and_host
from scythe_cli.core.records import FleetWorker, WorkerCode
from scythe_cli.executor.code import code_of
from scythe_cli.model.columns import input_columns, outcome_schema, schema_of
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.storage.opening import open_storage

__all__ = [
    "ANY_CODE",
    "NODE_NAME",
    "WorkerRecord",
    "chosen_place",
    "chosen_task",
    "code_fingerprint",
    "is_within",
    "labels_of",
    "place_label",
    "place_of",
    "route_of",
    "run_key",
    "schema_fingerprint",
    "slots_for",
    "told_worker",
    "unserved",
]


NODE_NAME = "scythe_scatter_gather"
"""The name under which workers serve nodes."""

ANY_CODE = "any"
"""In the place of a fingerprint: of a worker that takes runs of other code."""

_CODE = "scythe.code."
_PLACE = "scythe.place."
_MAX_SHOWN = 3


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A worker that is alive.

    Attributes:
        name: Its name.
        serves: The names of the tasks that it serves.
        last_heartbeat_at: When it was last heard of.
        labels: What it says of itself.
        slots: How many tasks it runs at the same time; None when it is not known.
        busy: How many it runs now.
        id: The engine's own name for it.
    """

    name: str
    serves: Collection[str]
    last_heartbeat_at: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    slots: int | None = None
    busy: int | None = None
    id: str = ""

    @property
    def places(self) -> list[str]:
        """Where it works; empty for anywhere."""
        return [place for key, place in self.labels.items() if key.startswith(_PLACE)]

    def admits(self, place: str) -> bool:
        """Whether it takes runs that are kept at a place."""
        places = self.places
        return not places or any(is_within(place, allowed) for allowed in places)

    def code(self, experiment: str) -> dict[str, str]:
        """What it says of its code of an experiment: `route`, `file`, and `of`, the time of its newest file."""
        text = self.labels.get(f"{_CODE}{experiment.lower()}", "")
        return dict(pair.split("=", 1) for pair in text.split() if "=" in pair)

    @property
    def experiments(self) -> list[str]:
        """The experiments that it serves, in lower case."""
        return sorted(key.removeprefix(_CODE) for key in self.labels if key.startswith(_CODE))


def schema_fingerprint(experiment: RegisteredExperiment[Any, Any]) -> str:
    """A hash of the columns of input and output: names and types."""
    digest = hashlib.sha256()
    inputs = schema_of(input_columns(experiment.input_validator_type))
    for schema in (inputs, outcome_schema(experiment.output_validator_type)):
        digest.update(repr([(f.name, str(f.type), f.metadata) for f in schema]).encode())
    return digest.hexdigest()[:16]


def code_fingerprint(experiment: RegisteredExperiment[Any, Any]) -> str | None:
    """A hash of the file that the function is in; None when there is no such file, as in a notebook."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(experiment.fn))
    except TypeError:
        return None
    if file is None:
        return None
    try:
        stat = Path(file).stat()
        return _file_fingerprint(file, stat.st_mtime_ns, stat.st_size)
    except OSError:
        return None


@lru_cache(maxsize=256)
def _file_fingerprint(file: str, mtime_ns: int, size_bytes: int) -> str:
    del mtime_ns, size_bytes  # they tell when the file is another one
    # a checkout on another system may have other line ends
    return hashlib.sha256(Path(file).read_bytes().replace(b"\r\n", b"\n")).hexdigest()[:16]


def route_of(experiment: str, schema: str, code: Mapping[str, str] | None) -> str:
    """The name of the tasks of a run.

    Args:
        experiment: Its name.
        schema: Its `schema_fingerprint`.
        code: Its `code_of`; without one, workers compare what they can themselves.
    """
    if code is None:
        return experiment
    # projects on two machines need not begin at the same folder; each Python has syntax trees of its own
    files = sorted((PurePath(name).name, digest) for name, digest in code.items())
    told = repr((schema, _minor(platform.python_version()), files))
    return f"{experiment}.{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def labels_of(
    experiments: Sequence[RegisteredExperiment[Any, Any]], root: Path | None, places: Sequence[str]
) -> dict[str, str]:
    """What a worker says of itself.

    Args:
        experiments: What it serves.
        root: The project's folder.
        places: Where it works; see `place_of`.
    """
    user, host = user_and_host()
    labels = {"scythe.user": user, "scythe.host": host, "scythe.pid": str(os.getpid())}
    labels["scythe.python"] = platform.python_version()
    labels |= {place_label(place): place for place in places}
    for experiment in experiments:
        code = code_of(experiment, root)
        facts = {
            "route": route_of(experiment.name, schema_fingerprint(experiment), code),
            "file": code_fingerprint(experiment),
            "of": _newest(code or {}, root),
        }
        told = " ".join(f"{key}={value}" for key, value in facts.items() if value)
        labels[f"{_CODE}{experiment.name.lower()}"] = told
    return labels


def _newest(code: Mapping[str, str], root: Path | None) -> str | None:
    times = [path.stat().st_mtime for name in code if (path := (root or Path.cwd()) / name).is_file()]
    return datetime.fromtimestamp(max(times), UTC).strftime("%Y-%m-%dT%H:%M") if times else None


def place_of(location: str) -> str:
    """A location in its one form; of a folder, where its links lead."""
    place = open_storage(location).location
    return place if "://" in place else os.path.realpath(place)


@lru_cache(maxsize=256)
def run_key(storage: str, experiment_id: str) -> str:
    """What no other run has, of whatever storage.

    Args:
        storage: Where it is kept.
        experiment_id: The run.
    """
    return hashlib.sha256(f"{place_of(storage)}\n{experiment_id}".encode()).hexdigest()[:16]


def is_within(place: str, allowed: str) -> bool:
    """Whether a place is another one, or inside of it."""
    return place == allowed or place.startswith(f"{allowed.rstrip('/')}/")


def place_label(place: str) -> str:
    """The label of workers that work at a place."""
    return _PLACE + hashlib.sha256(place.encode()).hexdigest()[:12]


def chosen_task(experiment: str, route: str, file: str | None, workers: Sequence[WorkerRecord]) -> str:
    """The name of the tasks that a run asks for, by who is there.

    Args:
        experiment: The name of the experiment.
        route: The name that says its code: `route_of`.
        file: Its `code_fingerprint`.
        workers: The workers that are alive.
    """
    if any(route.lower() in worker.serves for worker in workers):
        return route
    any_code = f"{experiment}.{ANY_CODE}"
    if any(any_code.lower() in worker.serves for worker in workers):
        return any_code
    minor = _minor(platform.python_version())
    for worker in workers:
        # syntax trees of other versions of Python cannot be compared, but bytes of files can
        is_other = _minor(worker.labels.get("scythe.python", minor)) != minor
        if is_other and file is not None and worker.code(experiment).get("file") == file:
            return experiment
    return route


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def chosen_place(place: str, workers: Sequence[WorkerRecord]) -> str | None:
    """The label that workers need to have for a run; None where all that are there take it, or none does.

    Args:
        place: Where it is kept: `place_of`.
        workers: The workers that are alive.
    """
    fitting = [worker for worker in workers if worker.admits(place)]
    if len(fitting) in (0, len(workers)):
        return None
    allowed = [{each for each in worker.places if is_within(place, each)} for worker in fitting]
    common = set[str].intersection(*allowed)
    return place_label(min(common)) if common else None


def unserved(experiment: str, task: str, place: str, workers: Sequence[WorkerRecord]) -> str | None:
    """Why nobody works on a run; None when somebody can.

    Args:
        experiment: The name of the experiment.
        task: The name of the run's tasks.
        place: Where it is kept: `place_of`.
        workers: The workers that are alive.
    """
    serving = [worker for worker in workers if experiment.lower() in worker.serves]
    nodes = [worker for worker in workers if NODE_NAME in worker.serves]
    if not serving:
        return f"no worker serves {experiment!r}; `scythe worker` starts one"
    fitting = [worker for worker in serving if task.lower() in worker.serves]
    if not fitting:
        theirs = _listed({_described(worker, experiment) for worker in serving})
        return f"{_serve(serving, experiment)}, none with this run's code (theirs is {theirs})"
    if not any(worker.admits(place) for worker in fitting):
        theirs = _listed({each for worker in fitting for each in worker.places})
        return f"{_serve(fitting, experiment)}, none takes runs kept at {place} (theirs: {theirs})"
    if not any(worker.admits(place) for worker in nodes):
        if not nodes:
            return "no worker runs scatter/gather; `scythe worker` without --no-fan does"
        theirs = _listed({each for worker in nodes for each in worker.places})
        return f"no worker that runs scatter/gather takes runs kept at {place} (theirs: {theirs})"
    return None


def slots_for(task: str, place: str, workers: Sequence[WorkerRecord]) -> int | None:
    """How many tasks of a run can run at the same time; None where no worker says so.

    Args:
        task: The name of the run's tasks.
        place: Where it is kept: `place_of`.
        workers: The workers that are alive.
    """
    slots = [worker.slots or 0 for worker in workers if task.lower() in worker.serves and worker.admits(place)]
    return sum(slots) or None


def told_worker(worker: WorkerRecord, routes: Mapping[str, str]) -> FleetWorker:
    """A worker, for people.

    Args:
        worker: The worker.
        routes: By experiment, in lower case: the name of the tasks that fit this project's code.
    """
    code: list[WorkerCode] = []
    for experiment in worker.experiments:
        changed = worker.code(experiment).get("of")
        route = routes.get(experiment)
        code.append(
            WorkerCode(
                experiment=experiment,
                changed_at=None if changed is None else datetime.fromisoformat(changed).replace(tzinfo=UTC),
                same=None if route is None else route.lower() in worker.serves,
            )
        )
    return FleetWorker(
        name=worker.name,
        host=worker.labels.get("scythe.host"),
        user=worker.labels.get("scythe.user"),
        python=worker.labels.get("scythe.python"),
        slots=worker.slots,
        busy=worker.busy,
        last_seen_at=worker.last_heartbeat_at,
        scatter_gather=NODE_NAME in worker.serves,
        any_code=any(name.endswith(f".{ANY_CODE}") for name in worker.serves),
        code=code,
        storage=sorted(worker.places),
    )


def _serve(workers: Sequence[WorkerRecord], experiment: str) -> str:
    n = len(workers)
    return f"{n} worker{'' if n == 1 else 's'} serve{'s' if n == 1 else ''} {experiment!r}"


def _described(worker: WorkerRecord, experiment: str) -> str:
    changed = worker.code(experiment).get("of")
    of = f"of {changed.replace('T', ' ')} UTC" if changed else "not known"
    host = worker.labels.get("scythe.host")
    return f"{of}, on {host}" if host else of


def _listed(items: Collection[str]) -> str:
    shown = sorted(items)[:_MAX_SHOWN]
    more = len(items) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")
