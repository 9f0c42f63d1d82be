"""The hop layer: tasks and results reach a neighbour once, or their sender learns of it.

Each direction of a link numbers its settled messages from 1. The receiver gives every number one
verdict and repeats it until the sender has seen it; the sender repeats a message, under the same
number, until it has a verdict. Neither side keeps more than WINDOW of them.
"""

from collections import OrderedDict
from random import Random
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from .messages import WINDOW, Ack, Task

# As in TCP (RFC 6298); the floor is far above the delay of an acknowledgement.
RETRANSMIT_US_MIN = 200_000
TASK_RETRANSMIT_US_MIN = 500_000  # features take their time, and seldom get lost
RETRANSMIT_US_MAX = 2_000_000
TASK_RETRANSMIT_US_MAX = 4_000_000
TRIES_MAX = 5  # then the neighbour is as good as dead
JITTER_SHARE = 0.2  # neighbours that were cut off together do not come back together
ACK_EVERY_COUNT = 8  # halves the cost of small messages (docs: one Ack each costs as much again)
ACK_WITHIN_US = 5_000
DELAY_WEIGHT = 1 / 8  # of a new sample in a smoothed delay


class Sent:
    """A settled message without a verdict yet. `payload` is whatever the sender must not lose."""

    __slots__ = ("ahead_count", "due_us", "item", "message", "payload", "sent_us", "tries")

    def __init__(
        self, message: Any, payload: Any, item: Optional[int], now_us: int, ahead_count: int
    ) -> None:
        self.message = message
        self.payload = payload
        self.item = item
        self.sent_us = self.due_us = now_us
        self.ahead_count = ahead_count  # tasks that this task must wait for on its way
        self.tries = 1


class Settled(NamedTuple):
    """What an Ack settled: payloads that were accepted, and that were refused, oldest first."""

    accepted: List[Any]
    refused: List[Any]


