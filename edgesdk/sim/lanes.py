"""How messages travel: one after the other through a channel, then over a lane to the other side.

A *channel* sends one message at a time. A *lane* takes the messages of one kind, one way between
two nodes; its channel is its own, or that of a medium. A message *waits* in the channel, is *under
way* until it arrives, and *unread* while the receiver is frozen.
"""

from collections import deque
from random import Random
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Tuple, Type

from ..core.messages import CONTROL, Envelope, ResultMessage, Task
from .events import Scheduler
from .spec import Link

HEADER_BYTES = 64  # before the features of a Task
SMALL_BYTES = 100  # any other message, and the feature in a Result of an ensemble's besides
HIGH_WATER_MARK = 1024  # messages on a lane that were not read yet; more are lost
RETRANSMISSION_US = 200_000  # TCP's shortest timeout
REORDERING_US = 10_000  # mean extra delay of a message that is to be overtaken, at least

Token = Tuple[Any, int, int]  # features: of which item and part, as the input of which stage


class Parcel(NamedTuple):
    """A message on its way, with the features that travel with it, and what encoding them takes
    before they leave."""

    envelope: Envelope
    token: Optional[Token]
    size_bytes: int
    encode_us: int = 0


class Way:
    """One direction of a link: what both of its lanes share, as it is now."""

    __slots__ = (
        "delay_us",
        "duplication",
        "high_water_mark",
        "is_plain",
        "jitter_us",
        "loss",
        "lost",
        "name",
        "rate_divisor",
        "reordering",
        "repair_us",
        "rng",
        "sent",
    )

    def __init__(self, name: str, link: Link, rng: Random, high_water_mark: int) -> None:
        self.name = name
        self.rng = rng
        self.high_water_mark = high_water_mark
        self.delay_us = link.delay_us
        self.jitter_us = link.jitter_us
        self.loss = link.loss
        self.duplication = link.duplication
        self.reordering = link.reordering
        self.rate_divisor = 1.0
        self.repair_us = max(RETRANSMISSION_US, 4 * (link.delay_us + link.jitter_us))
        self.sent: Dict[Type[Any], List[int]] = {}  # messages and bytes by kind
        self.lost: Dict[str, int] = {}  # messages by cause
        self.update()

    def update(self) -> None:
        """Whether a message needs no draw; to be called when a share has changed."""
        self.is_plain = not (self.jitter_us or self.loss or self.duplication or self.reordering)

    def happens(self, share: float) -> bool:
        """Draw with the probability `share`."""
        return share > 0.0 and self.rng.random() < share

    def jitter(self) -> int:
        """Draw the exponential part of a delay."""
        return int(self.rng.expovariate(1.0 / self.jitter_us)) if self.jitter_us else 0

    def overtaken_us(self) -> int:
        """Draw the extra delay of a message that others overtake."""
        mean_us = max(REORDERING_US, 4 * (self.delay_us + self.jitter_us))
        return int(self.rng.expovariate(1.0 / mean_us))

    def count_sent(self, kind: Type[Any], size_bytes: int) -> None:
        """Count a message that was handed over."""
        entry = self.sent.get(kind)
        if entry is None:
            entry = self.sent[kind] = [0, 0]
        entry[0] += 1
        entry[1] += size_bytes

    def count_lost(self, cause: str, count: int = 1) -> None:
        """Count messages that never arrive."""
        if count:
            self.lost[cause] = self.lost.get(cause, 0) + count


