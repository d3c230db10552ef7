"""Which worker a run's tasks go to, and what is said when none fits."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.engines.hatchet.routing import (
    NODE_NAME,
    WorkerRecord,
    chosen_place,
    chosen_task,
    place_label,
    route_of,
    run_key,
    told_worker,
    unserved,
)

ROUTE = route_of("gamma", "schema", {"sim.py": "1"})
OTHER = route_of("gamma", "schema", {"sim.py": "2"})


def worker(*names: str, places: Sequence[str] = (), **labels: str) -> WorkerRecord:
    told = {place_label(place): place for place in places}
    told |= {name.replace("_", "."): value for name, value in labels.items()}
    return WorkerRecord("w", {"gamma", NODE_NAME, *names}, labels=told)


def test_route_is_that_of_the_code_and_the_models_alone() -> None:
    assert route_of("gamma", "schema", {"a/sim.py": "1"}) == ROUTE, "the folder does not count"
    assert ROUTE.startswith("gamma.")
    assert len({ROUTE, OTHER, route_of("gamma", "other", {"sim.py": "1"}), route_of("beta", "s", {"sim.py": "1"})}) == 4
    assert route_of("gamma", "schema", None) == "gamma", "what is not known is compared by workers"


@given(st.lists(st.sampled_from([ROUTE, OTHER, "gamma.any"]), max_size=4))
def test_task_fits_whoever_serves_it(served: list[str]) -> None:
    """Whatever workers there are, a task's name is one that no worker with other code serves unless it takes any."""
    task = chosen_task("gamma", ROUTE, "file", [worker(name) for name in served])
    assert task == ("gamma.any" if "gamma.any" in served and ROUTE not in served else ROUTE)


def test_other_versions_of_python_compare_files() -> None:
    code = {"scythe_code_gamma": "file=0a1b"}
    assert chosen_task("gamma", ROUTE, "0a1b", [worker(scythe_python="3.0.1", **code)]) == "gamma"
    assert chosen_task("gamma", ROUTE, "0a1b", [worker(**code)]) == ROUTE
    assert chosen_task("gamma", ROUTE, "ffff", [worker(scythe_python="3.0.1", **code)]) == ROUTE
    assert chosen_task("gamma", ROUTE, None, [worker(scythe_python="3.0.1")]) == ROUTE


@pytest.mark.parametrize(
    ("places", "label"),
    [
        ([], None),
        ([["/a"]], None),
        ([["/a"], ["/b"]], place_label("/a")),
        ([["/b"], ["/c"]], None),
        ([["/a", "/b"], ["/a"], ["/c"]], place_label("/a")),
        ([["/a"], ["/a/runs"], ["/c"]], None),
    ],
)
def test_place_is_asked_for_only_where_some_do_not_work_there(places: list[list[str]], label: str | None) -> None:
    assert chosen_place("/a/runs", [worker(places=each) for each in places]) == label


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ([], "no worker serves 'gamma'"),
        ([worker(ROUTE)], None),
        ([worker(ROUTE), worker(OTHER)], None),
        (
            [worker(OTHER, scythe_code_gamma="of=2026-11-28T17:03", scythe_host="l1"), worker(OTHER)],
            "2 workers serve 'gamma', none with this run's code (theirs is not known; of 2026-11-28 17:03 UTC, on l1)",
        ),
        ([worker(ROUTE, places=["/b"])], "1 worker serves 'gamma', none takes runs kept at /a (theirs: /b)"),
        ([WorkerRecord("w", {"gamma", ROUTE})], "no worker runs scatter/gather"),
        (
            [WorkerRecord("w", {"gamma", ROUTE}), worker(OTHER, places=["/b"])],
            "no worker that runs scatter/gather takes runs kept at /a (theirs: /b)",
        ),
    ],
)
def test_what_is_said_when_nobody_fits(workers: list[WorkerRecord], said: str | None) -> None:
    told = unserved("gamma", ROUTE, "/a", workers)
    assert told == said if said is None else told is not None and said in told


def test_runs_of_two_storages_have_keys_of_their_own() -> None:
    one = "gamma/v1.0.0/2026-01-01_00-00-00"
    assert len({run_key("s3://aaa/runs", one), run_key("s3://bbb/runs", one), run_key("/a/runs", one)}) == 3
    assert run_key("/a/runs", one) == run_key("/a/./runs", one)


def test_what_people_are_told_of_a_worker() -> None:
    known = worker(
        ROUTE, scythe_code_gamma="route=x of=2026-11-28T17:03", scythe_code_beta="route=y", scythe_user="ada"
    )
    told = told_worker(known, {"gamma": ROUTE})
    assert [(code.experiment, code.same) for code in told.code] == [("beta", None), ("gamma", True)]
    assert (told.user, told.scatter_gather, told.any_code) == ("ada", True, False)
    assert told_worker(worker("gamma.any", scythe_code_gamma="route=x"), {"gamma": OTHER}).code[0].same is False
