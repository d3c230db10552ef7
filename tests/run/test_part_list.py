"""Which parts a ledger has where lists are late: all that were acknowledged, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.run.ledger import Ledger, LedgerWriter
from scythe_cli.run.outcomes.part_list import forget_writers, list_parts, note_writer, numbered
from scythe_cli.storage.opening import open_storage
from tests.fuzzing import cases
from tests.made_runs import LAYOUT, outcomes
from tests.served_storage import ServedStorage


@pytest.fixture
def storage(tmp_path: Path) -> ServedStorage:
    return ServedStorage(tmp_path / "served")


def put(storage: ServedStorage, prefix: str, numbers: Iterable[int], *, late: bool = False) -> None:
    for number in numbers:
        key = LAYOUT.outcome_part(numbered(prefix, number))
        storage.write_bytes(key, b"part")
        if late:
            storage.late.add(key)


def names(storage: ServedStorage) -> list[str]:
    return [part.name for part in list_parts(storage, LAYOUT)]


def test_parts_have_numbers_of_six_digits() -> None:
    assert numbered("w-7", 12) == "w-7-000012"


def test_parts_that_no_list_has_are_found(storage: ServedStorage) -> None:
    note_writer(storage, LAYOUT, "w")
    put(storage, "w", [1, 4, 5], late=True)
    put(storage, "w", [2, 3])
    put(storage, "other", [1])
    storage.write_bytes(LAYOUT.key("outcomes", "notes.txt"), b"")
    assert names(storage) == ["other-000001.pq", *(f"w-{i:06d}.pq" for i in range(1, 6))]
    # what is listed is not asked for again, and three numbers without a part are the end
    assert sorted(key.rpartition("-")[2] for key in storage.asked) == [f"{i:06d}.pq" for i in (1, 4, 5, 6, 7, 8)]


def test_parts_are_found_when_none_is_listed(storage: ServedStorage) -> None:
    note_writer(storage, LAYOUT, "w")
    put(storage, "w", [1, 2], late=True)
    assert names(storage) == ["w-000001.pq", "w-000002.pq"]
    assert sorted(key.rpartition("-")[2] for key in storage.asked) == [f"{i:06d}.pq" for i in range(1, 6)]


def test_names_that_only_look_like_numbers_are_none(storage: ServedStorage) -> None:
    note_writer(storage, LAYOUT, "w")
    odd = ["w-notes.pq", "w-0000009.pq", "w-9.pq", "w-.pq", "w-abcdef.pq", "w-00000².pq"]
    for name in odd:
        storage.write_bytes(LAYOUT.key("outcomes", name), b"part")
    put(storage, "w", [1], late=True)
    assert names(storage) == sorted([*odd, "w-000001.pq"])
    assert len(storage.asked) == 4


@given(
    st.sets(st.integers(1, 12), max_size=10),
    st.sets(st.integers(1, 12), max_size=10),
)
@cases(30, 300)
def test_up_to_two_parts_may_have_been_set_aside(
    tmp_path_factory: pytest.TempPathFactory, aside: set[int], late: set[int]
) -> None:
    storage = ServedStorage(tmp_path_factory.mktemp("served"))
    note_writer(storage, LAYOUT, "w")
    there = [i for i in range(1, 13) if not (i in aside and not {i - 1, i - 2} <= aside)]
    put(storage, "w", there)
    storage.late.update(LAYOUT.outcome_part(numbered("w", i)) for i in late)
    assert names(storage) == [f"w-{i:06d}.pq" for i in there]


def test_a_folder_of_this_machine_needs_no_note(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    note_writer(storage, LAYOUT, "w")
    assert storage.list_tree("") == []


def test_the_last_eight_writers_are_remembered(storage: ServedStorage) -> None:
    for i in range(10):
        note_writer(storage, LAYOUT, f"w{i}")
    assert json.loads(storage.read_bytes(LAYOUT.writers)) == [f"w{i}" for i in range(2, 10)]


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\xff",
        b"{}",
        b"3",
        b'[1, null, "../x", "w w", ""]',
        b'["' + b"w" * 70_000 + b'"]',
        b"[" * 9_000,
        b'["w"]' + b" " * 70_000,
    ],
)
def test_a_note_that_nobody_here_wrote_means_nothing(storage: ServedStorage, note: bytes) -> None:
    storage.write_bytes(LAYOUT.writers, note)
    put(storage, "w", [2])
    assert names(storage) == ["w-000002.pq"]
    assert storage.asked == []
    note_writer(storage, LAYOUT, "w")
    assert json.loads(storage.read_bytes(LAYOUT.writers)) == ["w"]


def test_of_a_note_only_what_a_writer_can_be_called_counts(storage: ServedStorage) -> None:
    storage.write_bytes(LAYOUT.writers, json.dumps([1, "a/b", *(f"w{i}" for i in range(9))]).encode())
    put(storage, "w0", [1], late=True)  # of nine writers the first is not remembered
    put(storage, "w1", [1], late=True)
    assert names(storage) == ["w1-000001.pq"]


def test_the_note_is_removed_when_the_last_part_of_each_writer_is_listed(storage: ServedStorage) -> None:
    for prefix in ("v", "w", "x"):
        note_writer(storage, LAYOUT, prefix)
    put(storage, "v", [1])
    put(storage, "w", [1])
    put(storage, "w", [2], late=True)
    parts = names(storage)
    forget_writers(storage, LAYOUT, parts)
    assert storage.exists(LAYOUT.writers)
    storage.late.clear()
    storage.late.add(LAYOUT.outcome_part(numbered("w", 1)))  # it is older than the last one
    forget_writers(storage, LAYOUT, parts)
    assert not storage.exists(LAYOUT.writers)
    forget_writers(storage, LAYOUT, parts)  # there is none


def test_a_writer_notes_itself_before_its_first_part_and_its_parts_are_read(storage: ServedStorage) -> None:
    writer = LedgerWriter(storage, LAYOUT, "w")
    for row in range(3):
        writer.add(outcomes([row]))
        writer.flush()
        storage.late.update(storage.list_tree(LAYOUT.key("outcomes")))
    assert json.loads(storage.read_bytes(LAYOUT.writers)) == ["w"]
    with Ledger.open(storage, LAYOUT) as ledger:
        assert ledger.names == [f"w-{i:06d}.pq" for i in (1, 2, 3)]
        assert ledger.outcomes()["sort_index"].to_list() == [0, 1, 2]
    shared = LedgerWriter(storage, LAYOUT, "node", is_alone=False)
    shared.add(outcomes([3]))
    shared.flush()
    assert json.loads(storage.read_bytes(LAYOUT.writers)) == ["w"]
    # one that is known of, though no list has it, is asked for; one that is gone meanwhile is nothing
    with Ledger.open(storage, LAYOUT, known=["node-000001.pq", "gone-000001.pq"]) as ledger:
        assert ledger.names == ["node-000001.pq", *(f"w-{i:06d}.pq" for i in (1, 2, 3))]