class Channel:
    """Sends one message after the other, those of the control lane first.

    `us_per_byte`: 0.0 for no limit. While it is free a message costs no entry in the scheduler.
    """

    __slots__ = ("_control", "_data", "_free_us", "_is_pumping", "_scheduler", "us_per_byte")

    def __init__(self, scheduler: Scheduler, bytes_per_s: Optional[float]) -> None:
        self._scheduler = scheduler
        self.us_per_byte = 0.0 if bytes_per_s is None else 1e6 / bytes_per_s
        self._free_us = 0
        self._control: Deque[Tuple[Lane, Parcel]] = deque()
        self._data: Deque[Tuple[Lane, Parcel]] = deque()
        self._is_pumping = False  # an entry will take the next message that waits

    def send(self, lane: "Lane", parcel: Parcel) -> None:
        """Send `parcel` now, or after those that wait."""
        now_us = self._scheduler.now_us
        if self._free_us <= now_us and not self._is_pumping:
            self._start(lane, parcel, now_us)
            return
        (self._control if lane.is_control else self._data).append((lane, parcel))
        if not self._is_pumping:
            self._is_pumping = True
            self._scheduler.at(self._free_us, self._pump)

    def discard(self, lane: "Lane") -> int:
        """Forget what waits of `lane`, and say how much that was."""
        waiting = self._control if lane.is_control else self._data
        kept = [entry for entry in waiting if entry[0] is not lane]
        count = len(waiting) - len(kept)
        if count:
            waiting.clear()
            waiting.extend(kept)
        return count

    def _pump(self, _: None) -> None:
        waiting = self._control or self._data
        if waiting:
            lane, parcel = waiting.popleft()
            self._start(lane, parcel, self._scheduler.now_us)
        if self._control or self._data:
            self._scheduler.at(self._free_us, self._pump)
        else:
            self._is_pumping = False

    def _start(self, lane: "Lane", parcel: Parcel, now_us: int) -> None:
        if self.us_per_byte:
            now_us += int(parcel.size_bytes * self.us_per_byte * lane.way.rate_divisor + 0.5)
            self._free_us = now_us
        lane.depart(parcel, now_us + parcel.encode_us)


class Lane:
    """One lane, one way. Subclasses say what happens under way."""

    __slots__ = (
        "_blocked_count",
        "_channel",
        "_feature_bytes",
        "_generation",
        "_scheduler",
        "is_control",
        "receive",
        "sender",
        "unread_count",
        "way",
    )

    def __init__(
        self,
        scheduler: Scheduler,
        way: Way,
        channel: Channel,
        name: str,
        sender: int,
        feature_bytes: Tuple[Tuple[int, ...], ...],
    ) -> None:
        self._scheduler = scheduler
        self._channel = channel
        self._feature_bytes = feature_bytes
        self._generation = 0  # what left in an earlier one is lost
        self._blocked_count = 0  # cuts, and a receiver that is not there
        self.way = way
        self.sender = sender  # its worker id
        self.is_control = name == CONTROL
        self.unread_count = 0  # sent, not lost and not yet taken by the receiver
        self.receive: Callable[[Lane, Parcel], None] = _nobody

    def send(self, envelope: Envelope, token: Optional[Token], encode_us: int = 0) -> None:
        """Hand a message over. Beyond the high-water mark it is lost silently."""
        way = self.way
        message: Any = envelope.message
        kind = message.__class__
        size_bytes = SMALL_BYTES
        if kind is Task:
            size_bytes = HEADER_BYTES + self._feature_bytes[message.part][message.stage]
        elif kind is ResultMessage and message.answer is not None:
            size_bytes += len(message.answer.feature)
        way.count_sent(kind, size_bytes)
        if self.unread_count >= way.high_water_mark:
            way.count_lost("high_water")
            return
        self.unread_count += 1
        self._channel.send(self, Parcel(envelope, token, size_bytes, encode_us))

    def depart(self, parcel: Parcel, end_us: int) -> None:
        """The channel has begun with `parcel`, its last byte goes at `end_us`."""
        raise NotImplementedError

    def discard(self, cause: str) -> None:
        """Forget what is not yet under way."""
        count = self._channel.discard(self)
        self.unread_count -= count
        self.way.count_lost(cause, count)

    def reset(self, cause: str) -> None:
        """Lose everything that has not arrived."""
        self.discard(cause)
        self._generation += 1
        count = self._forget_under_way()
        self.unread_count -= count
        self.way.count_lost(cause, count)

    def block(self) -> None:
        """Nothing arrives any more."""
        self._blocked_count += 1

    def unblock(self, after_us: int) -> None:
        """One cause of `block` is over; what was held up goes on `after_us` later."""
        self._blocked_count -= 1

    def _forget_under_way(self) -> int:
        raise NotImplementedError


