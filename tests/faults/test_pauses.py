"""Workers that stand still for a while, are slow, or have a wrong idea of time."""

import time

import pytest
from fleet import Fleet

import edgesdk

SILENT_S = 3.0  # `core.peer.SILENT_US`; looked at every half second
REJOINS_WITHIN_S = 5.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory, busy):
    with Fleet(tmp_path_factory.mktemp("fleet"), busy, 16) as made:
        yield made.start()


@pytest.fixture
def fleet(shared):
    for name in shared.names[1:]:
        shared.wait_until(name, "up")
    before = shared.lost()
    shared.newly_lost = lambda: {
        why: count - before.get(why, 0)
        for why, count in shared.lost().items()
        if count > before.get(why, 0)
    }
    return shared


def test_a_second_is_no_death(fleet):
    fleet.submit(100)
    fleet.wait_until_done(10)
    fleet.process("a").stop()
    time.sleep(1.0)
    fleet.process("a").resume()
    fleet.settle()
    fleet.submit(20)
    fleet.settle()
    assert fleet.newly_lost() == {}


def test_a_second_of_the_source_is_no_death(fleet):
    """Nothing here runs while the loop is held: as if the whole process stood still."""
    fleet.submit(60)
    loop = fleet.pipe._loop
    with loop._driving:
        time.sleep(1.0)
    fleet.settle()
    assert fleet.newly_lost() == {}


def test_longer_is_a_death_and_then_it_comes_back(fleet):
    fleet.submit(100)
    fleet.wait_until_done(10)
    fleet.process("a").stop()
    seen_s = fleet.wait_until("a", "greeting", 6)
    assert SILENT_S - 0.6 < seen_s < SILENT_S + 2, seen_s
    print("silence was seen after {:.2f} s".format(seen_s))
    assert fleet.settle() < 5
    fleet.process("a").resume()
    print("came back after", fleet.wait_until("a", "up", REJOINS_WITHIN_S))
    fleet.submit(50)
    fleet.settle()
    assert fleet.newly_lost() == {"silent": 1}


def test_both_at_once(fleet):
    """With libzmq's heartbeats on, their processes abort soon after they go on."""
    fleet.submit(60)
    for name in ("a", "b"):
        fleet.process(name).stop()
    time.sleep(4.0)
    assert fleet.done_count() < 60
    for name in ("a", "b"):
        fleet.process(name).resume()
    fleet.settle()
    time.sleep(1.5)
    assert fleet.newly_lost() == {"silent": 2}
    assert fleet.process("a").is_running and fleet.process("b").is_running


def test_a_loop_that_hangs_while_libzmq_lives(tmp_path, busy):
    """ZeroMQ's own heartbeats go on; ours do not."""
    with Fleet(tmp_path, busy, 16, odd={"a": "holds_the_loop=3.8"}) as fleet:
        fleet.start()
        fleet.submit(30)
        fleet.wait_until("a", "greeting", 12)
        assert fleet.lost() == {"silent": 1}
        fleet.settle()
        fleet.wait_until("a", "up", 2 * REJOINS_WITHIN_S)
        fleet.submit(20)
        fleet.settle()


def test_a_slow_worker_gets_less_and_hinders_nobody(tmp_path, busy):
    with Fleet(tmp_path, busy, 16, odd={"a": "slow=0.1"}) as fleet:
        fleet.start()
        fleet.keep_busy(1.5)
        fleet.settle()
        assert fleet.lost() == {}
        assert fleet.counters().get("lane_full", 0) == 0
        fleet.process("a").terminate()
        fleet.process("b").terminate()
        assert fleet.process("a").wait() == fleet.process("b").wait() == 0
        taken = [fleet.process(n).final_stats["counters"]["tasks_received"] for n in ("a", "b")]
        assert taken[1] > 1.5 * taken[0], taken


def test_nothing_depends_on_the_wall_clock(tmp_path, busy, monkeypatch):
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600 * (1 - 2 * (int(real() * 10) % 2)))
    with Fleet(tmp_path, busy, 16, odd={"a": "wrong_clock=1", "b": "wrong_clock=-1"}) as fleet:
        fleet.start()
        fleet.keep_busy(0.8)
        fleet.submit(20, deadline_ms=20_000.0)
        fleet.settle()
        assert fleet.lost() == {}
        assert fleet.counters().get("leases_expired", 0) == 0


def test_a_burst_is_bounded(fleet):
    """Ten times what is computed in the time: the rest is refused at once, and nothing grows."""
    refused = 0
    for _ in range(2000):
        try:
            fleet.submit(1, block=False)
        except edgesdk.Overloaded:
            refused += 1
    assert refused > 1000
    assert fleet.pipe.stats()["in_flight_count"] <= 256
    fleet.settle()
    assert fleet.newly_lost() == {}


@pytest.mark.slow
def test_no_false_deaths_under_full_load(tmp_path, busy):
    """20 s of work on every processor, and somebody who asks one by one."""
    with Fleet(tmp_path, busy, 16, source_stages=None) as fleet:
        fleet.start()
        count = fleet.keep_busy(20.0)
        fleet.settle()
        print("{} images in 20 s; {}".format(count, fleet.counters()))
        assert fleet.lost() == {}
        for name in ("a", "b"):
            fleet.process(name).terminate()
        for name in ("a", "b"):
            assert fleet.process(name).wait() == 0
            counters = fleet.process(name).final_stats["counters"]
            lost = {n: c for n, c in counters.items() if n.startswith("sessions_lost.")}
            assert set(lost) <= {"sessions_lost.left"}, counters
