"""What the stream (now_us, event, actions) of one core means in time: spans that begin and end.

A core decides at moments; people look at what lies between them: stages, items, ways to neighbours.
`Tracker` is told what a core was told and what it asked for, and gives what has ended. All times
are those of the core's own clock.
"""

from typing import (
    Any,
    Callable,
    Dict,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
    Type,
    Union,
)

from ..core.events import (
    Action,
    CloseLink,
    Deliver,
    Event,
    Keep,
    Leave,
    MessageReceived,
    PeerGone,
    PeerLost,
    Release,
    RunStage,
    Send,
    StageDone,
    StageFailed,
    Submit,
)
from ..core.messages import (
    Ack,
    Bye,
    Hello,
    ItemId,
    Load,
    Reject,
    ResultMessage,
    Task,
    Welcome,
)

ItemKey = ItemId  # (source, epoch, number): an item on every machine

# Verdicts. One that is open was not seen: the link broke, or nobody waits for it any more.
ACCEPTED, REFUSED, OPEN = "accepted", "refused", "open"

# Names of instants. A lease is seen to have expired when its item is started again.
UP, LOST, LEFT = "neighbour up", "neighbour lost", "neighbour left"
LEAVES, LEAVING = "neighbour leaving", "leaving"
AGAIN, LEASE = "retransmission", "lease expired"
EXPIRED, FAILED = "expired", "failed"

HANDSHAKE = (Hello, Welcome, Reject)


class StageSpan(NamedTuple):
    """One batch was computed: of `part`, at `stage`. Not `ok`: it failed, or did not end."""

    begin_us: int
    end_us: int
    part: int
    stage: int
    items: Tuple[ItemKey, ...]
    ok: bool


class ItemSpan(NamedTuple):
    """An item of our own, from when the application handed it over to its outcome. `status`,
    `reason` and `worker` as in `core.events.Outcome`, or "open" and nothing."""

    begin_us: int
    end_us: int
    item: ItemKey
    tag: Any
    status: str
    reason: str
    exit_index: Optional[int]
    class_index: Optional[int]
    worker: int = 0


class TransferSpan(NamedTuple):
    """A task went to `peer`, to be computed from `stage` on; it ends with the verdict's arrival."""

    begin_us: int
    end_us: int
    item: ItemKey
    stage: int
    peer: int
    verdict: str


class ResultSpan(NamedTuple):
    """A result went to `peer`; it ends with the verdict's arrival. `reason` as in its message."""

    begin_us: int
    end_us: int
    item: ItemKey
    reason: str
    peer: int
    verdict: str


class Arrival(NamedTuple):
    """A task has come from `peer` and was kept, to be computed from `stage` on."""

    at_us: int
    item: ItemKey
    stage: int
    peer: int


class Instant(NamedTuple):
    """Something worth a mark: `name` is one of those above, `detail` is for people."""

    at_us: int
    name: str
    peer: Optional[int]
    item: Optional[ItemKey]
    detail: str


Span = Union[StageSpan, ItemSpan, TransferSpan, ResultSpan, Arrival, Instant]


class _Sent(NamedTuple):
    """A task or result without a verdict; `name` is what the core here calls a task's item."""

    begin_us: int
    session: Tuple[int, int]
    message: Union[Task, ResultMessage]
    name: Optional[int]


