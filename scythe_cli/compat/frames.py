"""Combining pandas tables of results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["transpose_dataframe_dict"]


def transpose_dataframe_dict(dataframe_results: Sequence[dict[str, pd.DataFrame]]) -> dict[str, pd.DataFrame]:
    """From tables by name for each spec, to one table by name for all of them.

    Args:
        dataframe_results: One dict a spec; a spec need not have every table.

    Returns:
        For each name, in the order of first appearance, the tables of that name stacked.
    """
    import pandas as pd

    names = dict.fromkeys(name for frames in dataframe_results for name in frames)
    return {name: pd.concat([f[name] for f in dataframe_results if name in f], axis=0) for name in names}
