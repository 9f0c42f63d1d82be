"""Links over ZeroMQ: addresses, processes that vanish, strangers, frames that must not be."""

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from struct import Struct

import numpy as np
import pytest

zmq = pytest.importorskip("zmq")

from leftovers import nothing_more_than, used  # noqa: E402
from links import Bed, drain, eventually, exchange, introduce, take  # noqa: E402

from edgesdk.core.tensor import BODY_BYTES_MAX  # noqa: E402
from edgesdk.core.wire_format import FRAMES_MAX  # noqa: E402
from edgesdk.errors import TransportError  # noqa: E402
from edgesdk.runtime.transport import Departure  # noqa: E402
from edgesdk.runtime.zeromq import DISCARDED_AT_ONCE, Address, ZeroMQ  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = str(Path(__file__).resolve().parent)
ROUTING_ID = Struct("<cQQ")


@pytest.fixture(params=["plain", "curve"])
def bed(request):
    bed = Bed(request.param)
    yield bed
    bed.close()


@pytest.fixture
def plain():
    bed = Bed("plain")
    yield bed
    bed.close()


@pytest.fixture
def raw():
    """A function that connects a raw socket of ZeroMQ."""
    context = zmq.Context()
    opened = []

    def connect(end, routing_id, **options):
        dealer = context.socket(zmq.DEALER)
        opened.append(dealer)
        dealer.setsockopt(zmq.LINGER, 0)
        if routing_id is not None:
            dealer.setsockopt(zmq.ROUTING_ID, routing_id)
        for name, value in options.items():
            dealer.setsockopt(getattr(zmq, name), value)
        dealer.connect(end)
        return dealer

    yield connect
    for dealer in opened:
        dealer.close(0)
    context.term()


def id_of(worker, number=1):
    return ROUTING_ID.pack(b"w", worker, number)


class TestAddresses:
    def test_one_that_is_taken_is_told_and_leaves_nothing(self, plain):
        plain.open(1).close(0)  # what pyzmq keeps for ever
        for lane in (0, 1):
            address = plain.addresses[1][lane]
            before = used()
            with socket.socket() as other:
                other.bind(("127.0.0.1", int(address.rsplit(":", 1)[1])))
                other.listen(1)
                begun_s = time.monotonic()
                with pytest.raises(TransportError, match=r"cannot listen there .*in use") as caught:
                    plain.open(1)
            assert str(caught.value).startswith(address)
            assert time.monotonic() - begun_s < 0.9
            eventually(lambda before=before: nothing_more_than(before))
        plain.open(1)  # both are free again

    def test_one_of_another_machine_is_told(self):
        far = Address("tcp://192.0.2.7:5600", "tcp://192.0.2.7:5601")
        with pytest.raises(TransportError, match="not an address of this machine"):
            ZeroMQ(1, far, {})

    def test_a_neighbour_whose_address_is_none_is_told(self, plain, caplog):
        ends = Address("tcp://127.0.0.1:x", "tcp://127.0.0.1:y")
        end = ZeroMQ(1, plain.addresses[1], {2: ends})
        plain.opened.append(end)
        for _ in range(3):
            end.send(2, "control", [b"hello"])
        assert end.counters == {"links_not_opened": 3}
        assert [record.getMessage() for record in caplog.records] == [
            "no link to tcp://127.0.0.1:x: Invalid argument (addr='tcp://127.0.0.1:x')"
        ]

    def test_loopback_of_the_sixth_version(self, plain):
        if not _has_ipv6():
            pytest.skip("this machine has no ::1")
        ends = [
            Address(*[each.replace("127.0.0.1", "[::1]") for each in plain.addresses[worker]])
            for worker in (1, 2)
        ]
        one = ZeroMQ(1, ends[0], {2: ends[1]})
        two = ZeroMQ(2, ends[1], {1: ends[0]})
        plain.opened += [one, two]
        introduce(one, two)


