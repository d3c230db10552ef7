"""Whether the experiment of a worker is the one that a run was allocated with."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scythe_cli.engines.hatchet.payloads import RunPointer
from scythe_cli.engines.hatchet.routing import code_fingerprint, route_of, schema_fingerprint
from scythe_cli.executor.code import code_of, comparable_hash, shared_differences, target_of_code
from scythe_cli.model.experiment import RegisteredExperiment
from scythe_cli.model.functions.reference import ExperimentTarget, target_of
from scythe_cli.run.manifest import read_manifest

__all__ = ["Matching", "mismatch"]


_KEPT = 100


class Matching:
    """Compares an experiment with those of runs: once for each run, and from then on its processes load just that.

    Args:
        experiment: The worker's experiment.
        root: The project's folder.
        allows_mismatch: Whether runs of other code are executed as well.

    Attributes:
        target: Where the experiment is, whatever its files say.
        route: The name of the tasks that fit it, as it was at the start.
    """

    def __init__(self, experiment: RegisteredExperiment[Any, Any], root: Path | None, *, allows_mismatch: bool) -> None:
        self.target = target_of(experiment, root=root)
        self._experiment = experiment
        self._root = root
        self._allows_mismatch = allows_mismatch
        self._schema = schema_fingerprint(experiment)
        self.route = self._route_now()
        self._targets: dict[tuple[str, str], ExperimentTarget] = {}

    async def target_for(self, run: RunPointer) -> tuple[ExperimentTarget, str | None]:
        """Where the experiment is, with what its files have to be; and why this worker does not run it, if so.

        Raises:
            StorageError: If the code differs, and the run's manifest, which says where, cannot be read.
        """
        if self._allows_mismatch:
            return self.target, None
        target = None if run.code is None else self._targets.get((run.experiment_id, run.code))
        if target is not None:
            return target, None
        target, reason = await asyncio.to_thread(self._compare, run)
        if reason is None and run.code is not None:
            if len(self._targets) >= _KEPT:
                self._targets.clear()
            self._targets[run.experiment_id, run.code] = target
        return target, reason

    def is_outdated(self) -> bool:
        """Whether the files are not what they were at the start."""
        return self._route_now() != self.route

    def _route_now(self) -> str:
        return route_of(self._experiment.name, self._schema, code_of(self._experiment, self._root))

    def _compare(self, run: RunPointer) -> tuple[ExperimentTarget, str | None]:
        # looked up anew: the processes that run specs load the files as they are when they start
        own = code_of(self._experiment, self._root)
        reason = mismatch(self._experiment, self._schema, own, run)
        target = self.target if reason is not None else target_of_code(self._experiment, self._root, own)
        return target, reason


def mismatch(
    experiment: RegisteredExperiment[Any, Any], own_schema: str, own_code: Mapping[str, str] | None, run: RunPointer
) -> str | None:
    """Why a worker's experiment is not the one that a run was allocated with; None when it is.

    Args:
        experiment: The worker's.
        own_schema: Its `schema_fingerprint`.
        own_code: Its `code_of`.
        run: The run.

    Raises:
        StorageError: If the code differs, and the run's manifest, which says where, cannot be read.
    """
    what = f"{experiment.name!r} on this worker is not the one that the run was allocated with"
    if run.schema_fingerprint != own_schema:
        return f"the input or output model of {what}"
    own = comparable_hash(own_code)
    if own_code is not None and own is not None and run.code is not None and _have_same_trees(own, run.code):
        if own == run.code:
            return None  # whatever the bytes are: comments and layout do not count
        manifest = read_manifest(run.open_storage(), run.layout)
        allocated = {} if manifest is None or manifest.code is None else manifest.code
        if comparable_hash(allocated) == run.code:
            files = shared_differences(own_code, allocated)
            if files:
                return f"the code of {what}: {', '.join(files[:3])}"
        elif own_code.keys() == allocated.keys():
            # a retry has accepted other code; where names agree, the hashes can be compared
            return f"the code of {what}"
    fingerprint = code_fingerprint(experiment)
    if None not in (run.code_fingerprint, fingerprint) and run.code_fingerprint != fingerprint:
        return f"the code of {what}"
    return None


def _have_same_trees(a: str, b: str) -> bool:
    """Whether two hashes are of the same version of Python."""
    return a.partition(":")[0] == b.partition(":")[0]