class Tracker:
    """Follows the core of the process (`worker`, `epoch`); one without neighbours may have any two
    numbers. It holds what is open, and nothing else."""

    def __init__(self, worker: int, epoch: int) -> None:
        self._worker = worker
        self._epoch = epoch
        self._stage: Optional[Tuple[int, RunStage, Tuple[ItemKey, ...]]] = None
        self._open: Dict[int, Tuple[int, Any]] = {}  # our items: when they were submitted, and tag
        self._guests: Dict[int, ItemKey] = {}  # what the core here calls items of others
        self._away: Dict[int, Dict[int, Tuple[int, int]]] = {}  # item -> part -> (peer, number)
        self._sent: Dict[int, Dict[int, _Sent]] = {}  # peer -> number
        self._sessions: Dict[int, Tuple[int, int]] = {}  # peer -> (ours, theirs)
        self._leaving: Set[int] = set()
        self._on_event: Dict[Type[Any], Callable[..., None]] = {
            Submit: self._submitted,
            StageDone: self._stage_done,
            StageFailed: self._stage_failed,
            MessageReceived: self._received,
            Leave: self._leaves,
        }
        self._on_action: Dict[Type[Any], Callable[..., None]] = {
            RunStage: self._runs,
            Deliver: self._delivers,
            Send: self._sends,
            Keep: self._keeps,
            Release: self._releases,
            CloseLink: self._closes,
        }

    def record(self, now_us: int, event: Event, actions: Sequence[Action]) -> List[Span]:
        """The core was told `event` at `now_us` and asked for `actions`: what has ended thereby."""
        spans: List[Span] = []
        told = self._on_event.get(event.__class__)
        if told is not None:
            told(now_us, event, spans)
        handlers = self._on_action
        for action in actions:
            asked = handlers.get(action.__class__)
            if asked is not None:
                asked(now_us, action, event, spans)
        return spans

    def finish(self, now_us: int) -> List[Span]:
        """The stream has ended at `now_us`: what was still open. A tracker is told nothing more."""
        spans: List[Span] = []
        self._end_stage(now_us, False, spans)
        for number, (begin_us, tag) in self._open.items():
            spans.append(ItemSpan(begin_us, now_us, self._key(number), tag, OPEN, "", None, None))
        self._open.clear()
        for peer in list(self._sent):
            self._abandon(now_us, peer, spans)
        return spans

    def _key(self, number: int) -> ItemKey:
        """Of an item by the name that the core here has for it."""
        if number >= 0:
            return ItemKey(self._worker, self._epoch, number)
        return self._guests.get(number, ItemKey(0, 0, number))

    # --- stages -------------------------------------------------------------------------------

    def _runs(self, now_us: int, action: RunStage, event: Event, spans: List[Span]) -> None:
        for item in action.items:
            if item in self._away:
                self._back(now_us, item, action.part, spans)
        self._stage = (now_us, action, tuple([self._key(item) for item in action.items]))

    def _stage_done(self, now_us: int, event: StageDone, spans: List[Span]) -> None:
        self._end_stage(now_us, True, spans)

    def _stage_failed(self, now_us: int, event: StageFailed, spans: List[Span]) -> None:
        self._end_stage(now_us, False, spans)

    def _end_stage(self, now_us: int, ok: bool, spans: List[Span]) -> None:
        if self._stage is not None:
            begin_us, action, items = self._stage
            self._stage = None
            spans.append(StageSpan(begin_us, now_us, action.part, action.stage, items, ok))

    # --- items --------------------------------------------------------------------------------

    def _submitted(self, now_us: int, event: Submit, spans: List[Span]) -> None:
        for item, tag in zip(event.items, event.tags):
            self._open[item] = (event.submitted_us, tag)

    def _delivers(self, now_us: int, action: Deliver, event: Event, spans: List[Span]) -> None:
        outcome = action.outcome
        answer, key = outcome.answer, self._key(outcome.item)
        self._open.pop(outcome.item, None)
        spans.append(
            ItemSpan(
                now_us - outcome.latency_us,
                now_us,
                key,
                outcome.tag,
                outcome.status,
                outcome.reason,
                None if answer is None else answer.exit_index,
                None if answer is None else answer.scores.class_index,
                outcome.worker,
            )
        )
        if outcome.status in (EXPIRED, FAILED):
            said = [word for word in (outcome.reason, outcome.detail) if word]
            spans.append(Instant(now_us, outcome.status, None, key, ": ".join(said)))

    def _releases(self, now_us: int, action: Release, event: Event, spans: List[Span]) -> None:
        self._guests.pop(action.item, None)
        self._away.pop(action.item, None)

    # --- ways to neighbours -------------------------------------------------------------------

    def _sends(self, now_us: int, action: Send, event: Event, spans: List[Span]) -> None:
        peer, _, envelope, name = action
        message = envelope.message
        kind = message.__class__
        if kind in HANDSHAKE:
            return
        session = (envelope.from_session, envelope.to_session)
        if self._sessions.get(peer) != session:
            self._sessions[peer] = session
            spans.append(Instant(now_us, UP, peer, None, ""))
        if kind is Task or kind is ResultMessage:
            self._sends_settled(now_us, peer, _Sent(now_us, session, message, name), spans)
        elif kind is Bye and message.final:
            self._abandon(now_us, peer, spans)
            self._part_from(peer)

    def _sends_settled(self, now_us: int, peer: int, sent: _Sent, spans: List[Span]) -> None:
        message, name = sent.message, sent.name
        waiting = self._sent.setdefault(peer, {})
        if message.seq in waiting:
            spans.append(Instant(now_us, AGAIN, peer, message.item, message.__class__.__name__))
            return
        waiting[message.seq] = sent
        if name is not None and name >= 0:
            self._back(now_us, name, message.part, spans)
            self._away.setdefault(name, {})[message.part] = (peer, message.seq)

    def _back(self, now_us: int, item: int, part: int, spans: List[Span]) -> None:
        """Nobody has sent a part of our `item` back, and yet it is here."""
        place = self._away.get(item, {}).pop(part, None)
        if place is not None:
            spans.append(Instant(now_us, LEASE, place[0], self._key(item), "started again"))

    def _keeps(self, now_us: int, action: Keep, event: Event, spans: List[Span]) -> None:
        assert isinstance(event, MessageReceived)
        task = event.envelope.message
        if action.item >= 0:
            self._away.get(action.item, {}).pop(task.part, None)
        else:
            self._guests[action.item] = task.item
        spans.append(Arrival(now_us, task.item, task.stage, event.peer))

    def _received(self, now_us: int, event: MessageReceived, spans: List[Span]) -> None:
        peer, envelope = event
        message = envelope.message
        if self._sessions.get(peer) != (envelope.to_session, envelope.from_session):
            return  # of the past, or the first of a new acquaintance
        if isinstance(message, Ack):
            self._settles(now_us, peer, message, spans)
        elif isinstance(message, ResultMessage):
            if message.item[:2] == (self._worker, self._epoch):
                self._away.get(message.item.number, {}).pop(message.part, None)
        elif peer not in self._leaving and _says_that_it_leaves(message):
            self._leaving.add(peer)
            spans.append(Instant(now_us, LEAVES, peer, None, ""))

    def _settles(self, now_us: int, peer: int, ack: Ack, spans: List[Span]) -> None:
        waiting = self._sent.get(peer)
        for number in list(waiting or ()):
            bit = 1 << max(0, number - ack.base)
            if number < ack.base:
                verdict = OPEN  # the core here has stopped asking
            elif ack.accepted & bit:
                verdict = ACCEPTED
            elif ack.refused & bit:
                verdict = REFUSED
            else:
                continue
            sent = self._sent[peer].pop(number)
            if verdict is REFUSED and sent.name is not None:
                parts = self._away.get(sent.name, {})
                if parts.get(sent.message.part) == (peer, number):
                    del parts[sent.message.part]
            spans.append(_arrived(now_us, peer, sent, verdict))

    # --- neighbours ---------------------------------------------------------------------------

    def _closes(self, now_us: int, action: CloseLink, event: Event, spans: List[Span]) -> None:
        peer = action.peer
        self._abandon(now_us, peer, spans)
        if peer not in self._sessions:
            return
        self._part_from(peer)
        if isinstance(event, MessageReceived) and isinstance(event.envelope.message, Bye):
            spans.append(Instant(now_us, LEFT, peer, None, ""))
        else:  # what it had is started again, and no lease was needed to see it
            spans.append(Instant(now_us, LOST, peer, None, _why_lost(event)))
            for parts in self._away.values():
                for part in [part for part, place in parts.items() if place[0] == peer]:
                    del parts[part]

    def _part_from(self, peer: int) -> None:
        self._sessions.pop(peer, None)
        self._leaving.discard(peer)

    def _abandon(self, now_us: int, peer: int, spans: List[Span]) -> None:
        """There will be no more verdicts of `peer`."""
        for sent in self._sent.pop(peer, {}).values():
            spans.append(_arrived(now_us, peer, sent, OPEN))

    def _leaves(self, now_us: int, event: Leave, spans: List[Span]) -> None:
        spans.append(Instant(now_us, LEAVING, None, None, ""))


def _arrived(now_us: int, peer: int, sent: _Sent, verdict: str) -> Span:
    message = sent.message
    if isinstance(message, Task):
        return TransferSpan(sent.begin_us, now_us, message.item, message.stage, peer, verdict)
    return ResultSpan(sent.begin_us, now_us, message.item, message.reason, peer, verdict)


def _says_that_it_leaves(message: Any) -> bool:
    if isinstance(message, Load):
        return message.is_leaving
    return isinstance(message, Bye) and not message.final


def _why_lost(event: Event) -> str:
    if isinstance(event, PeerLost):
        return "disconnected"
    if isinstance(event, PeerGone):
        return "removed"
    return "started again" if isinstance(event, MessageReceived) else "no answer"
