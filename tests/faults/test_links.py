"""Links that break, stall, are slow or alter what they carry, each through proxies."""

import time

import pytest
from fleet import SOURCE, Fleet
from proxy import TO_TARGET

BACK_WITHIN_S = 8.0
# Five tries of a task, 0.5 to 4 s apart. As it greets, the neighbour is tried again after that, so
# an image whose lease ends meanwhile may meet it twice.
NOT_ANSWERING_S = 14.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory, busy):
    """The source computes stage 0 only, so that 256 KiB of features travel with each task."""
    folder = tmp_path_factory.mktemp("fleet")
    with Fleet(folder, busy, 16, proxied=True, source_stages=[0]) as made:
        yield made.start()


@pytest.fixture
def fleet(shared):
    """A fleet in which everybody knows everybody."""
    for link in shared.links.values():
        link.let_go()
        link.throttle(None)
    shared.open_anew()
    return shared


def test_nothing_passes_for_half_a_second(fleet):
    fleet.submit(40)
    for link in fleet.links_of("a"):
        link.hold()
    time.sleep(0.5)
    for link in fleet.links_of("a"):
        link.let_go()
    fleet.settle()
    assert set(fleet.lost()) == set()


def test_connections_are_reset_again_and_again(fleet):
    for _ in range(8):
        fleet.keep_busy(0.2)
        for link in fleet.links.values():
            link.reset()
    fleet.settle()
    for name in ("a", "b"):
        fleet.wait_until(name, "up", BACK_WITHIN_S)


def test_connections_end_again_and_again(fleet):
    for number in range(8):
        fleet.keep_busy(0.2)
        for link in fleet.links_of("ab"[number % 2]):
            link.close()
    fleet.settle()


def test_nothing_passes_for_five_seconds(fleet):
    fleet.submit(40)
    for link in fleet.links_of("a"):
        link.hold()
    seen_s = fleet.wait_until("a", "greeting", 7)
    assert seen_s > 2.4, "a death is not declared lightly"
    assert fleet.settle() < 10, "b does what a cannot"
    time.sleep(max(0.0, 5.0 - seen_s))
    for link in fleet.links_of("a"):
        link.let_go()
    print("came back after", fleet.wait_until("a", "up", BACK_WITHIN_S))
    fleet.submit(40)
    fleet.settle()
    assert set(fleet.lost()) <= {"silent", "not_answering"}


@pytest.mark.parametrize("way", ["to it", "from it"])
def test_nothing_passes_one_way(fleet, way):
    """Both sides stop offloading over that link, whoever it is that still hears."""
    held = [(SOURCE, "a")] if way == "to it" else [("a", SOURCE), ("a", "b")]
    fleet.submit(40)
    for pair in held:
        fleet.links[pair].hold()
    seen_s = fleet.wait_until("a", "greeting", 9)
    print("seen after {:.1f} s, settled {:.1f} s later".format(seen_s, fleet.settle(20)))
    sent_bytes = fleet.links[SOURCE, "a"].data.bytes_to_target
    fleet.submit(20)
    fleet.settle()
    assert fleet.links[SOURCE, "a"].data.bytes_to_target - sent_bytes < 50_000
    for pair in held:
        fleet.links[pair].let_go()
    fleet.wait_until("a", "up", BACK_WITHIN_S)
    fleet.submit(20)
    fleet.settle()


def test_the_data_lane_alone_stalls(fleet):
    """Heartbeats go on, features do not: it must not swallow images."""
    fleet.links[SOURCE, "a"].data.hold()
    fleet.submit(60)
    print("settled after", fleet.settle(2 * NOT_ANSWERING_S + 10), set(fleet.lost()))
    fleet.links[SOURCE, "a"].data.let_go()


def test_a_link_becomes_a_hundred_times_slower(fleet):
    """From gigabits to 10 Mbit/s: a task takes 0.2 s then. The control lane stays alive; what is
    repeated too soon costs time."""
    fleet.keep_busy(0.5)
    for name in ("a", "b"):
        fleet.links[SOURCE, name].data.throttle(1.25e6)
    fleet.submit(20)
    print("settled after", fleet.settle(), fleet.counters())
    assert set(fleet.lost()) <= {"not_answering", "started_again"}
    assert fleet.state("a") == fleet.state("b") == "up"


def test_bits_flip_on_links_that_are_not_encrypted(fleet):
    """What is seen of it: headers have a checksum, so a flip there costs a repetition."""
    for _ in range(10):
        fleet.links[SOURCE, "a"].control.flip_bit(100, TO_TARGET)
        fleet.links["a", SOURCE].control.flip_bit(100, TO_TARGET)
        fleet.keep_busy(0.2)
    fleet.settle()


def test_a_bit_flips_in_features_that_are_not_encrypted(fleet):
    """Nobody sees it, for only CURVE protects bodies: that answer may be wrong, and no other."""
    for _ in range(5):
        fleet.links[SOURCE, "a"].data.flip_bit(100_003, TO_TARGET)
        fleet.keep_busy(0.2, may_differ=True)
    fleet.settle(may_differ=True)
    print("wrong answers", len(fleet.differed))
    assert len(fleet.differed) <= 5


def test_bits_flip_on_links_that_are_encrypted(tmp_path, busy):
    """Every flip is found, wherever it is."""
    with Fleet(tmp_path, busy, 16, proxied=True, source_stages=[0], curve=True) as fleet:
        fleet.start()
        for number in range(10):
            for lane in ("control", "data"):
                way = [(SOURCE, "a"), ("a", SOURCE)][number % 2]
                getattr(fleet.links[way], lane).flip_bit(50 + 5000 * number, TO_TARGET)
            fleet.keep_busy(0.3)
        fleet.settle()
        fleet.wait_until("a", "up", BACK_WITHIN_S)


def test_closing_while_nothing_passes(tmp_path, busy):
    with Fleet(tmp_path, busy, 16, proxied=True, source_stages=[0]) as fleet:
        fleet.start()
        fleet.submit(40)
        for link in fleet.links.values():
            link.hold()
        begin_s = time.monotonic()
        fleet.close(timeout=2.0)
        assert time.monotonic() - begin_s < 8
        assert len(fleet.take_all(may_fail=True)) > 0
