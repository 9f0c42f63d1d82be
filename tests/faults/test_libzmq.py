"""What we rely on in libzmq, asked of the real one on loopback: each test is named after one
assumption. If one fails after an update of libzmq, the code that rests on it must change."""

import contextlib
import gc
import os
import signal
import threading
import time
import weakref
from types import MappingProxyType

import numpy as np
import pytest
import zmq
import zmq.auth.thread
from proxy import TO_CLIENT, Proxy
from zmq.utils import z85
from zmq_helpers import (
    CLOSED,
    CONNECT_RETRIED,
    DISCONNECTED,
    HANDSHAKE_SUCCEEDED,
    Child,
    Monitor,
    Sockets,
    Zap,
    drain,
    verdict,
)

ROUTER_PROCESS = """
import sys, time, zmq
router = zmq.Context().socket(zmq.ROUTER)
router.setsockopt(zmq.LINGER, 0)
print(router.bind_to_random_port("tcp://127.0.0.1"), flush=True)
while sys.argv[1] == "reads":
    router.recv_multipart()
time.sleep(60)
"""


@pytest.fixture
def sockets():
    with Sockets() as opened:
        yield opened


def say_hello(dealer, router):
    """Let the router know the dealer; the routing id it has there."""
    dealer.send(b"hello")
    return router.recv_multipart()[0]


class TestRouter:
    def test_a_message_to_a_stranger_is_dropped_silently(self, sockets):
        router, _ = sockets.bound(zmq.ROUTER)
        router.send_multipart([b"nobody", b"lost"])

    def test_mandatory_tells_of_a_stranger(self, sockets):
        router, _ = sockets.bound(zmq.ROUTER, router_mandatory=1)
        with pytest.raises(zmq.ZMQError) as caught:
            router.send_multipart([b"nobody", b"lost"])
        assert caught.value.errno == zmq.EHOSTUNREACH

    @staticmethod
    def flood(sockets, **options):
        """1000 messages of 64 KiB to a peer that does not read yet: (accepted, delivered)."""
        router, port = sockets.bound(zmq.ROUTER, sndhwm=10, **options)
        dealer = sockets.connected(zmq.DEALER, port, rcvhwm=10)
        peer = say_hello(dealer, router)
        accepted = 0
        for _ in range(1000):
            try:
                router.send_multipart([peer, bytes(65536)], flags=zmq.DONTWAIT)
                accepted += 1
            except zmq.Again:
                pass
        return accepted, len(drain(dealer))

    def test_what_a_slow_peer_does_not_take_is_dropped_silently(self, sockets):
        accepted, delivered = self.flood(sockets)
        assert accepted == 1000
        assert delivered < 500

    def test_mandatory_tells_of_a_slow_peer_and_loses_nothing(self, sockets):
        accepted, delivered = self.flood(sockets, router_mandatory=1)
        assert accepted == delivered < 1000

    @pytest.mark.parametrize(("handover", "heard"), [(0, b"first"), (1, b"second")])
    def test_of_two_peers_with_one_id_the_second_is_heard_with_handover_only(
        self, sockets, handover, heard
    ):
        router, port = sockets.bound(zmq.ROUTER, router_handover=handover)
        first = sockets.connected(zmq.DEALER, port, routing_id=b"twin")
        say_hello(first, router)
        second = sockets.make(zmq.DEALER, routing_id=b"twin")
        monitor = Monitor(second)
        second.connect("tcp://127.0.0.1:{}".format(port))
        assert monitor.next_of([HANDSHAKE_SUCCEEDED], 5)  # nobody tells the second anything
        time.sleep(0.1)
        first.send(b"first")
        second.send(b"second")
        assert drain(router) == [[b"twin", heard]]


