"""A part of the ledger in which a single byte was changed is told, wherever that byte is."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scythe_cli.arrow.checksum import has_seal
from scythe_cli.errors import StorageError
from scythe_cli.run.ledger import Ledger, read_part
from scythe_cli.run.specs_file import SpecFile
from scythe_cli.storage.opening import open_storage
from tests.made_runs import LAYOUT, make_run, outcomes, write_part

from .conftest import nightly

STEP = 1 if nightly() else 41


@pytest.mark.parametrize("bit", [0x01, 0x10, 0x80] if nightly() else [0x10])
def test_a_changed_byte_is_found_or_changes_nothing(tmp_path: Path, bit: int) -> None:
    """In the footer always, elsewhere when all is checked; and what is read for a table is right or refused."""
    storage = open_storage(tmp_path / "runs")
    table = pa.concat_tables([outcomes(range(20), frame_rows=2), outcomes(range(20, 25), "failed", frame_rows=2)])
    write_part(storage, LAYOUT, "a", table)
    path = storage.local_path(LAYOUT.outcome_part("a"))
    assert path is not None
    whole = path.read_bytes()
    expected = pq.ParquetFile(path).read()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    refused = 0
    # the last bytes are the length of the footer and the end mark
    for position in sorted({*range(0, len(whole), STEP), *range(len(whole) - 8, len(whole))}):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1 :])
        with Ledger.open(storage, LAYOUT, thorough=True) as ledger:
            assert ledger.damaged == ["a.pq"], f"byte {position}"
        with Ledger.open(storage, LAYOUT) as ledger:
            assert bool(ledger.damaged) == (position >= footer), f"byte {position}"
            for part in ledger.parts:
                try:
                    assert read_part(part, expected.column_names).equals(expected), f"byte {position}"
                except StorageError:
                    refused += 1
    assert refused > 10


@pytest.mark.parametrize("change", ["cut", "grown", "shifted", "swapped pages", "other footer"])
def test_a_part_that_was_changed_as_a_whole_is_found(tmp_path: Path, change: str) -> None:
    storage = open_storage(tmp_path / "runs")
    for name, rows in (("a", range(20)), ("b", range(20, 40))):
        write_part(storage, LAYOUT, name, outcomes(rows))
    path, other = (storage.local_path(LAYOUT.outcome_part(name)) for name in "ab")
    assert path is not None
    assert other is not None
    data, others = path.read_bytes(), other.read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    path.write_bytes(
        {
            "cut": data[:-1],
            "grown": data + b"\0",
            "shifted": data[1:],
            "swapped pages": data[:100] + others[100:200] + data[200:],
            "other footer": data[:footer] + others[footer:],
        }[change]
    )
    with Ledger.open(storage, LAYOUT, thorough=True) as ledger:
        assert ledger.damaged == ["a.pq"]
        assert sorted(ledger.outcomes()["sort_index"]) == list(range(20, 40))


def test_a_changed_byte_of_the_specs_is_found_or_changes_nothing(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "runs")
    run = make_run(storage, tmp_path / "scratch", 50)
    path = storage.local_path(run.specs)
    assert path is not None
    whole = path.read_bytes()
    with SpecFile.open(storage, run) as specs:
        expected, inputs, outputs = specs.read(0, 50), specs.input_names, specs.output_schema
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    refused = 0
    for position in sorted({*range(0, len(whole), STEP), *range(len(whole) - 8, len(whole))}):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        try:
            with SpecFile.open(storage, run) as specs:
                # where the change hides the seal itself, it can change nothing else
                assert position < footer or not has_seal(path), f"byte {position}"
                assert (specs.input_names, specs.output_schema) == (inputs, outputs), f"byte {position}"
                assert specs.read(0, 50).equals(expected), f"byte {position}"
                batches = list(specs.batches())
            assert pa.Table.from_batches(batches).equals(expected), f"byte {position}"
        except StorageError:
            refused += 1
    assert refused > 10
