"""The file inputs of a run's specs by the names of their source files, beside its tables.

Final tables hold no references to input files: these tell where a run is kept, and runs that say the same would have
tables that do not. What reads tables for people puts the names of the files beside them, from `specs.pq` and
`input_artifacts.yml`, so that rows can be grouped by weather file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from scythe_cli.analysis.results.tables import index_levels, local_copy, reading
from scythe_cli.arrow.build import integer_cells
from scythe_cli.core.distribution import needs_extra
from scythe_cli.run.input_files import read_listed_files
from scythe_cli.run.outcomes.error_groups import ERROR_COLUMNS
from scythe_cli.run.specs_file import input_file_names
from scythe_cli.storage.download import safe_name

if TYPE_CHECKING:
    import pandas as pd

    from scythe_cli.run.stored_run import StoredRun

__all__ = ["SourceNames", "levels_at", "named_pandas", "named_table", "shown_columns", "source_names"]


_SORT = "sort_index"
_HASH_DIGITS = 8


@dataclass(frozen=True, slots=True)
class SourceNames:
    """The names of the files that each spec of a run was allocated with.

    Attributes:
        columns: By input field: one name for each spec, in the order of `sort_index`; dictionaries of texts.
    """

    columns: dict[str, pa.DictionaryArray[Any, Any]]

    def of(self, field: str, sort_index: Any) -> pa.Array[Any]:
        """The names that some specs have; null for a spec without such a file.

        Args:
            field: The input field.
            sort_index: An Arrow array of int64.
        """
        column = self.columns[field]
        positions = integer_cells(sort_index.cast(pa.int64()).fill_null(-1)).copy()
        positions[positions >= len(column)] = -1
        return column.take(pa.array(positions, pa.int64(), mask=positions < 0))

    def frame(self) -> pl.DataFrame:
        """`sort_index`, and a column of texts for each field."""
        n = max((len(column) for column in self.columns.values()), default=0)
        frame = pl.DataFrame({_SORT: pl.Series(np.arange(n), dtype=pl.Int64)})
        return frame.with_columns(
            cast("pl.Series", pl.from_arrow(column)).cast(pl.String).alias(name)
            for name, column in self.columns.items()
        )


def source_names(run: StoredRun) -> SourceNames:
    """The names of the files that each spec of a run was allocated with.

    Of files with different contents and the same name, each name has the beginning of its content's hash behind it.
    There are none for a run whose tables have references to files as levels.

    Raises:
        StorageError: If the specs or the list of input files cannot be read.
    """
    if not run.storage.exists(run.layout.specs):
        return SourceNames({})
    with reading(run.storage, run.layout.specs):
        path = local_copy(run.storage, run.layout.specs)
        names = input_file_names(pq.read_schema(path))
        if not names:
            return SourceNames({})
        stat = path.stat()
    return _read(run, str(path), (stat.st_size, stat.st_mtime_ns), tuple(names))


@lru_cache(maxsize=4)
def _read(run: StoredRun, path: str, _state: tuple[int, int], names: tuple[str, ...]) -> SourceNames:
    listed = read_listed_files(run.storage, run.layout)
    known = {file.uri: (file.source_name or safe_name(file.uri), file.sha256 or _hash_of(file.uri)) for file in listed}
    with reading(run.storage, run.layout.specs):
        table = pq.read_table(path, columns=list(names), read_dictionary=list(names)).unify_dictionaries()
        return SourceNames({name: _named(table.column(name).combine_chunks(), known) for name in names})


def _named(column: Any, known: Mapping[str, tuple[str, str]]) -> pa.DictionaryArray[Any, Any]:
    """A column of references as names."""
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    uris = column.dictionary.to_pylist()
    files = [known.get(uri) or (safe_name(uri), _hash_of(uri)) for uri in uris]
    contents: dict[str, set[str]] = defaultdict(set)
    for name, content in files:
        contents[name].add(content)
    # of an address only the hash is shown: it may hold a key
    shown = [name if len(contents[name]) == 1 else f"{name} ({content[:_HASH_DIGITS]})" for name, content in files]
    # one content may have several places, and a dictionary has no value twice
    texts = list(dict.fromkeys(shown))
    position = {text: number for number, text in enumerate(texts)}
    to = np.array([*(position[text] for text in shown), -1], np.int32)
    codes = to[integer_cells(column.indices.cast(pa.int64()).fill_null(-1))] if len(column) else np.array([], np.int32)
    return cast(
        "Any",
        pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32(), mask=codes < 0), pa.array(texts, pa.string())),
    )


def _hash_of(uri: str) -> str:
    return sha256(uri.encode()).hexdigest()


def shown_columns(files: SourceNames, table: str, columns: Sequence[str]) -> dict[str, str]:
    """What the columns with names of files are called in a table, by field.

    In `errors`, they stand in place of the references.
    """
    shown: dict[str, str] = {}
    for name in files.columns:
        if table == "errors":
            shown[name] = f"input_{name}" if name in ERROR_COLUMNS else name
        else:
            free = name
            while free in columns or free in shown.values():
                free = f"input_{free}"
            shown[name] = free
    return shown


def named_table(run: StoredRun, table: str, frame: pl.LazyFrame, levels: Sequence[str]) -> pl.LazyFrame:
    """A table with the names of file inputs, behind the levels of its index.

    Args:
        run: The run.
        table: The table's name.
        frame: The table.
        levels: The levels of its index.
    """
    columns = list(frame.collect_schema())
    files = source_names(run) if _SORT in columns else SourceNames({})
    if not files.columns:
        return frame
    shown = shown_columns(files, table, columns)
    names = files.frame().rename(shown).lazy()
    rest = frame.drop([name for name in shown.values() if name in columns])
    joined = rest.join(names, on=_SORT, how="left", maintain_order="left")
    before = [name for name in columns if name in levels]
    new = [name for name in shown.values() if name not in columns]
    after = [name for name in columns if name not in before]
    return joined.select(*before, *new, *after)


def named_pandas(run: StoredRun, frame: pd.DataFrame, *, as_columns: bool = False) -> pd.DataFrame:
    """A table as pandas reads it, with the names of file inputs as further levels of its index, or as first columns."""
    with needs_extra("pandas", "a table of pandas"):
        import pandas as pd

    index: Any = frame.index
    files = source_names(run) if _SORT in index.names else SourceNames({})
    if not files.columns:
        return frame
    sort_index = pa.array(index.get_level_values(_SORT).to_numpy(), pa.int64())
    shown = shown_columns(files, "", [*map(str, index.names), *map(str, frame.columns)])
    names = {to: files.of(name, sort_index).cast(pa.string()).to_pandas() for name, to in shown.items()}
    if as_columns:
        return pd.concat([pd.DataFrame({to: texts.to_numpy() for to, texts in names.items()}, index), frame], axis=1)
    levels = [index.get_level_values(position) for position in range(index.nlevels)]
    named = pd.MultiIndex.from_arrays([*levels, *names.values()], names=[*index.names, *names])
    return frame.set_axis(named, axis=0)


def levels_at(path: Any) -> list[str]:
    """The levels of the index of a table in a local file."""
    return index_levels(pq.read_schema(path))
