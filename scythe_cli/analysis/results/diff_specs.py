"""Which spec of one run is which spec of another: a spec is the same when its inputs say the same.

Its place in the run counts for nothing, a file counts by its content, and of equal specs the first goes with the first,
the second with the second, and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import cast

import polars as pl
import pyarrow.parquet as pq

from scythe_cli.analysis.results.source_names import source_names
from scythe_cli.analysis.results.tables import index_levels, local_copy, reading, scan_table
from scythe_cli.errors import NotFoundError, UsageError
from scythe_cli.model.outcome_schema import FILE
from scythe_cli.model.spec_rows import NOT_INPUT
from scythe_cli.run.input_files import read_listed_files
from scythe_cli.run.specs_file import SpecFile
from scythe_cli.run.stored_run import StoredRun

__all__ = [
    "NTH",
    "PAIR",
    "SORT",
    "A",
    "B",
    "DiffSide",
    "cast_to",
    "common_type",
    "match_specs",
    "numbered",
    "same_types",
]


SORT = "sort_index"
A, B, NTH, PAIR = ":a", ":b", ":nth", ":pair"
"""Names of columns that no model can have: a field's name is an identifier."""


class DiffSide:
    """One of the two runs.

    Attributes:
        run: The run.
        keys: Its final tables: name to key.
        inputs: The names of its input columns.
        specs: `sort_index` (int64) and the inputs, one row for each spec.

    Raises:
        NotFoundError: If the run has no specs.
        StorageError: If they cannot be read.
    """

    def __init__(self, run: StoredRun) -> None:
        self.run = run
        self.keys = run.table_keys()
        if not run.storage.exists(run.layout.specs):
            raise NotFoundError(f"{run.experiment_id} has no specs.pq, so its cases cannot be matched")
        with reading(run.storage, run.layout.specs):
            frame = scan_table(run.storage, run.layout.specs).collect()
        if SORT not in frame.columns:
            frame = frame.with_row_index(SORT).with_columns(pl.col(SORT).cast(pl.Int64))
        self.inputs = [name for name in frame.columns if name not in NOT_INPUT]
        self.specs = frame.select(SORT, *self.inputs)

    @cached_property
    def shown(self) -> pl.DataFrame:
        """The specs with each file by the name of its source file."""
        files = source_names(self.run)
        return self.specs.with_columns(
            cast("pl.Series", pl.from_arrow(files.of(name, self.specs[SORT].to_arrow()))).cast(pl.String).alias(name)
            for name in files.columns
        )

    def contents(self) -> dict[str, str]:
        """URI to the hash of the content, of all uploaded files."""
        listed = read_listed_files(self.run.storage, self.run.layout)
        return {file.uri: f"sha256:{file.sha256}" for file in listed if file.sha256 is not None}

    def canonical(self) -> pl.DataFrame:
        """The specs with each file named by its content, nested values as JSON, and -0.0 as 0.0."""
        hashes = self.contents()
        columns: list[pl.Expr] = []
        for name, dtype in self.specs.schema.items():
            column = pl.col(name)
            if dtype == pl.String and hashes and name != SORT:
                column = column.replace(hashes)
            elif dtype.is_float():
                column = column + 0.0
            elif dtype.is_nested():
                column = _nested_text(column, dtype, hashes)
            columns.append(column.alias(name))
        return self.specs.select(columns)

    @cached_property
    def output_files(self) -> list[str]:
        """The output files that its specs can have, set or not; a run of scythe-engine does not tell."""
        with SpecFile.open(self.run.storage, self.run.layout) as specs:
            return [name.removeprefix(FILE) for name in specs.output_schema.names if name.startswith(FILE)]

    def frame(self, name: str) -> pl.DataFrame:
        """A final table."""
        key = self.keys[name]
        with reading(self.run.storage, key):
            return scan_table(self.run.storage, key).collect()

    def levels(self, name: str) -> list[str]:
        """The levels of the index of a final table."""
        key = self.keys[name]
        with reading(self.run.storage, key):
            return index_levels(pq.read_schema(local_copy(self.run.storage, key)))


def _nested_text(column: pl.Expr, dtype: pl.DataType, hashes: Mapping[str, str]) -> pl.Expr:
    """A nested value as text; file references inside as their contents."""
    text = pl.struct(column.alias("v")).struct.json_encode() if dtype.is_nested() else column.cast(pl.String)
    if not hashes:
        return text
    return text.str.replace_many(list(hashes), list(hashes.values()))


def match_specs(sides: tuple[DiffSide, DiffSide]) -> tuple[pl.DataFrame, list[str]]:
    """Which spec of the one is which spec of the other.

    Returns:
        `:a` and `:b`, the `sort_index` of a spec in both runs, null where a run has it not; and the input columns that
        specs were matched by.
    """
    common = [name for name in sides[0].inputs if name in sides[1].inputs]
    if not common and (sides[0].inputs or sides[1].inputs):
        raise UsageError(
            f"{sides[0].run.experiment_id} and {sides[1].run.experiment_id} have no input in common",
            hint="Compare two runs of the same experiment.",
        )
    of_a, of_b = same_types(sides[0].canonical(), sides[1].canonical(), common)
    key = [*common, NTH]
    of_a = numbered(of_a, common).select(*key, pl.col(SORT).alias(A))
    of_b = numbered(of_b, common).select(*key, pl.col(SORT).alias(B))
    pairs = of_a.join(of_b, on=key, how="full", nulls_equal=True).select(A, B)
    return pairs.sort(A, B, nulls_last=True), common


def numbered(frame: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Count equal rows, from 0."""
    nth = pl.int_range(pl.len(), dtype=pl.UInt32)
    return frame.with_columns((nth.over(by) if by else nth).alias(NTH))


def same_types(of_a: pl.DataFrame, of_b: pl.DataFrame, names: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bring columns to one type: numbers to numbers, and else to text."""
    for name in names:
        a, b = of_a.schema[name], of_b.schema[name]
        if a != b:
            to = common_type(a, b)
            of_a, of_b = of_a.with_columns(cast_to(name, a, to)), of_b.with_columns(cast_to(name, b, to))
    return of_a, of_b


def common_type(a: pl.DataType, b: pl.DataType) -> pl.DataType:
    """The type that two columns are compared in."""
    if a == pl.Null:
        return b
    if b == pl.Null:
        return a
    if a.is_numeric() and b.is_numeric():
        return pl.Int64() if a.is_integer() and b.is_integer() else pl.Float64()
    return pl.String()


def cast_to(name: str, dtype: pl.DataType, to: pl.DataType) -> pl.Expr:
    """A column in another type; what cannot be so is null."""
    column = pl.col(name)
    if dtype.is_nested() and to == pl.String:
        return _nested_text(column, dtype, {}).alias(name)
    return column.cast(to, strict=False)
