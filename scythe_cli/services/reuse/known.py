"""What earlier runs have: the specs that have succeeded there, by what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from scythe_cli.arrow.seeds import REPETITION
from scythe_cli.core.states import State
from scythe_cli.errors import StorageError
from scythe_cli.model.outcome_schema import CODE
from scythe_cli.run.input_files import read_listed_files
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.ledger import Ledger, read_part
from scythe_cli.run.outcomes.duplicates import read_duplicates
from scythe_cli.run.outcomes.effective import effective_outcomes
from scythe_cli.run.specs_file import SpecFile
from scythe_cli.services.reuse.identity import KEYS, by_content, row_keys
from scythe_cli.storage.base import Storage

__all__ = ["content_hashes", "succeeded_specs"]


def content_hashes(storage: Storage, run: RunLayout, fields: Sequence[str]) -> dict[str, dict[str, str]]:
    """The content of a run's input files: by field, from where a file is to its SHA-256."""
    hashes: dict[str, dict[str, str]] = {name: {} for name in fields}
    try:
        listed = read_listed_files(storage, run)
    except StorageError:
        return hashes
    for file in listed:
        # one content has one place for all fields
        for known in hashes.values():
            if file.sha256 is not None:
                known[file.uri] = file.sha256
    return hashes


def succeeded_specs(
    storage: Storage, run: RunLayout, names: Sequence[str], files: Sequence[str], *, own_only: bool, code: str | None
) -> pl.DataFrame:
    """The specs of a run that have succeeded: `KEYS`, `REPETITION` and `source_index`, one for each spec that differs.

    With `own_only`, without those that were not run there: their code is not known to be the run's. With `code`, the
    hash of the run's, without those that tell of another one.
    """
    with SpecFile.open(storage, run) as specs, Ledger.open(storage, run) as ledger:
        if set(names) != set(specs.input_names):  # values beyond the model's fields
            return pl.DataFrame(
                schema={**dict.fromkeys(KEYS, pl.UInt64), REPETITION: pl.Int32, "source_index": pl.Int64}
            )
        canonical, unknown = by_content(specs.read(0, specs.n_specs), content_hashes(storage, run, files))
        keys = row_keys(canonical, names).with_columns(_repetitions(canonical)).with_row_index("source_index")
        effective = effective_outcomes(ledger.outcomes(specs.n_specs))
        if code is not None:
            effective = effective.join(_of_other_code(ledger, code), on=["part", "row"], how="anti")
    good = effective.filter(pl.col("state") == State.SUCCEEDED.value)
    if own_only:
        good = good.filter(pl.col("started_at").is_not_null())
    # what was given the outcome of the first of its kind is no repetition of it
    good = good.join(read_duplicates(storage, run), on="sort_index", how="anti").select(source_index="sort_index")
    return (
        keys.with_columns(pl.col("source_index").cast(pl.Int64))
        .filter(~pl.Series(unknown))
        .join(good, on="source_index", how="semi")
        .unique([*KEYS, REPETITION], keep="first", maintain_order=True)
    )


def _of_other_code(ledger: Ledger, code: str) -> pl.DataFrame:
    """The outcomes that tell of other code than this: their `part` and `row`."""
    others = [pl.DataFrame(schema={"part": pl.UInt32, "row": pl.UInt32})]
    for position, part in enumerate(ledger.parts):
        if CODE in part.schema.names:
            told: Any = pl.from_arrow(read_part(part, [CODE]))
            rows = told.select(
                pl.lit(position, pl.UInt32).alias("part"), pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"), CODE
            )
            others.append(rows.filter(pl.col(CODE).is_not_null() & (pl.col(CODE) != code)).select("part", "row"))
    return pl.concat(others)


def _repetitions(specs: pa.Table) -> pl.Series:
    """Which repetition each spec is of what it says; the first where that is not kept, as older runs do not."""
    if REPETITION in specs.column_names:
        kept: Any = pl.from_arrow(specs.column(REPETITION))
        return kept.alias(REPETITION)
    return pl.zeros(specs.num_rows, pl.Int32, eager=True).alias(REPETITION)
