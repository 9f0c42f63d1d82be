"""Virtual time: what happens when, in one order."""

import pytest

from edgesdk.sim.events import Scheduler


@pytest.fixture
def seen():
    return []


def test_calls_come_in_the_order_of_their_times(seen):
    scheduler = Scheduler()
    for at_us in (30, 10, 20):
        scheduler.at(at_us, seen.append, at_us)
    scheduler.run()
    assert seen == [10, 20, 30]
    assert scheduler.now_us == 30


def test_at_the_same_time_the_first_entered_comes_first(seen):
    scheduler = Scheduler()
    for name in ("b", "a", "c"):
        scheduler.at(5, seen.append, name)
    scheduler.run()
    assert seen == ["b", "a", "c"]


def test_a_call_may_enter_others_even_for_now(seen):
    scheduler = Scheduler()

    def first(_):
        scheduler.at(scheduler.now_us, seen.append, "now")
        scheduler.at(scheduler.now_us + 1, seen.append, "later")

    scheduler.at(7, first)
    scheduler.at(8, seen.append, "other")
    scheduler.run()
    assert seen == ["now", "other", "later"]


def test_a_stop_ends_the_run_and_another_goes_on(seen):
    scheduler = Scheduler()
    scheduler.at(1, seen.append, 1)
    scheduler.stop_at(2)
    scheduler.at(3, seen.append, 3)
    scheduler.run()
    assert (seen, scheduler.now_us, len(scheduler)) == ([1], 2, 1)
    scheduler.run()
    assert seen == [1, 3]


def test_the_past_is_over():
    scheduler = Scheduler()
    scheduler.at(5, lambda _: scheduler.at(4, print))
    with pytest.raises(AssertionError, match="found 4 us, expected 5 or later"):
        scheduler.run()
