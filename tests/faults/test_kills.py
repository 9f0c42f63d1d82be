"""Processes that die, in every state: it is seen soon, and no image is lost."""

import random
import subprocess
import sys
import time

import busy_bundle
import pytest
from fleet import HERE, SOURCE, START_S, Fleet, environment, wait_for

SEEN_WITHIN_S = 2.0  # measured: 0.1 to 0.3
BIG_SIDE = 64
BIG_BYTES = 192 * BIG_SIDE * BIG_SIDE * 4


@pytest.fixture(scope="module")
def shared(tmp_path_factory, busy):
    with Fleet(tmp_path_factory.mktemp("fleet"), busy, 16) as made:
        yield made.start()


@pytest.fixture
def fleet(shared):
    """A fleet that is whole at the beginning of every test."""
    for name in shared.names[1:]:
        if not shared.process(name).is_running:
            shared.restart(name)
        shared.wait_until(name, "up")
    return shared


def killed(fleet, name):
    """Kill a worker; it must be seen."""
    fleet.process(name).kill()
    seen_s = fleet.wait_until(name, "greeting", SEEN_WITHIN_S)
    print("the death of {} was seen after {:.2f} s".format(name, seen_s))


def news(fleet, name, before):
    """By how much a counter of the source has grown."""
    return fleet.counters().get(name, 0) - before.get(name, 0)


def held_count(fleet, name):
    """How many tasks a worker has accepted and not done, as far as the source knows."""
    known = fleet.pipe.stats()["neighbours"][name]
    return known["queue_length"] - known["unsettled_count"]


def test_idle(fleet):
    fleet.submit(10)
    fleet.settle()
    before = fleet.counters()
    killed(fleet, "a")
    fleet.submit(20)
    fleet.settle()
    assert news(fleet, "sessions_lost.disconnected", before) == 1
    assert news(fleet, "leases_expired", before) == 0


def test_with_a_full_queue(fleet):
    before = fleet.counters()
    fleet.submit(200)
    fleet.wait_until_done(20)
    wait_for(lambda: held_count(fleet, "a") >= 2, START_S, "tasks in the queue of a")
    killed(fleet, "a")
    assert fleet.settle() < 10
    assert news(fleet, "leases_expired", before) > 0  # it had accepted some


def test_all_of_them_and_back_again(fleet):
    fleet.submit(100)
    fleet.wait_until_done(20)
    for name in ("a", "b"):
        killed(fleet, name)
    done_count = fleet.done_count()
    time.sleep(0.3)
    assert fleet.done_count() == done_count < 100
    fleet.restart("b")
    fleet.settle()


def test_one_after_the_other_at_any_moment_and_restarted_at_once(fleet):
    rng = random.Random(5)
    for round_number in range(6):
        fleet.keep_busy(0.2 + 0.3 * rng.random())
        name = "ab"[round_number % 2]
        fleet.process(name).kill()
        fleet.restart(name)
    fleet.settle()
    for name in ("a", "b"):
        fleet.wait_until(name, "up")
    fleet.submit(50)
    fleet.settle()


def test_a_source_that_starts_again_takes_no_answer_to_its_former_self(fleet):
    fleet.submit(120)
    fleet.wait_until_done(10)
    fleet.break_off()
    fleet.open()
    fleet.wait_until("a", "up")
    fleet.submit(37)  # other images, under numbers that were given before
    fleet.settle()


def test_while_features_of_three_megabytes_travel(tmp_path):
    bundle = busy_bundle.write_busy_bundle(tmp_path / "big", 192, BIG_SIDE, 1)
    source = {"source_stages": [0]}  # so that it is features that travel
    with Fleet(tmp_path, bundle, BIG_SIDE, proxied=True, **source) as fleet:
        fleet.start()
        link = fleet.links[SOURCE, "a"]
        link.data.throttle(8e6)
        fleet.submit(10)
        wait_for(lambda: link.data.bytes_to_target > BIG_BYTES // 2, 10, "a body on its way")
        assert link.data.bytes_to_target % BIG_BYTES
        fleet.process("a").kill()
        link.refuse()
        print("seen after", fleet.wait_until("a", "greeting", SEEN_WITHIN_S))
        fleet.settle()


def loaded(neighbours):
    """Whether both workers have tasks of somebody."""
    return all(neighbours[name]["queue_length"] > 4 for name in ("a", "b"))


def test_a_source_dies(tmp_path, busy):
    """What it has left behind hinders nobody, and is gone soon."""
    odd = {"a": "slow=0.02", "b": "slow=0.02"}
    with Fleet(tmp_path, busy, 16, workers=("a", "b", "other"), odd=odd) as fleet:
        fleet.start(["a", "b"])
        command = [sys.executable, HERE + "/source_process.py", fleet.path("other"), "other"]
        other = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE)
        try:
            assert other.stdout.readline() == b"submitted\n"
            wait_for(lambda: loaded(fleet.pipe.stats()["neighbours"]), 20, "load")
        finally:
            other.kill()
            other.wait()
            other.stdout.close()
        fleet.submit(20)
        fleet.settle()
        for name in ("a", "b"):
            fleet.process(name).terminate()
        for name in ("a", "b"):
            assert fleet.process(name).wait() == 0
            counters = fleet.process(name).final_stats["counters"]
            assert counters["results_unrouted"] > 0, counters
