"""The specs of runs on this machine: copied once per worker and run, then read row by row without decoding."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from scythe_cli.arrow.build import array_of
from scythe_cli.core.folders import owned_prefix
from scythe_cli.core.text import redact_uri
from scythe_cli.engines.hatchet.payloads import RunPointer
from scythe_cli.engines.hatchet.routing import is_within, place_of
from scythe_cli.errors import ConfigError, StorageError
from scythe_cli.run.specs_file import SpecFile

__all__ = ["SpecStore", "allowed_places"]


_RUNS_KEPT = 4


@dataclass(slots=True)
class _Copy:
    """The specs of one run: uncompressed Arrow, mapped into memory."""

    folder: TemporaryDirectory[str]
    reader: Any
    starts: list[int]
    lock: threading.Lock

    def close(self) -> None:
        self.reader = None
        self.folder.cleanup()


def allowed_places(own: str | None) -> list[str]:
    """The places that a worker works at: those of the same bucket, or in the same folder, as its own storage.

    Args:
        own: The storage that the worker is configured with; without one, nothing is bounded but by
            `SCYTHE_WORKER_STORAGES`, a list of further places.
    """
    named = [place.strip() for place in os.environ.get("SCYTHE_WORKER_STORAGES", "").split(",") if place.strip()]
    if own is not None and own.startswith("s3://"):
        bucket = own.removeprefix("s3://").partition("/")[0]
        return [f"s3://{bucket}", *named]
    return [own, *named] if own is not None else named


class SpecStore:
    """Gives rows of runs, from any thread.

    Args:
        allowed: The places that tasks may name, as `allowed_places` tells them; any without.
    """

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self._allowed = [place_of(place) for place in allowed]
        self._copies: OrderedDict[tuple[str, str, int], _Copy] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, run: RunPointer, rows: Sequence[int]) -> pa.Table:
        """The specs of some rows, ascending, in their order.

        Raises:
            StorageError: If the run's specs cannot be read.
        """
        with self._lock:
            copy = self._copy_of(run)
        batches: list[pa.RecordBatch] = []
        with copy.lock:
            at = 0
            for number, start in enumerate(copy.starts[:-1]):
                first = at
                while at < len(rows) and rows[at] < copy.starts[number + 1]:
                    at += 1
                if at > first:
                    chosen = array_of([row - start for row in rows[first:at]], pa.int64())
                    batches.append(copy.reader.get_batch(number).take(chosen))
            schema: pa.Schema = copy.reader.schema
        return pa.Table.from_batches(batches, schema).replace_schema_metadata(None)

    def admit(self, run: RunPointer) -> None:
        """See that a run lies where this worker's own configuration lets tasks lead it.

        Raises:
            StorageError: If it does not, or names no run.
        """
        try:
            place = place_of(run.storage)
            inside = not self._allowed or any(is_within(place, allowed) for allowed in self._allowed)
            run.layout  # noqa: B018 - it is refused when it is none
        except (ConfigError, ValueError) as error:
            raise StorageError(f"the task names no run: {error}") from None
        if not inside:
            raise StorageError(
                f"this worker does not accept runs at {redact_uri(run.storage)}: it serves {', '.join(self._allowed)}",
                hint="To accept them, add the place to SCYTHE_WORKER_STORAGES where the worker runs.",
            )

    def output_schema(self, run: RunPointer) -> pa.Schema:
        """The schema of the run's outcomes.

        Raises:
            StorageError: If the run's specs cannot be read.
        """
        with self._lock:
            return SpecFile(Path(), self._copy_of(run).reader.schema, run.n_specs).output_schema

    def _copy_of(self, run: RunPointer) -> _Copy:
        key = (run.storage, run.experiment_id, run.n_specs)  # a run that has grown is copied again
        if key not in self._copies:
            self._copies[key] = _make_copy(run)
            while len(self._copies) > _RUNS_KEPT:
                _, oldest = self._copies.popitem(last=False)
                with oldest.lock:
                    oldest.close()
        self._copies.move_to_end(key)
        return self._copies[key]

    def close(self) -> None:
        """Remove all copies."""
        with self._lock:
            for copy in self._copies.values():
                copy.close()
            self._copies.clear()


def _make_copy(run: RunPointer) -> _Copy:
    folder = TemporaryDirectory(prefix=owned_prefix("specs"))
    path = Path(folder.name) / "specs.arrow"
    starts = [0]
    with (
        SpecFile.open(run.open_storage(), run.layout) as specs,
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_file(sink, specs.schema) as writer,
    ):
        for batch in specs.batches():
            writer.write_batch(batch)
            starts.append(starts[-1] + batch.num_rows)
    return _Copy(folder, pa.ipc.open_file(pa.memory_map(str(path))), starts, threading.Lock())
