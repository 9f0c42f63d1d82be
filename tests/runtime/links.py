"""Transports for tests: ends of links between workers 1, 2, ... of one process, of every kind."""

import os
import random
import socket
import time

from edgesdk.runtime.inprocess import Hub, InProcess
from edgesdk.runtime.transport import Arrival

KINDS = ("in process", "plain", "curve")
WAIT_S = 20.0  # no test waits longer for what must come


def free_ports(count):
    """The first of each of `count` pairs of ports on which nobody listens, below those that the
    kernel gives to clients."""
    found = []
    while len(found) < count:
        port = 2 * random.SystemRandom().randrange(5000, 15000)
        if port not in found and _is_free(port) and _is_free(port + 1):
            found.append(port)
    return found


def _is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Bed:
    """Opens the ends of workers 1 to `count`, all neighbours of each other, and closes them."""

    def __init__(self, kind, count=3):
        self.kind = kind
        self.opened = []
        self.hub = Hub()
        self.addresses, self.keys = {}, {}
        if kind != "in process":
            import zmq

            from edgesdk.runtime.zeromq import Address

            for worker, port in enumerate(free_ports(count), start=1):
                ends = ("tcp://127.0.0.1:{}".format(each) for each in (port, port + 1))
                self.addresses[worker] = Address(*ends)
                if kind == "curve":
                    self.keys[worker] = [key.decode() for key in zmq.curve_keypair()]

    def open(self, worker, neighbours=None, curve=None):
        """The end of `worker`."""
        if self.kind == "in process":
            end = InProcess(self.hub, worker)
        else:
            from edgesdk.runtime.zeromq import ZeroMQ

            others = [each for each in self.addresses if each != worker]
            others = others if neighbours is None else neighbours
            end = ZeroMQ(
                worker,
                self.addresses[worker],
                {each: self.addresses[each] for each in others},
                curve or (self.curve(worker, others) if self.keys else None),
            )
        self.opened.append(end)
        return end

    def curve(self, worker, others, pair=None):
        """The keys of `worker`, which knows those of `others`."""
        from edgesdk.runtime.zeromq_security import Curve

        public, secret = pair or self.keys[worker]
        return Curve(public, secret, {each: self.keys[each][0] for each in others})

    def pair(self):
        """Workers 1 and 2, who have heard of each other."""
        ends = self.open(1), self.open(2)
        introduce(*ends)
        return ends

    def close(self):
        for end in self.opened:
            end.close(0)


def introduce(one, other):
    """Messages go both ways and on both lanes between workers 1 and 2."""
    for sender, peer, receiver in ((one, 2, other), (other, 1, one)):
        for lane in ("control", "data"):
            exchange(sender, peer, receiver, lane, [b"introduced"])
    until_s = time.monotonic() + 0.2
    while time.monotonic() < until_s:  # what was sent again before the first had arrived
        for end in (one, other):
            drain(end)
        one.wait(0.02)


def exchange(sender, peer, receiver, lane, frames):
    """Send until it arrives, as whoever needs an answer does; both sides are served meanwhile."""
    until_s = time.monotonic() + WAIT_S
    while time.monotonic() < until_s:
        sender.send(peer, lane, frames)
        for _ in range(10):
            arrival = receiver.receive()
            if isinstance(arrival, Arrival) and bytes(arrival.frames[0]) == frames[0]:
                return arrival
            drain(sender)
            receiver.wait(0.02)
    raise AssertionError("nothing came on the lane " + lane)


def take(receiver, *serving):
    """The next thing that arrives; those `serving` are looked after too."""
    until_s = time.monotonic() + WAIT_S
    while time.monotonic() < until_s:
        arrival = receiver.receive()
        if arrival is not None:
            return arrival
        for other in serving:
            drain(other)
        receiver.wait(0.02 if serving else 0.5)
    raise AssertionError("nothing came")


def drain(end):
    """All that has arrived."""
    found = []
    while True:
        arrival = end.receive()
        if arrival is None:
            end.wait(0)
            arrival = end.receive()
            if arrival is None:
                return found
        found.append(arrival)


def eventually(condition, *ends, timeout_s=WAIT_S):
    """Look after `ends` until `condition()`."""
    until_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until_s, "it never came to that"
        for end in ends:
            drain(end)
        (ends[0].wait if ends else time.sleep)(0.01)


def used():
    """Threads, those of libzmq too, and descriptors of any kind."""
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


def nothing_more_than(before):
    """Whether no more than `before` is used now. (A thread that has ended stays a moment.)"""
    return all(now <= then for now, then in zip(used(), before))
