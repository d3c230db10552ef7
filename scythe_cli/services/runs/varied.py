"""What varied between the cases of a run, by the statistics that its file of specs keeps: no row is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scythe_cli.core.files import open_regular
from scythe_cli.errors import ScytheError
from scythe_cli.model.spec_rows import NOT_INPUT
from scythe_cli.run.specs_file import SpecFile

if TYPE_CHECKING:
    from scythe_cli.run.layout import RunLayout
    from scythe_cli.storage.base import Storage

__all__ = ["varied_inputs"]

_MAX_REMOTE_BYTES = 16_000_000
"""A larger file is not copied here for this alone."""


def varied_inputs(storage: Storage, run: RunLayout) -> list[str] | None:
    """The inputs that have more than one value, nested ones as dotted names; lists are not told.

    Args:
        storage: Where the run is kept.
        run: The run.

    Returns:
        Their names; None where that is not known: there is no file of specs that can be read, or it lies elsewhere and
        is large.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if storage.local_path(run.specs) is None and storage.size(run.specs) > _MAX_REMOTE_BYTES:
            return None
        with SpecFile.open(storage, run) as specs, open_regular(specs.path) as file:
            return _varied(pq.read_metadata(file))
    except (ScytheError, pa.ArrowException, OSError, ValueError):
        return None


def _varied(metadata: Any) -> list[str]:
    ends: dict[str, set[Any]] = {}
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            name, told = column.path_in_schema, column.statistics
            if ".list." in name or name.split(".")[0] in NOT_INPUT or told is None:
                continue
            found = ends.setdefault(name, set())
            if told.has_min_max:
                found |= {told.min, told.max}
            if told.has_null_count and told.null_count:
                found.add(None)
    return [name for name, found in ends.items() if len(found) > 1]