class TestReset:
    @staticmethod
    def send_through(sockets, fault):
        """Send 100 numbered messages of 64 KiB to a held proxy, do `fault`, let go, send a last
        one: the numbers that arrived. A send that does not succeed at once would raise."""
        receiver, port = sockets.bound(zmq.ROUTER)
        with Proxy(port, buffer_bytes=1 << 18) as proxy:
            dealer = sockets.connected(zmq.DEALER, proxy.port, reconnect_ivl=20)
            say_hello(dealer, receiver)
            proxy.hold()
            for number in range(100):
                dealer.send_multipart([b"%d" % number, bytes(65536)], flags=zmq.DONTWAIT)
            time.sleep(0.1)  # the kernel takes what it can
            fault(proxy)
            proxy.let_go()
            dealer.send_multipart([b"last", b""], flags=zmq.DONTWAIT)
            arrived = []
            while not arrived or arrived[-1] != b"last":
                arrived.append(receiver.recv_multipart()[1])
        return arrived[:-1]

    def test_a_reset_loses_what_was_under_way_and_tells_nobody(self, sockets):
        arrived = self.send_through(sockets, Proxy.reset)
        assert len(arrived) < 100

    def test_what_is_left_arrives_in_order_and_once(self, sockets):
        numbers = [int(name) for name in self.send_through(sockets, Proxy.reset)]
        assert numbers == sorted(set(numbers))

    def test_a_partition_that_heals_loses_nothing(self, sockets):
        arrived = self.send_through(sockets, lambda proxy: None)
        assert arrived == [b"%d" % number for number in range(100)]


class TestImmediate:
    @pytest.mark.parametrize(("immediate", "read"), [(0, 500), (1, 0)])
    def test_with_immediate_what_came_but_was_not_read_is_thrown_away(
        self, sockets, immediate, read
    ):
        router, port = sockets.bound(zmq.ROUTER, linger=5000)
        dealer = sockets.make(zmq.DEALER, immediate=immediate)
        monitor = Monitor(dealer)
        dealer.connect("tcp://127.0.0.1:{}".format(port))
        peer = say_hello(dealer, router)
        for _ in range(500):
            router.send_multipart([peer, bytes(16384)])
        router.close()
        assert monitor.next_of([DISCONNECTED], 5)
        time.sleep(0.1)
        assert len(drain(dealer)) == read


class TestHeartbeats:
    OPTIONS = MappingProxyType({"heartbeat_ivl": 100, "heartbeat_timeout": 300})

    def watch(self, sockets, port, **options):
        """The monitor of a dealer that has shaken hands."""
        dealer = sockets.make(zmq.DEALER, **options)
        monitor = Monitor(dealer)
        dealer.connect("tcp://127.0.0.1:{}".format(port))
        assert monitor.next_of([HANDSHAKE_SUCCEEDED], 5)
        return monitor

    def test_they_see_a_stopped_process(self, sockets):
        with Child(ROUTER_PROCESS, "reads") as child:
            monitor = self.watch(sockets, child.port, **self.OPTIONS)
            child.signal(signal.SIGSTOP)
            assert monitor.next_of([DISCONNECTED], 5)

    def test_they_do_not_see_a_hung_thread(self, sockets):
        with Child(ROUTER_PROCESS, "hangs") as child:
            monitor = self.watch(sockets, child.port, **self.OPTIONS)
            assert not monitor.next_of([DISCONNECTED], 1.5)

    @pytest.mark.parametrize("has_heartbeats", [True, False])
    def test_only_they_see_a_silent_partition(self, sockets, has_heartbeats):
        _, port = sockets.bound(zmq.ROUTER)
        with Proxy(port) as proxy:
            options = self.OPTIONS if has_heartbeats else {}
            monitor = self.watch(sockets, proxy.port, **options)
            proxy.hold()
            seen = monitor.next_of([DISCONNECTED], 5 if has_heartbeats else 1.5)
            assert bool(seen) == has_heartbeats


class TestSizes:
    def test_the_largest_message_size_is_one_of_frames(self, sockets):
        router, port = sockets.bound(zmq.ROUTER, maxmsgsize=65536)
        dealer = sockets.connected(zmq.DEALER, port)
        dealer.send_multipart([bytes(65536)] * 40)
        assert sum(len(frame) for frame in router.recv_multipart()[1:]) == 40 * 65536

    def test_who_sends_a_larger_frame_is_disconnected(self, sockets):
        router, port = sockets.bound(zmq.ROUTER, maxmsgsize=65536)
        dealer = sockets.make(zmq.DEALER)
        monitor = Monitor(dealer)
        dealer.connect("tcp://127.0.0.1:{}".format(port))
        dealer.send(bytes(65537))
        assert monitor.next_of([DISCONNECTED], 5)
        assert drain(router) == []