class TestNeighboursThatVanish:
    PROGRAM = """
import sys, time
sys.path.insert(0, sys.argv[1])
from links import introduce
from edgesdk.runtime.zeromq import Address, ZeroMQ
from edgesdk.runtime.zeromq_security import Curve
ends = sys.argv[2:6]
keys = sys.argv[6:]
curve = Curve(keys[0], keys[1], {1: keys[2]}) if keys else None
two = ZeroMQ(2, Address(*ends[:2]), {1: Address(*ends[2:])}, curve)
two.send(1, "control", [b"hello"])
print("ready", flush=True)
while True:
    while two.receive() is not None:
        two.send(1, "control", [b"hello"])
    two.wait(1)
"""

    def run(self, bed):
        keys = bed.keys and [bed.keys[2][0], bed.keys[2][1], bed.keys[1][0]]
        process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, HERE]
            + list(bed.addresses[2] + bed.addresses[1])
            + (keys or []),
            cwd=str(ROOT),
            stdout=subprocess.PIPE,
        )
        assert process.stdout.readline() == b"ready\n"
        return process

    @pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
    def test_are_reported_within_half_a_second_and_once(self, bed, how):
        one = bed.open(1)
        one.open_link(2)
        for _ in range(2):  # the second one has come back
            process = self.run(bed)
            try:
                # It is there when it has answered: from then on its end is an event.
                until_answered(one)
                process.send_signal(how)
                begun_s = time.monotonic()
                found = take(one)
                while not isinstance(found, Departure):
                    found = take(one)
                assert time.monotonic() - begun_s < 0.5
                assert found == Departure(2)
            finally:
                process.kill()
                process.wait()
                process.stdout.close()
            one.wait(0.3)
            assert drain(one) == []

    def test_were_never_there_and_are_not_reported(self, bed):
        one = bed.open(1)
        one.open_link(2)
        until_s = time.monotonic() + 0.5
        while time.monotonic() < until_s:
            assert drain(one) == []
            one.wait(0.1)

    def test_whose_link_was_closed_are_not_reported(self, bed):
        one, two = bed.pair()
        one.close_link(2)
        two.close(0)
        one.wait(0.3)
        assert not [each for each in drain(one) if isinstance(each, Departure)]

    def test_one_that_talks_is_reached_at_once(self, bed):
        """libzmq would look again in up to five seconds."""
        one = bed.open(1)
        one.open_link(2)
        time.sleep(1.0)  # by now it looks rarely
        two = bed.open(2)
        two.send(1, "control", [b"I am here"])
        take(one, two)
        begun_s = time.monotonic()
        one.send(2, "control", [b"welcome"])
        assert bytes(take(two, one).frames[0]) == b"welcome"
        assert time.monotonic() - begun_s < 1.5


def until_answered(one):
    until_s = time.monotonic() + 20
    while time.monotonic() < until_s:
        one.send(2, "control", [b"answer me"])
        one.wait(0.1)
        if any(not isinstance(each, Departure) for each in drain(one)):
            break
    eventually(lambda: one._links[2].is_up, one)
    drain(one)


