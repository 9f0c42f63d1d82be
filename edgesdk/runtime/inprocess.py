"""Workers in one process: frames are handed over as they are."""

import threading
from collections import deque
from typing import Any, Deque, Dict, List, Optional

from .transport import Arrival, Transport

# As many as a lane over sockets holds; more means that nobody reads.
INBOX_MAX = 1024


class Hub:
    """Where the transports of one process find each other, by worker id."""

    def __init__(self) -> None:
        self.ends: "Dict[int, InProcess]" = {}


class InProcess(Transport):
    """The worker `worker_id` at `hub`.

    Raises ValueError if the hub has a worker of this id.
    """

    uncopied_bytes_min = 1  # not even small bodies are copied

    def __init__(self, hub: Hub, worker_id: int) -> None:
        super().__init__()
        if worker_id in hub.ends:
            raise ValueError("worker {} is at this hub already".format(worker_id))
        self._hub = hub
        self._worker_id = worker_id
        self._inbox: Deque[Arrival] = deque()
        self._something = threading.Event()
        self._is_closed = False
        hub.ends[worker_id] = self

    def wait(self, timeout_s: Optional[float]) -> None:
        """See `Transport.wait`."""
        self._something.wait(timeout_s)
        if not self._is_closed:
            self._something.clear()

    def wake(self) -> None:
        """See `Transport.wake`."""
        self._something.set()

    def receive(self) -> Optional[Arrival]:
        """See `Transport.receive`."""
        return self._inbox.popleft() if self._inbox else None

    def open_link(self, peer: int) -> None:
        """See `Transport.open_link`."""

    def close_link(self, peer: int) -> None:
        """See `Transport.close_link`: nothing waits here."""

    def send(self, peer: int, lane: str, frames: List[Any]) -> None:
        """See `Transport.send`. `lane` does not matter: nothing is slow."""
        end = None if self._is_closed else self._hub.ends.get(peer)
        if end is None:
            self.count("sent_to_nobody")
        elif len(end._inbox) >= INBOX_MAX:
            self.count("lane_full")
        else:
            end._inbox.append(Arrival(self._worker_id, frames))
            end.wake()

    def close(self, linger_s: float) -> None:
        """See `Transport.close`."""
        if not self._is_closed:
            self._is_closed = True
            self._inbox.clear()
            del self._hub.ends[self._worker_id]
        self.wake()
