"""Tasks of our own items that are elsewhere: sent to a neighbour, or accepted by it.

The hop layer sees a task safely into a neighbour's queue. What it cannot see, a neighbour that dies
with the task in its queue or passes it on to one that dies, a lease covers: if no result comes in
time, the source starts again from the features that it kept. A worker that still holds the task
renews the lease, but not for ever: a stage may hang.
"""

from typing import Dict, Iterable, Iterator, List, Optional, Tuple

from .agenda import Agenda
from .disturbance import END_LEASE_EARLY, Disturb, undisturbed
from .tasks import FleetTask

LEASE_US_MIN = 1_000_000
LEASE_US_MAX = 10_000_000
LEASE_LATENCIES = 3  # of what 99 of 100 items take
RENEWED_US_MAX = 40_000_000  # after which nobody is believed any longer
LEASE = "lease"  # the duty, for the agenda

Key = Tuple[int, int]  # (item, part)


class Lease:
    """One task that was sent to `peer`; the lease runs from when that has accepted it."""

    __slots__ = ("last_us", "peer", "task")

    def __init__(self, task: FleetTask, peer: int) -> None:
        self.task = task
        self.peer = peer
        self.last_us: Optional[int] = None  # no renewal beyond this; None: not accepted yet


class Leases:
    """Every task of ours that is away, by (item, part)."""

    def __init__(self, agenda: Agenda, disturb: Disturb = undisturbed) -> None:
        self._agenda = agenda
        self._disturb = disturb
        self._leases: Dict[Key, Lease] = {}
        self.time_us = LEASE_US_MIN

    def __len__(self) -> int:
        return len(self._leases)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._leases)

    def set_latency(self, latency_us: float) -> None:
        """What 99 of 100 items take, as measured lately (NaN: not known)."""
        wanted_us = LEASE_LATENCIES * latency_us if latency_us == latency_us else 0.0
        self.time_us = int(min(max(wanted_us, LEASE_US_MIN), LEASE_US_MAX))

    def sent(self, task: FleetTask, peer: int) -> None:
        """A task was sent to `peer`, which has not accepted it yet."""
        self._leases[(task.item, task.part)] = Lease(task, peer)

    def accepted(self, key: Key, now_us: int) -> None:
        """The peer has it: the lease begins."""
        lease = self._leases.get(key)
        if lease is not None:
            lease.last_us = now_us + RENEWED_US_MAX
            is_short = self._disturb(END_LEASE_EARLY)
            self._agenda.put((LEASE, key), now_us + (1 if is_short else self.time_us))

    def renew(self, keys: Iterable[Key], now_us: int) -> None:
        """Whoever holds these tasks says so."""
        for key in keys:
            lease = self._leases.get(key)
            if lease is not None and lease.last_us is not None:
                until_us = min(now_us + self.time_us, lease.last_us)
                if until_us > now_us:
                    self._agenda.put((LEASE, key), until_us)

    def let_stay(self, key: Key) -> None:
        """A task has failed elsewhere: when it is back, it stays."""
        lease = self._leases.get(key)
        if lease is not None:
            lease.task.stays = True

    def pop(self, key: Key) -> Optional[Lease]:
        """End the lease of a task, which came back or is not needed any more."""
        lease = self._leases.pop(key, None)
        if lease is not None:
            self._agenda.drop((LEASE, key))
        return lease

    def accepted_by(self, peer: int) -> List[Key]:
        """The tasks that `peer` has accepted."""
        return [
            key
            for key, lease in self._leases.items()
            if lease.peer == peer and lease.last_us is not None
        ]