class TestBodies:
    def test_large_ones_are_read_where_libzmq_put_them(self, bed):
        one, two = bed.pair()
        values = np.arange(100_000, dtype=np.float32)
        two.send(1, "data", [b"head", values.data.cast("B")])
        body = take(one).frames[1]
        assert isinstance(body, memoryview) and body.nbytes == values.nbytes
        assert np.frombuffer(body, np.float32).base is not None

    def test_small_ones_may_be_changed_at_once(self, bed):
        one, two = bed.pair()
        values = np.ones(two.uncopied_bytes_min // 4 - 1, np.float32)
        two.send(1, "data", [b"head", values.data.cast("B")])
        values[...] = 2
        assert np.frombuffer(take(one).frames[1], np.float32).max() == 1

    def test_the_largest_that_a_message_may_have(self, bed):
        one, two = bed.pair()
        two.send(1, "data", [b"head", bytes(BODY_BYTES_MAX), bytes(16)])
        assert [len(frame) for frame in take(one).frames] == [4, BODY_BYTES_MAX, 16]

    def test_what_is_too_large_ends_the_connection_and_nothing_else(self, bed):
        one, two = bed.pair()
        three = bed.open(3)
        exchange(three, 1, one, "control", [b"hello"])
        for lane, size in (("control", 70_000), ("data", BODY_BYTES_MAX + 1000)):
            two.send(1, lane, [b"head", bytes(size)])
            assert exchange(three, 1, one, lane, [b"still here"]).peer == 3
            arrival = exchange(two, 1, one, lane, [b"a new connection"])
            assert bytes(arrival.frames[0]) == b"a new connection"

    def test_a_full_lane_is_counted_and_holds_only_so_much(self, plain):
        one, two = plain.pair()
        for _ in range(500):
            two.send(1, "data", [b"head", bytes(60_000)])
        assert two.counters["lane_full"] > 300
        drain(one)
        exchange(two, 1, one, "control", [b"the other lane"])


class TestStrangers:
    @pytest.mark.parametrize(
        "routing_id",
        [None, b"w", b"x" + id_of(2)[1:], id_of(2) + b"w", id_of(9), id_of(1), b"\xff" * 255],
        ids=repr,
    )
    def test_are_counted_and_not_heard(self, plain, raw, routing_id):
        one, two = plain.pair()
        stranger = raw(plain.addresses[1].control, routing_id)
        stranger.send_multipart([b"hello"])
        name = "nameless_connections" if routing_id is None else "strangers"
        eventually(lambda: one.counters == {name: 1}, one)
        assert exchange(two, 1, one, "control", [b"undisturbed"]).frames == [b"undisturbed"]

    @pytest.mark.parametrize("count", [FRAMES_MAX + 1, 1000])
    def test_too_many_frames_are_refused(self, plain, raw, count):
        one = plain.open(1)
        neighbour = raw(plain.addresses[1].data, id_of(2))
        neighbour.send_multipart([b"x"] * count)
        neighbour.send_multipart([b"x"] * FRAMES_MAX)
        assert len(take(one).frames) == FRAMES_MAX
        assert one.counters == {"wrong_frame_count": 1}

    def test_a_connection_that_is_made_again_takes_over(self, plain, raw):
        one = plain.open(1)
        dealers = [raw(plain.addresses[1].control, id_of(2))]
        dealers[0].send(b"old")
        assert take(one).frames == [b"old"]
        dealers.append(raw(plain.addresses[1].control, id_of(2)))
        dealers[1].send(b"new")
        assert take(one).frames == [b"new"]

    def test_a_flood_of_what_is_not_ours_does_not_hold_the_loop(self, plain, raw):
        one, two = plain.pair()
        stranger = raw(plain.addresses[1].control, b"stranger", SNDHWM=0)
        stop = threading.Event()

        def flood():
            while not stop.is_set():
                with_suppressed_again(stranger)

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            eventually(lambda: one.counters.get("strangers", 0) > 1000, one)
            for _ in range(20):
                before = one.counters["strangers"]
                one.wait(1.0)
                one.receive()
                assert one.counters["strangers"] - before <= DISCARDED_AT_ONCE
            assert exchange(two, 1, one, "control", [b"heard"]).peer == 2
        finally:
            stop.set()
            thread.join(20)


def with_suppressed_again(dealer):
    try:
        for _ in range(100):
            dealer.send(b"noise", zmq.DONTWAIT)
    except zmq.Again:
        time.sleep(0.001)


class TestGarbage:
    GREETING = b"\xff" + bytes(8) + b"\x7f\x03"  # a half of what ZeroMQ says first
    GARBAGE = (
        b"",
        b"GET / HTTP/1.1\r\nHost: robot\r\n\r\n",
        bytes(range(256)) * 40,
        b"\xff" * 64,
        GREETING,
        GREETING + b"\x00NULL" + bytes(48) + b"\x04\xff" * 40,
        b"\x01\x00" * 300,
    )

    def test_on_the_ports_disturbs_nobody(self, bed):
        one, two = bed.pair()
        before = used()
        connected = []
        try:
            for index in range(140):
                lane = bed.addresses[1][index % 2]
                connected.append(
                    socket.create_connection(("127.0.0.1", int(lane.rsplit(":", 1)[1])), 5)
                )
                connected[-1].sendall(self.GARBAGE[index % len(self.GARBAGE)])
                if index % 20 == 0:
                    exchange(two, 1, one, "control", [b"undisturbed"])
                    exchange(two, 1, one, "data", [b"undisturbed", bytes(100_000)])
            if bed.keys:  # without keys, libzmq hopes for very old versions of itself
                for each in connected:
                    each.settimeout(0.05)
                waiting = list(connected)
                until_s = time.monotonic() + 15
                while waiting:
                    waiting = [each for each in waiting if not has_ended(each)]
                    drain(one)
                    assert time.monotonic() < until_s
        finally:
            for each in connected:
                each.close()
        eventually(lambda: nothing_more_than(before), one, two)
        exchange(two, 1, one, "control", [b"undisturbed"])

    @pytest.mark.parametrize("bed", ["curve"], indirect=True)
    def test_is_counted_and_said_once(self, bed, caplog):
        one = bed.open(1)
        port = int(bed.addresses[1].control.rsplit(":", 1)[1])
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", port), 5) as stranger:
                stranger.sendall(b"\xff" * 64)
                stranger.settimeout(5)
                assert has_ended(stranger)
        eventually(lambda: one.counters == {"handshakes_failed": 5}, one)
        assert len(caplog.records) == 1
        assert bed.addresses[1].control in caplog.records[0].getMessage()


def has_ended(connection):
    """Whether the other side closes it, whatever it says before."""
    try:
        while connection.recv(4096):
            pass
        return True
    except socket.timeout:
        return False
    except OSError:
        return True


class TestDescriptors:
    PROGRAM = """
import os, resource, sys
sys.path.insert(0, sys.argv[1])
from links import Bed, exchange, introduce
bed = Bed("plain")
one, two = bed.pair()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
taken = []
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 2, hard))
try:
    while True:
        taken.append(os.dup(0))
except OSError:
    pass
for _ in range(20):
    one.close_link(2)
    one.open_link(2)
    one.send(2, "control", [b"hello"])
    one.wait(0)
    one.receive()
print(sorted(one.counters))
for each in taken:
    os.close(each)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
introduce(one, two)
bed.close()
print("well")
"""

    def test_without_any_left_it_goes_on_when_there_are_again(self):
        done = subprocess.run(
            [sys.executable, "-c", self.PROGRAM, HERE],
            cwd=str(ROOT),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout.split()[-1] == b"well"


def _has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False
