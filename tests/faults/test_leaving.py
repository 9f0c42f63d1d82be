"""Workers that come, leave and are replaced under load; closing in every state; forks."""

import os
import subprocess
import threading
import time

import pytest
from fleet import Fleet, answer, environment

import edgesdk

UP_WITHIN_S = 10.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory, busy):
    with Fleet(tmp_path_factory.mktemp("fleet"), busy, 16) as made:
        yield made.start()


@pytest.fixture
def fleet(shared):
    """A fleet that is whole and open at the beginning of every test; `news` of its counters."""
    if shared.pipe is None:
        shared.open()
    for name in shared.names[1:]:
        if not shared.process(name).is_running:
            shared.restart(name)
        shared.wait_until(name, "up")
    before = shared.counters()
    shared.news = lambda name: shared.counters().get(name, 0) - before.get(name, 0)
    return shared


def leave(fleet, name):
    """Tell a worker to leave, under load; it must say that it did."""
    fleet.process(name).terminate()
    begin_s = time.monotonic()
    while fleet.process(name).is_running:
        fleet.keep_busy(0.05)
        assert time.monotonic() - begin_s < 15, fleet.process(name).said
    assert fleet.process(name).wait() == 0
    return fleet.process(name).final_stats


def test_one_leaves_under_load(fleet):
    fleet.keep_busy(0.5)
    stats = leave(fleet, "a")
    assert stats["counters"]["tasks_received"] > 0
    fleet.settle()
    assert fleet.news("sessions_lost.left") == 1
    assert fleet.news("leases_expired") == 0
    assert fleet.news("retransmissions") == 0


def test_all_leave_and_one_comes_back(fleet):
    fleet.submit(150)
    fleet.wait_until_done(20)
    for name in ("a", "b"):
        fleet.process(name).terminate()
    for name in ("a", "b"):
        assert fleet.process(name).wait() == 0
    assert fleet.done_count() < 150
    assert fleet.news("leases_expired") == 0
    fleet.restart("a")
    fleet.settle()


def test_all_are_replaced_one_after_the_other(fleet):
    for name in ("a", "b"):
        fleet.keep_busy(0.3)
        leave(fleet, name)
        fleet.restart(name)
        fleet.wait_until(name, "up", UP_WITHIN_S)
    fleet.keep_busy(0.3)
    fleet.settle()
    assert fleet.lost().keys() <= {"left"}, fleet.lost()
    assert fleet.news("leases_expired") == 0


def test_the_source_leaves_when_everything_is_answered(fleet):
    fleet.submit(100)
    fleet.close()
    assert fleet.done_count() == 100
    fleet.take_all()
    fleet.open()
    fleet.wait_until("a", "up", UP_WITHIN_S)
    fleet.submit(20)
    fleet.settle()


def test_closing_at_once_fails_what_is_open(fleet):
    fleet.submit(200)
    begin_s = time.monotonic()
    fleet.close(drain=False)
    assert time.monotonic() - begin_s < 5
    assert fleet.done_count() == 200
    assert {error.reason for error in fleet.take_all(may_fail=True)} == {"closed"}


def test_closing_twice_and_from_several_threads(fleet):
    fleet.submit(50)
    pipe = fleet.pipe
    threads = [threading.Thread(target=pipe.close) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    pipe.close()
    fleet.close()
    fleet.take_all()


def test_closing_while_nobody_is_there(tmp_path, busy):
    """What cannot be answered is waited for, but not for ever."""
    with Fleet(tmp_path, busy, 16) as fleet:
        fleet.open()
        fleet.submit(10)
        begin_s = time.monotonic()
        fleet.close(timeout=1.0)
        assert 1.0 <= time.monotonic() - begin_s < 5
        assert len(fleet.take_all(may_fail=True)) == 10


def test_a_worker_joins_while_another_leaves(tmp_path, busy):
    odd = {"a": "slow=0.05"}  # so that leaving takes a while
    with Fleet(tmp_path, busy, 16, workers=("a", "b"), odd=odd) as fleet:
        fleet.start(["a"])
        fleet.submit(60)
        fleet.wait_until_done(5)
        fleet.process("a").terminate()
        fleet.wait_until("a", "leaving")
        fleet.restart("b")
        fleet.settle()
        assert fleet.process("a").wait() == 0
        assert fleet.state("b") == "up"
        assert fleet.counters().get("leases_expired", 0) == 0


def test_a_name_that_is_taken(fleet):
    """The second process says why it cannot start; the first one is not disturbed."""
    fleet.submit(50)
    second = subprocess.run(
        fleet.process("a").command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        timeout=30,
    )
    assert second.returncode == 1
    assert b"cannot listen there" in second.stderr and b"of this name" in second.stderr
    assert b"Traceback" not in second.stderr
    fleet.settle()
    assert fleet.news("leases_expired") == 0
    assert fleet.process("a").is_running


@pytest.mark.parametrize("curve", [False, True])
def test_an_impostor_at_another_port(tmp_path, busy, curve):
    """It says that it is "a", but "a" is where the cluster file says. With keys it is refused."""
    with Fleet(tmp_path, busy, 16, curve=curve) as fleet:
        fleet.start()
        fleet.keep_busy(0.2)
        impostor = fleet.impostor("a", has_keys=not curve)
        impostor.start()
        impostor.wait_until_it_says("listens at")
        fleet.keep_busy(2.5)
        fleet.settle()
        assert fleet.lost() == {}
        assert fleet.counters().get("leases_expired", 0) == 0
        assert bool(fleet.counters().get("keys_refused")) == curve, fleet.counters()
        assert impostor.is_running
        impostor.terminate()
        assert impostor.wait() == 0


def test_a_fork_is_told_that_it_cannot(fleet):
    fleet.submit(30)
    child = os.fork()
    if not child:
        try:
            fleet.pipe.submit(fleet.images[0])
        except edgesdk.ConfigError as error:
            fleet.pipe.close()
            os._exit(0 if "fork" in str(error) else 3)
        except BaseException:
            os._exit(4)
        os._exit(5)
    assert os.waitpid(child, 0)[1] == 0
    fleet.submit(30)
    fleet.settle()


def test_an_image_may_be_overwritten_as_soon_as_it_is_submitted(fleet):
    image = fleet.images[3].copy()
    futures = []
    for _ in range(20):
        image[...] = fleet.images[3]
        futures.append(fleet.pipe.submit(image))
        image[...] = 0
    fleet.count_as_admitted(20)
    assert {answer(future.result(20)) for future in futures} == {fleet.expected[3]}
