"""Where the cases of a run came from, as it is kept: also after an extension that did not finish."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from scythe_cli.errors import StorageError
from scythe_cli.run.chain.lineage import read_lineage, write_lineage
from scythe_cli.run.chain.records import Upstream, UpstreamRecord
from scythe_cli.storage.base import Storage
from scythe_cli.storage.opening import open_storage
from tests.made_runs import LAYOUT


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path)


def upstream(run: str, rows: list[list[int]]) -> Upstream:
    return Upstream(UpstreamRecord(run=run), pa.array(rows, pa.list_(pa.int64())), {})


def test_rows_follow_from_cases(storage: Storage) -> None:
    assert read_lineage(storage, LAYOUT, [0]) == {}
    write_lineage(storage, LAYOUT, None)
    assert storage.list_tree("") == []
    write_lineage(storage, LAYOUT, upstream("a/v1.0.0/x", [[4, 2], [], [3]]))
    assert read_lineage(storage, LAYOUT, [0, 2]) == {"a/v1.0.0/x": [2, 3, 4]}
    assert read_lineage(storage, LAYOUT, [1]) == {"a/v1.0.0/x": []}
    assert read_lineage(storage, LAYOUT, [3]) == {}


@pytest.mark.parametrize("later", [None, "c"])
def test_what_an_unfinished_extension_left_is_removed(storage: Storage, later: str | None) -> None:
    write_lineage(storage, LAYOUT, upstream("a", [[0], [1]]))
    write_lineage(storage, LAYOUT, upstream("b", [[7], [8], [9]]), first_row=2)  # its specs were never written
    write_lineage(storage, LAYOUT, None if later is None else upstream(later, [[5]]), first_row=2)
    assert read_lineage(storage, LAYOUT, [0, 1]) == {"a": [0, 1]}
    assert read_lineage(storage, LAYOUT, [2, 3, 4]) == ({} if later is None else {"c": [5]})


def test_a_selection_of_cases() -> None:
    taken = upstream("a", [[0], [1, 2], [3]]).taken(np.array([2, 1, 1]))
    assert taken.rows.to_pylist() == [[3], [1, 2], [1, 2]]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"nothing"])
def test_what_is_no_record_is_told(storage: Storage, data: bytes) -> None:
    storage.write_bytes(LAYOUT.upstream, data)
    with pytest.raises(StorageError, match=r"upstream\.pq cannot be read"):
        read_lineage(storage, LAYOUT, [0])
