"""What `tun_link` does to datagrams and to TCP."""

import os
import random
import threading

import pytest
import tun_link
from namespaces import Network, need_namespaces
from test_namespaces import Datagrams, connection, passes, seconds_to_send
from tun_link import Behaviour, Direction, TunLink, need_tun


@pytest.fixture(scope="module")
def network():
    need_namespaces()
    need_tun()
    with Network("a", "b", is_joined=False) as opened:
        yield opened


@pytest.fixture
def link(network):
    with TunLink(network, "a", "b", seed=7) as opened:
        yield opened


def arrivals(network, link, count=400, wait_s=0.3, **values):
    """The numbers of those of `count` datagrams that come through under this behaviour."""
    link.set(**values)
    with Datagrams(network, "a", "b") as datagrams:
        datagrams.send(count)
        return datagrams.arrived(wait_s)


class TestLink:
    def test_without_faults_everything_arrives_in_order(self, network, link):
        assert arrivals(network, link) == list(range(400))
        assert link.counts("a") == (400, 0)

    def test_loss(self, network, link):
        numbers = arrivals(network, link, loss=0.2)
        assert 260 < len(numbers) < 370
        assert link.counts("a") == (len(numbers), 400 - len(numbers))

    def test_duplication(self, network, link):
        numbers = arrivals(network, link, duplication=0.2)
        assert set(numbers) == set(range(400))
        assert 430 < len(numbers) < 540

    def test_jitter_changes_the_order(self, network, link):
        numbers = arrivals(network, link, delay_s=0.02, jitter_s=0.02)
        assert numbers != sorted(numbers) == list(range(400))

    def test_in_order_it_does_not(self, network, link):
        numbers = arrivals(network, link, delay_s=0.02, jitter_s=0.02, in_order=True)
        assert numbers == list(range(400))

    def test_delay_is_added_to_every_round_trip(self, network, link):
        link.set(delay_s=0.1)
        with connection(network) as (near, far):
            assert 0.1 < seconds_to_send(near, far, 1) < 0.5

    def test_delay_may_be_that_of_one_direction(self, network, link):
        link.set("b", delay_s=0.2)
        with connection(network) as (near, far):
            assert seconds_to_send(near, far, 1) < 0.15
            assert 0.2 < seconds_to_send(far, near, 1) < 0.6

    def test_a_partition_may_be_one_of_one_direction(self, network, link):
        link.partition("a")
        assert not passes(network, "a", "b")
        assert passes(network, "b", "a")
        link.heal()
        assert passes(network, "a", "b")

    def test_tcp_survives_a_bad_link(self, network, link):
        link.set(delay_s=0.005, jitter_s=0.002, loss=0.02, duplication=0.02)
        with connection(network) as (near, far):
            assert seconds_to_send(near, far, 200000) < 5

    def test_nothing_is_left_behind(self, network):
        def resources():
            return threading.active_count(), os.listdir("/proc/self/fd")

        before = resources()
        with TunLink(network, "a", "b"):
            assert "eth0" in network.run("a", "ip", "link")
        assert resources() == before
        assert "eth0" not in network.run("a", "ip", "link")


class TestDirection:
    @staticmethod
    def schedule(seed, **values):
        """What becomes of 50 packets that come one millisecond apart: (time, packet)."""
        direction = Direction(-1, -1, random.Random(seed))
        direction.behaviour = Behaviour(**values)
        for number in range(50):
            direction.put(b"%d" % number, number / 1000.0)
        return sorted((due, packet) for due, _, packet in direction.waiting)

    def test_a_seed_draws_the_same_fate(self):
        values = {"delay_s": 0.01, "jitter_s": 0.01, "loss": 0.2, "duplication": 0.2}
        assert self.schedule(1, **values) == self.schedule(1, **values)
        assert self.schedule(1, **values) != self.schedule(2, **values)

    def test_another_fault_does_not_change_who_is_lost(self):
        lossy = {packet for _, packet in self.schedule(1, loss=0.3)}
        also_late = self.schedule(1, loss=0.3, delay_s=0.1, jitter_s=0.05, duplication=0.5)
        assert lossy == {packet for _, packet in also_late}
        assert len(lossy) < 50

    def test_a_wire_holds_a_limited_number(self, monkeypatch):
        monkeypatch.setattr(tun_link, "WAITING_MAX", 10)
        assert len(self.schedule(1, delay_s=1.0)) == 10

    def test_without_the_device_it_says_what_to_load(self, monkeypatch):
        monkeypatch.setattr(os.path, "exists", lambda path: False)
        with pytest.raises(pytest.skip.Exception, match="modprobe tun"):
            need_tun()