class TestZeroCopy:
    @staticmethod
    def queued(sockets, array):
        """Send `array` without a copy to a port where nobody listens yet: a function that opens
        the port and receives it."""
        reserved, port = sockets.bound(zmq.ROUTER)
        endpoint = reserved.getsockopt(zmq.LAST_ENDPOINT)
        reserved.unbind(endpoint)
        dealer = sockets.connected(zmq.DEALER, port, reconnect_ivl=20)
        dealer.send(array, copy=False)

        def receive():
            router = sockets.make(zmq.ROUTER)
            deadline_s = time.monotonic() + 5
            while True:
                try:
                    router.bind(endpoint)
                    break
                except zmq.ZMQError:  # the old listener is closed by another thread
                    assert time.monotonic() < deadline_s
                    time.sleep(0.01)
            return np.frombuffer(router.recv_multipart(copy=False)[1].buffer, np.uint8)

        return receive

    def test_rewriting_an_array_after_sending_it_changes_the_message(self, sockets):
        array = np.zeros(zmq.COPY_THRESHOLD, np.uint8)
        receive = self.queued(sockets, array)
        array[:] = 7
        assert set(receive()) == {7}

    def test_below_the_threshold_there_is_a_copy_anyway(self, sockets):
        array = np.zeros(zmq.COPY_THRESHOLD - 1, np.uint8)
        receive = self.queued(sockets, array)
        array[:] = 7
        assert set(receive()) == {0}

    def test_a_sent_array_lives_until_it_has_left(self, sockets):
        array = np.full(1 << 20, 7, np.uint8)
        alive = weakref.ref(array)
        receive = self.queued(sockets, array)
        del array
        gc.collect()
        assert alive() is not None
        assert set(receive()) == {7}
        deadline_s = time.monotonic() + 5
        while alive() is not None and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert alive() is None

    def test_a_received_array_keeps_its_frame_alive(self, sockets):
        array = self.queued(sockets, np.full(1 << 20, 7, np.uint8))()
        gc.collect()
        junk = [bytes(1 << 20) for _ in range(20)]
        assert set(array) == {7}
        del junk


class TestCurve:
    @pytest.fixture(autouse=True)
    def _keys(self):
        if not zmq.has("curve"):
            pytest.skip("this libzmq was built without CURVE; install one with libsodium")
        self.server_public, self.server_secret = zmq.curve_keypair()
        self.public, self.secret = zmq.curve_keypair()

    def server(self, sockets, **options):
        return sockets.bound(
            zmq.ROUTER, curve_server=1, curve_secretkey=self.server_secret, **options
        )

    def client(self, sockets, **options):
        """A dealer with our key, not yet connected."""
        keys = {"curve_publickey": self.public, "curve_secretkey": self.secret}
        keys["curve_serverkey"] = self.server_public
        return sockets.make(zmq.DEALER, **dict(keys, **options))

    def hears(self, sockets, router, port, server_key=None):
        """The frame that the router has of a client with our key, or None."""
        client = self.client(sockets, curve_serverkey=server_key or self.server_public)
        client.connect("tcp://127.0.0.1:{}".format(port))
        client.send(b"hello")
        return router.recv_multipart(copy=False)[1] if router.poll(500) else None

    def test_without_an_authenticator_any_key_is_accepted(self, sockets):
        assert self.hears(sockets, *self.server(sockets, zap_domain=b"fleet"))

    def test_an_enforced_domain_without_an_authenticator_accepts_nobody(self, sockets):
        router, port = self.server(sockets, zap_domain=b"fleet", zap_enforce_domain=1)
        assert not self.hears(sockets, router, port)

    @staticmethod
    def only(listed):
        """A `decide` of Zap that lets the keys of this list into the domain fleet."""

        def decide(domain, mechanism, key):
            is_known = (domain, mechanism) == ("fleet", "CURVE") and z85.encode(key) in listed
            return b"worker 7" if is_known else None

        return decide

    def test_with_a_list_only_listed_keys_are_accepted(self, sockets):
        router, port = self.server(sockets, zap_domain=b"fleet")
        listed = [zmq.curve_keypair()[0]]
        with Zap(sockets.context, self.only(listed)):
            assert not self.hears(sockets, router, port)
            listed.append(self.public)
            assert self.hears(sockets, router, port)

    def test_who_was_refused_does_not_come_back_by_itself(self, sockets):
        router, port = self.server(sockets, zap_domain=b"fleet")
        listed = []
        with Zap(sockets.context, self.only(listed)):
            assert not self.hears(sockets, router, port)
            listed.append(self.public)
            assert not router.poll(700)

    def test_a_frame_names_the_user_that_the_authenticator_said(self, sockets):
        router, port = self.server(sockets, zap_domain=b"fleet")
        with Zap(sockets.context, self.only([self.public])):
            assert self.hears(sockets, router, port).get("User-Id") == "worker 7"

    @pytest.mark.parametrize(("domain", "is_heard"), [(b"fleet", True), (b"other", False)])
    def test_pyzmqs_authenticator_refuses_in_domains_it_does_not_know(
        self, sockets, domain, is_heard
    ):
        class Anyone:
            def callback(self, domain, key):
                return True

        router, port = self.server(sockets, zap_domain=domain)
        authenticator = zmq.auth.thread.ThreadAuthenticator(sockets.context)
        authenticator.start()
        try:
            authenticator.configure_curve_callback(domain="fleet", credentials_provider=Anyone())
            frame = self.hears(sockets, router, port)
            assert bool(frame) == is_heard
            if frame:
                assert frame.get("User-Id") == self.public.decode()
        finally:
            authenticator.stop()

    def test_a_client_without_keys_is_refused(self, sockets):
        router, port = self.server(sockets)
        sockets.connected(zmq.DEALER, port).send(b"hello")
        assert not router.poll(500)

    def test_a_client_that_expects_another_server_does_not_talk_to_this_one(self, sockets):
        router, port = self.server(sockets)
        assert not self.hears(sockets, router, port, server_key=zmq.curve_keypair()[0])

    def test_a_flipped_bit_costs_the_message_and_the_connection(self, sockets):
        router, port = self.server(sockets)
        with Proxy(port) as proxy:
            client = self.client(sockets, reconnect_ivl=20)
            monitor = Monitor(client)
            client.connect(proxy.endpoint)
            say_hello(client, router)
            proxy.flip_bit(50)
            client.send(bytes(100))
            assert monitor.next_of([DISCONNECTED], 5)
            assert monitor.next_of([HANDSHAKE_SUCCEEDED], 5)
            client.send(b"next")
            assert [message[1:] for message in drain(router)] == [[b"next"]]

    def test_even_so_the_bounds_of_messages_are_not_protected(self, sockets):
        router, port = self.server(sockets)
        assert flip_the_more_flag(router, port, self.client(sockets)) == [[b"one", b"two"]]


