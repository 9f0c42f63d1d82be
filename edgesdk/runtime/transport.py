"""What a transport is: frames from one worker to another, on two lanes, and a way to wait for them.

To add one, subclass `Transport`; `runtime/network.py` makes frames of messages and back. A
transport may lose messages when a connection breaks, and may refuse to send; it never repeats,
reorders within a lane, or alters them. Everything else is the core's.
"""

import logging
from typing import Any, Callable, Dict, Hashable, List, NamedTuple, Optional, Union

from ..telemetry.journal import Limiter

_logger = logging.getLogger("edgesdk.network")


class Arrival(NamedTuple):
    """A message from the worker `peer`; `frames` as `core.wire.decode` takes them."""

    peer: int
    frames: List[Any]


class Departure(NamedTuple):
    """The process of the worker `peer` has ended, as far as can be seen from here."""

    peer: int


class Transport:
    """Ends of links to other workers, named by their ids.

    `wait` and `wake` may be called from any thread; all others only by whoever holds the loop.
    `counters` counts by name what was dropped or refused.
    """

    # Bodies from this size on are sent without a copy, so they must stay as they are until nobody
    # refers to them.
    uncopied_bytes_min = 0

    def __init__(self) -> None:
        # Frames that answer an observer's question, or none. Raises PeerError for no question.
        self.answering: Optional[Callable[[bytes, int], List[bytes]]] = None
        self.counters: Dict[str, int] = {}
        self._limiter = Limiter(at_once=1.0)

    def wait(self, timeout_s: Optional[float]) -> None:
        """Return when something may have arrived, after `wake`, or after the timeout. It uses the
        `wake` up: who returns for it either does what there is to do, or wakes the next one."""
        raise NotImplementedError

    def wake(self) -> None:
        """Make every `wait` return, one that begins now too. Safe in a signal handler."""
        raise NotImplementedError

    def receive(self) -> Union[Arrival, Departure, None]:
        """The next message, or None. After None, `wait` returns when there are new ones."""
        raise NotImplementedError

    def open_link(self, peer: int) -> None:
        """Make ready to send to `peer`. What cannot be done now is tried again with the next
        `send`."""
        raise NotImplementedError

    def close_link(self, peer: int) -> None:
        """Nothing more goes to `peer`, nor what was not sent yet."""
        raise NotImplementedError

    def send(self, peer: int, lane: str, frames: List[Any]) -> None:
        """Send, or count why not: whoever needs an answer sends again."""
        raise NotImplementedError

    def close(self, linger_s: float) -> None:
        """Send what waits, for at most `linger_s`, then free everything; every `wait` returns.
        Idempotent. Nothing is sent or received afterwards, and asking for it is no error."""
        raise NotImplementedError

    def count(self, name: str) -> None:
        """Something was dropped or refused."""
        self.counters[name] = self.counters.get(name, 0) + 1

    def complain(self, name: str, whom: Hashable, message: str) -> None:
        """Count it, and say it in the log, of each `whom` every ten seconds at most."""
        self.count(name)
        left_out = self._limiter.left_out((name, whom))
        if left_out is not None:
            more = " (and {} more like it before)".format(left_out) if left_out else ""
            extra = {"edgesdk": {"event": name, "left_out_count": left_out}}
            _logger.warning("%s%s", message, more, extra=extra)
