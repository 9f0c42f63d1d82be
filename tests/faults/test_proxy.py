"""What each verb of `proxy` does to plain sockets."""

import contextlib
import errno
import os
import socket
import threading
import time

import pytest
from proxy import TO_CLIENT, TO_TARGET, Proxy

SILENCE_S = 0.15


class Pair:
    """Both ends of one connection through a proxy, and the server that took it."""

    def __init__(self, **options):
        self.server = socket.socket()
        self.server.bind(("127.0.0.1", 0))
        self.server.listen(16)
        self.proxy = Proxy(self.server.getsockname()[1], **options)
        self.opened = []
        self.client, self.target = self.connect()

    def connect(self):
        """One more connection: (client's end, target's end)."""
        client = socket.create_connection(("127.0.0.1", self.proxy.port), timeout=5)
        self.server.settimeout(5)
        target = self.server.accept()[0]
        target.settimeout(5)
        self.opened += [client, target]
        return client, target

    def close(self):
        self.proxy.stop()
        for sock in self.opened + [self.server]:
            sock.close()


@pytest.fixture
def pair():
    opened = Pair()
    yield opened
    opened.close()


def receive(sock, count_bytes):
    """Exactly that many bytes, or fewer where the stream ends."""
    data = bytearray()
    while len(data) < count_bytes:
        piece = sock.recv(count_bytes - len(data))
        if not piece:
            break
        data += piece
    return bytes(data)


def is_silent(sock):
    """Whether nothing arrives, not even an end."""
    sock.settimeout(SILENCE_S)
    try:
        sock.recv(1)
    except socket.timeout:
        return True
    finally:
        sock.settimeout(5)
    return False


def error_of_reading(sock):
    """The errno that reading ends with; None for an orderly end."""
    try:
        while sock.recv(65536):
            pass
    except OSError as error:
        return error.errno
    return None


def send_all(sock, data):
    """Send in a thread of its own, however long that takes; the thread."""

    def send():
        with contextlib.suppress(OSError):
            sock.sendall(data)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


def echo(pair, data=b"ping"):
    """Whether `data` arrives at the target and its reverse at the client."""
    pair.client.sendall(data)
    arrived = receive(pair.target, len(data))
    pair.target.sendall(arrived[::-1])
    return receive(pair.client, len(data)) == data[::-1]


class TestWithoutFaults:
    def test_bytes_pass_both_ways_and_are_counted(self, pair):
        assert echo(pair, b"abcdef")
        pair.target.sendall(b"more")
        assert receive(pair.client, 4) == b"more"
        assert (pair.proxy.bytes_to_target, pair.proxy.bytes_to_client) == (6, 10)
        assert (pair.proxy.connections, pair.proxy.accepted) == (1, 1)

    def test_much_passes_unchanged(self, pair):
        data = os.urandom(1 << 20) * 8
        sender = send_all(pair.client, data)
        assert receive(pair.target, len(data)) == data
        sender.join()

    def test_connections_do_not_mix(self, pair):
        client, target = pair.connect()
        client.sendall(b"second")
        pair.client.sendall(b"first")
        assert receive(target, 6) == b"second"
        assert receive(pair.target, 5) == b"first"

    def test_one_end_may_be_over_before_the_other(self, pair):
        pair.client.sendall(b"question")
        pair.client.shutdown(socket.SHUT_WR)
        assert receive(pair.target, 100) == b"question"
        pair.target.sendall(b"answer")
        pair.target.close()
        assert receive(pair.client, 100) == b"answer"

    def test_a_reset_of_one_end_is_a_reset_at_the_other(self, pair):
        reset(pair.client)
        assert error_of_reading(pair.target) == errno.ECONNRESET

    def test_who_sends_to_one_that_closed_is_reset(self, pair):
        pair.client.close()
        assert receive(pair.target, 1) == b""
        with pytest.raises(OSError):
            for _ in range(100):
                pair.target.sendall(b"is anybody there?")
                time.sleep(0.01)

    def test_a_target_that_is_not_there_resets_the_client(self):
        def read_from(port):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                client.recv(1)

        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with Proxy(unused.getsockname()[1]) as proxy, pytest.raises(ConnectionResetError):
                read_from(proxy.port)  # it may be reset while it still connects


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


