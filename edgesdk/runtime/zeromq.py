"""Links over ZeroMQ. With `zeromq_link`, `_options` and `_security` the modules that know it.

Every worker binds two ROUTER sockets, one for each lane, and connects two DEALER sockets to every
neighbour. It only reads from the ROUTERs and only writes to the DEALERs: so a policy, not libzmq,
decides who gets a message, and whoever is gone is forgotten by closing two sockets. Small messages
never wait behind feature maps.

Observers (`zeromq_observer.py`) connect to the control lane's ROUTER, and are answered there.

Whoever holds the loop uses the sockets, under its lock; `wait` watches their file descriptors, so
that any thread may wait. libzmq marks those only when something new has come: what `wait` has seen
marked is asked until it has nothing more.
"""

import contextlib
import logging
import secrets
import select
import socket as sockets
import threading
from collections import deque
from struct import Struct
from time import monotonic, sleep
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Set, Tuple, Union

import zmq
from zmq.utils.monitor import recv_monitor_message

from ..core.messages import CONTROL, DATA
from ..core.wire_format import FRAMES_MAX
from ..errors import PeerError, TransportError
from .clock import now_us
from .transport import Arrival, Departure, Transport
from .zeromq_link import (
    AT_ONCE,
    READABLE,
    UNCOPIED_BYTES_MIN,
    Link,
    monitor_of,
    send_uncopied_once,
)
from .zeromq_options import INBOX_OPTIONS, LANE_OPTIONS, set_options
from .zeromq_security import OBSERVER_NAME, Curve, Doorkeeper, lock_door

_logger = logging.getLogger("edgesdk.network")
# A letter, for libzmq keeps those with a leading 0; the worker; a number that is drawn for each
# neighbour: who knew it could take over our place there, with the keys of another neighbour.
_ROUTING_ID = Struct("<cQQ")
_LETTER = b"w"
OBSERVER_LETTER = b"o"  # of those who only ask
# A neighbour that talks to us is there: try to reach it now rather than when libzmq's pause ends.
REOPEN_AFTER_S = 1.0  # a handshake takes four times the way there and back
# A DEALER whose handshake went wrong once never tries again: after so long, another one does.
RENEW_AFTER_S = 6.0
DISCARDED_AT_ONCE = 64  # messages per inbox, before whatever else is due has its turn
_TERM_GRACE_S = 1.0
_FAILURES = ("HANDSHAKE_FAILED_NO_DETAIL", "HANDSHAKE_FAILED_PROTOCOL")
_DEPARTED = -1  # no descriptor: marks that someone has departed


class Address(NamedTuple):
    """Where a worker listens: two tcp:// addresses, of the control and of the data lane."""

    control: str
    data: str