class Link:
    """Both directions between this worker and one neighbour, for one session."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.unsettled: "OrderedDict[int, Sent]" = OrderedDict()
        self.task_count = 0  # of these
        self._next_seq = 1
        self._base = 1  # of what comes in: the lowest number the other side may repeat
        self._verdicts: Dict[int, bool] = {}
        self._newest = 0
        self._newest_us = 0
        self.unacknowledged_count = 0  # messages that came since the last Ack went
        self._smoothed_us: Optional[float] = None
        self._variation_us = 0.0
        self._backed_off = 0  # doublings of the timeout that new messages begin with

    @property
    def oldest(self) -> int:
        """The lowest number of ours without a verdict."""
        for seq in self.unsettled:
            return seq
        return self._next_seq

    @property
    def has_room(self) -> bool:
        """Whether one more settled message may be sent."""
        return self._next_seq - self.oldest < WINDOW

    @property
    def held_verdict_count(self) -> int:
        """Verdicts that are still repeated; at most WINDOW."""
        return len(self._verdicts)

    def send(self, message: Any, payload: Any, item: Optional[int], now_us: int) -> Any:
        """`message` with its number, to be sent now; `payload` comes back when it is settled."""
        seq = self._next_seq
        self._next_seq += 1
        numbered = message._replace(seq=seq, oldest=self.oldest if self.unsettled else seq)
        is_task = message.__class__ is Task
        sent = Sent(numbered, payload, item, now_us, self.task_count if is_task else 0)
        sent.due_us += self._timeout_us(sent, 0)
        self.unsettled[seq] = sent
        self.task_count += is_task
        return numbered

    def forget(self, seq: int) -> None:
        """Stop repeating a message: nobody needs it any more."""
        if seq in self.unsettled:
            self._settle(seq)

    def on_ack(self, ack: Ack, now_us: int) -> Settled:
        """Take the verdicts of `ack`. Numbers that were settled before are passed over."""
        settled = Settled([], [])
        newest = self.unsettled.get(ack.newest)
        if newest is not None and newest.tries == 1:  # Karn: a repeated one has two send times
            self._sample(now_us - newest.sent_us - ack.held_us)
        both = ack.accepted | ack.refused
        for seq in [seq for seq in self.unsettled if seq >= ack.base]:
            bit = 1 << (seq - ack.base)
            if both & bit:
                payload = self._settle(seq)
                (settled.accepted if ack.accepted & bit else settled.refused).append(payload)
        return settled

    def _settle(self, seq: int) -> Any:
        sent = self.unsettled.pop(seq)
        self.task_count -= sent.message.__class__ is Task
        return sent.payload

    def next_due_us(self) -> Optional[int]:
        """When the next message must be repeated, or None."""
        return min([sent.due_us for sent in self.unsettled.values()], default=None)

    def due(self, now_us: int) -> Optional[List[Sent]]:
        """What has to be repeated now, marked as sent; None if one was tried TRIES_MAX times."""
        result = []
        for sent in self.unsettled.values():
            if sent.due_us > now_us:
                continue
            if sent.tries >= TRIES_MAX:
                return None
            sent.tries += 1
            sent.due_us = now_us + self._timeout_us(sent, sent.tries - 1)
            # RFC 6298, 5.5: until a clean sample says how long it takes, nobody is more hasty.
            self._backed_off = max(self._backed_off, sent.tries - 1)
            sent.message = sent.message._replace(oldest=self.oldest)
            result.append(sent)
        return result

    def receive(self, seq: int, oldest: int, now_us: int) -> bool:
        """Whether message `seq` is new and waits for a verdict. Every one earns an Ack."""
        if oldest > self._base:
            self._base = oldest
            for old in [old for old in self._verdicts if old < oldest]:
                del self._verdicts[old]
        if not self._base <= seq < self._base + WINDOW:
            return False
        self.unacknowledged_count += 1
        if seq in self._verdicts:
            return False
        self._newest, self._newest_us = seq, now_us  # a copy that comes late says nothing of time
        return True

    def judge(self, seq: int, accepted: bool) -> None:
        """Give a new message its verdict."""
        self._verdicts[seq] = accepted

    def verdicts(self, now_us: int) -> Tuple[int, int, int, int, int]:
        """(base, accepted, refused, newest, held_us) for an Ack that goes now."""
        accepted = refused = 0
        for seq, verdict in self._verdicts.items():
            bit = 1 << (seq - self._base)
            if verdict:
                accepted |= bit
            else:
                refused |= bit
        self.unacknowledged_count = 0
        return self._base, accepted, refused, self._newest, now_us - self._newest_us

    @property
    def round_trip_us(self) -> Optional[float]:
        """Smoothed time from sending a settled message to its verdict, or None."""
        return self._smoothed_us

    def _sample(self, round_trip_us: int) -> None:
        if round_trip_us < 0:  # the other side held it for longer than it was away
            return
        self._backed_off = 0
        if self._smoothed_us is None:
            self._smoothed_us, self._variation_us = float(round_trip_us), round_trip_us / 2.0
            return
        apart = abs(round_trip_us - self._smoothed_us)
        self._variation_us += (apart - self._variation_us) / 4
        self._smoothed_us += (round_trip_us - self._smoothed_us) * DELAY_WEIGHT

    def _timeout_us(self, sent: Sent, repetitions: int) -> int:
        """Features go one after the other: on a slow link, who is behind others waits for them."""
        base_us, most_us = RETRANSMIT_US_MIN, RETRANSMIT_US_MAX
        if sent.message.__class__ is Task:
            base_us, most_us = TASK_RETRANSMIT_US_MIN, TASK_RETRANSMIT_US_MAX
        if self._smoothed_us is not None:
            base_us = max(base_us, int(self._smoothed_us + 4 * self._variation_us))
        doublings = max(repetitions, self._backed_off)
        grown_us = min((base_us << doublings) * (1 + sent.ahead_count), max(base_us, most_us))
        return int(grown_us * (1 + JITTER_SHARE * self._rng.random()))