class TestPartition:
    def test_hold_lets_nothing_pass_and_tells_nobody(self, pair):
        pair.proxy.hold()
        pair.client.sendall(b"lost?")
        pair.target.sendall(b"lost?")
        assert is_silent(pair.target)
        assert is_silent(pair.client)

    def test_after_let_go_everything_arrives_in_order(self, pair):
        pair.proxy.hold()
        pair.client.sendall(b"one ")
        pair.client.sendall(b"two")
        assert is_silent(pair.target)
        pair.proxy.let_go()
        assert receive(pair.target, 7) == b"one two"

    def test_one_way_only(self, pair):
        pair.proxy.hold(TO_TARGET)
        pair.client.sendall(b"unheard")
        pair.target.sendall(b"heard")
        assert receive(pair.client, 5) == b"heard"
        assert is_silent(pair.target)

    @pytest.mark.parametrize("end", [socket.socket.close, reset])
    def test_a_death_behind_a_partition_is_not_heard_of(self, pair, end):
        pair.proxy.hold()
        end(pair.client)
        assert is_silent(pair.target)
        pair.proxy.let_go()
        assert error_of_reading(pair.target) == (errno.ECONNRESET if end is reset else None)

    def test_a_death_is_not_heard_of_by_sending_either(self, pair):
        pair.proxy.hold(TO_TARGET)
        reset(pair.client)
        for _ in range(20):
            pair.target.sendall(b"swallowed")
            time.sleep(0.005)
        assert is_silent(pair.target)
        pair.proxy.let_go(TO_TARGET)
        assert error_of_reading(pair.target) == errno.ECONNRESET


class TestEnds:
    def test_reset_tells_both_ends(self, pair):
        pair.proxy.reset()
        assert error_of_reading(pair.client) == errno.ECONNRESET
        assert error_of_reading(pair.target) == errno.ECONNRESET

    def test_reset_works_on_a_held_connection(self, pair):
        pair.proxy.hold()
        pair.client.sendall(b"never seen")
        pair.proxy.reset()
        assert error_of_reading(pair.target) == errno.ECONNRESET

    def test_close_is_orderly_at_both_ends(self, pair):
        pair.proxy.close()
        assert error_of_reading(pair.client) is None
        assert error_of_reading(pair.target) is None

    def test_close_is_orderly_although_something_was_under_way(self, pair):
        pair.proxy.hold()
        pair.client.sendall(b"never read")
        time.sleep(0.05)
        pair.proxy.close()
        assert error_of_reading(pair.client) is None

    @pytest.mark.parametrize("verb", ["reset", "close"])
    def test_afterwards_one_may_connect_again(self, pair, verb):
        getattr(pair.proxy, verb)()
        pair.client, pair.target = pair.connect()
        assert echo(pair)
        assert pair.proxy.connections == 1

    def test_cut_after_resets_behind_the_last_byte(self, pair):
        assert echo(pair)
        pair.proxy.cut_after(10)
        pair.client.sendall(b"0123456789abcdef")
        assert receive(pair.target, 10) == b"0123456789"
        assert error_of_reading(pair.target) == errno.ECONNRESET
        assert error_of_reading(pair.client) == errno.ECONNRESET

    def test_refuse_turns_away_new_connections_only(self, pair):
        pair.proxy.refuse()
        assert echo(pair)
        with pytest.raises(ConnectionRefusedError):
            pair.connect()
        pair.proxy.admit()
        pair.client, pair.target = pair.connect()
        assert echo(pair)


