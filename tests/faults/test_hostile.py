"""Strangers, liars and wrecks at the ports of a working fleet: nobody else notices."""

import contextlib
import os
import random
import time

import numpy as np
import pytest
from fleet import SOURCE, Fleet, wait_for
from raw_peer import (
    GREETING,
    CurveKeys,
    SlowLoris,
    ZmtpPeer,
    half_greeting,
    http_request,
    random_bytes,
    silent_connections,
)

from edgesdk.cluster import id_of
from edgesdk.core import wire
from edgesdk.core.messages import (
    Ack,
    Bye,
    CancelTask,
    Envelope,
    Greeting,
    Hello,
    ItemId,
    Load,
    Progress,
    Task,
    Welcome,
)
from edgesdk.core.tensor import Tensor
from edgesdk.runtime.zeromq import _LETTER, _ROUTING_ID

HANDSHAKE_S = 3.0
CROWD = 300


@pytest.fixture(scope="module", params=["insecure", "curve"])
def shared(request, tmp_path_factory, busy):
    curve = request.param == "curve"
    with Fleet(tmp_path_factory.mktemp("fleet"), busy, 16, curve=curve) as made:
        made.is_curve = curve
        yield made.start()


@pytest.fixture
def fleet(shared):
    """A fleet under load; when the test is over, it must have been left undisturbed."""
    before = shared.counters()
    shared.news = lambda name: shared.counters().get(name, 0) - before.get(name, 0)
    shared.keep_busy(0.2)
    yield shared
    shared.keep_busy(0.2)
    shared.settle()
    assert not [name for name in shared.lost() if shared.news("sessions_lost." + name)]
    assert shared.news("leases_expired") == 0
    assert shared.process("a").is_running and shared.process("b").is_running


def ports(fleet):
    """Both lanes of the source and of a worker."""
    return [fleet.port(name) + lane for name in (SOURCE, "a") for lane in (0, 1)]


def descriptor_count(fleet, name):
    """Of a worker."""
    return len(os.listdir("/proc/{}/fd".format(fleet.process(name).pid)))


def routing_id(name, epoch=77):
    """As the worker `name` would give it."""
    return _ROUTING_ID.pack(_LETTER, id_of(name), epoch)


def heads_of_every_kind(source="b"):
    """Messages that are well formed, and mean nothing here."""
    worker = id_of(source)
    item = ItemId(id_of(SOURCE), 1, 0)
    greeting = Greeting(worker, 77, bytes(16), bytes(16), ((0, 0),))
    messages = [
        Hello(greeting),
        Hello(greeting._replace(version=9)),
        Welcome(greeting),
        Bye(True),
        Load(2**63, 0, 0, 10**6, 5),
        Ack(1, 2**64 - 1, 0, 1, 0, 2**63, 0, 0, 10**6),
        Progress(id_of(SOURCE), 1, 0, worker, tuple((n, 0) for n in range(64))),
        CancelTask(item),
    ]
    for message in messages:
        to_session = 0 if isinstance(message, Hello) else 4242
        yield [bytes(wire.encode(Envelope(4242, to_session, message))[0])]


def task_frames(tensor):
    """A task for stage 1 with these features."""
    task = Task(1, 1, ItemId(id_of("b"), 77, 5), 0, 1, 0, 1, 0, float("nan"), (0, 0))
    return [bytes(frame) for frame in wire.encode(Envelope(4242, 4242, task), tensor)]


