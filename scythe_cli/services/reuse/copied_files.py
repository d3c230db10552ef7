"""Output files of outcomes that are taken over: copied into the new run, so that it stays a folder of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from scythe_cli.analysis.results.output_files import result_key
from scythe_cli.arrow.build import array_of
from scythe_cli.model.outcome_schema import FILE
from scythe_cli.run.layout import RunLayout
from scythe_cli.storage.base import ForeignKeyError, MissingKeyError, Storage

__all__ = ["with_copied_files"]

_COPIES_AT_ONCE = 8


def with_copied_files(storage: Storage, run: RunLayout, source: RunLayout, outcomes: pa.Table) -> pa.Table:
    """Copy output files into a run.

    Args:
        storage: Where runs are kept.
        run: The run that gets the files.
        source: The run that has them, which may have been copied here from elsewhere.
        outcomes: Rows of the ledger, with the URIs of their files in columns that begin with `FILE`.

    Returns:
        The same with the new URIs; rows of which a file has gone are omitted.

    Raises:
        StorageError: If a file cannot be copied.
    """
    names = [name for name in outcomes.column_names if name.startswith(FILE)]
    if not names:
        return outcomes
    stems: list[Any] = outcomes.column("workflow_run_id").to_pylist()
    missing: set[int] = set()
    with ThreadPoolExecutor(_COPIES_AT_ONCE, thread_name_prefix="scythe-copy") as pool:
        for name in names:
            uris: list[str | None] = outcomes.column(name).to_pylist()
            copier = _Copier(storage, run, source, name.removeprefix(FILE))
            copied = list(pool.map(copier.copy, uris, stems))
            missing |= {row for row, (uri, new) in enumerate(zip(uris, copied, strict=True)) if uri and not new}
            position = outcomes.schema.get_field_index(name)
            outcomes = outcomes.set_column(position, outcomes.schema.field(position), array_of(copied, pa.string()))
    if missing:
        outcomes = outcomes.take(array_of([row for row in range(outcomes.num_rows) if row not in missing], pa.int64()))
    return outcomes


@dataclass(slots=True)
class _Copier:
    """Copies output files of one field into a run."""

    storage: Storage
    run: RunLayout
    source: RunLayout
    field_name: str

    def copy(self, uri: str | None, stem: str) -> str | None:
        """Copy a file; returns where it is now, None where there is none any more.

        What is not in this storage was put elsewhere by the function itself, and stays there.
        """
        if uri is None:
            return None
        key = self.storage.key_of(uri) or result_key(self.storage, self.source, uri)
        if key is None:
            return uri
        target = self.run.result_file(self.field_name, stem, PurePosixPath(key).suffix)
        try:
            self.storage.copy(key, target)
        except (ForeignKeyError, MissingKeyError):
            return None
        return self.storage.uri(target)