class TestDelayAndRate:
    def test_delay_is_per_way(self, pair):
        pair.proxy.delay(0.2, way=TO_TARGET)
        started = time.monotonic()
        pair.client.sendall(b"slow")
        pair.target.sendall(b"fast")
        assert receive(pair.client, 4) == b"fast"
        fast = time.monotonic() - started
        assert receive(pair.target, 4) == b"slow"
        assert fast < 0.15
        assert 0.19 < time.monotonic() - started < 2

    def test_jitter_varies_the_delay_and_keeps_the_order(self, pair):
        pair.proxy.delay(0.03, jitter_s=0.03, way=TO_TARGET)
        delays = []
        for _ in range(12):
            started = time.monotonic()
            pair.client.sendall(b"x")
            receive(pair.target, 1)
            delays.append(time.monotonic() - started)
        assert max(delays) - min(delays) > 0.01
        for number in range(50):
            pair.client.sendall(bytes([number]))
            time.sleep(0.001)
        assert receive(pair.target, 50) == bytes(range(50))

    def test_the_end_is_as_late_as_the_bytes_before_it(self, pair):
        pair.proxy.delay(0.2)
        started = time.monotonic()
        pair.client.sendall(b"last words")
        pair.client.close()
        assert receive(pair.target, 100) == b"last words"
        assert time.monotonic() - started > 0.19

    def test_throttle_limits_the_rate_until_it_is_taken_back(self, pair):
        pair.proxy.throttle(400e3, way=TO_TARGET)
        started = time.monotonic()
        sender = send_all(pair.client, bytes(200000))
        assert len(receive(pair.target, 200000)) == 200000
        assert 0.4 < time.monotonic() - started < 3
        sender.join()
        pair.proxy.throttle(None)
        started = time.monotonic()
        sender = send_all(pair.client, bytes(4 << 20))  # ten seconds at the rate before
        assert len(receive(pair.target, 4 << 20)) == 4 << 20
        assert time.monotonic() - started < 5
        sender.join()

    def test_connections_share_the_rate(self, pair):
        pair.proxy.throttle(400e3, way=TO_CLIENT)
        client, target = pair.connect()
        started = time.monotonic()
        senders = [send_all(sock, bytes(100000)) for sock in (pair.target, target)]
        receive(pair.client, 100000)
        receive(client, 100000)
        assert 0.4 < time.monotonic() - started < 3
        for sender in senders:
            sender.join()


class TestCorruption:
    def test_exactly_one_bit_flips(self, pair):
        assert echo(pair)
        pair.proxy.flip_bit(5)
        sender = send_all(pair.client, bytes(100000))
        data = receive(pair.target, 100000)
        assert data == bytes(5) + b"\1" + bytes(100000 - 6)
        sender.join()

    def test_the_other_way_is_left_alone(self, pair):
        pair.proxy.flip_bit(0, way=TO_CLIENT)
        pair.client.sendall(b"a")
        assert receive(pair.target, 1) == b"a"
        pair.target.sendall(b"a")
        assert receive(pair.client, 1) == b"`"


class TestMemory:
    def test_a_sender_is_held_up_when_nobody_reads(self):
        opened = Pair(buffer_bytes=1 << 16)
        data = bytes(64 << 20)  # more than the buffers of the kernel
        sender = send_all(opened.client, data)
        sender.join(1.0)
        assert sender.is_alive(), "64 MiB went where nobody reads"
        held = [s.held_bytes for c in opened.proxy._connections for s in c.streams]
        assert max(held) == 1 << 16
        assert len(receive(opened.target, len(data))) == len(data)
        sender.join()
        opened.close()

    def test_a_proxy_that_waits_takes_no_processor_time(self, pair):
        pair.proxy.hold()
        pair.client.sendall(b"x")
        pair.client.close()
        started = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - started < 0.1

    def test_nothing_is_left_behind(self):
        def resources():
            return threading.active_count(), sorted(os.listdir("/proc/self/fd"))

        before = resources()
        for verb in (Proxy.hold, Proxy.reset, Proxy.refuse, Proxy.close):
            opened = Pair()
            opened.connect()
            verb(opened.proxy)
            opened.close()
        assert resources() == before

    def test_after_the_end_verbs_say_so(self, pair):
        pair.proxy.stop()
        pair.proxy.stop()
        with pytest.raises(RuntimeError, match="stopped"):
            pair.proxy.hold()
