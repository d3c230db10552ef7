"""Combining and writing pandas tables of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from scythe_cli.core.distribution import needs_extra
from scythe_cli.core.folders import owned_prefix
from scythe_cli.model.file_refs import S3Url

if TYPE_CHECKING:
    import pandas as pd


__all__ = [
    "make_onerow_multiindex_from_dict",
    "save_and_upload_parquets",
    "serialize_df_dict",
    "transpose_dataframe_dict",
]


def transpose_dataframe_dict(dataframe_results: Sequence[dict[str, pd.DataFrame]]) -> dict[str, pd.DataFrame]:
    """From tables by name for each spec, to one table by name for all of them.

    Args:
        dataframe_results: One dict a spec; a spec need not have every table.

    Returns:
        For each name, in the order of first appearance, the tables of that name stacked.
    """
    with needs_extra("pandas", "stacking tables"):
        import pandas as pd

    names = dict.fromkeys(name for frames in dataframe_results for name in frames)
    return {name: pd.concat([f[name] for f in dataframe_results if name in f], axis=0) for name in names}


def serialize_df_dict(dfs: Mapping[str, pd.DataFrame]) -> dict[str, dict[Any, Any]]:
    """Tables as dicts, in the form that `pandas.DataFrame.from_dict(…, orient="tight")` reads."""
    return {name: frame.to_dict(orient="tight") for name, frame in dfs.items()}


def make_onerow_multiindex_from_dict(d: Mapping[str, Any], n_rows: int = 1) -> pd.MultiIndex:
    """An index of equal rows.

    Args:
        d: The value of each level.
        n_rows: How many rows.
    """
    with needs_extra("pandas", "an index"):
        import pandas as pd

    return pd.MultiIndex.from_tuples([tuple(d.values())] * n_rows, names=list(d))


def save_and_upload_parquets(
    collected_dfs: Mapping[str, pd.DataFrame],
    s3: Any,
    bucket: str,
    output_key_constructor: Callable[[str], str],
    save_errors: bool = True,
) -> dict[str, S3Url]:
    """Write tables to a bucket, as Parquet.

    Args:
        collected_dfs: The tables by name.
        s3: A client of boto3.
        bucket: The bucket.
        output_key_constructor: Gives the key for a name.
        save_errors: Whether tables whose names hold "error" are written too; they are, unlike in scythe-engine.

    Returns:
        Where each table is.
    """
    uris: dict[str, S3Url] = {}
    with TemporaryDirectory(prefix=owned_prefix("upload")) as folder:
        for number, (name, frame) in enumerate(collected_dfs.items()):
            if "error" in name.lower() and not save_errors:
                continue
            path, key = Path(folder) / f"{number}.pq", output_key_constructor(name)
            frame.to_parquet(path)
            s3.upload_file(Bucket=bucket, Key=key, Filename=str(path))
            uris[name] = S3Url(f"s3://{bucket}/{key}")
    return uris