class TestSockets:
    def test_noise_web_browsers_and_half_handshakes(self, fleet):
        with contextlib.ExitStack() as stack:
            for port in ports(fleet):
                for seed in range(5):
                    stack.enter_context(contextlib.closing(random_bytes(port, 2000, seed)))
                stack.enter_context(contextlib.closing(http_request(port)))
                for count in (1, 9, 11, 40, 63):
                    stack.enter_context(contextlib.closing(half_greeting(port, count)))
                stack.enter_context(SlowLoris(port, GREETING * 10, 0.05))
            fleet.keep_busy(1.0)

    def test_a_crowd_that_never_speaks(self, fleet):
        """They are hung up on when the time for handshakes is over."""
        before = descriptor_count(fleet, "a")
        crowd = silent_connections(fleet.port("a"), CROWD)
        try:
            wait_for(lambda: descriptor_count(fleet, "a") > before + CROWD // 2, 5, "a crowd")
            fleet.keep_busy(0.5)
            gone_s = wait_for(
                lambda: descriptor_count(fleet, "a") <= before + 2,
                4 * HANDSHAKE_S,
                lambda: "{}, {} before".format(descriptor_count(fleet, "a"), before),
            )
            print("the crowd was gone after {:.1f} s".format(gone_s))
        finally:
            for sock in crowd:
                sock.close()


class TestPeers:
    """They shake hands as ZeroMQ wants it, and know whose name to take."""

    @contextlib.contextmanager
    def peer(self, fleet, name, port_of, lane=0):
        """Somebody who says that it is the worker `name`. With keys on both sides it has some."""
        port = fleet.port(port_of) + lane
        keys = None
        if fleet.is_curve:
            with open(os.path.join(str(fleet.folder), "keys", port_of + ".public"), "rb") as file:
                keys = CurveKeys(file.read().strip())
        with ZmtpPeer(port, None if name is None else routing_id(name), keys) as peer:
            yield peer

    def count(self, fleet, *names):
        """What the source has counted under one of these names since the test began."""
        return sum(fleet.news(name) for name in names)

    @pytest.mark.parametrize("name", [None, "nobody", "b", SOURCE])
    def test_garbage(self, fleet, name):
        rng = random.Random(3)
        for port_of in (SOURCE, "a"):
            for lane in (0, 1):
                with self.peer(fleet, name, port_of, lane) as peer:
                    for _ in range(100):
                        peer.send_garbage(rng)
                    peer.send_many_frames(500)
                    peer.send_oversize(20 << 20)
                    fleet.keep_busy(0.1)
        names = ["strangers", "nameless_connections", "malformed_messages", "keys_refused"]
        wait_for(lambda: self.count(fleet, *names), 5, fleet.counters)

    def test_messages_that_mean_nothing(self, fleet):
        """A name is all that a stranger has: without sessions nothing counts."""
        for port_of in (SOURCE, "a"):
            with self.peer(fleet, "b", port_of) as peer:
                for frames in heads_of_every_kind():
                    for _ in range(10):
                        peer.send(*frames)
                fleet.keep_busy(0.5)
        names = ["keys_refused"] if fleet.is_curve else ["stale_messages", "greetings_rejected"]
        wait_for(lambda: self.count(fleet, *names), 5, fleet.counters)

    def test_features_that_are_not_what_they_say(self, fleet):
        shape = (256, 16, 16)
        size = 4 * 256 * 16 * 16
        good = task_frames(Tensor("float32", shape, "raw", bytes(size)))
        lies = [
            good,  # well formed, but of no session
            [good[0], bytes(size - 4)],
            [good[0], bytes(size), b"1234"],
            [good[0][:-1], good[1]],
            [good[0] + b"x", good[1]],
            [good[0][:50] + b"\xff" + good[0][51:], good[1]],
            [good[0][:2] + b"\x09" + good[0][3:], good[1]],  # another version of the wire
            task_frames(Tensor("float32", (4, 4, 4), "raw", bytes(256))),
            task_frames(Tensor("float32", shape, "zstd", b"\x28\xb5\x2f\xfd" + bytes(60))),
            task_frames(Tensor("float32", shape, "lz4", b"\xff" * 1000)),
            task_frames(Tensor("float32", shape, "float16", np.full(size // 4, np.nan, "f2"))),
        ]
        for port_of in (SOURCE, "a"):
            with self.peer(fleet, "b", port_of, 1) as peer:
                for frames in lies * 3:
                    peer.send(*frames)
                fleet.keep_busy(0.5)
        names = ["keys_refused"] if fleet.is_curve else ["malformed_messages"]
        wait_for(lambda: self.count(fleet, *names), 5, fleet.counters)

    def test_a_flood_of_greetings(self, fleet):
        """A neighbour greets twice a second at most; more is not looked at."""
        hello = next(iter(heads_of_every_kind()))
        with self.peer(fleet, "b", SOURCE) as peer:
            until_s = time.monotonic() + 1.0
            while time.monotonic() < until_s:
                for _ in range(50):
                    peer.send(*hello)
                fleet.keep_busy(0.02)
            if not fleet.is_curve:
                wait_for(lambda: fleet.news("hellos_over_limit"), 5, fleet.counters)

    def test_a_peer_that_never_reads(self, fleet):
        """It connects to an inbox, which sends nothing to anybody; so there is nothing to fill."""
        with self.peer(fleet, "b", "a", 1):
            fleet.keep_busy(0.5)


def test_a_neighbour_of_another_version(tmp_path, busy):
    """Both say so, and everybody else goes on."""
    with Fleet(tmp_path, busy, 16, odd={"b": "speaks=9"}) as fleet:
        fleet.start(["a"])
        fleet.restart("b")
        fleet.process("b").wait_until_it_says("source: protocol version: found 9")
        fleet.keep_busy(0.5)
        fleet.settle()
        assert fleet.counters()["greetings_rejected"] > 0
        assert fleet.state("b") == "greeting" and fleet.state("a") == "up"
        assert fleet.lost() == {}


def test_a_worker_with_few_descriptors(tmp_path, busy):
    """What it cannot accept it does without; when there is room again, it is whole."""
    with Fleet(tmp_path, busy, 16, odd={"a": "few_files=60"}) as fleet:
        fleet.start()
        crowd = silent_connections(fleet.port("a"), 100)
        try:
            fleet.keep_busy(1.0)
            assert descriptor_count(fleet, "a") >= 55
            fleet.process("b").kill()  # the links to it are closed and opened again, if they can
            fleet.restart("b")
            fleet.keep_busy(1.5)
        finally:
            for sock in crowd:
                sock.close()
        assert fleet.process("a").is_running, fleet.process("a").said
        fleet.settle()
        fleet.wait_until("b", "up", 10)
        fleet.wait_until("a", "up", 10)
        fleet.submit(50)
        fleet.settle()