class ZeroMQ(Transport):
    """The ends of a worker's links.

    `listens`: where it binds. `neighbours`: where those are whom it may talk to, by worker id;
    everybody else is refused. `curve`: keys, or None for links that are neither authenticated nor
    encrypted.

    Raises TransportError if an address cannot be bound.
    """

    uncopied_bytes_min = UNCOPIED_BYTES_MIN

    def __init__(
        self,
        worker_id: int,
        listens: Address,
        neighbours: Dict[int, Address],
        curve: Optional[Curve] = None,
    ) -> None:
        super().__init__()
        self._routing_ids = {
            peer: _ROUTING_ID.pack(_LETTER, worker_id, secrets.randbits(64)) for peer in neighbours
        }
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
        self._marked: Set[int] = set()  # descriptors of what must be asked
        self._waiting: Set[int] = set()  # threads in `wait`
        self._is_closed = False
        self._doorkeeper: Optional[Doorkeeper] = None
        self._inboxes: List[Tuple[int, Any]] = []  # with their descriptors
        self._monitors: List[Any] = []  # of the inboxes
        try:
            send_uncopied_once(self._context)
            self._doorkeeper = Doorkeeper(self._context, curve)
            self._watch(self._doorkeeper.socket, self._open_door)
            self._bind(CONTROL, listens.control)
            self._bind(DATA, listens.data)
        except BaseException:
            self.close(0)
            raise

    # --- waiting ------------------------------------------------------------------------------

    def wait(self, timeout_s: Optional[float]) -> None:
        """See `Transport.wait`."""
        thread = threading.get_ident()
        self._waiting.add(thread)
        try:
            ready = self._epoll.poll(-1 if timeout_s is None else max(0.0, timeout_s))
            for descriptor, _ in ready:
                if descriptor == self._sleeper.fileno():
                    self._sleeper.recv(4096)
                else:
                    self._marked.add(descriptor)
        except (BlockingIOError, ValueError, OSError):
            pass  # another thread was faster; or it was closed
        finally:
            self._waiting.discard(thread)

    def wake(self) -> None:
        """See `Transport.wake`."""
        with contextlib.suppress(OSError):  # it is full of wishes already; or it was closed
            self._waker.send(b"w")

    def receive(self) -> Union[Arrival, Departure, None]:
        """See `Transport.receive`. Only sockets that `wait` has marked are asked: one that is
        passed over stays marked for the next `wait`."""
        marked = self._marked
        if not marked or self._is_closed:
            return None
        flooded = []
        for descriptor, inbox in self._inboxes:
            if descriptor not in marked:
                continue
            for _ in range(DISCARDED_AT_ONCE):
                if not int(inbox.get(zmq.EVENTS)) & READABLE:
                    marked.discard(descriptor)
                    break
                arrival = self._take(inbox)
                if arrival is not None:
                    return arrival
            else:
                flooded.append(descriptor)
        for descriptor in list(marked):
            marked.discard(descriptor)
            chore = self._chores.get(descriptor)
            if chore is not None:
                chore()
        if flooded:  # what is not ours must not hold the loop: go on after the next `wait`
            marked.update(flooded)
            self.wake()
        if not self._departed:
            return None
        marked.add(_DEPARTED)  # there may be more
        return Departure(self._departed.popleft())

    def _take(self, inbox: Any) -> Optional[Arrival]:
        """The next message of an inbox, unless it must not be here."""
        frames = inbox.recv_multipart(AT_ONCE, copy=False)
        if not 1 < len(frames) <= FRAMES_MAX + 1:
            self.count("wrong_frame_count")
            return None
        routing_id = frames[0].bytes
        if routing_id[:1] == OBSERVER_LETTER:
            self._answer(inbox, routing_id, frames[1])
            return None
        peer = self._sender(routing_id, frames[1])
        if peer is None:
            return None
        link = self._links.get(peer)
        if link is not None and link.is_down_for(REOPEN_AFTER_S):
            self._renew_link(peer)
        return Arrival(peer, [frames[1].bytes] + [frame.buffer for frame in frames[2:]])

    def _sender(self, routing_id: bytes, frame: Any) -> Optional[int]:
        """Who sent a message: whom it names, if the key that `frame` came under says the same.
        (Not the frame of the routing id: libzmq 4.3.4 does not always mark that.)"""
        # libzmq's own names: of one that gave none, or that another has taken over from.
        if routing_id[:1] == b"\0":
            self.count("nameless_connections")
            return None
        if len(routing_id) != _ROUTING_ID.size or routing_id[:1] != _LETTER:
            self.count("strangers")
            return None
        worker_id: int = _ROUTING_ID.unpack(routing_id)[1]
        if worker_id not in self._neighbours:
            self.count("strangers")
            return None
        if self._curve is not None and frame.get("User-Id") != str(worker_id):
            self.count("impostors")
            return None
        return worker_id

    def _answer(self, inbox: Any, routing_id: bytes, frame: Any) -> None:
        """An observer asks. Only here something leaves by the door that it came in by."""
        if self._curve is not None and frame.get("User-Id") != OBSERVER_NAME:
            self.count("impostors")
            return
        try:
            answer = self.answering(frame.bytes, now_us()) if self.answering is not None else []
        except PeerError as error:
            self.complain("malformed_questions", None, "an observer: {}".format(error))
            return
        if not answer:
            self.count("questions_not_answered")
            return
        with contextlib.suppress(zmq.ZMQError):  # it does not read, or is gone
            inbox.send_multipart([routing_id] + answer, AT_ONCE)

    # --- links --------------------------------------------------------------------------------

    def open_link(self, peer: int) -> None:
        """See `Transport.open_link`."""
        if peer in self._links or self._is_closed:
            return
        address = self._neighbours[peer]
        try:
            link = Link(self._context, self._routing_ids[peer], peer, address, self._curve)
        except zmq.ZMQError as error:
            message = "no link to {}: {}".format(address.control, error)
            self.complain("links_not_opened", peer, message)
            return
        self._links[peer] = link
        self._watch(link.monitor, lambda: self._look_at(peer, link))

    def close_link(self, peer: int) -> None:
        """See `Transport.close_link`."""
        link = self._links.pop(peer, None)
        if link is not None:
            self._unwatch(link.monitor)
            link.close(0)

    def send(self, peer: int, lane: str, frames: List[Any]) -> None:
        """See `Transport.send`."""
        link = self._links.get(peer)
        if link is None or link.is_down_for(RENEW_AFTER_S):
            link = self._renew_link(peer)
            if link is None:
                return
        try:
            if not link.send(lane, frames):
                self.count("lane_full")
        except zmq.ZMQError as error:
            message = "not sent to {}: {}".format(self._neighbours[peer].control, error)
            self.complain("not_sent", peer, message)

    def _renew_link(self, peer: int) -> Optional[Link]:
        """Another pair of sockets, which tries to connect at once; what waited is void."""
        self.close_link(peer)
        self.open_link(peer)
        return self._links.get(peer)

    def _look_at(self, peer: int, link: Link) -> None:
        if link.read_monitor():
            self._departed.append(peer)

    # --- inboxes ------------------------------------------------------------------------------

    def _bind(self, lane: str, address: str) -> None:
        inbox = self._context.socket(zmq.ROUTER)
        descriptor = int(inbox.get(zmq.FD))
        self._inboxes.append((descriptor, inbox))
        set_options(inbox, INBOX_OPTIONS + LANE_OPTIONS[lane])
        inbox.setsockopt(zmq.IPV6, "[" in address)
        lock_door(inbox, self._curve)
        try:
            inbox.bind(address)
        except zmq.ZMQError as error:
            raise TransportError(
                "{}: cannot listen there ({}); another program, or another worker of this name, "
                "has the port, or it is not an address of this machine".format(address, error)
            ) from None
        self._epoll.register(descriptor, select.EPOLLIN)
        self._marked.add(descriptor)
        monitor = monitor_of(inbox, _FAILURES)
        self._monitors.append(monitor)
        self._watch(monitor, lambda: self._read_failures(address, monitor))

    def _open_door(self) -> None:
        assert self._doorkeeper is not None
        refused_count = self._doorkeeper.answer_all()
        for _ in range(refused_count):
            message = "refused a key that is not in the cluster file"
            self.complain("keys_refused", None, message)

    def _read_failures(self, address: str, monitor: Any) -> None:
        """Somebody has connected who does not know how, or not with our keys."""
        while int(monitor.get(zmq.EVENTS)) & READABLE:
            recv_monitor_message(monitor, AT_ONCE)
            what = "a connection came to nothing: wrong or no keys, or no worker at all"
            self.complain("handshakes_failed", address, "{}: {}".format(address, what))

    def _watch(self, socket: Any, chore: Callable[[], None]) -> None:
        descriptor = int(socket.get(zmq.FD))
        self._chores[descriptor] = chore
        self._epoll.register(descriptor, select.EPOLLIN)
        chore()  # libzmq marks the descriptor only after it has been asked once

    def _unwatch(self, socket: Any) -> None:
        descriptor = int(socket.get(zmq.FD))
        self._chores.pop(descriptor, None)
        self._epoll.unregister(descriptor)

    # --- the end ------------------------------------------------------------------------------

    def close(self, linger_s: float) -> None:
        """See `Transport.close`."""
        if self._is_closed:
            return
        self._is_closed = True
        self._waker.close()  # the sleeper has an end now: every `wait` returns
        for link in self._links.values():
            link.close(int(linger_s * 1000))
        self._links.clear()
        if self._doorkeeper is not None:
            self._doorkeeper.socket.close(0)
        for _, inbox in self._inboxes:
            inbox.disable_monitor()
            inbox.close(0)
        for monitor in self._monitors:
            monitor.close(0)
        self._end_context(linger_s)
        until_s = monotonic() + _TERM_GRACE_S
        while self._waiting - {threading.get_ident()} and monotonic() < until_s:
            sleep(0.001)
        self._epoll.close()
        self._sleeper.close()

    def _end_context(self, linger_s: float) -> None:
        """Wait for the last words; never for longer, even if libzmq would."""
        ender = threading.Thread(target=self._context.term, name="edgesdk-end", daemon=True)
        ender.start()
        ender.join(linger_s + _TERM_GRACE_S)
        if ender.is_alive():
            _logger.warning("libzmq does not let go of its sockets; they end with the process")
