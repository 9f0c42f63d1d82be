"""A wire between two network namespaces made of two TUN devices and a thread: what `tc netem` does,
also in kernels without it, with the words of the simulator and a seeded generator. Root only.

    with Network("a", "b", is_joined=False) as network, TunLink(network, "a", "b") as link:
        link.set(delay_s=0.02, jitter_s=0.002, loss=0.01)

Works on IP packets, each way by itself: loss, duplication, delay with jitter (packets overtake each
other where jitter lets them, unless `in_order`), partition. Packets wait in a heap by the time of
delivery. Real time makes runs differ; the draws of one seed do not.
"""

import contextlib
import fcntl
import heapq
import os
import random
import select
import struct
import threading
import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import pytest
from namespaces import DEVICE, Network, run

TUN = "/dev/net/tun"
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
IFNAMSIZ = 16

MTU_BYTES = 1500
WAITING_MAX = 10000  # packets on the wire, each way; more are dropped, as a full queue would
PACKETS_PER_TURN = 64
LONGEST_WAIT_S = 0.05


class Behaviour(NamedTuple):
    """What one direction does to each packet; shares from 0 to 1."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0
    in_order: bool = False
    is_cut: bool = False


class Direction:
    """From one device to the other: the packets that are on their way, by time of delivery."""

    def __init__(self, source: int, sink: int, rng: random.Random) -> None:
        self.source, self.sink, self.rng = source, sink, rng
        self.behaviour = Behaviour()
        self.waiting: List[Tuple[float, int, bytes]] = []
        self._latest_s = 0.0
        self._count = 0
        self.passed = 0
        self.dropped = 0

    def put(self, packet: bytes, now_s: float) -> None:
        """Decide about a packet that has just been read."""
        behaviour, rng = self.behaviour, self.rng
        # Each packet takes the same draws whatever the behaviour, so that a seed stays a seed.
        lost, doubled = rng.random() < behaviour.loss, rng.random() < behaviour.duplication
        delays = [behaviour.delay_s + rng.uniform(-1, 1) * behaviour.jitter_s for _ in range(2)]
        if behaviour.is_cut or lost or len(self.waiting) >= WAITING_MAX:
            self.dropped += 1
            return
        for delay_s in delays if doubled else delays[:1]:
            due_s = now_s + max(0.0, delay_s)
            if behaviour.in_order:
                due_s = self._latest_s = max(due_s, self._latest_s)
            self._count += 1
            heapq.heappush(self.waiting, (due_s, self._count, packet))

    def deliver(self, now_s: float) -> None:
        """Pass on what is due; a device that is down or full loses it."""
        while self.waiting and self.waiting[0][0] <= now_s:
            packet = heapq.heappop(self.waiting)[2]
            with contextlib.suppress(OSError):
                os.write(self.sink, packet)
                self.passed += 1


def need_tun() -> None:
    """Skip the test where there are no TUN devices."""
    if not os.path.exists(TUN):
        pytest.skip("{} is missing: load it (modprobe tun)".format(TUN))


def tun_device() -> int:
    """The descriptor of a new device `eth0` where the calling thread is."""
    descriptor = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
    request = struct.pack("{}sH22x".format(IFNAMSIZ), DEVICE.encode(), IFF_TUN | IFF_NO_PI)
    try:
        fcntl.ioctl(descriptor, TUNSETIFF, request)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_tun(network: Network, host: str) -> int:
    """The descriptor of a new device `eth0` on `host`, with its address, up."""
    descriptor: int = network.call(host, tun_device)  # it belongs to where it was opened
    name = network.namespace(host)
    try:
        run("ip", "-n", name, "addr", "add", network.address(host) + "/24", "dev", DEVICE)
        # Without an address of its own the device sends nothing by itself, and counts are ours.
        run("ip", "-n", name, "link", "set", DEVICE, "addrgenmode", "none")
        run("ip", "-n", name, "link", "set", DEVICE, "mtu", str(MTU_BYTES), "up")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class TunLink:
    """The wire between hosts `a` and `b` of a network that is not joined.

    `a` and `b` are also the names of the directions: "a" is what a sends.
    """

    def __init__(self, network: Network, a: str, b: str, seed: int = 0) -> None:
        self._network, self._hosts, self._seed = network, (a, b), seed
        self._descriptors: List[int] = []
        self._directions: Dict[str, Direction] = {}
        self._lock = threading.Lock()
        self._is_stopping = False
        self._thread: Optional[threading.Thread] = None

    def __enter__(self) -> "TunLink":
        a, b = self._hosts
        try:
            self._descriptors = [open_tun(self._network, a)]
            self._descriptors.append(open_tun(self._network, b))
        except BaseException:
            self._close()
            raise
        ends = self._descriptors
        for host, source, sink in ((a, ends[0], ends[1]), (b, ends[1], ends[0])):
            rng = random.Random("{}:{}".format(self._seed, host))
            self._directions[host] = Direction(source, sink, rng)
        self._thread = threading.Thread(target=self._run, name="tun link", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._is_stopping = True
        if self._thread is not None:
            self._thread.join()
        self._close()

    def _close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)

    def set(self, sender: Optional[str] = None, **values: Any) -> None:
        """Change fields of `Behaviour` for what `sender` sends, or for both; others stay."""
        with self._lock:
            for host in self._hosts if sender is None else (sender,):
                direction = self._directions[host]
                direction.behaviour = direction.behaviour._replace(**values)

    def partition(self, sender: Optional[str] = None) -> None:
        """Drop everything, or everything that `sender` sends; what is on its way arrives."""
        self.set(sender, is_cut=True)

    def heal(self, sender: Optional[str] = None) -> None:
        """Take back the partition."""
        self.set(sender, is_cut=False)

    def counts(self, sender: str) -> Tuple[int, int]:
        """Packets of `sender` that were (passed on, dropped)."""
        with self._lock:
            direction = self._directions[sender]
            return direction.passed, direction.dropped

    def _run(self) -> None:
        by_source = {d.source: d for d in self._directions.values()}
        while not self._is_stopping:
            due = [d.waiting[0][0] for d in by_source.values() if d.waiting]
            wait_s = min([LONGEST_WAIT_S] + [max(0.0, at - time.monotonic()) for at in due])
            ready = select.select(list(by_source), [], [], wait_s)[0]
            with self._lock:
                for source in ready:
                    self._read(by_source[source])
                for direction in by_source.values():
                    direction.deliver(time.monotonic())

    @staticmethod
    def _read(direction: Direction) -> None:
        """Take some packets; the others wait in the device."""
        for _ in range(PACKETS_PER_TURN):
            try:
                packet = os.read(direction.source, 65536)
            except OSError:  # nothing more, or the device is down
                return
            direction.put(packet, time.monotonic())