def flip_the_more_flag(router, port, dealer):
    """Send two messages and flip the first bit of the first: what the router receives."""
    with Proxy(port) as proxy:
        dealer.connect(proxy.endpoint)
        say_hello(dealer, router)
        proxy.flip_bit(0)
        dealer.send(b"one")
        dealer.send(b"two")
        return [message[1:] for message in drain(router)]


class TestNonsense:
    def test_a_flipped_bit_can_join_two_messages(self, sockets):
        router, port = sockets.bound(zmq.ROUTER)
        joined = flip_the_more_flag(router, port, sockets.make(zmq.DEALER))
        assert joined == [[b"one", b"two"]]

    def never_retries(self, monitor):
        """Whether the connection ends, and no other is tried within a second."""
        assert monitor.next_of([DISCONNECTED], 5)
        return not monitor.next_of([CONNECT_RETRIED, HANDSHAKE_SUCCEEDED], 1)

    def test_a_dealer_that_hears_nonsense_while_shaking_hands_gives_up_for_good(self, sockets):
        _, port = sockets.bound(zmq.ROUTER)
        with Proxy(port) as proxy:
            proxy.flip_bit(20, way=TO_CLIENT)  # in the name of the mechanism
            dealer = sockets.make(zmq.DEALER, reconnect_ivl=20)
            monitor = Monitor(dealer)
            dealer.connect(proxy.endpoint)
            assert self.never_retries(monitor)

    def test_one_that_hears_it_later_gives_up_too_and_may_still_take_messages(self, sockets):
        router, port = sockets.bound(zmq.ROUTER)
        dealer = sockets.make(zmq.DEALER, reconnect_ivl=20, maxmsgsize=1000)
        monitor = Monitor(dealer)
        dealer.connect("tcp://127.0.0.1:{}".format(port))
        router.send_multipart([say_hello(dealer, router), bytes(1001)])
        assert self.never_retries(monitor)
        with contextlib.suppress(zmq.Again):  # it takes a thousand of them, or none
            dealer.send(b"where does this go?", flags=zmq.DONTWAIT)
        assert drain(router) == []


