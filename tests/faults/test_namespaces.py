"""What each verb of `namespaces` does to plain sockets, and to the rule that finds the dead."""

import contextlib
import errno
import os
import shutil
import socket
import struct
import subprocess
import sys
import time

import namespaces
import pytest
import zmq
from namespaces import FROM_HOST, TO_HOST, Network, need_namespaces
from zmq_helpers import DISCONNECTED, HANDSHAKE_SUCCEEDED, Monitor, Sockets, verdict

PORT = 5555
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture(scope="module")
def joined():
    need_namespaces()
    with Network("a", "b") as opened:
        yield opened


@pytest.fixture
def network(joined):
    """Two hosts on a switch that nothing has befallen yet."""
    yield joined
    for host in joined.hosts:
        joined.heal(host)
        joined.link_up(host)
        joined.device_up(host)
        with contextlib.suppress(AssertionError):  # there is no limit
            joined.rate(host, None)


class Datagrams:
    """Numbered datagrams from one host to another."""

    def __init__(self, network, sender, receiver):
        self.address = (network.address(receiver), PORT)
        self.sender = network.call(sender, socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
        self.receiver = network.call(receiver, socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
        self.receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.receiver.bind(self.address)
        self.sent = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sender.close()
        self.receiver.close()

    def send(self, count=1):
        """Send the next `count`, evenly in time so that no queue overflows."""
        for _ in range(count):
            self.sender.sendto(struct.pack("!I", self.sent), self.address)
            self.sent += 1
            time.sleep(0.0005)

    def arrived(self, wait_s=0.2):
        """The numbers that come until none came for `wait_s`."""
        self.receiver.settimeout(wait_s)
        numbers = []
        with contextlib.suppress(socket.timeout):
            while True:
                numbers.append(struct.unpack("!I", self.receiver.recv(100))[0])
        return numbers


@contextlib.contextmanager
def connection(network, client="a", server="b"):
    """Both ends of a TCP connection: (client's, server's)."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(network.call(server, socket.socket))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((network.address(server), PORT))
        listener.listen(1)
        near = stack.enter_context(network.call(client, socket.socket))
        near.settimeout(5)
        near.connect((network.address(server), PORT))
        far = stack.enter_context(listener.accept()[0])
        far.settimeout(5)
        yield near, far


def passes(network, sender, receiver):
    """Whether one of some datagrams gets through; the first may have to wait for ARP."""
    with Datagrams(network, sender, receiver) as datagrams:
        for _ in range(5):
            datagrams.send()
            if datagrams.arrived(wait_s=0.1):
                return True
    return False


class TestWires:
    def test_hosts_reach_each_other(self, network):
        assert passes(network, "a", "b")
        assert passes(network, "b", "a")

    def test_a_partition_is_silent_and_heals(self, network):
        with connection(network) as (near, far):
            network.partition("b")
            near.sendall(b"late")
            far.settimeout(0.2)
            with pytest.raises(socket.timeout):
                far.recv(4)
            network.heal("b")
            far.settimeout(5)
            assert far.recv(4) == b"late"

    @pytest.mark.parametrize(("way", "is_heard"), [(TO_HOST, False), (FROM_HOST, True)])
    def test_a_partition_may_be_one_of_one_direction(self, network, way, is_heard):
        network.partition("b", way)
        assert passes(network, "a", "b") == is_heard
        assert passes(network, "b", "a") != is_heard

    def test_loss_is_about_what_was_asked_for(self, network):
        network.loss("b", 20)
        with Datagrams(network, "a", "b") as datagrams:
            datagrams.send(500)
            assert 350 < len(datagrams.arrived()) < 450
        network.loss("b", 0)
        with Datagrams(network, "a", "b") as datagrams:
            datagrams.send(500)
            assert len(datagrams.arrived()) == 500

    def test_rate_limits_what_a_host_sends(self, network):
        network.rate("a", 8000000)
        with connection(network) as (near, far):
            assert seconds_to_send(near, far, 500000) > 0.35
            assert seconds_to_send(far, near, 500000) < 0.35
            network.rate("a", None)
            assert seconds_to_send(near, far, 500000) < 0.35

    def test_a_link_that_is_down_is_silent_to_both(self, network):
        network.link_down("b")
        assert not passes(network, "a", "b")
        assert not passes(network, "b", "a")
        network.link_up("b")
        assert passes(network, "a", "b")

    def test_a_host_whose_device_is_down_notices(self, network):
        network.device_down("a")
        with Datagrams(network, "a", "b") as datagrams, pytest.raises(OSError) as caught:
            datagrams.send()
        assert caught.value.errno == errno.ENETUNREACH
        network.device_up("a")
        assert passes(network, "a", "b")

    def test_reset_ends_connections_at_both_hosts(self, network):
        with connection(network) as (near, far):
            network.reset("a")
            for end in (near, far):
                with pytest.raises(OSError) as caught:
                    end.recv(1)
                assert caught.value.errno in (errno.ECONNRESET, errno.ECONNABORTED)


def seconds_to_send(sender, receiver, count_bytes):
    """How long so many bytes take; at most what the kernel holds."""
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * count_bytes)
    started = time.monotonic()
    sender.sendall(bytes(count_bytes))
    received = 0
    while received < count_bytes:
        received += len(receiver.recv(65536))
    return time.monotonic() - started


ROUTER_PROGRAM = """
import sys, zmq
router = zmq.Context().socket(zmq.ROUTER)
router.bind(sys.argv[1])
print("bound", flush=True)
while True:
    router.recv_multipart()
"""


class TestWhoIsDead:
    """The rule of `verdict` where peers are machines, with ZMTP heartbeats."""

    @pytest.fixture
    def watched(self, network):
        """(process on host b, monitor of a dealer on host a that has shaken hands with it)."""
        endpoint = "tcp://{}:{}".format(network.address("b"), PORT + 1)
        command = [sys.executable, "-c", ROUTER_PROGRAM, endpoint]
        process = network.popen("b", command, stdout=subprocess.PIPE)
        with process.stdout:
            assert process.stdout.readline()
        with Sockets() as sockets:
            options = {"heartbeat_ivl": 200, "heartbeat_timeout": 400, "reconnect_ivl_max": 5000}
            # The threads of libzmq start with the first socket, and stay where they started.
            dealer = network.call("a", lambda: sockets.make(zmq.DEALER, **options))
            monitor = Monitor(dealer)
            dealer.connect(endpoint)
            assert monitor.next_of([HANDSHAKE_SUCCEEDED], 5)
            yield process, monitor
        process.kill()
        process.wait()

    def test_a_process_that_was_killed_is_gone(self, watched):
        process, monitor = watched
        process.kill()
        assert monitor.next_of([DISCONNECTED], 0.5)
        assert verdict(monitor) == "gone"

    @pytest.mark.parametrize("host", ["a", "b"])
    def test_connections_that_were_destroyed_come_back(self, network, watched, host):
        network.reset(host)
        assert watched[1].next_of([DISCONNECTED], 0.5)
        assert verdict(watched[1]) == "back"

    def test_a_host_behind_a_partition_is_silent(self, network, watched):
        network.partition("b")
        assert watched[1].next_of([DISCONNECTED], 5)
        assert verdict(watched[1]) == "silent"

    def test_nobody_is_declared_gone_because_our_own_device_is_down(self, network, watched):
        network.device_down("a")
        assert watched[1].next_of([DISCONNECTED], 5)
        assert verdict(watched[1]) == "silent"


class TestTidiness:
    def left(self):
        """Namespaces and devices of this process."""
        everything = namespaces.run("ip", "netns") + namespaces.run("ip", "link")
        return [line for line in everything.splitlines() if str(os.getpid()) in line]

    def test_nothing_is_left_when_a_test_fails(self):
        need_namespaces()
        before, descriptors = self.left(), os.listdir("/proc/self/fd")
        with pytest.raises(ZeroDivisionError), Network("x", "y", "z") as network:
            child = network.popen("x", SLEEP)
            network.rate("x", 1000000)
            assert len(self.left()) > len(before)
            _ = 1 / 0
        assert child.poll() is not None
        assert self.left() == before
        assert os.listdir("/proc/self/fd") == descriptors

    def test_what_a_killed_process_left_is_swept_away(self, joined):
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        left = "{}{}-0-a".format(namespaces.PREFIX, process.pid)
        namespaces.run("ip", "netns", "add", left)
        namespaces.sweep()
        names = namespaces.run("ip", "netns")
        assert left not in names
        assert joined.namespace("a") in names

    def test_networks_do_not_meet(self, network):
        with Network("a", "b") as other:
            network.partition("b")
            assert passes(other, "a", "b")
            assert not passes(network, "a", "b")

    def test_the_thread_of_the_test_stays_where_it_is(self, network):
        here = os.readlink("/proc/thread-self/ns/net")
        there = network.call("a", os.readlink, "/proc/thread-self/ns/net")
        assert there != here == os.readlink("/proc/thread-self/ns/net")

    def test_a_command_that_fails_says_what_it_said(self, network):
        with pytest.raises(AssertionError, match="Cannot find device"):
            network.run("a", "ip", "link", "set", "nothing", "up")


class TestMissing:
    def test_who_is_not_root_is_told_to_be(self, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert "root" in namespaces.missing()

    def test_packages_that_are_missing_are_named(self, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(shutil, "which", lambda tool: None if tool == "nft" else tool)
        assert namespaces.missing() == "tools are missing: apt-get install nftables"

    def test_a_machine_that_forbids_them_says_so(self, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(shutil, "which", lambda tool: tool)
        monkeypatch.setattr(namespaces, "_try", lambda *command: 1)
        assert "allows no network namespaces" in namespaces.missing()
