"""The way to one neighbour over ZeroMQ: two sockets, and what is known of their connection."""

from time import monotonic
from typing import Any, Dict, List, Optional, Sequence

import zmq
from zmq.utils.monitor import recv_monitor_message

from ..core.messages import CONTROL, DATA
from .zeromq_options import LANE_OPTIONS, LINK_OPTIONS, set_options
from .zeromq_security import Curve

# Plain numbers: arithmetic on pyzmq's enumerations costs more than what it is for.
READABLE, WRITABLE = int(zmq.POLLIN), int(zmq.POLLOUT)
AT_ONCE = int(zmq.DONTWAIT)
_AT_ONCE_MORE = int(zmq.DONTWAIT | zmq.SNDMORE)
UNCOPIED_BYTES_MIN = 65536  # below, sending without a copy costs more than the copy
_EVENTS = ("HANDSHAKE_SUCCEEDED", "DISCONNECTED", "CONNECT_DELAYED", "CLOSED")


class Link:
    """A DEALER for each lane to the neighbour `peer`, which listens at `address`, a pair.

    Raises zmq.ZMQError if the sockets cannot be had.
    """

    def __init__(
        self,
        context: Any,
        routing_id: bytes,
        peer: int,
        address: Sequence[str],
        curve: Optional[Curve],
    ) -> None:
        self.opened_s = monotonic()
        self.is_up = self._was_up = self._is_refused = False
        self._outlets: Dict[str, Any] = {}
        self.monitor: Any = None
        try:
            for lane, end in zip((CONTROL, DATA), address):
                outlet = self._outlets[lane] = context.socket(zmq.DEALER)
                set_options(outlet, LINK_OPTIONS + LANE_OPTIONS[lane])
                outlet.setsockopt(zmq.ROUTING_ID, routing_id)
                outlet.setsockopt(zmq.IPV6, "[" in end)
                if curve is not None:
                    curve.lock_client(outlet, peer)
                if lane == CONTROL:
                    self.monitor = monitor_of(outlet, _EVENTS)
                outlet.connect(end)
        except BaseException:
            self.close(0)
            raise

    def is_down_for(self, seconds: float) -> bool:
        """Whether there is no connection, and there has been time for one."""
        return not self.is_up and monotonic() - self.opened_s > seconds

    def send(self, lane: str, frames: List[Any]) -> bool:
        """Send one message; False if the lane has no room for it."""
        outlet = self._outlets[lane]
        if _push(outlet, frames):
            return True
        # libzmq looks once in a millisecond whether there is room again, unless it is asked.
        return bool(int(outlet.get(zmq.EVENTS)) & WRITABLE) and _push(outlet, frames)

    def read_monitor(self) -> bool:
        """Take note of what has happened. True if the process at the other end is gone: the
        connection that was there broke, and a new one is refused. (An attempt that was not even
        delayed was refused here: our own network is down.)"""
        is_gone = False
        while int(self.monitor.get(zmq.EVENTS)) & READABLE:
            event = recv_monitor_message(self.monitor, zmq.DONTWAIT)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.is_up = self._was_up = True
            elif event == zmq.EVENT_DISCONNECTED:
                self.is_up = self._is_refused = False
            elif event == zmq.EVENT_CONNECT_DELAYED:
                self._is_refused = True
            elif event == zmq.EVENT_CLOSED and self._was_up and not self.is_up:
                is_gone = is_gone or self._is_refused
                self._was_up = not self._is_refused
        return is_gone

    def close(self, linger_ms: int) -> None:
        """Free the sockets; what waits in them is sent for so long, if there is a connection."""
        if self.monitor is not None:
            self._outlets[CONTROL].disable_monitor()
            self.monitor.close(0)
        for outlet in self._outlets.values():
            outlet.close(linger_ms if self.is_up else 0)


def monitor_of(socket: Any, names: Sequence[str]) -> Any:
    """A socket that tells of these events of `socket`, as far as this libzmq has them."""
    return socket.get_monitor_socket(sum(getattr(zmq, "EVENT_" + name, 0) for name in names))


def send_uncopied_once(context: Any) -> None:
    """With the first message that is not copied, pyzmq makes a thread and sockets, and keeps them.
    Better now, when it can still be said that there are no descriptors left, than under way."""
    with context.socket(zmq.PAIR) as sender, context.socket(zmq.PAIR) as receiver:
        sender.bind("inproc://edgesdk-uncopied")
        receiver.connect("inproc://edgesdk-uncopied")
        sender.send(bytes(UNCOPIED_BYTES_MIN), copy=False)
        receiver.recv()


def _push(outlet: Any, frames: List[Any]) -> bool:
    last = len(frames) - 1
    try:
        for index, frame in enumerate(frames):
            size = frame.nbytes if hasattr(frame, "nbytes") else len(frame)
            flags = _AT_ONCE_MORE if index < last else AT_ONCE
            outlet.send(frame, flags, copy=size < UNCOPIED_BYTES_MIN)
    except zmq.Again:
        return False
    return True
