"""Links over ZeroMQ: the one module that knows it.

Every worker binds two ROUTER sockets, one for each lane, and connects two DEALER sockets to every
neighbour. It only reads from the ROUTERs and only writes to the DEALERs: so a policy, not libzmq,
decides who gets a message, and whoever is gone is forgotten by closing two sockets. Small messages
never wait behind feature maps.

Whoever holds the loop uses the sockets, under its lock; `wait` watches their file descriptors, so
that any thread may wait. libzmq marks those only when something new has come: `receive` must find
nothing before the next `wait`.
"""

import contextlib
import logging
import select
import socket as sockets
import threading
from collections import deque
from struct import Struct
from time import monotonic
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Union

import zmq
from zmq.utils.monitor import recv_monitor_message

from ..core.messages import CONTROL, DATA
from ..core.wire_format import FRAMES_MAX
from ..errors import TransportError
from .transport import Arrival, Departure, Transport
from .zeromq_options import INBOX_OPTIONS, LANE_OPTIONS, LINK_OPTIONS, set_options
from .zeromq_security import Curve, Doorkeeper

_logger = logging.getLogger("edgesdk.link")
_ROUTING_ID = Struct("<cQI")  # a letter, for libzmq keeps those with a leading 0; worker; epoch
_LETTER = b"w"
# A neighbour that talks to us is there: try to reach it now rather than when libzmq's pause ends.
REOPEN_AFTER_S = 0.3
_TERM_GRACE_S = 1.0
_MONITORED = ("HANDSHAKE_SUCCEEDED", "DISCONNECTED", "CLOSED")


class Address(NamedTuple):
    """Where a worker listens: two tcp:// addresses, of the control and of the data lane."""

    control: str
    data: str


def send_uncopied_once(context: Any) -> None:
    """With the first message that is not copied, pyzmq makes a thread and sockets, and keeps them.
    Better now, when it can still be said that there are no descriptors left, than under way."""
    with context.socket(zmq.PAIR) as sender, context.socket(zmq.PAIR) as receiver:
        sender.bind("inproc://edgesdk-uncopied")
        receiver.connect("inproc://edgesdk-uncopied")
        sender.send(bytes(ZeroMQ.uncopied_bytes_min), copy=False)
        receiver.recv()


class Link:
    """The two sockets that lead to one neighbour, and what their monitor has told."""

    def __init__(self, outlets: Dict[str, Any], monitor: Any) -> None:
        self.outlets = outlets
        self.monitor = monitor
        self.opened_s = monotonic()
        self.is_up = self.was_up = False


