"""Between the core's messages and a transport's frames: encode, decode, and whom to believe.

What a neighbour sends is checked here and in `core/wire.py` before the core hears of it; what is
wrong is counted, said in the log, and dropped: a neighbour cannot make this process fail.
"""

from collections import Counter, defaultdict
from typing import (
    Any,
    DefaultDict,
    Dict,
    Iterable,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import numpy as np

from ..codec import decode_auxiliary
from ..core import wire
from ..core.events import CloseLink, Keep, MessageReceived, OpenLink, PeerLost, Send
from ..core.messages import Hello, ResultMessage, Task, Welcome
from ..core.tensor import Tensor
from ..errors import BackendUnavailable, PeerError
from ..token_bucket import TokenBucket
from .executor import Executor
from .packer import Packer
from .stages import PlaceOf
from .transport import Arrival, Departure, Transport

# A neighbour greets twice a second at most. More is a fault or malice.
HELLOS_PER_S = 4.0
HELLOS_AT_ONCE = 16.0
REFUSED_AT_ONCE = 64  # messages, before whatever else is due has its turn


class HelloLimit:
    """A token bucket for each neighbour."""

    def __init__(self) -> None:
        self._buckets: Dict[int, TokenBucket] = {}

    def allows(self, peer: int, now_us: int) -> bool:
        """Whether one more Hello of `peer` is to be looked at."""
        bucket = self._buckets.get(peer)
        if bucket is None:
            bucket = self._buckets[peer] = TokenBucket(HELLOS_AT_ONCE, HELLOS_PER_S, now_us)
        return bucket.takes(now_us)


class Arrived(NamedTuple):
    """What came with a task for the stage `place`: see `Executor.keep`."""

    place: PlaceOf
    tensor: Tensor
    features: np.ndarray
    compared: Optional[np.ndarray]


class Traffic:
    """What went to a neighbour and came from it, with the headers of our messages."""

    __slots__ = ("received_bytes", "sent_bytes")

    def __init__(self) -> None:
        self.sent_bytes = self.received_bytes = 0

    def describe(self) -> Dict[str, int]:
        """sent_bytes and received_bytes."""
        return {"sent_bytes": self.sent_bytes, "received_bytes": self.received_bytes}


class Network:
    """Carries out Send, Keep, OpenLink and CloseLink over `transport`, and gives the core what
    comes in. `names` of neighbours, by worker id, are for people. `checks_bodies`: send checksums
    of features, where nothing else protects them. Belongs to whoever holds the loop."""

    def __init__(
        self,
        transport: Transport,
        executor: Executor,
        names: Dict[int, str],
        packer: Packer,
        checks_bodies: bool = False,
    ) -> None:
        self.transport = transport
        self._executor = executor
        self.names = names
        self.traffic: "DefaultDict[int, Traffic]" = defaultdict(Traffic)  # by worker id
        self._packer = packer
        self._checks_bodies = checks_bodies
        self._limit = HelloLimit()
        self._arrived: Optional[Arrived] = None

    def receive(self, now_us: int) -> Union[MessageReceived, PeerLost, None]:
        """The next thing that the core should hear of, or None."""
        for _ in range(REFUSED_AT_ONCE):
            got = self.transport.receive()
            if got is None:
                return None
            if isinstance(got, Departure):
                return PeerLost(got.peer)
            event = self._read(got, now_us)
            if event is not None:
                return event
        self.transport.wake()  # a flood of what is refused must not hold the loop
        return None

    def _read(self, arrival: Arrival, now_us: int) -> Optional[MessageReceived]:
        peer = arrival.peer
        self._arrived = None
        self.traffic[peer].received_bytes += _size_bytes(arrival.frames)
        try:
            envelope, tensor = wire.decode(arrival.frames)
            message = envelope.message
            if isinstance(message, Task):
                assert tensor is not None  # it goes with nothing else
                self._arrived = self._unpack(message, tensor)
            elif isinstance(message, ResultMessage):
                if message.answer is not None:
                    self._executor.check_answer(message.answer)
            elif isinstance(message, (Hello, Welcome)):
                self._check_greeting(peer, message)
        except (PeerError, BackendUnavailable) as error:  # a codec that we never announced
            self._complain(peer, "malformed_messages", str(error))
            return None
        if isinstance(message, Hello) and not self._limit.allows(peer, now_us):
            self.transport.count("hellos_over_limit")
            return None
        return MessageReceived(peer, envelope)

    def _unpack(self, task: Task, tensor: Tensor) -> Arrived:
        """The features of a task, and what its policy compares with. Raises PeerError."""
        place = task.part, task.stage
        expected = self._executor.input_shapes.get(place)
        if expected is None:
            raise PeerError(
                "stage: found part {} stage {}, expected one of the plan: {}".format(
                    task.part, task.stage, _shown(self._executor.input_shapes)
                )
            )
        if tensor.shape != expected:
            raise PeerError(
                "features of stage {}: found shape {}, expected {}".format(
                    task.stage, list(tensor.shape), list(expected)
                )
            )
        compared = decode_auxiliary(tensor)
        self._executor.check_compared(task.stage, compared)
        return Arrived(place, tensor, self._packer.decode(tensor, place), compared)

    def _check_greeting(self, peer: int, message: Union[Hello, Welcome]) -> None:
        if message.greeting.worker != peer:
            raise PeerError(
                "worker: found {:016x}, expected {:016x}, who sent it".format(
                    message.greeting.worker, peer
                )
            )

    def send(self, action: Send) -> None:
        """Send a message, with its features if it is a task."""
        peer, lane, envelope, item = action
        if item is None:
            self._hand_over(peer, lane, wire.encode(envelope))
            return
        part = envelope.message.part
        features, compared = self._executor.features(item, part)
        place = part, envelope.message.stage
        tensor = self._packer.encode(peer, item, place, features, compared)
        if tensor.codec == "raw" and features.nbytes >= self.transport.uncopied_bytes_min:
            self._executor.lend(item, part)
        self._hand_over(peer, lane, wire.encode(envelope, tensor, self._checks_bodies))

    def _hand_over(self, peer: int, lane: str, frames: List[Any]) -> None:
        self.traffic[peer].sent_bytes += _size_bytes(frames)
        self.transport.send(peer, lane, frames)

    def keep(self, action: Keep) -> None:
        """The features that came last are those of an item."""
        assert self._arrived is not None  # the core keeps only what came with this very event
        place, tensor, features, compared = self._arrived
        self._executor.keep(action.item, place[0], features, compared)
        self._packer.remember(action.item, place, tensor)

    def open_link(self, action: OpenLink) -> None:
        """Make ready to send to a neighbour."""
        self.transport.open_link(action.peer)

    def close_link(self, action: CloseLink) -> None:
        """Nothing more goes to a neighbour."""
        self.transport.close_link(action.peer)

    def _complain(self, peer: int, name: str, what: str) -> None:
        who = self.names.get(peer, "{:016x}".format(peer))
        message = "{}: {}: {}".format(who, name.replace("_", " "), what)
        self.transport.complain(name, peer, message)


def _size_bytes(frames: Sequence[Any]) -> int:
    if len(frames) == 1:  # most messages
        return len(frames[0])
    return sum([memoryview(frame).nbytes for frame in frames])


def _shown(places: Iterable[Tuple[int, int]]) -> str:
    """How many stages each part has."""
    counts = Counter(part for part, _ in places)
    return ", ".join("{} of part {}".format(counts[part], part) for part in sorted(counts))