class TestThreads:
    def test_a_socket_may_be_used_by_several_threads_that_take_turns(self, sockets):
        router, port = sockets.bound(zmq.ROUTER)
        dealer = sockets.connected(zmq.DEALER, port)
        lock = threading.Lock()

        def send(name):
            for number in range(200):
                with lock:
                    dealer.send_multipart([name, b"%d" % number])

        names = [b"a", b"b", b"c"]
        threads = [threading.Thread(target=send, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        messages = [router.recv_multipart() for _ in range(600)]
        for name in names:
            assert [int(n) for _, who, n in messages if who == name] == list(range(200))


class TestMonitor:
    @pytest.fixture
    def watched(self, sockets):
        """(process, proxy before it, monitor of a dealer behind the proxy)."""
        with Child(ROUTER_PROCESS, "reads") as child, Proxy(child.port) as proxy:
            yield child, proxy, self.watch(sockets, proxy.port)

    def watch(self, sockets, port):
        dealer = sockets.make(zmq.DEALER, reconnect_ivl=100, reconnect_ivl_max=5000)
        monitor = Monitor(dealer)
        dealer.connect("tcp://127.0.0.1:{}".format(port))
        assert monitor.next_of([HANDSHAKE_SUCCEEDED], 5)
        return monitor

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_a_process_that_is_gone_refuses_connections_within_half_a_second(self, sockets, number):
        with Child(ROUTER_PROCESS, "reads") as child:
            monitor = self.watch(sockets, child.port)
            child.signal(number)
            assert monitor.next_of([DISCONNECTED], 0.5)
            assert verdict(monitor) == "gone"

    @pytest.mark.parametrize("fault", [Proxy.reset, Proxy.close])
    def test_a_connection_that_was_only_reset_is_back_within_half_a_second(self, watched, fault):
        _, proxy, monitor = watched
        fault(proxy)
        assert monitor.next_of([DISCONNECTED], 0.5)
        assert verdict(monitor) == "back"

    def test_a_reset_and_a_partition_are_neither(self, watched):
        _, proxy, monitor = watched
        proxy.hold()
        proxy.reset()
        assert monitor.next_of([DISCONNECTED], 0.5)
        assert verdict(monitor) == "silent"

    def test_a_stopped_process_says_nothing_at_all(self, watched):
        child, _, monitor = watched
        child.signal(signal.SIGSTOP)
        assert not monitor.next_of([DISCONNECTED, CLOSED], 0.7)


class TestClosing:
    @pytest.mark.parametrize(("linger", "arrived"), [(0, 0), (2000, 10)])
    def test_without_linger_a_closed_socket_drops_its_queue(self, sockets, linger, arrived):
        router, port = sockets.bound(zmq.ROUTER)
        with Proxy(port) as proxy:
            proxy.refuse()
            dealer = sockets.connected(zmq.DEALER, proxy.port, linger=linger, reconnect_ivl=20)
            for _ in range(10):
                dealer.send(b"queued")
            dealer.close()
            proxy.admit()
            assert len(drain(router)) == arrived

    @staticmethod
    def term(context):
        """`context.term()` in a thread."""
        thread = threading.Thread(target=context.term, daemon=True)
        thread.start()
        return thread

    def test_a_context_ends_at_once_when_its_sockets_are_closed(self):
        context = zmq.Context()
        dealer = context.socket(zmq.DEALER)
        dealer.connect("tcp://127.0.0.1:9")
        dealer.send(b"queued")
        dealer.close(linger=0)
        thread = self.term(context)
        thread.join(2)
        assert not thread.is_alive()

    def test_a_context_waits_for_a_socket_that_is_open(self):
        context = zmq.Context()
        dealer = context.socket(zmq.DEALER)
        thread = self.term(context)
        thread.join(0.3)
        assert thread.is_alive()
        with pytest.raises(zmq.ContextTerminated):
            dealer.recv()
        dealer.close(linger=0)
        thread.join(2)
        assert not thread.is_alive()

    def test_a_context_waits_for_a_closed_socket_that_lingers(self):
        context = zmq.Context()
        dealer = context.socket(zmq.DEALER)
        dealer.connect("tcp://127.0.0.1:9")
        dealer.send(b"queued")
        started = time.monotonic()
        dealer.close(linger=300)
        thread = self.term(context)
        thread.join(5)
        assert 0.25 < time.monotonic() - started < 3

    def test_nothing_is_left_behind(self):
        def descriptors():
            return sorted(os.listdir("/proc/self/fd"))

        before = descriptors()
        for _ in range(5):
            with Sockets() as opened:
                router, port = opened.bound(zmq.ROUTER)
                say_hello(opened.connected(zmq.DEALER, port), router)
        assert descriptors() == before
