"""Which GPUs a process has: never one that another has, whatever processes come, take and end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.core.cores import Gpus
from scythe_cli.errors import EngineError
from scythe_cli.executor.devices import Devices


def devices_of(n: int) -> Devices:
    return Devices(Gpus("CUDA_VISIBLE_DEVICES", tuple("abcdef"[:n]), "the machine"))


@pytest.mark.property
@given(st.integers(1, 6), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6) | st.none()), max_size=40))
def test_nobody_has_what_another_has(n: int, steps: list[tuple[int, int | None]]) -> None:
    devices = devices_of(n)
    for holder, wanted in steps:
        before = {each: devices.held_by(each) for each in range(6)}
        if wanted is None:
            devices.release(holder)
            assert devices.held_by(holder) == ()
        elif wanted > n:
            with pytest.raises(EngineError, match="to use on this machine"):
                devices.acquire(holder, wanted)
        elif devices.acquire(holder, wanted):
            assert len(devices.held_by(holder)) == wanted
            assert all(devices.held_by(each) == before[each] for each in range(6) if each != holder)
        else:
            assert devices.held_by(holder) == before[holder]
            others = [each for each in range(6) if each != holder]
            ending = devices.to_free(wanted - len(before[holder]), others)
            assert ending
            for each in ending:
                devices.release(each)
            assert devices.acquire(holder, wanted)
        held = [gpu for each in range(6) for gpu in devices.held_by(each)]
        assert len(held) == len(set(held)) <= n


def test_a_process_keeps_what_it_has_and_sees_nothing_else() -> None:
    devices = devices_of(3)
    assert devices.acquire(1, 2)
    assert devices.acquire(2, 1)
    assert devices.setting(1) == {"CUDA_VISIBLE_DEVICES": "a,b"}
    assert devices.acquire(1, 1)
    assert devices.setting(1) == {"CUDA_VISIBLE_DEVICES": "a"}
    assert devices.setting(3) == {"CUDA_VISIBLE_DEVICES": ""}
    assert not devices.acquire(3, 2)
    assert devices.to_free(2, [1, 3]) == [1]


def test_those_that_hold_most_end_first_and_no_more_than_must() -> None:
    devices = devices_of(4)
    assert all(devices.acquire(holder, n) for holder, n in ((1, 1), (2, 2), (3, 1)))
    assert devices.to_free(2, [1, 2, 3]) == [2]
    assert devices.to_free(3, [1, 2, 3]) == [2, 1]
    single = devices_of(4)
    assert all(single.acquire(holder, 1) for holder in range(4))
    assert single.to_free(2, range(4)) == [0, 1]
    assert single.to_free(0, range(4)) == []


@pytest.mark.parametrize(
    ("there", "wanted", "message"),
    [
        (1, 2, "a case takes 2 GPUs, and there is 1 to use on this machine (the machine)"),
        (2, 3, "a case takes 3 GPUs, and there are 2 to use on this machine (the machine)"),
    ],
)
def test_a_case_that_takes_more_than_there_are(there: int, wanted: int, message: str) -> None:
    with pytest.raises(EngineError) as error:
        devices_of(there).acquire(1, wanted)
    assert error.value.message == message
    assert error.value.hint == "`scythe doctor` shows the GPUs that can be used here."


def test_a_machine_without_any() -> None:
    with pytest.raises(EngineError, match=r"a case takes 1 GPU, and there are none to use on this machine \(the mach"):
        devices_of(0).acquire(1, 1)
