"""What a worker says again when the engine has lost it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.engines.hatchet.recovery.reports import Reports


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def made() -> tuple[Reports, Clock]:
    clock = Clock()
    return Reports(clock), clock


def test_a_report_that_was_lost_is_sent_again() -> None:
    reports, clock = made()
    reports.started(("a", 0))
    reports.finished(("a", 0), ("done",), 4)
    assert reports.compare([("a", 0)]) == ([], []), "the engine may be about to book it"
    clock.now_s = 20
    (final,), strange = reports.compare([("a", 0)])
    assert (final.arguments, strange) == (("done",), [])
    assert reports.compare([("a", 0)]) == ([], []), "it has just been sent"
    clock.now_s = 40
    assert reports.compare([]) == ([], []), "it is booked"


def test_a_report_is_not_sent_for_ever() -> None:
    reports, clock = made()
    reports.finished(("a", 0), (), 4)
    n = 0
    for _ in range(100):
        clock.now_s += 15
        n += len(reports.compare([("a", 0)])[0])
    assert n == 10


def test_what_was_finished_around_a_trouble_is_doubtful_until_it_is_booked() -> None:
    reports, clock = made()
    for second, task in ((0, "long before"), (100, "shortly before"), (150, "in it")):
        clock.now_s = second
        reports.finished((task, 0), (), 4)
        assert not reports.doubtful() or task == "in it"
        if task == "shortly before":
            clock.now_s = 140
            reports.had_trouble()
    clock.now_s = 155
    assert [task for (task, _), _ in reports.doubtful()] == ["shortly before"], (
        "what was just sent is about to be booked"
    )
    clock.now_s = 170
    (_, before), (_, during) = reports.doubtful()
    before.is_booked = True
    assert [final for _, final in reports.doubtful()] == [during]
    again, _ = reports.compare([("in it", 0)])
    assert again == [during]
    assert not reports.doubtful(), "it has just been sent"
    clock.now_s = 190
    assert [final for _, final in reports.doubtful()] == [during]
    reports.finished(("after", 0), (), 4)
    clock.now_s = 210
    assert len(reports.doubtful()) == 2, "the trouble may last"
    clock.now_s = 1000
    reports.had_trouble()
    assert not reports.doubtful(), "that was another one"


def test_only_some_of_many_are_asked_for_at_once() -> None:
    reports, clock = made()
    reports.had_trouble()
    for number in range(200):
        reports.finished((str(number), 0), (), 4)
    clock.now_s = 20
    assert [task for (task, _), _ in reports.doubtful()] == list(map(str, range(50)))


def test_what_never_came_is_told_after_a_while() -> None:
    reports, clock = made()
    reports.started(("runs", 0))
    assert reports.compare([("runs", 0), ("never", 0)]) == ([], [])
    clock.now_s = 15
    assert reports.compare([("runs", 0), ("never", 0)]) == ([], []), "it may be on its way"
    clock.now_s = 25
    assert reports.compare([("runs", 0), ("never", 0)]) == ([], [("never", 0)])
    reports.started(("never", 0))
    assert reports.compare([("runs", 0), ("never", 0)]) == ([], [])


def test_what_was_strange_for_a_moment_is_forgotten() -> None:
    reports, clock = made()
    reports.compare([("a", 0)])
    clock.now_s = 15
    reports.compare([])
    clock.now_s = 30
    assert reports.compare([("a", 0)]) == ([], [])


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30_000_000)), max_size=60))
def test_memory_is_bounded(sent: list[tuple[int, int]]) -> None:
    reports, clock = made()
    for number, size_bytes in sent:
        clock.now_s += 1
        reports.finished((str(number), 0), (), size_bytes)
        kept = reports._finals.values()
        assert sum(final.size_bytes for final in kept) == reports._size_bytes <= 64_000_000
