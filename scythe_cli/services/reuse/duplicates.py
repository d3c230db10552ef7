"""Specs that are the same as another one of their run: run once, and the outcome given to all.

`duplicates.pq` says which: `sort_index` of each that is not run itself, and `same_as`, that of the first of its kind.
Whenever the final tables are made, outcomes that have come in meanwhile are given to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
import pyarrow as pa

from scythe_cli.services.reuse.identity import KEYS, by_content, row_keys

__all__ = ["find_duplicates"]


def find_duplicates(inputs: pa.Table, names: Sequence[str], hashes: Mapping[str, Mapping[str, str]]) -> pl.DataFrame:
    """Find specs that are the same as an earlier one.

    Args:
        inputs: Input columns.
        names: The columns that count.
        hashes: By file column, from each reference to the SHA-256 of the file. Of a file whose content is not known,
            the reference itself counts.

    Returns:
        `sort_index` and `same_as`, ascending; the first of each kind is not in it.
    """
    canonical, _ = by_content(inputs, hashes)
    return (
        row_keys(canonical, names)
        .with_row_index("sort_index")
        .with_columns(pl.col("sort_index").cast(pl.Int64))
        .with_columns(same_as=pl.col("sort_index").min().over(KEYS))
        .filter(pl.col("sort_index") != pl.col("same_as"))
        .select("sort_index", "same_as")
    )