class ZeroMQ(Transport):
    """The ends of a worker's links.

    `listens`: where it binds. `neighbours`: where those are whom it may talk to, by worker id;
    everybody else is refused. `curve`: keys, or None for links that are neither authenticated nor
    encrypted.

    Raises TransportError if an address cannot be bound.
    """

    uncopied_bytes_min = 65536  # below, setting it up costs more than the copy

    def __init__(
        self,
        worker_id: int,
        epoch: int,
        listens: Address,
        neighbours: Dict[int, Address],
        curve: Optional[Curve] = None,
    ) -> None:
        super().__init__()
        self._routing_id = _ROUTING_ID.pack(_LETTER, worker_id, epoch)
        self._neighbours = neighbours
        self._curve = curve
        self._links: Dict[int, Link] = {}
        self._departed: Deque[int] = deque()
        self._context = zmq.Context(io_threads=1 if curve is None else 2)
        self._context.set(zmq.MAX_SOCKETS, 4096)
        self._epoll = select.epoll()
        self._sleeper, self._waker = sockets.socketpair()
        for end in (self._sleeper, self._waker):
            end.setblocking(False)
        self._epoll.register(self._sleeper.fileno(), select.EPOLLIN)
        self._chores: Dict[int, Callable[[], None]] = {}  # by the descriptor that asks for one
        self._is_closed = False
        try:
            send_uncopied_once(self._context)
            self._doorkeeper = None if curve is None else Doorkeeper(self._context, curve)
            if self._doorkeeper is not None:
                self._watch(self._doorkeeper.socket, self._open_door)
            self._inboxes = [
                self._bind(CONTROL, listens.control),
                self._bind(DATA, listens.data),
            ]
        except BaseException:
            self.close(0)
            raise

    # --- waiting ------------------------------------------------------------------------------

    def wait(self, timeout_s: Optional[float]) -> None:
        """See `Transport.wait`."""
        try:
            ready = self._epoll.poll(-1 if timeout_s is None else max(0.0, timeout_s))
            if any(descriptor == self._sleeper.fileno() for descriptor, _ in ready):
                self._sleeper.recv(4096)
        except (BlockingIOError, ValueError, OSError):
            pass  # another thread was faster; or it was closed

    def wake(self) -> None:
        """See `Transport.wake`."""
        with contextlib.suppress(OSError):  # it is full of wishes already; or it was closed
            self._waker.send(b"w")

    def receive(self) -> Union[Arrival, Departure, None]:
        """See `Transport.receive`."""
        for inbox in self._inboxes:
            while inbox.get(zmq.EVENTS) & zmq.POLLIN:
                arrival = self._take(inbox)
                if arrival is not None:
                    return arrival
        for descriptor, _ in self._epoll.poll(0):
            chore = self._chores.get(descriptor)
            if chore is not None:
                chore()
        return Departure(self._departed.popleft()) if self._departed else None

    def _take(self, inbox: Any) -> Optional[Arrival]:
        """The next message of an inbox, unless it must not be here."""
        frames = inbox.recv_multipart(zmq.DONTWAIT, copy=False)
        peer = self._sender(frames)
        if peer is None:
            return None
        if not 1 < len(frames) <= FRAMES_MAX + 1:
            self.count("wrong_frame_count")
            return None
        link = self._links.get(peer)
        if link is not None and not link.is_up and monotonic() - link.opened_s > REOPEN_AFTER_S:
            self.close_link(peer)
            self.open_link(peer)
        return Arrival(peer, [frames[1].bytes] + [frame.buffer for frame in frames[2:]])

    def _sender(self, frames: List[Any]) -> Optional[int]:
        """Who sent a message: whom it names, if its key says the same."""
        routing_id = frames[0].bytes
        if routing_id[:1] == b"\0":  # libzmq's own name for one that another has taken over from
            self.count("superseded_connections")
            return None
        if len(routing_id) != _ROUTING_ID.size or routing_id[:1] != _LETTER:
            self.count("strangers")
            return None
        worker_id: int = _ROUTING_ID.unpack(routing_id)[1]
        if worker_id not in self._neighbours:
            self.count("strangers")
            return None
        # libzmq 4.3.4 says it of a message, but not always of the routing id that it puts before.
        if self._curve is not None and frames[-1].get("User-Id") != str(worker_id):
            self.count("impostors")
            return None
        return worker_id

    # --- links --------------------------------------------------------------------------------

    def open_link(self, peer: int) -> None:
        """See `Transport.open_link`."""
        if peer in self._links or self._is_closed:
            return
        address = self._neighbours[peer]
        made: List[Any] = []
        try:
            for lane, end in ((CONTROL, address.control), (DATA, address.data)):
                outlet = self._socket(zmq.DEALER, made)
                set_options(outlet, LINK_OPTIONS + LANE_OPTIONS[lane])
                outlet.setsockopt(zmq.ROUTING_ID, self._routing_id)
                outlet.setsockopt(zmq.IPV6, "[" in end)
                if self._curve is not None:
                    self._curve.lock_client(outlet, peer)
                if lane == CONTROL:
                    events = [getattr(zmq, "EVENT_" + name, 0) for name in _MONITORED]
                    monitor = outlet.get_monitor_socket(sum(events))
                outlet.connect(end)
        except zmq.ZMQError as error:
            self._discard(made)
            self._complain("links_not_opened", "no link to %s: %s", address.control, error)
            return
        link = self._links[peer] = Link(dict(zip((CONTROL, DATA), made)), monitor)
        self._watch(monitor, lambda: self._read_monitor(peer, link))

    def close_link(self, peer: int) -> None:
        """See `Transport.close_link`."""
        link = self._links.pop(peer, None)
        if link is not None:
            self._unwatch(link.monitor)
            link.outlets[CONTROL].disable_monitor()
            self._discard([link.monitor] + list(link.outlets.values()))

    def send(self, peer: int, lane: str, frames: List[Any]) -> None:
        """See `Transport.send`."""
        link = self._links.get(peer)
        if link is None:
            self.open_link(peer)
            link = self._links.get(peer)
            if link is None:
                return
        outlet = link.outlets[lane]
        try:
            if len(frames) == 1:
                outlet.send(frames[0], zmq.DONTWAIT)
                return
            outlet.send(frames[0], zmq.DONTWAIT | zmq.SNDMORE)
            for index, body in enumerate(frames[1:], start=2):
                size = body.nbytes if hasattr(body, "nbytes") else len(body)
                flags = zmq.DONTWAIT | (zmq.SNDMORE if index < len(frames) else 0)
                outlet.send(body, flags, copy=size < self.uncopied_bytes_min)
        except zmq.Again:
            self.count("lane_full")
        except zmq.ZMQError as error:
            self._complain("not_sent", "not sent to %s: %s", self._neighbours[peer], error)

    def _read_monitor(self, peer: int, link: Link) -> None:
        """A connection that was there, broke, and is refused now: nobody listens any more."""
        while link.monitor.get(zmq.EVENTS) & zmq.POLLIN:
            event = recv_monitor_message(link.monitor, zmq.DONTWAIT)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                link.is_up = link.was_up = True
            elif event == zmq.EVENT_DISCONNECTED:
                link.is_up = False
            elif event == zmq.EVENT_CLOSED and link.was_up and not link.is_up:
                link.was_up = False
                self._departed.append(peer)

    # --- sockets ------------------------------------------------------------------------------

    def _bind(self, lane: str, address: str) -> Any:
        inbox = self._context.socket(zmq.ROUTER)
        set_options(inbox, INBOX_OPTIONS + LANE_OPTIONS[lane])
        inbox.setsockopt(zmq.IPV6, "[" in address)
        if self._curve is not None:
            self._curve.lock_server(inbox)
        try:
            inbox.bind(address)
        except zmq.ZMQError as error:
            inbox.close(0)
            raise TransportError(
                "{}: cannot listen there ({}); another program, or another worker of this name, "
                "has the port, or it is not an address of this machine".format(address, error)
            ) from None
        self._epoll.register(int(inbox.get(zmq.FD)), select.EPOLLIN)
        return inbox

    def _socket(self, kind: int, made: List[Any]) -> Any:
        socket = self._context.socket(kind)
        made.append(socket)
        return socket

    def _discard(self, unwanted: List[Any]) -> None:
        for socket in unwanted:
            socket.close(0)

    def _watch(self, socket: Any, chore: Callable[[], None]) -> None:
        descriptor = int(socket.get(zmq.FD))
        self._chores[descriptor] = chore
        self._epoll.register(descriptor, select.EPOLLIN)
        chore()  # libzmq marks the descriptor only after it has been asked once

    def _unwatch(self, socket: Any) -> None:
        descriptor = int(socket.get(zmq.FD))
        self._chores.pop(descriptor, None)
        self._epoll.unregister(descriptor)

    def _open_door(self) -> None:
        assert self._doorkeeper is not None
        refused_count = self._doorkeeper.answer_all()
        for _ in range(refused_count):
            self._complain("keys_refused", "refused a key that is not in the cluster file")

    def _complain(self, name: str, message: str, *arguments: Any) -> None:
        """Count it, and log the first and every hundredth."""
        self.count(name)
        if self.counters[name] % 100 == 1:
            _logger.warning("%s (%d so far)", message % arguments, self.counters[name])

    def close(self, linger_s: float) -> None:
        """See `Transport.close`."""
        if self._is_closed:
            return
        self._is_closed = True
        for link in self._links.values():
            link.outlets[CONTROL].disable_monitor()
            link.monitor.close(0)
            for outlet in link.outlets.values():  # who is not there need not be waited for
                outlet.close(int(linger_s * 1000) if link.is_up else 0)
        self._links.clear()
        if self._doorkeeper is not None:
            self._doorkeeper.socket.close(0)
        self._discard(getattr(self, "_inboxes", []))
        self._end_context(linger_s)
        self._epoll.close()
        self._sleeper.close()
        self._waker.close()

    def _end_context(self, linger_s: float) -> None:
        """Wait for the last words; never for longer, even if libzmq would."""
        ender = threading.Thread(target=self._context.term, name="edgesdk-end", daemon=True)
        ender.start()
        ender.join(linger_s + _TERM_GRACE_S)
        if ender.is_alive():
            _logger.warning("libzmq does not let go of its sockets; they end with the process")
