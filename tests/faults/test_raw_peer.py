"""That hostile peers do what they say, and what a ROUTER of libzmq does about them."""

import contextlib
import functools
import random
import socket
import threading
import time

import pytest
import zmq
from raw_peer import (
    GREETING,
    CurveKeys,
    SlowLoris,
    ZmtpPeer,
    connect,
    half_greeting,
    http_request,
    is_hung_up,
    random_bytes,
    silent_connections,
)
from zmq_helpers import Sockets, Zap, drain

HANDSHAKE_MS = 400


@pytest.fixture
def inbox():
    """(router, port) with a short time for handshakes."""
    with Sockets() as sockets:
        yield sockets.bound(zmq.ROUTER, handshake_ivl=HANDSHAKE_MS, maxmsgsize=10000)


@pytest.fixture
def strict():
    """(router, port) where an authenticator lets everybody in: reason enough for libzmq to talk
    to no peer of ZMTP 1.0, which shakes no hands. CURVE is one, too."""
    with Sockets() as sockets, Zap(sockets.context, lambda *_: b"anybody"):
        yield sockets.bound(zmq.ROUTER, zap_domain=b"fleet")


def is_served(inbox):
    """Whether an honest peer gets a message through within 3 s."""
    router, port = inbox
    with ZmtpPeer(port, b"honest") as peer:
        peer.send(b"hello")
        while router.poll(3000):
            if router.recv_multipart() == [b"honest", b"hello"]:
                return True
    return False


NOISE = [functools.partial(random_bytes, count_bytes=1000, seed=seed) for seed in range(4)]


class TestRaw:
    @pytest.mark.parametrize("peer_of", NOISE + [http_request])
    def test_noise_is_hung_up_on_where_there_is_an_authenticator(self, strict, peer_of):
        with contextlib.closing(peer_of(strict[1])) as peer:
            assert is_hung_up(peer, 3)
            assert drain(strict[0]) == []
            assert is_served(strict)

    @pytest.mark.parametrize("peer_of", NOISE)
    def test_elsewhere_noise_is_taken_for_messages_but_keeps_nobody_off(self, inbox, peer_of):
        with contextlib.closing(peer_of(inbox[1])):
            assert drain(inbox[0]) != []  # libzmq takes it for a peer of ZMTP 1.0
            assert is_served(inbox)

    def test_they_say_what_they_should(self):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)

            def heard(peer_of, *arguments):
                peer_of(listener.getsockname()[1], *arguments).close()
                with listener.accept()[0] as peer, peer.makefile("rb") as stream:
                    return stream.read()

            noise = [heard(random_bytes, 100, seed) for seed in (1, 1, 2)]
            assert noise[0] == noise[1] != noise[2]
            assert [len(data) for data in noise] == [100, 100, 100]
            assert heard(half_greeting, 12) == GREETING[:12]
            assert heard(http_request).startswith(b"GET / HTTP/1.1\r\n")
            assert heard(connect) == b""

    @pytest.mark.parametrize("count_bytes", [0, 1, 10, 12, 20, 63])
    def test_half_a_greeting_disturbs_nobody_and_is_hung_up_on(self, inbox, count_bytes):
        with contextlib.closing(half_greeting(inbox[1], count_bytes)) as peer:
            assert is_served(inbox)
            assert is_hung_up(peer, 3)

    def test_a_whole_greeting_is_answered_by_one(self, inbox):
        with contextlib.closing(connect(inbox[1], GREETING)) as peer:
            time.sleep(0.1)
            answer = peer.recv(64)
            assert answer[:1] + answer[9:10] == b"\xff\x7f"

    def test_connections_that_never_speak_disturb_nobody(self, inbox):
        peers = silent_connections(inbox[1], 300)
        try:
            assert len(peers) == 300
            assert is_served(inbox)
            assert all(is_hung_up(peer, 3) for peer in peers)
        finally:
            for peer in peers:
                peer.close()

    def test_a_slow_loris_is_hung_up_on_before_it_is_through(self, inbox):
        with SlowLoris(inbox[1]) as peer:
            assert is_hung_up(peer.socket, 3)
            assert 2 <= peer.sent_bytes < len(GREETING)
            assert is_served(inbox)

    def test_a_slow_loris_ends_with_its_block(self, inbox):
        before = threading.active_count()
        with SlowLoris(inbox[1], interval_s=10):
            assert threading.active_count() == before + 1
        assert threading.active_count() == before


class TestZmtp:
    def test_it_is_known_by_the_routing_id_it_wants(self, inbox):
        with ZmtpPeer(inbox[1], b"\x01 any bytes \xff") as peer:
            assert peer.send(b"one", b"two")
            assert inbox[0].recv_multipart() == [b"\x01 any bytes \xff", b"one", b"two"]

    def test_garbage_is_the_same_for_the_same_seed(self, inbox):
        messages = []
        for routing_id in (b"first", b"second"):
            rng = random.Random(3)
            with ZmtpPeer(inbox[1], routing_id) as peer:
                for _ in range(20):
                    assert peer.send_garbage(rng)
                messages.append([frames[1:] for frames in drain(inbox[0])])
        assert len(messages[0]) == 20
        assert messages[0] == messages[1]
        assert len({len(message) for message in messages[0]}) > 1

    def test_many_frames_come_as_one_message(self, inbox):
        with ZmtpPeer(inbox[1]) as peer:
            peer.send_many_frames(5000)
            assert len(inbox[0].recv_multipart()) == 1 + 5000

    def test_what_is_too_large_costs_the_connection_but_not_the_inbox(self, inbox):
        with ZmtpPeer(inbox[1], b"large") as peer:
            peer.send_oversize(10001, before=[b"header"])
            assert drain(inbox[0]) == []
            assert is_served(inbox)

    @pytest.mark.parametrize("is_right", [True, False])
    def test_with_keys(self, is_right):
        if not zmq.has("curve"):
            pytest.skip("this libzmq was built without CURVE; install one with libsodium")
        public, secret = zmq.curve_keypair()
        with Sockets() as sockets:
            router, port = sockets.bound(zmq.ROUTER, curve_server=1, curve_secretkey=secret)
            keys = CurveKeys(public if is_right else zmq.curve_keypair()[0])
            with ZmtpPeer(port, b"spy", keys) as peer:
                peer.send(b"hello")
                assert drain(router) == ([[b"spy", b"hello"]] if is_right else [])

    def test_sending_never_blocks(self):
        with Sockets() as sockets:
            _, port = sockets.bound(zmq.ROUTER, rcvhwm=10)
            with ZmtpPeer(port) as peer:
                assert not all(peer.send_oversize(100000) for _ in range(3000))
