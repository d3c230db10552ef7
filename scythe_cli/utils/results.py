"""Combining and writing pandas tables of results."""

from __future__ import annotations

from scythe_cli.compat.frames import (
    make_onerow_multiindex_from_dict,
    save_and_upload_parquets,
    serialize_df_dict,
    transpose_dataframe_dict,
)

__all__ = [
    "make_onerow_multiindex_from_dict",
    "save_and_upload_parquets",
    "serialize_df_dict",
    "transpose_dataframe_dict",
]
