"""What a worker tells its neighbours of itself: how busy it is, and how much it takes from each."""

from typing import Dict, Optional, Tuple

from .disturbance import GIVE_NO_CREDIT, Disturb, undisturbed
from .guests import GUESTS_MAX
from .messages import Ack, Load
from .peer import Peer

CREDIT_MAX = 8  # tasks that one neighbour may have on the way to us: hides a round trip
REPORT_GAP_US = 10_000  # between two reports because the queue has changed


class Reported:
    """What reports are about."""

    def report(self) -> Tuple[int, int, int]:
        """(I_n, Gamma_n in us, how many more tasks of others fit)."""
        raise NotImplementedError


class Reporter:
    """Writes Loads and Acks, and keeps the credit of `peers` within the room there is."""

    def __init__(
        self, subject: Reported, peers: Dict[int, Peer], disturb: Disturb = undisturbed
    ) -> None:
        self._disturb = disturb
        self._subject = subject
        self._peers = peers
        self._number = 0
        self._told_length = 0  # I_n as of the last report to everybody
        self._told_us = 0

    def load(self, peer: Peer, is_leaving: bool, now_us: int) -> Load:
        """A heartbeat for `peer`."""
        length, delay_us, room = self._subject.report()
        self._number += 1
        return Load(
            self._number,
            length,
            delay_us,
            0 if is_leaving else self._promise(peer, room),
            now_us,
            peer.echo_us,
            now_us - peer.echoed_us if peer.echo_us else 0,
            is_leaving,
        )

    def ack(self, peer: Peer, is_leaving: bool, now_us: int) -> Ack:
        """The verdicts that `peer` waits for, and a report."""
        length, delay_us, room = self._subject.report()
        self._number += 1
        credit = 0 if is_leaving else self._promise(peer, room)
        verdicts = peer.link.verdicts(now_us)
        return Ack(*(verdicts + (self._number, length, delay_us, credit)))

    def told_all(self, now_us: int) -> None:
        """Everybody has just had a report."""
        self._told_length, self._told_us = self._subject.report()[0], now_us

    def next_report_us(self, length: int, now_us: int) -> Optional[int]:
        """When everybody should hear of I_n: if it is off by a quarter, or empty at last."""
        told = self._told_length
        if abs(length - told) > max(1, told // 4) or (length == 0 and told > 0):
            return max(now_us, self._told_us + REPORT_GAP_US)
        return None

    def _promise(self, peer: Peer, room: int) -> int:
        """Credit for `peer`: an equal share, so that nobody starves, and within the room."""
        peer.promised_count = 0
        promised = connected = 0
        for other in self._peers.values():
            promised += other.promised_count
            connected += other.is_connected
        share = max(1, min(CREDIT_MAX, GUESTS_MAX // max(1, connected)))
        least = min(room, 1) if connected > GUESTS_MAX else 0  # refusals make up for it
        if not self._disturb(GIVE_NO_CREDIT):
            peer.promised_count = max(least, min(share, room - promised))
        return peer.promised_count