class TcpLane(Lane):
    """In order and never lost, but by a reset, a crash, or beyond the high-water mark."""

    __slots__ = ("_due_count", "_is_held", "_last_us", "_release_count", "_under_way")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._under_way: Deque[Parcel] = deque()
        self._last_us = 0  # when the last of them arrives
        self._is_held = False
        self._due_count = 0  # those that would have arrived
        self._release_count = 0

    def depart(self, parcel: Parcel, end_us: int) -> None:
        way = self.way
        at_us = end_us + way.delay_us
        if not way.is_plain:
            at_us += self._extra_us(parcel)
        if at_us < self._last_us:
            at_us = self._last_us
        else:
            self._last_us = at_us
        self._under_way.append(parcel)
        self._scheduler.at(at_us, self._arrive, self._generation)

    def block(self) -> None:
        super().block()
        self._is_held = True

    def unblock(self, after_us: int) -> None:
        super().unblock(after_us)
        if not self._blocked_count:
            self._release_count += 1
            at_us = self._scheduler.now_us + after_us
            self._scheduler.at(at_us, self._release, self._release_count)

    def _extra_us(self, parcel: Parcel) -> int:
        """What the troubles of the packets cost: time."""
        way = self.way
        extra_us = way.jitter()
        if way.happens(way.loss):
            extra_us += way.repair_us
        if way.happens(way.duplication):
            extra_us += int(parcel.size_bytes * self._channel.us_per_byte * way.rate_divisor)
        if way.happens(way.reordering):
            extra_us += way.overtaken_us()
        return extra_us

    def _arrive(self, generation: int) -> None:
        if generation != self._generation:
            return
        if self._is_held:
            self._due_count += 1
        else:
            self.receive(self, self._under_way.popleft())

    def _release(self, release: int) -> None:
        if self._blocked_count or release != self._release_count:
            return
        self._is_held = False
        due_count, self._due_count = self._due_count, 0
        for _ in range(due_count):
            self.receive(self, self._under_way.popleft())

    def _forget_under_way(self) -> int:
        count = len(self._under_way)
        self._under_way.clear()
        self._due_count = 0
        self._last_us = 0
        return count


class ChaosLane(Lane):
    """Harsher than any network: every message for itself is lost, doubled or overtaken."""

    __slots__ = ("_under_way_count",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._under_way_count = 0

    def depart(self, parcel: Parcel, end_us: int) -> None:
        way = self.way
        cause = "cut" if self._blocked_count else "loss" if way.happens(way.loss) else ""
        if cause:
            self._lose(cause)
            return
        self._fly(parcel, end_us)
        if way.happens(way.duplication):
            self.unread_count += 1
            self._fly(parcel, end_us)

    def _fly(self, parcel: Parcel, end_us: int) -> None:
        way = self.way
        at_us = end_us + way.delay_us + way.jitter()
        if way.happens(way.reordering):
            at_us += way.overtaken_us()
        self._under_way_count += 1
        self._scheduler.at(at_us, self._arrive, (self._generation, parcel))

    def _arrive(self, flight: Tuple[int, Parcel]) -> None:
        generation, parcel = flight
        if generation != self._generation:
            return
        self._under_way_count -= 1
        if self._blocked_count:
            self._lose("cut")
        else:
            self.receive(self, parcel)

    def _lose(self, cause: str) -> None:
        self.unread_count -= 1
        self.way.count_lost(cause)

    def _forget_under_way(self) -> int:
        count, self._under_way_count = self._under_way_count, 0
        return count


def _nobody(lane: Lane, parcel: Parcel) -> None:
    raise AssertionError("{}: nobody receives".format(lane.way.name))
