"""A fingerprint of a run: two runs with the same one did the same things at the same times."""

from collections import deque
from hashlib import blake2b
from struct import Struct
from typing import Any, Callable, Deque, Dict, List, Sequence, Tuple, Type

from ..core.events import (
    Cancel,
    Classified,
    Event,
    Leave,
    MessageReceived,
    PeerFound,
    PeerGone,
    PeerLost,
    Shutdown,
    StageDone,
    StageFailed,
    StagesLoaded,
    Submit,
    Timer,
)
from ..core.messages import (
    Ack,
    Assign,
    Assigned,
    Bye,
    CancelTask,
    Hello,
    Load,
    Progress,
    Reject,
    ResultMessage,
    Task,
    Welcome,
)

RECENT_COUNT = 200
_BLOCK_BYTES = 1 << 16
_U64 = (1 << 64) - 1

# time, node, kind of event, kind of message; then what tells it from others of its kind.
_RECORD = Struct("<qHBBQQ")


def _of_part(message: Any) -> int:
    return int(message.part << 56 ^ message.item[2] << 16)


def _of_places(stages: Sequence[Tuple[int, int]]) -> int:
    return sum(1 << (stage & 31) for _, stage in stages)


_MESSAGE_KEYS: Dict[Type[Any], Tuple[int, Callable[[Any], int]]] = {
    Hello: (1, lambda message: int(message.greeting.epoch)),
    Welcome: (2, lambda message: int(message.greeting.epoch)),
    Reject: (3, lambda message: len(message.reason)),
    Bye: (4, lambda message: int(message.final)),
    Load: (5, lambda message: int(message.report << 20 ^ message.queue_length)),
    Task: (6, lambda message: _of_part(message) ^ message.stage << 8 ^ message.attempt),
    Ack: (7, lambda message: int(message.base << 20 ^ message.accepted ^ message.refused << 1)),
    ResultMessage: (8, lambda message: _of_part(message) >> 8 ^ message.attempt),
    Progress: (9, lambda message: len(message.items)),
    CancelTask: (10, lambda message: int(message.item[2])),
    Assign: (16, lambda message: int(message.number << 32 ^ _of_places(message.stages))),
    Assigned: (17, lambda message: int(message.number << 32 ^ _of_places(message.stages))),
}


def _of_message(event: MessageReceived) -> Tuple[int, int, int]:
    message = event.envelope.message
    code, key = _MESSAGE_KEYS[message.__class__]
    return code, event.peer, key(message)


def _batch(event: Any) -> int:
    return int(event.part << 32 | len(event.items))


_EVENT_KEYS: Dict[Type[Any], Tuple[int, Callable[[Any], Tuple[int, int, int]]]] = {
    Submit: (1, lambda event: (0, event.items[0], len(event.items))),
    Cancel: (2, lambda event: (0, event.item, 0)),
    StageDone: (3, lambda event: (event.stage & 255, event.items[0], _batch(event))),
    StageFailed: (4, lambda event: (event.stage & 255, event.items[0], _batch(event))),
    Timer: (5, lambda event: (0, event.item, 0)),
    Shutdown: (6, lambda event: (0, 0, 0)),
    PeerFound: (7, lambda event: (0, event.peer, int(event.offload))),
    PeerGone: (8, lambda event: (0, event.peer, 0)),
    MessageReceived: (9, _of_message),
    Leave: (10, lambda event: (0, 0, 0)),
    PeerLost: (11, lambda event: (0, event.peer, 0)),
    Classified: (12, lambda event: (0, event.item, event.scores.class_index)),
    StagesLoaded: (13, lambda event: (0, _of_places(event.stages), len(event.failure))),
}


class Trace:
    """A running hash of all events, and the last of them for people."""

    __slots__ = ("_block", "_hash", "_recent")

    def __init__(self) -> None:
        self._block = bytearray()
        self._hash = blake2b(digest_size=16)
        self._recent: Deque[Tuple[int, int, Event]] = deque(maxlen=RECENT_COUNT)

    def add(self, now_us: int, node_index: int, event: Event) -> None:
        """`event` is about to be told to a core."""
        self._recent.append((now_us, node_index, event))
        code, key = _EVENT_KEYS[event.__class__]
        detail, first, second = key(event)
        block = self._block
        block += _RECORD.pack(now_us, node_index, code, detail, first & _U64, second & _U64)
        if len(block) >= _BLOCK_BYTES:
            self._hash.update(block)
            block.clear()

    def hexdigest(self) -> str:
        """The fingerprint of everything so far."""
        copy = self._hash.copy()
        copy.update(self._block)
        return copy.hexdigest()

    def recent(self, names: Sequence[str]) -> List[str]:
        """A line for each of the last events, oldest first."""
        return [
            "{:>12} us  {}  {}".format(now_us, names[index], event)
            for now_us, index, event in self._recent
        ]
