"""When items arrive."""

import statistics

import pytest
from sim_worlds import SECOND, Recorder, Toy, local, run

from edgesdk.core.admission import Admission
from edgesdk.core.events import WAKE, Admit, Deliver, Outcome, Release, SetTimer, Submit
from edgesdk.errors import ConfigError
from edgesdk.sim.spec import Workload


def arrivals(workload, **scenario):
    """Times and events of the submissions."""
    recorder = Recorder()
    options = {"new_worker": scenario.pop("new_worker", Answer)}
    run(local(workload, **scenario), observer=recorder, **options)
    return recorder.at("a", Submit)


class Answer(Toy):
    """Ends every item at once."""

    def on_Submit(self, event, now_us):
        outcome = Outcome(event.items[0], None, "expired", "deadline", None, 0)
        return [Deliver(outcome), Release(event.items[0])]


def test_periodic_arrivals_stand_at_equal_distances_without_drift():
    found = arrivals(Workload("a", "periodic", rate_hz=3.0, item_count=4, start_us=100))
    assert [now_us for now_us, _ in found] == [100, 333_433, 666_767, 1_000_100]
    assert [event.items for _, event in found] == [(0,), (1,), (2,), (3,)]


def test_poisson_arrivals_have_their_mean_and_no_memory():
    found = arrivals(
        Workload("a", "poisson", rate_hz=1000.0, item_count=5000), duration_us=100 * SECOND
    )
    times = [now_us for now_us, _ in found]
    gaps = [later - earlier for earlier, later in zip(times, times[1:])]
    assert statistics.mean(gaps) == pytest.approx(1000, rel=0.05)
    assert statistics.stdev(gaps) == pytest.approx(1000, rel=0.06)


def test_a_trace_arrives_when_it_says():
    found = arrivals(Workload("a", "trace", times_us=(5, 5, 70)))
    assert [now_us for now_us, _ in found] == [5, 5, 70]


def test_nothing_arrives_at_the_end_or_later():
    found = arrivals(Workload("a", "periodic", rate_hz=10.0), duration_us=300_000)
    assert [now_us for now_us, _ in found] == [0, 100_000, 200_000]


def test_a_deadline_counts_from_the_submission():
    workload = Workload(
        "a", "trace", times_us=(40,), deadline_us=500, best_at_deadline=True, latest=True
    )
    ((_, event),) = arrivals(workload)
    assert event == Submit((0,), (None,), 40, 540, True, True)


class Paced(Answer):
    """Its core admits every 1 s, and every 100 ms from the third item on."""

    def on_Submit(self, event, now_us):
        slow, fast = Admit(SECOND, None), Admit(SECOND // 10, None)
        return [*super().on_Submit(event, now_us), fast if event.items[0] >= 2 else slow]


def test_an_admitted_arrival_comes_when_the_core_says():
    workload = Workload("a", "admission", item_count=5, start_us=7)
    found = arrivals(workload, new_worker=Paced, admission=Admission(interarrival_us=300_000))
    times = [now_us - 7 for now_us, _ in found]
    assert times == [0, 1_000_000, 2_000_000, 2_100_000, 2_200_000]


def test_before_the_core_says_anything_the_first_interval_counts():
    workload = Workload("a", "admission", item_count=3)
    found = arrivals(workload, admission=Admission(interarrival_us=300_000))
    assert [now_us for now_us, _ in found] == [0, 300_000, 600_000]


def test_two_workloads_of_one_source_share_its_numbers():
    workloads = tuple(Workload("a", "trace", times_us=times) for times in ((1, 3), (2, 4)))
    recorder = Recorder()
    run(local()._replace(workloads=workloads), observer=recorder, new_worker=Answer)
    assert [(t, e.items[0]) for t, e in recorder.at("a", Submit)] == [
        (1, 0),
        (2, 1),
        (3, 2),
        (4, 3),
    ]


def test_an_unknown_kind_is_refused():
    with pytest.raises(ConfigError, match="found kind 'tidal', expected one of periodic"):
        run(local(Workload("a", "tidal")))


class Hesitant(Paced):
    """Its core admits every 100 s, and changes its mind by a timer."""

    def on_Submit(self, event, now_us):
        changes = [Admit(100 * SECOND, None), SetTimer(WAKE, SECOND // 2)]
        return Answer.on_Submit(self, event, now_us) + (changes if event.items == (0,) else [])

    def on_Timer(self, event, now_us):
        return [Admit(SECOND, None)]


def test_an_interval_beyond_the_end_may_still_become_shorter():
    workload = Workload("a", "admission")
    found = arrivals(workload, new_worker=Hesitant, duration_us=3 * SECOND)
    assert [now_us for now_us, _ in found] == [0, 1 * SECOND, 2 * SECOND]
