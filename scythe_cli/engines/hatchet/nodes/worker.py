"""A worker: a process that serves the nodes of scatter/gather and the tasks of experiments until it is told to end."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scythe_cli.core.cores import share_of_cores, thread_settings
from scythe_cli.engines.hatchet.nodes.leaf import LeafRunner
from scythe_cli.engines.hatchet.nodes.process_pool import ProcessPool
from scythe_cli.engines.hatchet.nodes.shutdown import end_at_once, lifespan_of, stop_at_second_signal
from scythe_cli.engines.hatchet.nodes.specstore import SpecStore, allowed_places
from scythe_cli.engines.hatchet.routing import labels_of, place_of, slots_for
from scythe_cli.engines.hatchet.workflows import real_workflows
from scythe_cli.errors import EngineError, StoppedError, StorageError
from scythe_cli.model.experiment import RegisteredExperiment

if TYPE_CHECKING:
    from scythe_cli.engines.hatchet.client import Connection
    from scythe_cli.engines.hatchet.payloads import RunPointer


__all__ = ["WorkerOptions", "serve"]


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker is.

    Attributes:
        name: Its name.
        slots: How many specs run at the same time.
        durable_slots: How many nodes of scatter/gather are kept.
        labels: What experiments can ask for.
        runs_nodes: Whether it runs the nodes of scatter/gather.
        allow_mismatch: Whether it runs specs of runs that another version of the code allocated.
        root: The project's folder, from which modules are imported.
        storage: Where output files go of specs that were triggered by hand; each run says where its own go.
        embedded: Whether the engine is one that lives beside this process; what this process was started for when
            None.
        health_port: Where it tells its health and its metrics; None for nowhere.
        namespace: What its tasks are named under, unless HATCHET_CLIENT_NAMESPACE says it.
    """

    name: str
    slots: int
    durable_slots: int
    labels: Mapping[str, str | int]
    runs_nodes: bool
    allow_mismatch: bool
    root: Path | None
    storage: str | None
    embedded: bool | None = None
    health_port: int | None = None
    namespace: str | None = None


def serve(
    options: WorkerOptions,
    experiments: Sequence[RegisteredExperiment[Any, Any]],
    workflows: Sequence[Any],
) -> None:
    """Serve experiments until the process is told to end; the first signal drains, the second ends it at once.

    Args:
        options: What the worker is.
        experiments: Under the names that they have.
        workflows: Hatchet workflows, as they are.

    Raises:
        EngineError: If the engine cannot be reached.
        StoppedError: If it was ended at once.
    """
    from scythe_cli.engines.hatchet.client import connect
    from scythe_cli.engines.hatchet.connection import get_hatchet
    from scythe_cli.engines.hatchet.nodes import tasks

    connection = connect(get_hatchet(options.embedded, options.namespace))
    if options.health_port is not None:
        health = connection.hatchet.config.healthcheck
        health.enabled, health.port = True, options.health_port
    # each slot is a process: together they use the cores once
    os.environ.update(thread_settings(share_of_cores(options.slots), os.environ))
    warm_up(options.storage)
    places = allowed_places(options.storage)
    specs = SpecStore(places)
    pool = ProcessPool(options.slots)
    labels = {**options.labels, **labels_of(experiments, options.root, [place_of(place) for place in places])}
    with ThreadPoolExecutor(options.slots, thread_name_prefix="scythe-slot") as threads:
        served: list[Any] = []
        if options.runs_nodes:
            served.append(tasks.node_task(connection.hatchet, specs, lambda run: _slots_for(connection, run)))
        for experiment in experiments:
            waiting = connection.waiting_tasks(experiment.name) if options.allow_mismatch else set[str]()
            runner = LeafRunner(
                experiment=experiment,
                root=options.root,
                pool=pool,
                threads=threads,
                specs=specs,
                worker=f"{options.name}@{socket.gethostname()}",
                default_storage=options.storage or str(Path("runs").absolute()),
                allow_mismatch=options.allow_mismatch,
                further_names=waiting,
                outdated=_drain_once,
            )
            served += tasks.leaf_tasks(connection.hatchet, runner)
        served += real_workflows(workflows)
        try:
            if experiments:
                pool.start_spare()
            # the worker itself ends the process when it cannot register: find out before, and say why
            connection.register(served)
            _run_until_told_to_end(replace(options, labels=labels), connection, served, pool)
        finally:
            pool.close()
            specs.close()


def _slots_for(connection: Connection, run: RunPointer) -> int | None:
    """How many tasks of a run its workers take at the same time; None where that is not known."""
    try:
        return slots_for(run.task_name, place_of(run.storage), connection.workers())
    except EngineError:
        return None


def _drain_once(reason: str) -> None:
    """End as at a signal: whoever has started this worker starts it again, with the code as it is now."""
    if _drain_reasons:
        return
    _drain_reasons.append(reason)
    logging.getLogger("hatchet").warning("this worker takes nothing more and ends; start it again: %s", reason)
    os.kill(os.getpid(), signal.SIGTERM)


_drain_reasons: list[str] = []


def _run_until_told_to_end(
    options: WorkerOptions, connection: Connection, served: Sequence[Any], pool: ProcessPool
) -> None:
    made: list[Any] = []
    heed: list[Callable[[], None]] = []
    try:
        worker = connection.hatchet.worker(
            options.name,
            slots=options.slots,
            durable_slots=options.durable_slots,
            labels=dict(options.labels) or None,
            workflows=list(served),
            lifespan=lifespan_of(lambda: made[0] if made else None, lambda: heed[0]()),
        )
        made.append(worker)
        heed.append(stop_at_second_signal(pool.kill))
        worker.start()
    except SystemExit as end:
        if end.code not in (0, None):
            end_at_once()
            raise StoppedError("stopped at once; another worker runs again what was running") from None


def warm_up(storage: str | None) -> None:
    """Load now what the first task would have to wait for."""
    for name in ("scythe_cli.run.final.gather", "polars"):
        importlib.import_module(name)
    if storage is not None and storage.startswith("s3://"):
        from scythe_cli.storage.s3_client import client_of_process

        # runs say themselves where they are kept: what is wrong here may concern none, or else its tasks tell it
        with contextlib.suppress(StorageError):
            client_of_process().prepare(storage)
