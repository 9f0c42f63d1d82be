"""Workers on hosts of their own, as namespaces, whose wires are slow, lossy, cut, or reset.

Skipped where there is no root; see `namespaces`.
"""

import functools
import time

import pytest
from fleet import SOURCE, Fleet
from namespaces import FROM_HOST, TO_HOST, Network, need_namespaces
from tun_link import TunLink

BACK_WITHIN_S = 12.0  # TCP waits up to twice as long as the link was away before it tries again
WORKERS = ("a", "b")


def fleet_on(folder, bundle, network, workers):
    """A fleet with each process on its host; the source, which is in this process, too."""
    hosts = {name: network.address(name) for name in (SOURCE,) + workers}
    prefixes = {
        name: ["ip", "netns", "exec", network.namespace(name)] for name in (SOURCE,) + workers
    }
    made = Fleet(
        folder,
        bundle,
        16,
        workers=workers,
        source_stages=[0],
        pipeline={"insecure_network": True},
        hosts=hosts,
        prefixes=prefixes,
    )
    made.where = functools.partial(network.call, SOURCE)
    return made


@pytest.fixture(scope="module")
def shared(tmp_path_factory, busy):
    need_namespaces()
    folder = tmp_path_factory.mktemp("fleet")
    with Network(SOURCE, *WORKERS) as network, fleet_on(folder, busy, network, WORKERS) as made:
        made.network = network
        yield made.start()


@pytest.fixture
def fleet(shared):
    """A fleet whose wires are whole at the beginning of every test."""
    shared.open_anew()
    yield shared
    for name in (SOURCE,) + WORKERS:
        shared.network.heal(name)
    shared.settle()


def test_fifty_megabits(fleet):
    fleet.network.rate(SOURCE, 50_000_000)
    try:
        fleet.keep_busy(2.0, in_flight=16)
        print("settled after", fleet.settle(), fleet.counters())
    finally:
        fleet.network.rate(SOURCE, None)
    assert set(fleet.lost()) == set()


def test_one_packet_in_twenty_is_lost(fleet):
    for name in WORKERS:
        fleet.network.loss(name, 5)
    fleet.keep_busy(2.0, in_flight=16)
    print("settled after", fleet.settle(), fleet.counters())
    assert set(fleet.lost()) <= {"silent", "not_answering"}


@pytest.mark.parametrize("way", [None, TO_HOST, FROM_HOST])
def test_a_partition_of_two_seconds(fleet, way):
    fleet.submit(60)
    fleet.network.partition("a", way)
    time.sleep(2.0)
    fleet.network.heal("a")
    print("settled after", fleet.settle(), set(fleet.lost()))
    fleet.wait_until("a", "up", BACK_WITHIN_S)
    fleet.submit(20)
    fleet.settle()


def test_a_plug_is_pulled_and_put_back(fleet):
    fleet.submit(60)
    fleet.network.link_down("a")
    seen_s = fleet.wait_until("a", "greeting", 8)
    print("seen after", seen_s, "settled after", fleet.settle(10))
    fleet.network.link_up("a")
    print("back after", fleet.wait_until("a", "up", BACK_WITHIN_S))
    fleet.submit(20)
    fleet.settle()


def test_connections_are_destroyed(fleet):
    for name in ("a", "b", SOURCE):
        fleet.submit(30)
        fleet.network.reset(name)
        time.sleep(0.2)
    fleet.settle()
    for name in WORKERS:
        fleet.wait_until(name, "up", BACK_WITHIN_S)


def test_a_long_way_with_jitter(tmp_path, busy):
    """200 ms there and back, 50 ms more or less: nobody takes it for a death."""
    need_namespaces()
    with Network(SOURCE, "a", is_joined=False) as network, TunLink(network, SOURCE, "a") as wire:
        wire.set(delay_s=0.1, jitter_s=0.025, in_order=True)
        with fleet_on(tmp_path, busy, network, ("a",)) as fleet:
            fleet.start()
            fleet.keep_busy(3.0, in_flight=8)
            fleet.settle()
            print(fleet.counters())
            assert fleet.lost() == {}
