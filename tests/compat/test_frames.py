from __future__ import annotations

import pandas as pd

from scythe_cli.utils.results import transpose_dataframe_dict


def test_tables_are_stacked_by_name() -> None:
    a, b = pd.DataFrame({"x": [1]}, index=[7]), pd.DataFrame({"x": [2]}, index=[8])
    stacked = transpose_dataframe_dict([{"second": b}, {}, {"first": a, "second": a}])
    assert list(stacked) == ["second", "first"]
    assert stacked["second"].index.to_list() == [8, 7]
    assert stacked["second"]["x"].to_list() == [2, 1]
    assert stacked["first"].equals(a)
    assert transpose_dataframe_dict([]) == {}
